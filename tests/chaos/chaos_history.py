"""What was done to a cluster, what its tasks did, and what its journal says in the end.

All times are seconds since the machine's boot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Task(NamedTuple):
    job: int
    number: int


@dataclass(frozen=True)
class Submit:
    """Tasks that were offered under a label of their own. `job` is 0 if no answer came."""

    label: str
    tasks: int
    job: int = 0
    name: str = ""  # of the job, if the submit makes one
    needs: tuple[str, ...] = ()  # labels whose tasks must have ended before
    never_restart: bool = False
    crash_limit: int = 0  # 0: unlimited
    fails: bool = False  # each of its tasks does


@dataclass(frozen=True)
class Mark:
    """A line that a task wrote: `what` is begin, end, or fail for a try that is to be repeated."""

    what: str
    label: str
    task: Task
    instance: int
    worker: str
    at: float


@dataclass(frozen=True)
class Fault:
    """`worker` is a name, or empty if it was done to the server."""

    what: str
    worker: str
    begin: float
    end: float


@dataclass(frozen=True)
class Outcome:
    task: Task
    state: str  # finished, failed, canceled, aborted
    error: str = ""


@dataclass
class History:
    grace_s: float
    submits: list[Submit] = field(default_factory=list)
    cancels: list[int] = field(default_factory=list)  # jobs whose cancel was answered
    may_be_cancelled: set[int] = field(default_factory=set)  # or asked for
    marks: list[Mark] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    # From the journal:
    names: list[tuple[int, str]] = field(default_factory=list)  # of each job that was made
    tasks: list[Task] = field(default_factory=list)  # that exist
    outcomes: list[Outcome] = field(default_factory=list)
    # After the end:
    journal_fault: str = ""
    left: list[str] = field(default_factory=list)  # processes
