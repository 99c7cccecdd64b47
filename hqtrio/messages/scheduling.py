"""Between the scheduler and the server's job book: both are cores of one process.

Facts go down (scheduler to server), commands go up (server to scheduler). Values, never shared
objects that change; the two tables meet nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from hqtrio.messages.worker import Ended, Register, Started
from hqtrio.model.load import NodeLoad
from hqtrio.model.resources import Variants
from hqtrio.model.task import TaskBody
from hqtrio.model.worker import LossReason, WorkerConfig

# --- down: what the scheduler tells the job book


@dataclass(frozen=True, slots=True)
class WorkerArrived:
    """A connection wants to be a worker; answered by AdmitWorker or RefuseWorker with `link`.

    Of the reports in its statement those up to `seen` were handled before. `gangs` are the
    multi-node tasks whose root it was: packed id, and all workers, root first.
    """

    link: int
    hello: Register
    seen: int = 0
    gangs: tuple[tuple[int, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerAbsent:
    """The worker has no connection. What was shipped to it is its own until it is gone or back."""

    worker: int
    reason: LossReason


@dataclass(frozen=True, slots=True)
class TasksDropped:
    """The worker is back without these, packed ids with their instances: they are nobody's now.

    Some may have ended; the job book announces the others again, as new instances.
    """

    worker: int
    tasks: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """The scheduler has dropped its mirror of the worker; its tasks are nobody's now.

    `running` and `shipped` (never started there, as far as it said; with `heard_out` it has said
    all that it had to) are packed task ids with their instances. The job book decides what becomes
    of each, and announces it as TasksReady again.
    """

    worker: int
    reason: LossReason
    running: tuple[tuple[int, int], ...]
    shipped: tuple[tuple[int, int], ...]
    heard_out: bool = False


@dataclass(frozen=True, slots=True)
class TasksReported:
    """Facts of one report that concern tasks. The scheduler has done its slot accounting.

    `report` is the sequence number that the job book answers with Receipt, also when nothing
    changed; rows of old instances or unknown tasks are the job book's to ignore.
    """

    worker: int
    attachment: int
    report: int
    started: tuple[Started, ...]
    ended: tuple[Ended, ...]
    # Multi-node tasks among the started ones: packed id, and all its workers, root first.
    gangs: tuple[tuple[int, tuple[int, ...]], ...] = ()
    # Tasks that were not known to run before, in another variant than their first.
    variants: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A multi-node task goes on without this worker, which is gone and was not its root."""

    task: int
    instance: int
    worker: int


@dataclass(frozen=True, slots=True)
class TasksBounced:
    """A worker gave tasks back unstarted, or they were retracted; the scheduler has them again."""

    worker: int
    tasks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WorkerBusy:
    """How busy the worker's node is now."""

    worker: int
    load: NodeLoad


FromScheduler = (
    WorkerArrived
    | WorkerGone
    | TasksReported
    | TasksBounced
    | NodeLost
    | WorkerBusy
    | WorkerAbsent
    | TasksDropped
)


# --- up: what the job book tells the scheduler


@dataclass(frozen=True, slots=True)
class Body:
    """A task body under the number by which the server knows it (never reused while it runs)."""

    number: int
    job: int
    content: TaskBody


@dataclass(frozen=True, slots=True)
class TasksReady:
    """These tasks may start: runs `(first task id, count)` of one class, priority and body.

    All have `instance`. `entries` holds one item per task in the order of the runs, or nothing.
    With `gates`, other tasks may wait for the end of these. `depth` is how many tasks the longest
    chain of unfinished predecessors had at submit: of graphs that were begun the rest comes first.
    With `alone` a worker gets them only when it can start them at once.
    """

    variants: Variants
    priority: int
    body: Body
    runs: tuple[tuple[int, int], ...]
    instance: int = 0
    entries: EntrySlice | None = None
    gates: bool = False
    depth: int = 0
    alone: bool = False


@dataclass(frozen=True, slots=True)
class EntrySlice:
    """Entries of one array, shared and never copied: `entry(i)` for position i of the array.

    `first_position` is the position of the first task of the runs; positions then follow the
    runs. `ends` are end offsets (u64 column) into `blob`.
    """

    blob: bytes
    ends: memoryview
    first_position: int


@dataclass(frozen=True, slots=True)
class TasksCancelled:
    """These tasks, as runs `(first task id, count)`, must not start, and stop where they run."""

    runs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class BodiesDone:
    """No task with these bodies will be ready again."""

    bodies: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AdmitWorker:
    """The connection is this worker from now on.

    Of what it said that it holds, it may go on with `kept`, announced as if they were ready.
    """

    link: int
    worker: int
    attachment: int
    config: WorkerConfig
    server_uid: str
    history: bytes
    idle_timeout_s: float | None
    kept: tuple[TasksReady, ...] = ()


@dataclass(frozen=True, slots=True)
class ExpectWorker:
    """A worker of the journal that may come back within `grace_s`; until then what was shipped to
    it is its own. If it does not, it is gone as after any other lost connection.

    Columns: tasks u64, instances u32, running u8 (1: known to have started).
    """

    worker: int
    key: bytes
    attachment: int
    config: WorkerConfig
    grace_s: float
    tasks: bytes
    instances: bytes
    running: bytes


@dataclass(frozen=True, slots=True)
class ExpectGang:
    """A multi-node task of the journal with all its workers, root first; they were expected before.

    As long as its root may come back with it, the others are kept for it.
    """

    task: int
    instance: int
    workers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RefuseWorker:
    link: int
    reason: str


@dataclass(frozen=True, slots=True)
class StopWorker:
    """Ask the worker to end; whatever happens next, this is the reason of its loss."""

    worker: int
    reason: LossReason


@dataclass(frozen=True, slots=True)
class Receipt:
    """Reports of this worker up to this number are durable."""

    worker: int
    attachment: int
    report: int


ToScheduler = (
    TasksReady
    | TasksCancelled
    | BodiesDone
    | AdmitWorker
    | ExpectWorker
    | ExpectGang
    | RefuseWorker
    | StopWorker
    | Receipt
)
