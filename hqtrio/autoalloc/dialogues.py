"""What is asked of a batch manager, and what it can answer.

A dialogue is a generator: it gives the commands that are to be run, one by one, is sent what became
of each, and returns what that means. So everything that depends on a manager's habits is here, and
can be tried with recorded answers; whoever runs the commands knows no manager.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from hqtrio.model.allocation import Cause, QueueParams, Rejection

__all__ = [
    "SUBMIT_FILE",
    "WORKER_FILE",
    "Accepted",
    "Adapter",
    "Answered",
    "CancelAnswer",
    "Cancelled",
    "Command",
    "Completed",
    "Dialogue",
    "Ended",
    "Found",
    "NotCancelled",
    "NotStarted",
    "Other",
    "Rejected",
    "Result",
    "Running",
    "Status",
    "Submission",
    "SubmitAnswer",
    "TimedOut",
    "Unanswered",
    "Unclear",
    "Unknown",
    "Unsure",
    "Waiting",
]

SUBMIT_FILE: Final = "hq-submit.sh"
WORKER_FILE: Final = "hq-worker.sh"  # what each node of several runs

T = TypeVar("T")

# --- commands


@dataclass(frozen=True, slots=True)
class Command:
    """A program to be looked up on PATH, with its arguments; `directory` is where it runs."""

    words: tuple[str, ...]
    directory: str = ""


@dataclass(frozen=True, slots=True)
class Completed:
    """The command ended; outputs are cut after some megabytes."""

    code: int
    stdout: bytes
    stderr: bytes = b""


@dataclass(frozen=True, slots=True)
class NotStarted:
    """There is no such program, or it cannot be run."""

    why: str


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The command was killed because it did not end."""

    after_s: float


Result = Completed | NotStarted | TimedOut
Dialogue = Generator[Command, Result, T]

# --- submitting


@dataclass(frozen=True, slots=True)
class Submission:
    """One allocation as it is asked for.

    `directory` is absolute and without symbolic links: jobs are recognised by it. `words` start
    this program, `server_dir` is the instance directory that workers are given. `variables` are
    set in front of the worker. A `trial` must never start.
    """

    params: QueueParams
    name: str
    nodes: int
    directory: str
    server_dir: str
    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    trial: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    id: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """No job was made. `words` say which command failed and what it said, for users to read."""

    rejection: Rejection
    words: str


@dataclass(frozen=True, slots=True)
class Unsure:
    """A job may have been made: it has to be looked for."""

    words: str


SubmitAnswer = Accepted | Rejected | Unsure

# --- states


@dataclass(frozen=True, slots=True)
class Waiting:
    """`reason` is the manager's word for what it waits for, empty if it says none."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """Unix seconds, if known."""

    started_at: float | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """`words` are the manager's own: its state, its exit code, its reason."""

    cause: Cause
    words: str = ""
    started_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The manager knows no such id (any more), and says so clearly."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """It says something about the id that means nothing to us."""

    words: str


Status = Waiting | Running | Ended | Unknown | Unclear


@dataclass(frozen=True, slots=True)
class Other:
    """A job of the same user that was not asked about."""

    id: str
    directory: str  # where it was submitted, empty if that cannot be told
    status: Status


@dataclass(frozen=True, slots=True)
class Answered:
    """Every id that was asked for has a status."""

    statuses: Mapping[str, Status]
    others: tuple[Other, ...] = ()


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The manager cannot be reached, or says nothing that can be used."""

    words: str


@dataclass(frozen=True, slots=True)
class Found:
    """The jobs that were submitted in the directory; perhaps none."""

    jobs: tuple[Other, ...]


# --- cancelling


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The manager will end it, or it has ended already, or never existed."""


@dataclass(frozen=True, slots=True)
class NotCancelled:
    words: str


CancelAnswer = Cancelled | NotCancelled


# --- managers


class Adapter(Protocol):
    """How to speak to one batch manager."""

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The environment of all its commands, made of that of the server."""
        ...

    def files(self, submission: Submission) -> dict[str, str]:
        """The text of each file that the submission's directory must hold; all executable."""
        ...

    def submit(self, submission: Submission) -> Dialogue[SubmitAnswer]:
        """Hand in the files, which exist."""
        ...

    def check(self, submission: Submission) -> Dialogue[Accepted | Rejected]:
        """Ask whether it would be accepted, as far as that is possible without making a job.

        The id of Accepted means nothing.
        """
        ...

    def find(self, name: str, directory: str) -> Dialogue[Found | Unanswered]:
        """Look for jobs of this name that were submitted in this directory."""
        ...

    def statuses(self, ids: Sequence[str]) -> Dialogue[Answered | Unanswered]:
        """What the manager says of these ids, and which other jobs of the user it has."""
        ...

    def cancel(self, job_id: str, directory: str) -> Dialogue[CancelAnswer]: ...
