"""What the journal keeps: every change of the server's tables, in the order it happened.

Records speak of many tasks in columns (see messages.columns) and date everything in Unix seconds.
A submit is a group of records that counts only with its SubmitCommitted.
"""

from __future__ import annotations

from hqtrio.model.allocation import Cause, QueueParams, Rejection
from hqtrio.model.job import ArraySpec, GraphSpec, JobHead, Ranges, Submit
from hqtrio.model.load import NodeLoad
from hqtrio.model.resources import Descriptor
from hqtrio.model.value import Value
from hqtrio.model.worker import LossReason, WorkerConfig


class JobOpened(Value, frozen=True, tag=1):
    job: int
    head: JobHead
    at: float


class JobClosed(Value, frozen=True, tag=2):
    job: int
    at: float


class JobCancelled(Value, frozen=True, tag=3):
    """Every active task of the job is CANCELLED."""

    job: int
    reason: str
    at: float


class JobsForgotten(Value, frozen=True, tag=4):
    jobs: tuple[int, ...]


class JobCompleted(Value, frozen=True, tag=5):
    """The job is closed and its last active task has ended."""

    job: int
    at: float


class SubmitBegun(Value, frozen=True, tag=6):
    """`submission` ties the group together; keys may be in use twice, it never is."""

    submission: int
    submit: Submit


class SubmitContinued(Value, frozen=True, tag=7):
    """As client.SubmitPart."""

    submission: int
    array: int = -1
    entries: bytes = b""
    entry_ends: bytes = b""
    graph: GraphSpec | None = None
    arrays: tuple[ArraySpec, ...] = ()


class SubmitCommitted(Value, frozen=True, tag=8):
    """The group's tasks exist. `numbers` are those of each array, chosen or given."""

    submission: int
    job: int
    numbers: tuple[Ranges, ...]
    at: float


class SubmitDropped(Value, frozen=True, tag=9):
    """The group will never be committed."""

    submission: int


class TasksStarted(Value, frozen=True, tag=10):
    """Columns: tasks u64, instances u32, at f64.

    `gangs` holds the multi-node ones among them, each with all its workers, root first.
    """

    worker: int
    tasks: bytes
    instances: bytes
    at: bytes
    gangs: tuple[tuple[int, tuple[int, ...]], ...] = ()


class TasksEnded(Value, frozen=True, tag=11):
    """Ends and what they drag along, as one fact.

    First the runs of `aborted` (firsts u64, counts u32) became ABORTED because of a dependency,
    then the rows ended, then every active task of the jobs in `swept` became ABORTED, except in
    groups that start however those end that they need. Columns: tasks u64, instances u32, states
    u8 (model.task.TaskState), started f64 (0: it never did), ended f64, cpu_s f32, peak_kib u32.
    `errors` holds (row, text), `results` (row, what a function returned or raised). `at` dates
    the aborts. `gangs` as in TasksStarted, of rows whose start has no record of its own.
    """

    worker: int
    at: float
    tasks: bytes
    instances: bytes
    states: bytes
    started: bytes
    ended: bytes
    cpu_s: bytes
    peak_kib: bytes
    errors: tuple[tuple[int, str], ...] = ()
    aborted_firsts: bytes = b""
    aborted_counts: bytes = b""
    swept: tuple[int, ...] = ()
    gangs: tuple[tuple[int, tuple[int, ...]], ...] = ()
    results: tuple[tuple[int, bytes], ...] = ()


class TasksRequeued(Value, frozen=True, tag=12):
    """These tasks wait again. Columns: tasks u64, new instances u32, crash counters u32."""

    tasks: bytes
    instances: bytes
    crashes: bytes


class WorkerConnected(Value, frozen=True, tag=13):
    worker: int
    key: bytes
    attachment: int
    config: WorkerConfig
    at: float


class WorkerStopping(Value, frozen=True, tag=14):
    """Whatever happens next, this is the reason of its loss."""

    worker: int
    reason: LossReason


class WorkerLost(Value, frozen=True, tag=15):
    worker: int
    reason: LossReason
    at: float


class TasksShipped(Value, frozen=True, tag=16):
    """Written before the frame leaves: from now on the tasks are this worker's until it is lost,
    gives them back or ends them. Columns as in messages.worker.Enqueue."""

    worker: int
    firsts: bytes
    counts: bytes
    instances: bytes


class TasksTakenBack(Value, frozen=True, tag=17):
    """These tasks (u64) no longer belong to the worker; they are ready again."""

    worker: int
    tasks: bytes


class NodeDropped(Value, frozen=True, tag=18):
    """The multi-node task runs on without this worker, which is gone and was not its root."""

    task: int
    instance: int
    worker: int


class TasksRepeated(Value, frozen=True, tag=19):
    """These tasks failed and will be tried again. Columns: tasks u64, new instances u32, failed
    tries so far u32, when they may start f64. `errors` holds (row, text) of those that pause."""

    tasks: bytes
    instances: bytes
    tries: bytes
    at: bytes
    errors: tuple[tuple[int, str], ...] = ()


class ServerStarted(Value, frozen=True, tag=20):
    """What follows is another server's. Workers and their tasks are as they were, unless the
    server before has stopped; submits without their commit are void."""

    server_uid: str
    version: str
    at: float


class ServerStopped(Value, frozen=True, tag=21):
    """The server has ended on purpose, and its workers with it: none of them has tasks any more,
    and no loss counts as a crash. Nothing but a ServerStarted follows."""

    at: float


class IdsUsed(Value, frozen=True, tag=22):
    """Every id up to these has been used, also where no other record tells of it any more.

    `keys` are of submits to jobs that are over and of which nothing else is told: each with its
    job. Written by whoever leaves records out; anywhere, and more than once.
    """

    jobs: int
    workers: int
    submissions: int
    keys: tuple[tuple[bytes, int], ...] = ()


class InstancesRaised(Value, frozen=True, tag=23):
    """Records that stood here may be lost: every unfinished task waits, under its next instance,
    and belongs to no worker.

    With `workers_keep` what a worker has stays its own. Should it come back from there it skips an
    instance, since another worker may have got it under the next one.
    """

    at: float
    workers_keep: bool = False


class WorkerTold(Value, frozen=True, tag=24):
    """How busy the worker's node was, from a worker that was asked to tell at its start."""

    worker: int
    load: NodeLoad
    at: float


class VariantsChosen(Value, frozen=True, tag=25):
    """These tasks, which are said to start next, run in another variant than their first: task
    and variant of each."""

    tasks: tuple[tuple[int, int], ...]


class QueueAdded(Value, frozen=True, tag=26):
    queue: int
    params: QueueParams
    at: float


class QueueEdited(Value, frozen=True, tag=27):
    """Allocations that exist stay as they are."""

    queue: int
    params: QueueParams
    at: float


class QueueRemoved(Value, frozen=True, tag=28):
    """Nobody sees it any more. Its allocations are still somebody's until they have ended."""

    queue: int
    at: float


class QueuePaused(Value, frozen=True, tag=29):
    """It submits nothing; `why` is empty if a user wanted it so."""

    queue: int
    why: str
    at: float


class QueueResumed(Value, frozen=True, tag=30):
    """Its failures are forgotten."""

    queue: int
    at: float


class ResourcesLearned(Value, frozen=True, tag=31):
    """What the latest worker of the queue offers, as far as that is news."""

    queue: int
    descriptor: Descriptor


class AllocationPlanned(Value, frozen=True, tag=32):
    """From here on the manager may have a job of this name, made in this directory."""

    queue: int
    number: int  # per queue, from 1
    nodes: int
    time_limit_s: float
    name: str
    directory: str
    at: float


class AllocationQueued(Value, frozen=True, tag=33):
    """The manager has it under this id; also one that was thought to have ended."""

    queue: int
    number: int
    id: str
    at: float


class SubmissionFailed(Value, frozen=True, tag=34):
    """The manager has no such job."""

    queue: int
    number: int
    rejection: Rejection
    words: str
    at: float


class AllocationStarted(Value, frozen=True, tag=35):
    queue: int
    number: int
    at: float


class AllocationEnded(Value, frozen=True, tag=36):
    """`words` are the manager's own. `started_at` is None if it never ran; `node_s` is what it has
    used in all, in seconds of one node. Said again, it is said more precisely."""

    queue: int
    number: int
    cause: Cause
    words: str
    at: float
    started_at: float | None = None
    node_s: float = 0.0


class AllocationCancelling(Value, frozen=True, tag=37):
    """It is to end, and is cancelled until the manager says that it has."""

    queue: int
    number: int
    at: float


class WorkerJoined(Value, frozen=True, tag=38):
    """This worker runs in that allocation."""

    queue: int
    number: int
    worker: int
    at: float


class WorkerLeft(Value, frozen=True, tag=39):
    queue: int
    number: int
    worker: int
    reason: LossReason
    at: float


class QueuesUsed(Value, frozen=True, tag=40):
    """Ids of queues up to this one have been used, also where nothing tells of them any more."""

    queues: int


class AllocationsForgotten(Value, frozen=True, tag=41):
    """Of some allocations that have ended, with numbers up to this one, nothing else is told."""

    queue: int
    number: int
    node_s: float  # that they have used together


QueueRecord = (
    QueueAdded
    | QueueEdited
    | QueueRemoved
    | QueuePaused
    | QueueResumed
    | ResourcesLearned
    | AllocationPlanned
    | AllocationQueued
    | SubmissionFailed
    | AllocationStarted
    | AllocationEnded
    | AllocationCancelling
    | WorkerJoined
    | WorkerLeft
    | QueuesUsed
    | AllocationsForgotten
)
Record = (
    JobOpened
    | JobClosed
    | JobCancelled
    | JobsForgotten
    | JobCompleted
    | SubmitBegun
    | SubmitContinued
    | SubmitCommitted
    | SubmitDropped
    | TasksStarted
    | TasksEnded
    | TasksRequeued
    | WorkerConnected
    | WorkerStopping
    | WorkerLost
    | TasksShipped
    | TasksTakenBack
    | NodeDropped
    | TasksRepeated
    | ServerStarted
    | ServerStopped
    | IdsUsed
    | InstancesRaised
    | WorkerTold
    | VariantsChosen
    | QueueRecord
)
