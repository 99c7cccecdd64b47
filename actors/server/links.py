"""Mail of the two cores, and the outbox of a client session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from actors.kit.mailbox import Mailbox, Reply
from actors.server.events import EventStream
from hqtrio.autoalloc.events import Event as AllocationEvent
from hqtrio.autoalloc.events import WorkerCame, WorkerWent, WorkSubmitted
from hqtrio.jobs.effects import ClientAsked, ServerEnds, SessionEnded
from hqtrio.messages.allocations import QueueRequest
from hqtrio.messages.client import JobNotice, Said, StreamEvents, TaskNotice, WorkerNotice
from hqtrio.messages.records import QueueRecord
from hqtrio.messages.scheduling import FromScheduler, ToScheduler
from hqtrio.messages.worker import ToWorker
from hqtrio.model.resources import Variants
from hqtrio.scheduling.demand import Demand
from hqtrio.scheduling.events import LinkClosed, LinkFree, LinkOpened, LinkStuck, WorkerSaid
from hqtrio.scheduling.explain import Fits
from hqtrio.scheduling.machine import RuntimeInfo
from hqtrio.scheduling.offers import WorkerType

# --- to the scheduler


@dataclass(frozen=True, slots=True)
class HangUp:
    """Last mail for a worker's edge: why the connection ends."""

    reason: str


WorkerOutbox = Mailbox[Sequence[ToWorker] | HangUp]


@dataclass(frozen=True, slots=True)
class Connected:
    """A worker's edge is up; orders for it go to `outbox`."""

    opened: LinkOpened
    outbox: WorkerOutbox


@dataclass(frozen=True, slots=True)
class Commands:
    """What one batch of the server's machine asks of the scheduler."""

    values: tuple[ToScheduler, ...]


@dataclass(frozen=True, slots=True)
class AskRuntime:
    """Answered with what those of the workers that are connected have to do."""

    workers: tuple[int, ...]
    reply: Reply[dict[int, RuntimeInfo]]


@dataclass(frozen=True, slots=True)
class AskFits:
    """Answered with how these variants fit connected workers: the next page behind `after`."""

    variants: Variants
    after: int
    reply: Reply[Fits]


@dataclass(frozen=True, slots=True)
class SayServerStops:
    """Tell every worker that the server ends on purpose; answered when the mail is out."""

    reply: Reply[None]


@dataclass(frozen=True, slots=True)
class AskDemand:
    """Answered with how many workers of each type would be of use; None: cannot be told yet."""

    types: tuple[WorkerType, ...]
    reply: Reply[Demand | None]


@dataclass(frozen=True, slots=True)
class DismissUseless:
    """Those of the workers that have nothing to do, and can do nothing of what waits, may go.

    `waiting` are the variants of tasks that wait for something else than a worker.
    """

    workers: tuple[int, ...]
    waiting: tuple[Variants, ...]


SchedulerMail = (
    Connected
    | WorkerSaid
    | LinkClosed
    | LinkStuck
    | LinkFree
    | Commands
    | AskRuntime
    | AskFits
    | AskDemand
    | DismissUseless
    | SayServerStops
)


# --- to the server

# Of a kilobyte at most each.
NOTES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class SessionOpened:
    session: int
    outbox: SessionOutbox


@dataclass(frozen=True, slots=True)
class Facts:
    """What one batch of the scheduling machine found out, in order."""

    values: tuple[FromScheduler, ...]


@dataclass(frozen=True, slots=True)
class OpenStream:
    """The session wants to be told events; answered with its stream, which it reads itself."""

    session: int
    request: StreamEvents
    reply: Reply[EventStream]


@dataclass(frozen=True, slots=True)
class Durable:
    """More of what was written survives anything."""


@dataclass(frozen=True, slots=True)
class RecordQueues:
    """Answered when these records of the allocator are durable."""

    records: tuple[QueueRecord, ...]
    reply: Reply[None]


@dataclass(frozen=True, slots=True)
class AskWaiting:
    """Answered with the variants of jobs in which tasks wait."""

    reply: Reply[tuple[Variants, ...]]


ServerMail = (
    SessionOpened
    | ClientAsked
    | SessionEnded
    | Facts
    | OpenStream
    | Durable
    | ServerEnds
    | RecordQueues
    | AskWaiting
)


# --- to the allocator


@dataclass(frozen=True, slots=True)
class QueueAsked:
    """What a client asks about queues; answered through its outbox."""

    number: int
    request: QueueRequest
    outbox: SessionOutbox


@dataclass(frozen=True, slots=True)
class Told:
    """What one batch of the server means for the allocator."""

    events: tuple[WorkerCame | WorkerWent | WorkSubmitted, ...]


@dataclass(frozen=True, slots=True)
class CancelAllocations:
    """The server ends on purpose; answered when the managers have been told."""

    reply: Reply[None]


AllocatorMail = QueueAsked | Told | CancelAllocations | AllocationEvent
# More than workers can come and go while something is recorded.
ALLOCATOR_MAX = 100_000


class SessionOutbox:
    """What a client is to be told; notices replace older unsent ones of the same job.

    Coalescing bounds the notices by the jobs that the client watches, so that a viewer that does
    not read costs one notice per job and not the connection. Notifications of tasks cannot be
    coalesced; a client that leaves too many of them unread misses the later ones.
    """

    def __init__(self, mailbox: Mailbox[Said | None]) -> None:
        self._mailbox = mailbox
        self._notices: dict[int, Said] = {}
        self._notes: list[Said] = []
        self._urgent = trio.Event()

    def tell(self, said: Said) -> None:
        """Queue a response, or put a notice in the place of its predecessor."""
        match said.response:
            case JobNotice(row=row) if said.number == 0:
                self._notice(row.id, said)
            case WorkerNotice() if said.number == 0:
                self._notice(0, said)
            case TaskNotice() if said.number == 0:
                self._note(said)
            case _:
                self._mailbox.tell(said)
                self._urgent.set()

    def _note(self, said: Said) -> None:
        if len(self._notes) < NOTES_MAX:
            self._wake_up()
            self._notes.append(said)
            self._urgent.set()

    def _wake_up(self) -> None:
        if not self._notices and not self._notes:
            self._mailbox.tell(None)  # one wake-up, however many notices follow

    def _notice(self, key: int, said: Said) -> None:
        self._wake_up()
        self._notices[key] = said
        if not may_wait(said):
            self._urgent.set()

    async def wait_urgent(self) -> None:
        """Return once there is something that a client waits for: more than mere progress."""
        await self._urgent.wait()

    async def receive(self) -> list[Said]:
        """Wait for something to say and take all of it; empty: closed.

        Responses come first; what tasks said comes before what became of their jobs.
        """
        batch = await self._mailbox.receive()
        self._urgent = trio.Event()
        said = [one for one in batch if one is not None]
        if len(said) < len(batch):
            said += self._notes
            said += self._notices.values()
            self._notes, self._notices = [], {}
        return said


def may_wait(said: Said) -> bool:
    """Whether this is mere progress; a response, or the last word on a job, is not."""
    match said.response:
        case JobNotice(row=row, gone=gone) if said.number == 0:
            return row.counts.waiting + row.counts.running > 0 and not gone
        case WorkerNotice():
            return said.number == 0
    return False
