"""The server core: drives the job book; what it decides is written, then done, then answered."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

import trio
from outcome import Value as Outcome

from actors.kit.drive import Poisoned
from actors.kit.mailbox import Mailbox, Reply
from actors.kit.turns import turn
from actors.server.allocation_events import allocation_events
from actors.server.degraded import is_recorded, refused, unrecorded
from actors.server.events import EventStreams, Past
from actors.server.journal import Journal
from actors.server.links import (
    AllocatorMail,
    AskWaiting,
    Commands,
    Durable,
    Facts,
    OpenStream,
    RecordQueues,
    SchedulerMail,
    ServerMail,
    SessionOpened,
    SessionOutbox,
    Told,
)
from actors.server.patience import PATIENCE_S, Patience
from actors.server.suspects import Suspects, heed
from hqtrio.jobs.effects import (
    EVERYBODY,
    Answer,
    Append,
    ClientAsked,
    Command,
    Effect,
    Notify,
    Receipted,
    ServerEnds,
    SessionEnded,
    StopServer,
)
from hqtrio.jobs.machine import Event, JobBook
from hqtrio.messages.client import (
    ExplainTask,
    JobInfo,
    ListEnds,
    ListJobs,
    ListNumbers,
    ListTasks,
    ListWorkers,
    Said,
    ServerInfo,
    TaskNotice,
)
from hqtrio.messages.records import Record
from hqtrio.messages.scheduling import FromScheduler, ToScheduler
from hqtrio.now import Now
from hqtrio.wire.codec import encode

log = logging.getLogger(__name__)

SLOW_S: Final = 60.0  # how long a disk may take that does not fail
QUESTIONS: Final = (
    ExplainTask, JobInfo, ListEnds, ListJobs, ListNumbers, ListTasks, ListWorkers, ServerInfo,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Who asked for records is told that they are durable."""

    reply: Reply[None]


_Barred = Answer | Receipted | StopServer | _Recorded


class Server:
    """Owns the job book. Its mailbox is the only way in."""

    def __init__(
        self,
        book: JobBook,
        *,
        journal: Journal,
        scheduler: Mailbox[SchedulerMail],
        stop: Callable[[], None],
        wall: Callable[[], float],
        return_grace_s: float = 0.0,
        past: Callable[[], Past] | None = None,
        suspects: Suspects | None = None,
        patience_s: float = PATIENCE_S,
        allocator: Mailbox[AllocatorMail] | None = None,
    ) -> None:
        """`past` gives what the journal holds by now; without it the book's memory has to do.

        Workers of an earlier server have `return_grace_s` to come back. With `suspects` in it mail
        is handled with care.
        """
        self._book, self._journal, self._scheduler = book, journal, scheduler
        self._stop, self._wall, self._return_grace_s = stop, wall, return_grace_s
        self._sessions: dict[int, SessionOutbox] = {}
        self._past = past
        self._streams = EventStreams()
        self._wanted: list[OpenStream] = []
        # What waits for the journal's second barrier, by the group that must become durable.
        self._waiting: deque[tuple[int, float, Answer | Receipted | StopServer | _Recorded]] = (
            deque()
        )
        self._looked_at = 0.0  # when it was last checked whether somebody waits for too long
        self._mail: deque[ServerMail] = deque()  # taken from the mailbox, and not handled yet
        self._written = 0  # the last group of ours
        self._durable = 0
        self._has_told = False  # a Durable of ours is in the mailbox
        self._owed: list[Effect | _Recorded] = []  # of what was served while the disk took nothing
        self._suspects = suspects or Suspects()
        self._patience_s = patience_s
        self._allocator = allocator

    async def run(self, mailbox: Mailbox[ServerMail]) -> None:
        """Handle mail batch by batch until the mailbox is closed and drained."""

        def durable(group: int) -> None:
            self._durable = max(self._durable, group)
            if not self._has_told and self._waiting and self._waiting[0][0] <= group:
                self._has_told = True
                mailbox.tell(Durable())

        self._journal.call_on_durable(durable)
        self._patience = Patience(self._journal, mailbox, self._serve, self._patience_s)
        mail = self._mail
        now = Now(trio.current_time(), self._wall())
        await self._perform(self._book.begin(now, self._return_grace_s))
        while True:
            with trio.move_on_at(min(self._book.next_deadline(), self._impatient_at())):
                if not mail:
                    await mailbox.arrival()
            mail.extend(_singly(mailbox.take()))
            if not mail and mailbox.closed:
                return
            while True:
                now = Now(trio.current_time(), self._wall())
                effects: list[Effect | _Recorded] = []
                for message in turn(mail):
                    effects += self._handle(message, now)
                if self._book.next_deadline() <= now.monotonic:
                    effects += self._book.tick(now)
                effects += self._book.end_batch(now)
                if effects:
                    await self._perform(effects)
                self._open_streams()
                self._release()
                if self._impatient_at() <= now.monotonic:
                    self._put_off(now.monotonic)
                if not mail:
                    break
                await trio.lowlevel.checkpoint()

    def _handle(self, mail: ServerMail, now: Now) -> Sequence[Effect | _Recorded]:
        try:
            match mail:
                case Facts(values):
                    return [effect for fact in values for effect in self._told(fact, now)]
                case ClientAsked():
                    return self._told(mail, now)
                case ServerEnds():
                    return self._book.handle(mail, now)
                case SessionOpened(session, outbox):
                    self._sessions[session] = outbox
                    return ()
                case SessionEnded(session):
                    self._sessions.pop(session, None)
                    self._streams.close(session)
                    self._book.hear_all(self._streams.has_listeners)
                    return self._book.handle(mail, now)
                case OpenStream():
                    self._wanted.append(mail)
                    return ()
                case RecordQueues(records, reply):
                    return [Append(records), _Recorded(reply)]
                case AskWaiting(reply):
                    reply.resolve(Outcome(self._book.waiting_variants()))
                    return ()
                case Durable():
                    self._has_told = False
                    return ()  # the release after the batch does it
        except Poisoned:
            raise
        except Exception as error:
            raise Poisoned(mail) from error

    def _told(self, event: FromScheduler | ClientAsked, now: Now) -> Sequence[Effect]:
        def handle(part: Event) -> Sequence[Effect]:
            try:
                return self._book.handle(part, now)
            except Exception as error:
                raise Poisoned(part) from error

        return heed(self._suspects, event, handle) if self._suspects else handle(event)

    async def _perform(self, effects: Sequence[Effect | _Recorded]) -> None:
        """Written before anything leaves; commands next; what needs durability waits for it."""
        records = [
            record for effect in effects if isinstance(effect, Append) for record in effect.records
        ]
        if records:
            effects = list(effects)
            begun_at = trio.current_time()
            self._written = await self._patience.append(
                records, self._mail, lambda: self._delayed(effects, begun_at)
            )
            self._streams.publish(records)
            self._tell_allocator(records)
            effects += self._owed
            self._owed.clear()
        commands: list[ToScheduler] = []
        for effect in effects:
            match effect:
                case Command(command):
                    commands.append(command)
                case Answer(durable=True) | Receipted() | StopServer() | _Recorded():
                    # Also without a record of its own: it may say what an earlier record says.
                    self._waiting.append((self._written, trio.current_time(), effect))
                case Answer():
                    self._answer(effect)
                case Notify(session, TaskNotice() as notice) if session == EVERYBODY:
                    self._streams.note(notice)
                case Notify(session, notice):
                    if outbox := self._sessions.get(session):
                        outbox.tell(Said(0, notice))
                case Append():
                    pass  # written above
        if commands:
            self._scheduler.tell(Commands(tuple(commands)))

    def _tell_allocator(self, records: Sequence[Record]) -> None:
        if self._allocator is not None and (events := tuple(allocation_events(records))):
            self._allocator.tell(Told(events))

    def _open_streams(self) -> None:
        """Everything up to now is written and published: the past ends here, and news begin."""
        for wanted in self._wanted:
            if self._past is not None:
                past = self._past()
            else:
                parts = (encode(records) for records in self._book.remember())
                past = Past(parts, in_order=False, in_file=False)
            stream = self._streams.begin(wanted.session, wanted.request, past)
            wanted.reply.resolve(Outcome(stream))
            self._book.hear_all(True)
        self._wanted.clear()

    def _release(self) -> None:
        """Answer and receipt what has become durable."""
        receipts: list[ToScheduler] = []
        while self._waiting and self._waiting[0][0] <= self._durable:
            _, _, effect = self._waiting.popleft()
            match effect:
                case Answer():
                    self._answer(effect)
                case Receipted(receipt):
                    receipts.append(receipt)
                case StopServer():
                    self._stop()
                case _Recorded(reply):
                    reply.resolve(Outcome(None))
        if receipts:
            self._scheduler.tell(Commands(tuple(receipts)))

    # --- while the disk takes nothing

    def _serve(self, mail: ServerMail) -> bool:
        """Whether the message was only a question, which has its answer; or was refused."""
        match mail:
            case SessionOpened():
                self._handle(mail, Now(trio.current_time(), self._wall()))
                return True
            case ClientAsked(session, number, request) if is_recorded(request):
                self._answer(Answer(session, number, refused(self._journal.trouble), False))
                return True
            case ClientAsked(request=request) if isinstance(request, QUESTIONS):
                for effect in self._handle(mail, Now(trio.current_time(), self._wall())):
                    if isinstance(effect, Answer) and not effect.durable:
                        self._answer(effect)
                    else:
                        self._owed.append(effect)
                return True
        return False

    def _delayed(self, effects: list[Effect | _Recorded], begun_at: float) -> None:
        """What these effects say is not recorded yet, and who waits for an answer is told so."""
        now = trio.current_time()
        if not self._journal.trouble and now < begun_at + SLOW_S:
            return
        for effect in [effect for effect in effects if isinstance(effect, Answer)]:
            effects.remove(effect)
            self._answer(self._put_off_answer(effect) if effect.durable else effect)
        self._put_off(now)

    def _impatient_at(self) -> float:
        """When to look whether somebody has waited for too long."""
        if not self._waiting:
            return inf
        return max(self._waiting[0][1], self._looked_at) + self._patience_s

    def _put_off(self, now: float) -> None:
        """Who has waited long for the second barrier is told that it takes longer."""
        self._looked_at = now
        longest_s = self._patience_s if self._journal.trouble else SLOW_S
        waiting, self._waiting = self._waiting, deque()
        for group, since, effect in waiting:
            if isinstance(effect, Answer) and since + longest_s <= now:
                self._answer(self._put_off_answer(effect))
            else:
                self._waiting.append((group, since, effect))

    def _put_off_answer(self, answer: Answer) -> Answer:
        return Answer(answer.session, answer.number, unrecorded(self._journal.trouble), False)

    # --- answers

    def _answer(self, answer: Answer) -> None:
        if outbox := self._sessions.get(answer.session):
            outbox.tell(Said(answer.number, answer.response))


def _singly(batch: Iterable[ServerMail]) -> Iterator[ServerMail]:
    """The same mail with facts one by one: a single one may tell of thousands of tasks."""
    for mail in batch:
        if isinstance(mail, Facts):
            yield from (Facts((fact,)) for fact in mail.values)
        else:
            yield mail
