"""What a user submits."""

from __future__ import annotations

from enum import IntEnum

from hqtrio.model.resources import ONE_CPU, Variants
from hqtrio.model.task import TaskBody, TaskSettings
from hqtrio.model.value import Value

Ranges = tuple[tuple[int, int, int], ...]  # (start, count, step), as IdArray.ranges


class JobState(IntEnum):
    """State of a whole job: numbered as TaskState, plus OPENED."""

    WAITING = 0
    RUNNING = 1
    FINISHED = 2
    FAILED = 3
    CANCELLED = 4
    ABORTED = 5
    OPENED = 6


class JobHead(Value, frozen=True):
    """What a new job is called and when it gives up."""

    name: str
    max_fails: int | None = None
    is_open: bool = False


class ArraySpec(Value, frozen=True):
    """Tasks that differ only by number and entry. Without ranges the server numbers them.

    `count` tasks; `ranges` name them in the order of the entries, or is empty: then numbers are
    consecutive from the job's next free one. Entries are one blob cut at `entry_ends` (uint64
    little-endian, end offset of each entry), or absent. An array whose body has a matrix has no
    entries of its own and consecutive numbers.
    """

    body: TaskBody
    count: int
    ranges: Ranges = ()
    variants: Variants = ONE_CPU
    settings: TaskSettings = TaskSettings()
    entries: bytes = b""
    entry_ends: bytes = b""
    group: str = ""  # name of the group in a native job file
    needs: tuple[int, ...] = ()  # earlier specs of the submit whose every task must finish first
    each: tuple[int, ...] = ()  # earlier specs, as large: the task at the same place must finish
    always: bool = False  # what is needed need not finish: it is enough that it ends


class GraphTask(Value, frozen=True):
    """One task with a body and dependencies of its own (`number` within the job)."""

    number: int
    body: int  # index into GraphSpec.bodies
    variants: int  # index into GraphSpec.variants
    settings: int  # index into GraphSpec.settings
    needs: tuple[int, ...] = ()  # numbers of tasks that must finish first


class GraphSpec(Value, frozen=True):
    """Tasks with bodies of their own; bodies, requests and settings are interned."""

    bodies: tuple[TaskBody, ...]
    variants: tuple[Variants, ...]
    settings: tuple[TaskSettings, ...]
    tasks: tuple[GraphTask, ...]


class Submit(Value, frozen=True):
    """One request to create tasks: in a new job (`head`), or in the open job `job`.

    `key` is random; asking twice with one key creates one job.
    """

    key: bytes
    submit_dir: str
    head: JobHead | None = None
    job: int = 0
    arrays: tuple[ArraySpec, ...] = ()
    graph: GraphSpec | None = None
