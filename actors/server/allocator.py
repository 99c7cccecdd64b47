"""The allocator: drives the allocation machine, and runs the commands of batch managers for it.

Every command runs in a task of its own and with a limit of its own, so that a manager that hangs
holds up nothing else. What the machine decides is on the disk before anything is submitted.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Final, TypeVar

import trio
from outcome import Value as Outcome

from actors.kit.mailbox import ActorStopped, Mailbox, Reply
from actors.server.allocation_files import discard_directory, note_job, write_files
from actors.server.links import (
    AllocatorMail,
    AskDemand,
    AskWaiting,
    CancelAllocations,
    DismissUseless,
    QueueAsked,
    RecordQueues,
    SchedulerMail,
    ServerMail,
    SessionOutbox,
    Told,
)
from actors.server.manager_commands import COMMAND_S, hold
from actors.server.trials import try_allocation
from hqtrio.autoalloc import events as act
from hqtrio.autoalloc.books import Books
from hqtrio.autoalloc.context import Settings
from hqtrio.autoalloc.dialogues import (
    Accepted,
    Adapter,
    Dialogue,
    NotCancelled,
    Rejected,
    SubmitAnswer,
    Unanswered,
    Unsure,
)
from hqtrio.autoalloc.machine import Allocating
from hqtrio.messages.allocations import FindAllocation, ListAllocations, ListQueues
from hqtrio.messages.client import Failure, Said
from hqtrio.messages.records import QueueRecord
from hqtrio.model.allocation import Manager, Rejection
from hqtrio.now import Now
from hqtrio.scheduling.demand import Demand
from hqtrio.scheduling.offers import WorkerType

__all__ = ["Allocator", "AllocatorParts"]

T = TypeVar("T")

log = logging.getLogger(__name__)

AT_ONCE: Final = 4  # commands of one manager: login nodes count processes
TICK_FAILED_S: Final = 10.0
# Answered from what is known, also while that cannot be recorded.
QUESTIONS: Final = (ListQueues, ListAllocations, FindAllocation)


@dataclass(frozen=True, slots=True)
class AllocatorParts:
    """What the allocator is made of; `environment` is the server's own."""

    settings: Settings
    books: Books
    adapters: Mapping[Manager, Adapter]
    environment: Mapping[str, str]
    workers: frozenset[int] = frozenset()  # connected, or expected to come back
    timeout_s: float = COMMAND_S


class Allocator:
    """Owns the allocation machine. If that fails, it begins anew with what has been recorded."""

    def __init__(
        self,
        parts: AllocatorParts,
        *,
        server: Mailbox[ServerMail],
        scheduler: Mailbox[SchedulerMail],
        wall: Callable[[], float] = time.time,
        on_crash: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._parts, self._server, self._scheduler = parts, server, scheduler
        self._wall, self._on_crash = wall, on_crash
        self._books = parts.books  # what has been recorded; the machine has a copy
        self._workers = set(parts.workers)
        self._tokens = count(1)
        self._clients: dict[int, tuple[int, SessionOutbox]] = {}
        self._ending: Reply[None] | None = None
        self._limits = {manager: trio.CapacityLimiter(AT_ONCE) for manager in Manager}
        self._mail: deque[AllocatorMail] = deque()  # taken from the mailbox, and not handled yet

    async def run(self, mailbox: Mailbox[AllocatorMail]) -> None:
        """Handle mail batch by batch until the mailbox is closed and drained."""
        async with trio.open_nursery() as commands:
            self._commands, self._mailbox = commands, mailbox
            machine = await self._begin()
            while True:
                if not self._mail:
                    with trio.move_on_at(machine.next_deadline()):
                        await mailbox.arrival()
                self._mail.extend(mailbox.take())
                if not self._mail and mailbox.closed:
                    break
                while self._mail:
                    machine = await self._handle(machine, self._mail.popleft())
                if machine.next_deadline() <= trio.current_time():
                    machine = await self._step(machine, None)
                if self._ending is not None and machine.is_quiet:
                    self._ending.resolve(Outcome(None))
            commands.cancel_scope.cancel()

    async def _begin(self) -> Allocating:
        machine = Allocating(self._parts.settings, self._books.copy())
        try:
            effects = machine.begin(self._workers, self._now())
        except Exception as error:
            # Queues can be looked at and removed all the same.
            self._on_crash(error)
            log.error("the allocator cannot take up what was recorded", exc_info=error)
            machine, effects = Allocating(self._parts.settings, self._books.copy()), ()
        await self._perform(machine, effects)
        return machine

    def _now(self) -> Now:
        return Now(trio.current_time(), self._wall())

    async def _handle(self, machine: Allocating, mail: AllocatorMail) -> Allocating:
        match mail:
            case QueueAsked(number, request, outbox):
                token = next(self._tokens)
                self._clients[token] = number, outbox
                return await self._step(machine, act.Asked(token, request))
            case Told(events):
                for event in events:
                    match event:
                        case act.WorkerCame(worker):
                            self._workers.add(worker)
                        case act.WorkerWent(worker):
                            self._workers.discard(worker)
                    machine = await self._step(machine, event)
                return machine
            case CancelAllocations(reply):
                self._ending = reply
                return await self._step(machine, act.ServerEnds())
        return await self._step(machine, mail)

    async def _step(
        self, machine: Allocating, event: act.Event | None, *, again: bool = False
    ) -> Allocating:
        """Handle an event, or the alarms; another machine if this one cannot."""
        try:
            now = self._now()
            effects = machine.tick(now) if event is None else machine.handle(event, now)
        except Exception as error:
            return await self._begin_anew(error, event, again=again)
        await self._perform(machine, effects)
        return machine

    async def _begin_anew(
        self, error: Exception, event: act.Event | None, *, again: bool
    ) -> Allocating:
        """What was recorded is all that counts; an event that does it again is set aside."""
        self._on_crash(error)
        log.error("the allocator begins anew after %.200r", event, exc_info=error)
        machine = await self._begin()
        if self._ending is not None:
            await self._perform(machine, machine.handle(act.ServerEnds(), self._now()))
        asker = event.token if isinstance(event, act.Asked | act.Tried) else None
        for token in [token for token in self._clients if token != asker]:
            self._answer(act.Answer(token, Failure("The allocator began anew: try again")))
        if event is None:
            await trio.sleep(TICK_FAILED_S)
            return machine
        if not again:
            return await self._step(machine, event, again=True)
        log.error("the allocator sets this aside: %.200r", event)
        if isinstance(event, act.Asked | act.Tried):
            self._answer(act.Answer(event.token, Failure("Internal error of the allocator")))
        return machine

    # --- effects

    async def _record(self, machine: Allocating, records: tuple[QueueRecord, ...]) -> None:
        """They are durable when it returns; who only wants to look is served meanwhile."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve_questions, machine)
            await self._server.ask(partial(RecordQueues, records))
            nursery.cancel_scope.cancel()
        for record in records:
            self._books.apply(record)

    async def _serve_questions(self, machine: Allocating) -> None:
        while not self._mailbox.closed:
            await self._mailbox.arrival()
            for mail in self._mailbox.take():
                if isinstance(mail, QueueAsked) and isinstance(mail.request, QUESTIONS):
                    for effect in machine.handle(act.Asked(0, mail.request), self._now()):
                        if isinstance(effect, act.Answer):
                            mail.outbox.tell(Said(mail.number, effect.response))
                else:
                    self._mail.append(mail)

    async def _perform(self, machine: Allocating, effects: Sequence[act.Effect]) -> None:
        parts, start = self._parts, self._commands.start_soon
        for effect in effects:
            match effect:
                case act.Record(records):
                    await self._record(machine, records)
                case act.Answer():
                    self._answer(effect)
                case act.Say(is_error, text):
                    log.log(logging.ERROR if is_error else logging.INFO, "%s", text)
                case act.Trial():
                    start(self._try, effect)
                case act.AskDemand():
                    start(self._ask_demand, effect)
                case act.Submit():
                    start(self._submit, effect)
                case act.Find(queue, number, manager, name, directory):
                    adapter = parts.adapters[manager]
                    start(
                        self._converse,
                        manager,
                        partial(adapter.find, name, directory),
                        partial(act.LookedFor, queue, number),
                        Unanswered,
                    )
                case act.AskStatus(manager, ids):
                    start(
                        self._converse,
                        manager,
                        partial(parts.adapters[manager].statuses, ids),
                        partial(act.StatusKnown, manager),
                        Unanswered,
                    )
                case act.Cancel(manager, job_id, directory):
                    start(
                        self._converse,
                        manager,
                        partial(parts.adapters[manager].cancel, job_id, directory),
                        partial(act.CancelAnswered, manager, job_id),
                        NotCancelled,
                    )
                case act.Discard(directory):
                    start(discard_directory, directory)
                case act.DismissUseless(workers):
                    start(self._dismiss, workers)

    def _answer(self, answer: act.Answer) -> None:
        if (client := self._clients.pop(answer.token, None)) is not None:
            number, outbox = client
            outbox.tell(Said(number, answer.response))

    def _tell(self, event: act.Event) -> None:
        self._mailbox.tell(event)

    def _environment(self, manager: Manager) -> dict[str, str]:
        return self._parts.adapters[manager].environment(self._parts.environment)

    async def _converse(
        self,
        manager: Manager,
        dialogue: Callable[[], Dialogue[T]],
        event: Callable[[T], act.Event],
        failure: Callable[[str], T],
    ) -> None:
        """Hold a dialogue, and tell the machine what it came to; `failure` if that is our fault."""
        self._tell(event(await self._hold(manager, dialogue, failure)))

    async def _hold(
        self, manager: Manager, dialogue: Callable[[], Dialogue[T]], failure: Callable[[str], T]
    ) -> T:
        try:
            async with self._limits[manager]:
                environment = self._environment(manager)
                return await hold(dialogue(), environment, self._parts.timeout_s)
        except Exception as error:
            return failure(self._mistake(error))

    def _mistake(self, error: Exception) -> str:
        """Of ours, in speaking to a manager; nobody else suffers from it."""
        self._on_crash(error)
        log.error("a dialogue with a manager has failed", exc_info=error)
        return f"internal error: {type(error).__name__}: {error}"

    async def _submit(self, effect: act.Submit) -> None:
        submission = effect.submission
        manager = submission.params.manager
        adapter = self._parts.adapters[manager]
        told = partial(act.Submitted, effect.queue, effect.number)
        try:
            await write_files(submission.directory, adapter.files(submission))
        except (OSError, ValueError) as error:
            self._tell(told(Rejected(Rejection.NO_DIRECTORY, str(error))))
            return
        dialogue = partial(adapter.submit, submission)
        answer: SubmitAnswer = await self._hold(manager, dialogue, Unsure)
        if isinstance(answer, Accepted):
            await note_job(submission.directory, answer.id)
        self._tell(told(answer))

    async def _try(self, effect: act.Trial) -> None:
        parts, manager = self._parts, effect.params.manager
        try:
            error = await try_allocation(
                parts.adapters[manager],
                effect.params,
                parts.settings,
                self._environment(manager),
                parts.timeout_s,
            )
        except Exception as mistake:
            error = self._mistake(mistake)
        self._tell(act.Tried(effect.token, error))

    async def _ask_demand(self, effect: act.AskDemand) -> None:
        types = tuple(
            WorkerType(
                query.descriptor,
                query.partial,
                query.lifetime_s,
                query.max_sn_workers,
                query.max_workers_per_alloc,
                query.min_utilization,
            )
            for query in effect.queries
        )
        try:
            demand: Demand | None = await self._scheduler.ask(partial(AskDemand, types))
        except ActorStopped:
            return
        if demand is None:
            self._tell(act.DemandUnknown())
        else:
            self._tell(act.DemandKnown(demand.single_node, demand.multi_node))

    async def _dismiss(self, workers: tuple[int, ...]) -> None:
        """Workers that can do nothing of what waits do not wait for it."""
        try:
            waiting = await self._server.ask(AskWaiting)
            self._tell(act.WorkKnown(bool(waiting)))
            if workers:
                await self._scheduler.put(DismissUseless(workers, waiting))
        except ActorStopped:
            return
