"""The scheduler core: drives the scheduling machine, one round per batch of mail."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import trio
from outcome import Value as Outcome

from actors.kit.drive import Poisoned
from actors.kit.mailbox import Mailbox
from actors.kit.turns import turn
from actors.server.journal import Journal
from actors.server.links import (
    AskDemand,
    AskFits,
    AskRuntime,
    Commands,
    Connected,
    DismissUseless,
    Facts,
    HangUp,
    SayServerStops,
    SchedulerMail,
    ServerMail,
    WorkerOutbox,
)
from actors.server.patience import Patience
from actors.server.suspects import Suspects, marks_of
from hqtrio.messages.records import Record, TasksShipped, TasksTakenBack
from hqtrio.messages.scheduling import FromScheduler
from hqtrio.messages.worker import Rejected, ServerStops
from hqtrio.now import Now
from hqtrio.scheduling.events import (
    CloseLink,
    Effect,
    Fact,
    LinkClosed,
    LinkFree,
    LinkStuck,
    Shipped,
    TakenBack,
    ToLink,
    WorkerSaid,
)
from hqtrio.scheduling.machine import Scheduling

log = logging.getLogger(__name__)


# With many workers, what arrives while the core rests after a batch is handled together.
REST: Final = 8.0  # times what the batch took
REST_MAX_S: Final = 0.02


class Scheduler:
    """Owns the scheduling machine and the addresses of the workers' edges."""

    def __init__(
        self,
        machine: Scheduling,
        *,
        server: Mailbox[ServerMail],
        journal: Journal,
        clock: Callable[[], float],
        wall: Callable[[], float],
        suspects: Suspects | None = None,
    ) -> None:
        self._machine, self._server, self._journal = machine, server, journal
        self._clock, self._wall = clock, wall
        self._outboxes: dict[int, WorkerOutbox] = {}
        self._suspects = suspects or Suspects()
        self._mail: deque[SchedulerMail] = deque()  # taken from the mailbox, and not handled yet
        self._unheard: set[int] = set()  # links that are closed for what they have said

    async def run(self, mailbox: Mailbox[SchedulerMail]) -> None:
        """Handle mail batch by batch, each followed by a round, until the mailbox is drained."""
        machine, mail = self._machine, self._mail
        self._patience = Patience(self._journal, mailbox, self._serve)
        rest_s = 0.0
        while True:
            if machine.is_paced:
                await trio.sleep(rest_s)
            with trio.move_on_at(machine.next_deadline()):
                if not mail:
                    await mailbox.arrival()
            taken_at = self._clock()
            mail.extend(mailbox.take())
            if not mail and mailbox.closed:
                return
            while True:
                now = Now(trio.current_time(), self._wall())
                effects: list[Effect] = []
                for message in turn(mail):
                    try:
                        effects += self._handle(message, now)
                    except Exception as error:
                        raise Poisoned(message) from error
                began = self._clock()
                if machine.next_deadline() <= now.monotonic:
                    effects += machine.tick(now)
                effects += machine.end_batch(now)
                machine.round_took(self._clock() - began)
                if effects:
                    await self._perform(effects)
                if not mail:
                    break
                await trio.lowlevel.checkpoint()
            rest_s = min(REST * (self._clock() - taken_at), REST_MAX_S)

    def _handle(self, mail: SchedulerMail, now: Now) -> Sequence[Effect]:
        if self._suspects and self._set_aside(mail):
            return ()
        match mail:
            case WorkerSaid():
                return self._machine.handle(mail, now)
            case Commands(values):
                effects: list[Effect] = []
                for command in values:
                    effects += self._machine.handle(command, now)
                return effects
            case Connected(opened, outbox):
                self._outboxes[opened.link] = outbox
                return self._machine.handle(opened, now)
            case LinkStuck() | LinkFree():
                return self._machine.handle(mail, now)
            case LinkClosed(link):
                self._outboxes.pop(link, None)
                self._unheard.discard(link)
                return self._machine.handle(mail, now)
            case AskRuntime(workers, reply):
                known = ((worker, self._machine.runtime_info(worker)) for worker in workers)
                reply.resolve(Outcome({worker: info for worker, info in known if info}))
                return ()
            case AskFits(variants, after, reply):
                reply.resolve(Outcome(self._machine.explain(variants, after, now)))
                return ()
            case AskDemand(types, reply):
                reply.resolve(Outcome(self._machine.demand(types, now)))
                return ()
            case DismissUseless(workers, waiting):
                self._machine.dismiss_useless(workers, waiting, now)
                return ()
            case SayServerStops(reply):
                for outbox in self._outboxes.values():
                    outbox.tell((ServerStops(),))
                reply.resolve(Outcome(None))
                return ()

    def _serve(self, mail: SchedulerMail) -> bool:
        """Whether the message was only a question, which has its answer."""
        if isinstance(mail, AskRuntime | AskFits):
            self._handle(mail, Now(trio.current_time(), self._wall()))
            return True
        return False

    def _set_aside(self, mail: SchedulerMail) -> bool:
        """Whether this is not handled any more, because it has made servers crash twice.

        A worker whose frame it is loses its connection: it comes back and states what it holds,
        reports without receipt included. A worker whose statement it is, is turned away.
        """
        match mail:
            case WorkerSaid(link) if link in self._unheard:
                return True
            case WorkerSaid(link) if any(map(self._suspects.is_guilty, marks_of(mail))):
                log.error("worker link %d: its frame is set aside, and it is hung up on", link)
                self._unheard.add(link)
                if outbox := self._outboxes.pop(link, None):
                    outbox.close()
                return True
            case Connected(opened, outbox) if any(map(self._suspects.is_guilty, marks_of(mail))):
                log.error("worker at link %d is turned away", opened.link)
                outbox.tell((Rejected("internal error of the server"),))
                outbox.close()
                return True
        return False

    async def _perform(self, effects: Sequence[Effect]) -> None:
        """Shipments are written before their frames leave; facts go down in one piece."""
        if records := [record for effect in effects if (record := _record(effect))]:
            await self._patience.append(records, self._mail, lambda: None)
        facts: list[FromScheduler] = []
        for effect in effects:
            match effect:
                case ToLink(link, messages):
                    if outbox := self._outboxes.get(link):
                        outbox.tell(messages)
                case CloseLink(link, reason):
                    if outbox := self._outboxes.pop(link, None):
                        outbox.tell(HangUp(reason))  # its edge says first what is queued
                        outbox.close()
                case Fact(fact):
                    facts.append(fact)
                case Shipped() | TakenBack():
                    pass  # written above
        if facts:
            await self._server.put(Facts(tuple(facts)))


def _record(effect: Effect) -> Record | None:
    """What must be written before the effects leave."""
    match effect:
        case Shipped(worker, firsts, counts, instances):
            return TasksShipped(worker, firsts, counts, instances)
        case TakenBack(worker, tasks):
            return TasksTakenBack(worker, tasks)
    return None
