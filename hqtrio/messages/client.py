"""Between client and server.

A client sends `[number, request]`, the server answers `[number, response]` in any order; every
request gets exactly one response, a Failure if it was refused. After Watch, notices come with
number 0. Long lists are asked for page by page.
"""

from __future__ import annotations

from enum import IntEnum

from hqtrio.messages.allocations import QueueRequest, QueueResponse
from hqtrio.model.job import ArraySpec, GraphSpec, JobHead, JobState, Submit
from hqtrio.model.load import NodeLoad
from hqtrio.model.resources import Claim, Variants
from hqtrio.model.task import TaskBody, TaskSettings
from hqtrio.model.value import Value
from hqtrio.model.worker import LossReason, WorkerConfig

PAGE_ROWS = 5000

# --- selectors


class Which(IntEnum):
    GIVEN = 0
    LAST = 1
    ALL = 2


class Selector(Value, frozen=True):
    """Objects by id, the one with the highest id ever assigned, or all."""

    which: Which
    ids: tuple[tuple[int, int, int], ...] = ()  # ranges, as IdArray.ranges


# --- requests


class ServerInfo(Value, frozen=True, tag=1):
    """Answered by ServerDetails."""


class StopServer(Value, frozen=True, tag=2):
    """Answered by Done, then the server ends."""


class SubmitJob(Value, frozen=True, tag=3):
    """A submit that fits one frame; answered by Submitted.

    With `notes` the session hears what the job's tasks say, from the very first on.
    """

    submit: Submit
    notes: bool = False


class SubmitBegin(Value, frozen=True, tag=4):
    """First part of a large submit: everything but entries, graph tasks and perhaps some arrays.

    Parts follow, then SubmitCommit with the same key, which is answered by Submitted; Begin and
    parts are answered by Done. Without the commit the submit never existed.
    """

    submit: Submit


class SubmitPart(Value, frozen=True, tag=5):
    """More arrays, more entries for array `array` (blob and ends continue), more graph tasks."""

    key: bytes
    array: int = -1
    entries: bytes = b""
    entry_ends: bytes = b""
    graph: GraphSpec | None = None  # bodies, variants, settings continue those sent before
    arrays: tuple[ArraySpec, ...] = ()  # continue those sent before; entries come after them


class SubmitCommit(Value, frozen=True, tag=6):
    """`notes` as in SubmitJob."""

    key: bytes
    notes: bool = False


class OpenJob(Value, frozen=True, tag=7):
    """Answered by Submitted."""

    head: JobHead


class CloseJobs(Value, frozen=True, tag=8):
    """Answered by Verdicts."""

    jobs: Selector


class CancelJobs(Value, frozen=True, tag=9):
    """Answered by Verdicts."""

    jobs: Selector
    reason: str = ""


class ForgetJobs(Value, frozen=True, tag=10):
    """Answered by Forgotten. States as job states in JobState order."""

    jobs: Selector
    states: tuple[int, ...]


class ListJobs(Value, frozen=True, tag=11):
    """Jobs with ids above `after`, at most `limit`; answered by JobRows."""

    jobs: Selector
    after: int = 0
    limit: int = PAGE_ROWS


class JobInfo(Value, frozen=True, tag=12):
    """Everything about one job but its tasks; answered by JobDetails, or Failure if unknown."""

    job: int


class ListTasks(Value, frozen=True, tag=13):
    """Tasks of one job from `position` (in order of number); answered by TaskRows.

    `numbers` (ranges) and `states` narrow the choice; empty means all.
    """

    job: int
    position: int = 0
    numbers: tuple[tuple[int, int, int], ...] = ()
    states: tuple[int, ...] = ()
    limit: int = PAGE_ROWS


class Watch(Value, frozen=True, tag=14):
    """From now on a JobNotice for each change of these jobs; answered by JobRows.

    No change falls between the answer and the first notice. With `notes` also a TaskNotice for
    each notification of their tasks.
    """

    jobs: tuple[int, ...]
    notes: bool = False


class ListWorkers(Value, frozen=True, tag=15):
    """Answered by WorkerRows; with `running_info` each connected worker's runtime info."""

    workers: Selector
    after: int = 0
    limit: int = PAGE_ROWS


class StopWorkers(Value, frozen=True, tag=16):
    """Answered by Verdicts."""

    workers: Selector


class WatchWorkers(Value, frozen=True, tag=17):
    """Answered by WorkerNotice at once, and one more whenever the count changes."""


class ExplainTask(Value, frozen=True, tag=18):
    """Why one task runs or not, for workers with ids above `after`; answered by TaskExplained.

    `job` names one job; the task must wait or run.
    """

    job: Selector
    number: int
    after: int = 0


class ListNumbers(Value, frozen=True, tag=19):
    """The numbers of a job's tasks in these states (empty: in any) from `position` in order of
    submission; answered by TaskNumbers."""

    job: int
    states: tuple[int, ...] = ()
    position: int = 0


class ListEnds(Value, frozen=True, tag=21):
    """Tasks of one job that have ended, in the order in which the server first said so, except the
    first `after`; answered by TaskEnds. The order is this run of the server's own."""

    job: int
    after: int = 0


Request = (
    ServerInfo
    | StopServer
    | SubmitJob
    | SubmitBegin
    | SubmitPart
    | SubmitCommit
    | OpenJob
    | CloseJobs
    | CancelJobs
    | ForgetJobs
    | ListJobs
    | JobInfo
    | ListTasks
    | Watch
    | ListWorkers
    | StopWorkers
    | WatchWorkers
    | ExplainTask
    | ListNumbers
    | ListEnds
)


# The job book answers those above; this one concerns more than it.
class DebugDump(Value, frozen=True, tag=20):
    """The server writes what it knows into a file at this absolute path; answered by Done."""

    path: str


class StreamEvents(Value, frozen=True, tag=26):
    """Tell what has happened and, if `live`, what happens from now on; answered by StreamBegun,
    then StreamPart, StreamLive and StreamEnd come as notices.

    `run` is that of the StreamBegun of an earlier stream, if there was one.
    """

    live: bool = True
    run: bytes = b""


class FlushJournal(Value, frozen=True, tag=27):
    """Answered by Done when everything recorded before is on the disk, or there is no journal."""


class PruneJournal(Value, frozen=True, tag=28):
    """Answered by Done when the journal holds only what live jobs need, or there is none."""


AnyRequest = Request | DebugDump | StreamEvents | FlushJournal | PruneJournal | QueueRequest


class Call(Value, frozen=True):
    """A request as it travels; `number` is the client's choice, above 0."""

    number: int
    request: AnyRequest


# --- responses


class Failure(Value, frozen=True, tag=1):
    """The request was refused and changed nothing."""

    reason: str


class Done(Value, frozen=True, tag=2):
    """It is so."""


class ServerDetails(Value, frozen=True, tag=3):
    server_uid: str
    client_host: str
    client_port: int
    worker_host: str
    worker_port: int
    version: str
    pid: int
    start_date: float
    journal_path: str | None = None
    server_dir: str = ""
    trouble: str = ""  # why the journal takes no more; empty if all is well
    history: bytes = b""  # names what ids mean: a server that goes on with a journal keeps it


class Submitted(Value, frozen=True, tag=4):
    job: int


class VerdictKind(IntEnum):
    OK = 0
    NOT_FOUND = 1
    ALREADY = 2  # already closed, already stopped, everything already finished


class Verdict(Value, frozen=True):
    """What became of one object. For a cancel: tasks cancelled and tasks already ended."""

    id: int
    kind: VerdictKind
    cancelled: int = 0
    ended: int = 0


class Verdicts(Value, frozen=True, tag=5):
    rows: tuple[Verdict, ...]


class Forgotten(Value, frozen=True, tag=6):
    forgotten: int
    ignored: int


class Counts(Value, frozen=True):
    """Tasks of a job per state."""

    waiting: int = 0
    running: int = 0
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    aborted: int = 0


def job_state(counts: Counts, is_open: bool) -> JobState:
    """The first of running, waiting, failed, aborted, cancelled that occurs; else open or not."""
    if counts.running:
        return JobState.RUNNING
    if counts.waiting:
        return JobState.WAITING
    if counts.failed:
        return JobState.FAILED
    if counts.aborted:
        return JobState.ABORTED
    if counts.cancelled:
        return JobState.CANCELLED
    return JobState.OPENED if is_open else JobState.FINISHED


class JobRow(Value, frozen=True):
    id: int
    name: str
    counts: Counts
    is_open: bool
    cancel_reason: str | None
    terminated: bool  # closed and without active tasks

    @property
    def state(self) -> JobState:
        """As users see it."""
        return job_state(self.counts, self.is_open)


class JobRows(Value, frozen=True, tag=7):
    """`total` counts all jobs the server knows; `unknown` are selected ids it does not know."""

    rows: tuple[JobRow, ...]
    total: int
    more: bool = False
    unknown: tuple[int, ...] = ()


class ArrayPart(Value, frozen=True):
    """One array of a submit as it was asked for (long arguments and stdin left out)."""

    body: TaskBody
    ranges: tuple[tuple[int, int, int], ...]
    variants: Variants
    settings: TaskSettings
    group: str = ""


class SubmitPartInfo(Value, frozen=True):
    """One submit of a job: arrays, or `graph_tasks` tasks with bodies of their own."""

    submit_dir: str
    arrays: tuple[ArrayPart, ...]
    graph_tasks: int = 0


class JobDetails(Value, frozen=True, tag=8):
    """Dates are Unix seconds. `finished_at` is set as soon as nothing waits or runs."""

    row: JobRow
    max_fails: int | None
    submitted_at: float
    finished_at: float | None
    submits: tuple[SubmitPartInfo, ...]
    ids: tuple[tuple[int, int, int], ...]  # one array submit: as entered, else merged
    workers: tuple[int, ...]  # that ran tasks, by id
    hostnames: tuple[str, ...]  # of those workers


class TaskRow(Value, frozen=True):
    """One task. `started_at`, workers and instance are of the last execution, if there was one.

    While it waits for a retry, `error` is that of its last execution.
    `cpu_s` and `peak_kib` are what the whole execution used (None: unknown). `body` and
    `variants` index the tables of the TaskRows that hold the row.
    """

    number: int
    state: int
    instance: int = 0
    workers: tuple[int, ...] = ()
    started_at: float | None = None
    ended_at: float | None = None
    error: str = ""
    body: int = 0
    variants: int = 0
    settings: int = 0
    needs: tuple[int, ...] = ()
    cpu_s: float | None = None
    peak_kib: int | None = None
    entry: bytes | None = None
    group: str = ""
    claim: Claim | None = None
    tries: int = 0  # failed ones that were or will be repeated
    retry_at: float | None = None  # when the next one may start, while it waits for that


class TaskRows(Value, frozen=True, tag=9):
    """`next_position` is where the next page begins, or -1. `unknown` are asked numbers that do
    not exist (first page only)."""

    rows: tuple[TaskRow, ...]
    bodies: tuple[TaskBody, ...]
    variants: tuple[Variants, ...]
    settings: tuple[TaskSettings, ...]
    hostnames: tuple[tuple[int, str], ...]  # of the workers named in rows
    next_position: int = -1
    unknown: tuple[int, ...] = ()


class WorkerRow(Value, frozen=True):
    """`ended_at` and `reason` are None while it is connected. Runtime info only then.

    `last_task` is packed; dates are Unix seconds; `multi_node`: None, True on the main node,
    False on others.
    """

    id: int
    config: WorkerConfig
    started_at: float
    ended_at: float | None = None
    reason: LossReason | None = None
    last_task: int | None = None
    last_task_at: float | None = None
    assigned_tasks: int = 0
    running_tasks: int = 0
    multi_node: bool | None = None
    is_reserved: bool = False
    load: NodeLoad | None = None  # the last that it told
    load_at: float = 0.0


class WorkerRows(Value, frozen=True, tag=10):
    rows: tuple[WorkerRow, ...]
    more: bool = False
    unknown: tuple[int, ...] = ()


class JobNotice(Value, frozen=True, tag=11):
    """The newest counts of a watched job; older unsent ones were dropped for it.

    `gone`: the job was forgotten.
    """

    row: JobRow
    gone: bool = False


class WorkerNotice(Value, frozen=True, tag=12):
    connected: int


class TaskNotice(Value, frozen=True, tag=14):
    """What a task of a job that the session listens to has said; never stored, told once."""

    job: int
    number: int
    worker: int
    text: bytes


class TimeCondition(Value, frozen=True, tag=1):
    """The worker must live so long; `remaining_s` is None if its end is not known."""

    time_s: float
    remaining_s: float | None = None

    @property
    def holds(self) -> bool:
        return self.remaining_s is None or self.time_s <= self.remaining_s


class AmountCondition(Value, frozen=True, tag=2):
    """The worker must have so much in all, used or not; an amount of 0 means all there is."""

    resource: str
    amount: int
    size: int

    @property
    def holds(self) -> bool:
        return max(self.amount, 1) <= self.size


class NodesCondition(Value, frozen=True, tag=3):
    """The worker's group must have so many workers, busy or not."""

    nodes: int
    group_size: int

    @property
    def holds(self) -> bool:
        return self.nodes <= self.group_size


Condition = TimeCondition | AmountCondition | NodesCondition


class WorkerFit(Value, frozen=True):
    """What each variant of a task asks of one worker; it can run where all conditions hold."""

    worker: int
    variants: tuple[tuple[Condition, ...], ...]

    @property
    def enabled(self) -> int:
        """How many variants the worker could ever run."""
        return sum(all(one.holds for one in conditions) for conditions in self.variants)


class TaskExplained(Value, frozen=True, tag=13):
    """What a task waits for, and where it could run; `after` is the request's.

    `needs` counts the tasks it depends on, `unfinished` those of them that have not finished.
    """

    job: int
    number: int
    needs: int
    unfinished: int
    variants: Variants
    after: int = 0
    workers: tuple[WorkerFit, ...] = ()  # connected ones, by id
    more: bool = False
    tries: int = 0  # failed ones that were or will be repeated
    retry_at: float | None = None  # when the next one may start, while it waits for that
    error: str = ""  # of the last failed one, while it waits for the next


class TaskNumbers(Value, frozen=True, tag=15):
    """Runs `(first, count)` of consecutive numbers; the next page begins at `next_position`, or
    nowhere (-1)."""

    runs: tuple[tuple[int, int], ...]
    next_position: int = -1


class TaskEnds(Value, frozen=True, tag=16):
    """Tasks that have ended, for good. Columns: numbers u32, states u8 (model.task.TaskState).

    `results` hold (row, what a function returned or raised), `errors` (row, text). `after` is
    where the next page begins; there is one now if there is `more`.
    """

    after: int
    numbers: bytes
    states: bytes
    results: tuple[tuple[int, bytes], ...] = ()
    errors: tuple[tuple[int, str], ...] = ()
    more: bool = False


class StreamBegun(Value, frozen=True, tag=26):
    """Names this run of the server; `lagged`: the client has heard of a part in this run before,
    and hears everything once more. Records of a history are `in_order` if a journal keeps them;
    else each one stands where its time says."""

    run: bytes
    lagged: bool = False
    in_order: bool = True


class StreamPart(Value, frozen=True, tag=27):
    """Records as a journal writes them: a CBOR array, cut where it is long; `more` follows."""

    body: bytes
    more: bool = False


class StreamLive(Value, frozen=True, tag=28):
    """What came before is history, what follows happens now."""


class StreamEnd(Value, frozen=True, tag=29):
    """Everything that was asked for has been said, or the server ends."""


Response = (
    Failure
    | Done
    | ServerDetails
    | Submitted
    | Verdicts
    | Forgotten
    | JobRows
    | JobDetails
    | TaskRows
    | WorkerRows
    | JobNotice
    | WorkerNotice
    | TaskExplained
    | TaskNotice
    | TaskNumbers
    | TaskEnds
    | StreamBegun
    | StreamPart
    | StreamLive
    | StreamEnd
    | QueueResponse
)


class Said(Value, frozen=True):
    """A response as it travels: to the call of that number, or a notice (0)."""

    number: int
    response: Response
