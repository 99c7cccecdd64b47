"""Between server and worker.

Frames from a worker: Register first, then Report, Heartbeat, Overview, Goodbye. To a worker:
Registered or Rejected first, then orders. Both directions are FIFO. Class, body and slot numbers
mean nothing beyond one connection (slots are restated when a worker re-attaches).
"""

from __future__ import annotations

from hqtrio.model.load import NodeLoad
from hqtrio.model.resources import Claim, Variants
from hqtrio.model.task import TaskBody
from hqtrio.model.value import Value
from hqtrio.model.worker import LossReason, WorkerConfig

# --- facts: what a report holds


class Note(Value, frozen=True):
    """What a running task says to whoever listens to its job."""

    task: int
    instance: int
    text: bytes


class Started(Value, frozen=True, tag=1):
    """Processes that exist now. Columns: tasks u64, instances u32, slots u32, ages f64 (s).

    `notes` come from tasks that run, told here or before, or that are told as ended later on.
    """

    tasks: bytes
    instances: bytes
    slots: bytes
    ages: bytes
    notes: tuple[Note, ...] = ()


class Ended(Value, frozen=True, tag=2):
    """Executions that are over; each slot goes on with its backlog or is in `Closed` beside this.

    A task that started since the last report is only here. Columns: tasks u64, instances u32,
    slots u32 (0: it never had one), endings u8 (model.task.Ending), codes i32 (exit status or
    signal), started_ages f64 (s; negative: it never started), ended_ages f64 (s), cpu_s f32
    (negative: unknown), peak_kib u32 (0: unknown). `texts` holds (row, text) for the few that
    need words, `results` (row, what a function returned or raised) for functions.
    """

    tasks: bytes
    instances: bytes
    slots: bytes
    endings: bytes
    codes: bytes
    started_ages: bytes
    ended_ages: bytes
    cpu_s: bytes
    peak_kib: bytes
    texts: tuple[tuple[int, str], ...] = ()
    results: tuple[tuple[int, bytes], ...] = ()


class Closed(Value, frozen=True, tag=3):
    """Slots that are no more; their claims are free. Column: slots u32."""

    slots: bytes


class Bounced(Value, frozen=True, tag=4):
    """Shipped tasks given back unstarted: `time` (too late to start) or `no_slot`."""

    tasks: bytes  # u64
    instances: bytes  # u32
    reason: str


class Retracted(Value, frozen=True, tag=5):
    """Answer to Retract `seq`: the released tasks will not start here; the others have, or did."""

    seq: int
    released: bytes  # u64


Fact = Started | Ended | Closed | Bounced | Retracted


# --- what a worker holds, stated when it re-attaches


class HeldSlot(Value, frozen=True):
    """As in Grant; `draining` also if it may go on after all."""

    slot: int
    variants: Variants
    variant: int
    claim: Claim
    draining: bool = False
    nodes: tuple[str, ...] = ()


class Held(Value, frozen=True):
    """Everything a worker still has. Columns: tasks u64, instances u32, slots u32 (0: backlog
    without one), running u8 (1: its process exists), ages f64 (s since start, else 0).
    `reports` are those without receipt, oldest first.
    """

    slots: tuple[HeldSlot, ...]
    tasks: bytes
    instances: bytes
    task_slots: bytes
    running: bytes
    ages: bytes
    reports: tuple[Report, ...] = ()


# --- from a worker


class Register(Value, frozen=True, tag=1):
    """First words. `worker_key` is random and names the worker for its whole life.

    A worker that was registered before repeats the id, history and attachment it was given and
    says what it holds; `remaining_s` is its remaining lifetime (None: unlimited). `attempt` counts
    its connections: of two that are open at once, the one with the higher number is the worker's.
    So many HeldMore follow as `more` says.
    """

    config: WorkerConfig
    worker_key: bytes
    worker: int = 0
    history: bytes = b""
    attachment: int = 0
    remaining_s: float | None = None
    held: Held | None = None
    attempt: int = 0
    more: int = 0


class Report(Value, frozen=True, tag=2):
    """Facts in the order they happened. `seq` counts from 1 and goes on over re-attachments.

    The worker keeps a report until its receipt.
    """

    seq: int
    facts: tuple[Fact, ...]


class Heartbeat(Value, frozen=True, tag=3):
    """Nothing happened, the worker is alive."""


class Goodbye(Value, frozen=True, tag=4):
    """The worker ends for this reason; what runs is being killed."""

    reason: LossReason


class Overview(Value, frozen=True, tag=5):
    """How busy the node is; only the newest counts, and none is owed."""

    load: NodeLoad


class HeldMore(Value, frozen=True, tag=6):
    """What the worker holds besides: right after its registration, if one frame is too small."""

    held: Held


FromWorker = Register | Report | Heartbeat | Goodbye | Overview | HeldMore


# --- to a worker


class Registered(Value, frozen=True, tag=1):
    """Welcome. Of what it held, the worker keeps `keep` (tasks u64) and kills or drops the rest.

    Everything is dropped when `history` differs from what the worker named.
    """

    worker: int
    server_uid: str
    history: bytes
    attachment: int
    keep: bytes = b""
    idle_timeout_s: float | None = None


class Rejected(Value, frozen=True, tag=2):
    """The registration is refused for good."""

    reason: str


class DefineClass(Value, frozen=True, tag=3):
    klass: int
    variants: Variants


class DefineBody(Value, frozen=True, tag=4):
    body: int
    job: int
    content: TaskBody


class Forget(Value, frozen=True, tag=5):
    """These bodies and classes (u32) will not be named again on this connection."""

    bodies: bytes
    classes: bytes = b""


class Grant(Value, frozen=True, tag=6):
    """A slot: this claim serves tasks of this class in this variant, one after another.

    The slot of a multi-node task claims nothing: it has the whole worker, which is the root, and
    `nodes` are the full host names of all its workers, root first. Such a slot runs one task.
    """

    slot: int
    klass: int
    variant: int
    claim: Claim
    nodes: tuple[str, ...] = ()


class Enqueue(Value, frozen=True, tag=7):
    """Tasks for the slots of a class, first to start first.

    Columns, one row per run of consecutive task ids: firsts u64, counts u32, instances u32.
    `entries` hold one item per task (or nothing). `priority` and the ids order the backlog.
    """

    klass: int
    body: int
    priority: int
    firsts: bytes
    counts: bytes
    instances: bytes
    entries: tuple[bytes, ...] = ()


class Retract(Value, frozen=True, tag=8):
    """Give these tasks (u64) back unless they have started; answered by Retracted."""

    seq: int
    tasks: bytes


class Drain(Value, frozen=True, tag=9):
    """These slots (u32) pull nothing more and close when they are empty.

    With `count`, that many of them close, whichever are empty first, and the others then go on.
    """

    slots: bytes
    count: int = 0


class Undrain(Value, frozen=True, tag=10):
    """These slots (u32), if they are still open, may go on."""

    slots: bytes


class Cancel(Value, frozen=True, tag=11):
    """Drop or kill these tasks; each is answered in Ended as CANCELLED, or as it really ended."""

    tasks: bytes  # u64


class Ack(Value, frozen=True, tag=12):
    """The server's loop has handled reports up to `seen`; those up to `durable` are receipted.

    Starts, and ends in slots that go on, may be held back for `pace_s`: many workers report.
    """

    seen: int
    durable: int
    pace_s: float = 0.0


class Stop(Value, frozen=True, tag=13):
    """End: kill what runs, say nothing more, exit 0."""

    reason: LossReason


class ServerStops(Value, frozen=True, tag=14):
    """The server ends on purpose: the worker's on-server-lost policy applies at once."""


class Pulse(Value, frozen=True, tag=15):
    """The answer to a Heartbeat: who has nothing else to hear knows that the way is open."""


ToWorker = (
    Registered
    | Rejected
    | DefineClass
    | DefineBody
    | Forget
    | Grant
    | Enqueue
    | Retract
    | Drain
    | Undrain
    | Cancel
    | Ack
    | Stop
    | ServerStops
    | Pulse
)
