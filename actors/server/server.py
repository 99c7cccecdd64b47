"""The server core: drives the job book; what it decides is written, then done, then answered."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import trio
from outcome import Value as Outcome

from actors.kit.drive import Poisoned
from actors.kit.mailbox import Mailbox
from actors.kit.turns import turn
from actors.server.events import EventStreams, Past
from actors.server.journal import Journal
from actors.server.links import (
    Commands,
    Durable,
    Facts,
    OpenStream,
    SchedulerMail,
    ServerMail,
    SessionOpened,
    SessionOutbox,
)
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
from hqtrio.messages.client import Said, TaskNotice
from hqtrio.messages.scheduling import FromScheduler, ToScheduler
from hqtrio.now import Now
from hqtrio.wire.codec import encode

log = logging.getLogger(__name__)


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
        self._waiting: deque[tuple[int, Answer | Receipted | StopServer]] = deque()
        self._written = 0  # the last group of ours
        self._durable = 0
        self._has_told = False  # a Durable of ours is in the mailbox
        self._suspects = suspects or Suspects()

    async def run(self, mailbox: Mailbox[ServerMail]) -> None:
        """Handle mail batch by batch until the mailbox is closed and drained."""

        def durable(group: int) -> None:
            self._durable = max(self._durable, group)
            if not self._has_told and self._waiting and self._waiting[0][0] <= group:
                self._has_told = True
                mailbox.tell(Durable())

        self._journal.call_on_durable(durable)
        now = Now(trio.current_time(), self._wall())
        await self._perform(self._book.begin(now, self._return_grace_s))
        while True:
            with trio.move_on_at(self._book.next_deadline()):
                await mailbox.arrival()
            mail = deque(_singly(mailbox.take()))
            if not mail and mailbox.closed:
                return
            while True:
                now = Now(trio.current_time(), self._wall())
                effects: list[Effect] = []
                for message in turn(mail):
                    effects += self._handle(message, now)
                if self._book.next_deadline() <= now.monotonic:
                    effects += self._book.tick(now)
                effects += self._book.end_batch(now)
                if effects:
                    await self._perform(effects)
                self._open_streams()
                self._release()
                if not mail:
                    break
                await trio.lowlevel.checkpoint()

    def _handle(self, mail: ServerMail, now: Now) -> Sequence[Effect]:
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

    async def _perform(self, effects: Sequence[Effect]) -> None:
        """Written before anything leaves; commands next; what needs durability waits for it."""
        records = [
            record for effect in effects if isinstance(effect, Append) for record in effect.records
        ]
        if records:
            self._written = await self._journal.append(records)
            self._streams.publish(records)
        commands: list[ToScheduler] = []
        for effect in effects:
            match effect:
                case Command(command):
                    commands.append(command)
                case Answer(durable=True) | Receipted() | StopServer():
                    # Also without a record of its own: it may say what an earlier record says.
                    self._waiting.append((self._written, effect))
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
            _, effect = self._waiting.popleft()
            match effect:
                case Answer():
                    self._answer(effect)
                case Receipted(receipt):
                    receipts.append(receipt)
                case StopServer():
                    self._stop()
        if receipts:
            self._scheduler.tell(Commands(tuple(receipts)))

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
