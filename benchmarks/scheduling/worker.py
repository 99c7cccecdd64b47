"""A worker that costs next to nothing to pretend: one heap of ends, and columns.

It obeys and reports as a real one does, short of everything that concerns processes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from math import inf
from typing import Final, Protocol

from hqtrio.messages.columns import ROWS_MAX, f32, f64, read_u32, read_u64, u32, u64
from hqtrio.messages.worker import (
    Ack,
    Bounced,
    Cancel,
    Closed,
    DefineBody,
    DefineClass,
    Drain,
    Ended,
    Enqueue,
    Fact,
    Forget,
    Grant,
    Registered,
    Report,
    Retract,
    Retracted,
    Started,
    Stop,
    ToWorker,
    Undrain,
)
from hqtrio.model.resources import Claim
from hqtrio.model.task import Ending
from hqtrio.model.worker import LossReason, WorkerConfig

COMPANY_S: Final = 0.02  # how long what nobody waits for is held back
WINDOW: Final = 4  # reports unseen before everything is held back
ORPHAN_S: Final = 0.25  # how long backlog waits for a slot
AHEAD: Final = 1  # tasks that wait for each end that is held back
FINISHED: Final = bytes((Ending.FINISHED,))
CANCELLED: Final = bytes((Ending.CANCELLED,))
UNKNOWN_CPU: Final = f32((-1.0,))
Run = tuple[int, int, int]  # minus priority, first task, count


class Doings(Protocol):
    """Hears what runs when, and tells how long it takes."""

    def start(self, task: int, instance: int, at: float) -> float: ...
    def finish(self, task: int) -> None: ...
    def lose(self, task: int, instance: int, at: float) -> None: ...


class Counted(Protocol):
    """Where a worker's answers are added up."""

    drained: int
    released: int

    def gave_back(self, worker: int, tasks: Sequence[int]) -> None: ...


class Slot:
    """Runs one task at a time; `claim` is whose it is."""

    __slots__ = ("claim", "instance", "klass", "nodes", "number", "started_at", "task")

    def __init__(self, grant: Grant) -> None:
        self.number, self.klass, self.claim = grant.slot, grant.klass, grant.claim
        self.nodes = grant.nodes
        self.task = self.instance = -1
        self.started_at = 0.0


class Backlog:
    """Tasks of one class, first to start first; `waiting` tells which of them still wait here."""

    __slots__ = ("_runs", "waiting")

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self.waiting: dict[int, int] = {}  # task: instance

    def add(self, priority: int, first: int, count: int, instance: int) -> None:
        heappush(self._runs, (-priority, first, count))
        self.waiting.update(dict.fromkeys(range(first, first + count), instance))

    def take(self) -> tuple[int, int] | None:
        """The next task and its instance; None if nothing waits."""
        runs, waiting = self._runs, self.waiting
        while runs:
            priority, first, count = runs[0]
            if count == 1:
                heappop(runs)
            else:
                runs[0] = (priority, first + 1, count - 1)
            if (instance := waiting.pop(first, None)) is not None:
                return first, instance
        return None

    def take_all(self) -> Iterator[tuple[int, int]]:
        while taken := self.take():
            yield taken


class _Rows:
    """Ends that are not reported yet, one row each."""

    __slots__ = ("ended_at", "endings", "instances", "slots", "started_at", "tasks")

    def __init__(self) -> None:
        self.tasks, self.instances, self.slots = array("Q"), array("I"), array("I")
        self.endings = bytearray()
        self.started_at, self.ended_at = array("d"), array("d")

    def add(
        self, task: int, instance: int, slot: int, ending: bytes, started_at: float, at: float
    ) -> None:
        self.tasks.append(task)
        self.instances.append(instance)
        self.slots.append(slot)
        self.endings += ending
        self.started_at.append(started_at)
        self.ended_at.append(at)

    def fact(self, begin: int, now: float) -> Ended:
        cut = slice(begin, begin + ROWS_MAX)
        count = len(self.tasks[cut])
        return Ended(
            u64(self.tasks[cut]),
            u32(self.instances[cut]),
            u32(self.slots[cut]),
            bytes(self.endings[cut]),
            bytes(4 * count),
            f64([-1.0 if at < 0 else now - at for at in self.started_at[cut]]),
            f64([now - at for at in self.ended_at[cut]]),
            UNKNOWN_CPU * count,
            bytes(4 * count),
        )


class Worker:
    """One node. `wake_at` is when `wake` has something to do."""

    def __init__(
        self,
        link: int,
        config: WorkerConfig,
        ledger: Doings,
        counted: Counted,
        *,
        company_s: float = COMPANY_S,
    ) -> None:
        self.link, self.config = link, config
        self.id = 0
        self.wake_at = inf
        self.stopped: LossReason | None = None
        self._ledger, self._counted, self._company_s = ledger, counted, company_s
        self._free = {pool.resource: pool.size for pool in config.descriptor.pools}
        self._classes: dict[int, Backlog] = {}
        self._slots_of: dict[int, int] = {}  # open slots by class
        self._bodies: set[int] = set()
        self.slots: dict[int, Slot] = {}
        self._ends: list[tuple[float, int, int]] = []  # end, slot, task
        self._empty: list[Slot] = []
        self._drains: list[tuple[set[int], int]] = []  # slots, and how many of them are to close
        self._orphans: dict[int, float] = {}  # classes whose backlog has no slot, until then
        self._suspects: dict[int, None] = {}  # classes that may have become such
        self._rows = _Rows()
        self._started: dict[int, tuple[int, int, float]] = {}
        self._closed: list[int] = []
        self._bounced: list[tuple[int, int]] = []
        self._retracted: list[Retracted] = []
        self._report_at = inf
        self._seq = self._seen = 0
        self._pace_s = 0.0

    # --- orders

    def obey(self, frame: Sequence[ToWorker], now: float) -> None:
        """Apply one frame as a whole."""
        for message in frame:
            match message:
                case Enqueue():
                    self._enqueue(message)
                case Grant():
                    self._grant(message)
                case Ack(seen, _, pace_s):
                    self._seen, self._pace_s = seen, pace_s
                case DefineClass(klass):
                    self._classes[klass] = Backlog()
                case DefineBody(body):
                    self._bodies.add(body)
                case Retract(seq, tasks):
                    self._retract(seq, read_u64(tasks))
                case Drain(slots, count):
                    named = self.slots.keys() & read_u32(slots)
                    self._counted.drained += 1
                    if named:
                        self._drains.append((named, count or len(named)))
                        self._empty += [s for s in map(self.slots.get, sorted(named)) if s]
                case Undrain(slots):
                    for group, _ in self._drains:
                        group.difference_update(read_u32(slots))
                case Cancel(tasks):
                    self._cancel(read_u64(tasks), now)
                case Stop(reason):
                    self.stopped = reason
                case Registered(worker):
                    self.id = worker
                case Forget(bodies):
                    self._bodies.difference_update(read_u32(bodies))
                case _:
                    raise AssertionError(message)
        self._pump(now)

    def _grant(self, grant: Grant) -> None:
        assert grant.slot not in self.slots, grant
        slot = self.slots[grant.slot] = Slot(grant)
        if grant.nodes:
            assert len(self.slots) == 1, "a multi-node task on a worker that has slots"
            assert grant.nodes[0] == self.config.hostname, grant.nodes
        self._use(grant.claim, -1)
        self._slots_of[grant.klass] = self._slots_of.get(grant.klass, 0) + 1
        self._orphans.pop(grant.klass, None)
        self._empty.append(slot)

    def _use(self, claim: Claim, sign: int) -> None:
        for share in claim.shares:
            left = self._free[share.resource] = self._free[share.resource] + sign * share.amount
            assert left >= 0, f"worker {self.id} is over-allocated: {share.resource}"

    def _enqueue(self, message: Enqueue) -> None:
        assert message.body in self._bodies, message
        backlog, priority = self._classes[message.klass], message.priority
        self._suspects[message.klass] = None
        rows = zip(
            read_u64(message.firsts),
            read_u32(message.counts),
            read_u32(message.instances),
            strict=True,
        )
        for first, count, instance in rows:
            backlog.add(priority, first, count, instance)

    def _retract(self, seq: int, tasks: Sequence[int]) -> None:
        released = []
        for backlog in self._classes.values():
            released += [t for t in tasks if backlog.waiting.pop(t, None) is not None]
        self._counted.gave_back(self.id, released)
        self._retracted.append(Retracted(seq, u64(released)))

    def _cancel(self, tasks: Sequence[int], now: float) -> None:
        doomed = set(tasks)
        for backlog in self._classes.values():
            for task in sorted(doomed & backlog.waiting.keys()):
                instance = backlog.waiting.pop(task)
                self._rows.add(task, instance, 0, CANCELLED, -1.0, now)
        for slot in self.slots.values():
            if slot.task in doomed:
                self._ledger.lose(slot.task, slot.instance, now)
                self._rows.add(
                    slot.task, slot.instance, slot.number, CANCELLED, slot.started_at, now
                )
                self._started.pop(slot.task, None)
                slot.task = -1
                self._empty.append(slot)

    # --- work

    def wake(self, now: float) -> None:
        """Tasks end, and what has waited long enough is over."""
        ends, rows = self._ends, self._rows
        while ends and ends[0][0] <= now:
            at, number, task = heappop(ends)
            slot = self.slots.get(number)
            if slot is None or slot.task != task:
                continue  # cancelled
            self._ledger.finish(task)
            self._started.pop(task, None)
            rows.add(task, slot.instance, number, FINISHED, slot.started_at, at)
            slot.task = -1
            self._empty.append(slot)
        for klass in [k for k, at in self._orphans.items() if at <= now]:
            del self._orphans[klass]
            self._bounced += self._classes[klass].take_all()
        self._pump(now)

    def _pump(self, now: float) -> None:
        """Empty slots take what waits for them, or close."""
        empty, self._empty = self._empty, []
        ledger, ends, started = self._ledger, self._ends, self._started
        for slot in empty:
            number = slot.number
            if slot.task >= 0 or number not in self.slots:
                continue
            taken = None if self._must_close(number) else self._classes[slot.klass].take()
            if taken is None:
                self._close(slot)
                continue
            slot.task, slot.instance = taken
            slot.started_at = now
            heappush(ends, (now + ledger.start(*taken, now), number, slot.task))
            started[slot.task] = (slot.instance, number, now)
        for klass in self._suspects:
            if self._classes[klass].waiting and not self._slots_of.get(klass):
                self._orphans.setdefault(klass, now + ORPHAN_S)
        self._suspects.clear()
        if self._closed or self._bounced or self._retracted:
            self._report_at = now
        elif self._started or self._rows.tasks:
            hold_s = self._company_s
            if self._pace_s > hold_s and self._has_plenty_ahead():
                hold_s = self._pace_s
            self._report_at = min(self._report_at, now + hold_s)
        self._set_alarm()

    def _has_plenty_ahead(self) -> bool:
        """Whether the server need not hear soon of what has ended: more waits in every class."""
        fewest = min(len(self._classes[k].waiting) for k, n in self._slots_of.items() if n)
        return fewest > AHEAD * len(self._rows.tasks)

    def _must_close(self, number: int) -> bool:
        """Whether this slot, which is empty, is one of those that are to close."""
        if not self._drains:
            return False
        drains, self._drains = self._drains, []
        closes = False
        for slots, count in drains:
            if number in slots:
                closes = True
                slots.remove(number)
                count -= 1
            if count and slots:
                self._drains.append((slots, count))
        return closes

    def _close(self, slot: Slot) -> None:
        del self.slots[slot.number]
        self._slots_of[slot.klass] -= 1
        self._suspects[slot.klass] = None
        self._use(slot.claim, 1)
        self._closed.append(slot.number)

    def _set_alarm(self) -> None:
        at = self._report_at if self._seq - self._seen < WINDOW else inf
        if self._ends and self._ends[0][0] < at:
            at = self._ends[0][0]
        if self._orphans:
            at = min(at, min(self._orphans.values()))
        self.wake_at = at

    def kill(self, now: float) -> None:
        """Nothing runs any more, and nobody is told."""
        for slot in self.slots.values():
            if slot.task >= 0:
                self._ledger.lose(slot.task, slot.instance, now)
        self.slots.clear()
        self._ends.clear()
        self.wake_at = inf

    # --- reports

    def report(self, now: float) -> Report | None:
        """What leaves now."""
        if self._report_at > now or self._seq - self._seen >= WINDOW:
            return None
        self._seq += 1
        report = Report(self._seq, self._facts(now))
        self._set_alarm()
        return report

    def _facts(self, now: float) -> tuple[Fact, ...]:
        self._report_at = inf
        facts: list[Fact] = []
        rows, self._rows = self._rows, _Rows()
        facts += [rows.fact(begin, now) for begin in range(0, len(rows.tasks), ROWS_MAX)]
        limit = now - self._pace_s
        if told := {task: row for task, row in self._started.items() if row[2] <= limit}:
            starts = told.values()
            facts.append(
                Started(
                    u64(told),
                    u32([instance for instance, _, _ in starts]),
                    u32([slot for _, slot, _ in starts]),
                    f64([now - at for _, _, at in starts]),
                )
            )
            for task in told:
                del self._started[task]
        if self._started:
            self._report_at = now + self._pace_s
        if self._closed:
            facts.append(Closed(u32(self._closed)))
            self._closed = []
        if self._bounced:
            tasks, instances = zip(*self._bounced, strict=True)
            facts.append(Bounced(u64(tasks), u32(instances), "no_slot"))
            self._bounced = []
        facts += self._retracted
        self._retracted = []
        return tuple(facts)
