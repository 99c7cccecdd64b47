"""Virtual time: the real scheduling machine, a job book and workers with links between them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil, inf
from random import Random
from time import thread_time
from typing import Final

from benchmarks.scheduling.book import Book
from benchmarks.scheduling.tasks import Job, Kind, Ledger
from benchmarks.scheduling.worker import Worker
from hqtrio.messages.columns import read_u32, read_u64
from hqtrio.messages.scheduling import FromScheduler, StopWorker, TasksReported
from hqtrio.messages.worker import Enqueue, FromWorker, Register, ToWorker
from hqtrio.model.worker import LossReason, WorkerConfig
from hqtrio.now import Now
from hqtrio.scheduling.events import (
    CloseLink,
    Effect,
    Event,
    Fact,
    LinkClosed,
    LinkOpened,
    Shipped,
    TakenBack,
    ToLink,
    WorkerSaid,
)
from hqtrio.scheduling.machine import Scheduling

LINK_S: Final = 0.001
GRID: Final = 250  # per second: what reaches the server within four milliseconds is one batch
MAIL_MAX: Final = 256  # in one batch: the scheduler's mailbox holds no more
ROUND_S: Final = 0.005  # what the machine is told that a round took: they are 20 ms apart


@dataclass(frozen=True, slots=True)
class Arrival:
    at: float
    config: WorkerConfig


@dataclass(frozen=True, slots=True)
class Departure:
    """The worker of this arrival goes, if it is still there: it dies, or it is told to stop."""

    at: float
    arrival: int
    dies: bool


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens. `cancels` are instants and the kinds of which nothing more is to run."""

    name: str
    kinds: tuple[Kind, ...]
    arrivals: tuple[Arrival, ...]
    departures: tuple[Departure, ...] = ()
    cancels: tuple[tuple[float, int], ...] = ()
    seed: int = 1


@dataclass(slots=True)
class Tally:
    """What was counted on the way. Seconds are CPU time of this process, not virtual time."""

    machine_s: float = 0.0
    longest_s: float = 0.0
    longest_at: float = 0.0
    rounds_s: array[float] = field(default_factory=lambda: array("d"))  # each `end_batch` with one
    batches: int = 0
    frames_up: int = 0
    frames_down: int = 0
    drained: int = 0
    released: int = 0  # tasks that a worker gave back when asked
    moved: int = 0  # of these, those that another worker got
    gangs: int = 0
    _given_back: dict[int, int] = field(default_factory=dict)  # task: worker

    def gave_back(self, worker: int, tasks: Sequence[int]) -> None:
        self.released += len(tasks)
        self._given_back.update(dict.fromkeys(tasks, worker))

    def sent(self, worker: int, messages: Sequence[ToWorker]) -> None:
        """Follow tasks that were given back to where they go."""
        self.frames_down += 1
        if not self._given_back:
            return
        for message in messages:
            if isinstance(message, Enqueue):
                for first, count in zip(
                    read_u64(message.firsts), read_u32(message.counts), strict=True
                ):
                    for task in range(first, first + count):
                        self.moved += self._given_back.pop(task, worker) != worker


class Cluster:
    """Runs one scenario to its end. `now` is virtual."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        collect: Callable[[], None] | None = None,
        check_every: int = 0,
    ) -> None:
        self.scenario = scenario
        rng = Random(scenario.seed)
        self.jobs = {
            number: Job(number, kind, rng) for number, kind in enumerate(scenario.kinds, start=1)
        }
        self.machine = Scheduling()
        self.ledger, self.book, self.tally = Ledger(self.jobs), Book(self.jobs), Tally()
        self.now = 0.0
        self.capacity: list[tuple[float, int, WorkerConfig]] = []  # when, came or went, who
        self._collect, self._check_every = collect, check_every
        self._workers: dict[int, Worker] = {}  # by link
        self._alarms: dict[int, float] = {}
        self._inbox: list[Event] = []
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._number = 0
        self._plan()

    def _plan(self) -> None:
        scenario = self.scenario
        for number, kind in enumerate(scenario.kinds, start=1):
            self._at(kind.submit_at, self.book.submit, self.jobs[number])
        for link, arrival in enumerate(scenario.arrivals, start=1):
            self._at(arrival.at, self._join, link, arrival.config)
        for departure in scenario.departures:
            act = self._die if departure.dies else self._stop
            self._at(departure.at, act, departure.arrival + 1)
        for at, kind_index in scenario.cancels:
            self._at(at, self.book.cancel, self.jobs[kind_index + 1])

    def run(self, until: float = inf) -> None:
        """Go on until every task has ended, or until an instant."""
        while self.book.left:
            deadline = self.machine.next_deadline()
            if not (self._inbox or self.book.commands):
                event_at = self._events[0][0] if self._events else inf
                at = max(self.now, min(event_at, deadline))
                if at > until:
                    self.now = until
                    return
                assert at < inf, f"nothing happens any more; {self.book.left} tasks are left"
                self.now = at
            while self._events and self._events[0][0] <= self.now:
                _, _, act, args = heappop(self._events)
                act(*args)
            if self._inbox or self.book.commands or deadline <= self.now:
                self._serve()

    def _at(self, at: float, act: Callable[..., None], *args: object) -> None:
        self._number += 1
        heappush(self._events, (at, self._number, act, args))

    # --- the server

    def _serve(self) -> None:
        """One batch of mail, and the round after it."""
        inbox, self._inbox = self._inbox[:MAIL_MAX], self._inbox[MAIL_MAX:]
        commands = self.book.commands
        machine, now = self.machine, Now(self.now, self.now)
        effects: list[Effect] = []
        rounds = _rounds(machine)
        began = thread_time()
        for event in inbox:
            effects += machine.handle(event, now)
        while commands:
            effects += machine.handle(commands.popleft(), now)
        handled = thread_time()
        if machine.next_deadline() <= self.now:
            effects += machine.tick(now)
        effects += machine.end_batch(now)
        machine.round_took(ROUND_S)
        ended = thread_time()
        if self._collect is not None:
            self._collect()
        took = thread_time() - began
        tally = self.tally
        if _rounds(machine) > rounds:
            tally.rounds_s.append(ended - handled)
        tally.batches += 1
        tally.machine_s += took
        if took > tally.longest_s:
            tally.longest_s, tally.longest_at = took, self.now
        if self._check_every and tally.batches % self._check_every == 0:
            machine.check()
        self._perform(effects)

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case ToLink(link, messages):
                    self._at(self.now + LINK_S, self._deliver, link, messages)
                case Fact(value):
                    self._learn(value)
                case CloseLink(link, reason):
                    raise AssertionError(f"link {link} was closed: {reason}")
                case Shipped() | TakenBack():
                    pass

    def _learn(self, fact: FromScheduler) -> None:
        if isinstance(fact, TasksReported):
            for _, workers in fact.gangs:
                self.tally.gangs += 1
                for other in self._workers.values():
                    assert other.id not in workers[1:] or not other.slots, f"{other.id} is shared"
        self.book.learn(fact)

    def _say(self, link: int, *messages: FromWorker) -> None:
        self._reach(WorkerSaid(link, messages))
        self.tally.frames_up += 1

    def _reach(self, event: Event) -> None:
        """The server hears of it with the next batch."""
        at = ceil((self.now + LINK_S) * GRID - 1e-6) / GRID
        self._at(at, self._arrive, event)

    def _arrive(self, event: Event) -> None:
        self._inbox.append(event)

    # --- workers

    def _join(self, link: int, config: WorkerConfig) -> None:
        self._workers[link] = Worker(link, config, self.ledger, self.tally)
        self.capacity.append((self.now, 1, config))
        self._reach(LinkOpened(link, Register(config, b"%d" % link)))

    def _stop(self, link: int) -> None:
        if link in self._workers:
            self.book.commands.append(StopWorker(self._workers[link].id, LossReason.STOPPED))

    def _die(self, link: int, reason: LossReason = LossReason.CONNECTION_LOST) -> None:
        if (worker := self._workers.pop(link, None)) is not None:
            worker.kill(self.now)
            self.capacity.append((self.now, -1, worker.config))
            self._reach(LinkClosed(link, reason))

    def _deliver(self, link: int, messages: Sequence[ToWorker]) -> None:
        worker = self._workers.get(link)
        if worker is None:
            return
        self.tally.sent(worker.id, messages)
        worker.obey(messages, self.now)
        if worker.stopped is not None:
            self._die(link, worker.stopped)
        else:
            self._go_on(worker)

    def _wake(self, worker: Worker, alarm: float) -> None:
        if self._alarms.get(worker.link) == alarm:
            del self._alarms[worker.link]
        if worker.wake_at <= self.now:
            worker.wake(self.now)
        self._go_on(worker)

    def _go_on(self, worker: Worker) -> None:
        """Send what the worker has to say, and set its alarm."""
        if report := worker.report(self.now):
            self._say(worker.link, report)
        if worker.wake_at < self._alarms.get(worker.link, inf):
            self._alarms[worker.link] = worker.wake_at
            self._at(worker.wake_at, self._wake, worker, worker.wake_at)


def _rounds(machine: Scheduling) -> int:
    """How many rounds there were; its statistics go through all workers to tell."""
    return machine._rounds
