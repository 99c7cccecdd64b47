"""What a worker reports, checked against its mirror before anything is believed.

Every fact is validated as a whole before it changes a table; a worker that breaks the rules costs
itself its connection (RemoteFault), and nothing else.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Iterable
from itertools import repeat
from math import isfinite
from typing import Final

from hqtrio.errors import RemoteFault
from hqtrio.ids import format_task
from hqtrio.messages.columns import ROWS_MAX, read_f64, read_u32, read_u64, u64
from hqtrio.messages.scheduling import TasksBounced
from hqtrio.messages.worker import Bounced, Closed, Ended, Report, Retracted, Started
from hqtrio.model.task import Ending
from hqtrio.scheduling.events import Effect, Fact, TakenBack
from hqtrio.scheduling.mirror import Mirror, RequestClass
from hqtrio.scheduling.ready import Batch
from hqtrio.scheduling.tables import Tables

ENDINGS: Final = len(Ending)
TOO_LATE: Final = "time"
LEARNING_TASKS: Final = 64  # so many new durations replace the old average
LEARNING_LEAST: Final = 0.1
AGE_MAX_S: Final = 1e10


class ReportReader:
    """Applies the facts of one report in order; keeps those that concern tasks for the server."""

    def __init__(self, tables: Tables, mirror: Mirror, now: float) -> None:
        self._tables = tables
        self._mirror = mirror
        self._now = now
        self._closed: set[int] = set()  # slots closed by this very report
        self.started: list[Started] = []
        self.ended: list[Ended] = []
        self.gangs: list[tuple[int, tuple[int, ...]]] = []  # tasks that started, all their workers
        self.variants: list[tuple[int, int]] = []  # of tasks that started, if not their first
        self.rested: list[Mirror] = []  # other workers that have nothing to do any more
        self.effects: list[Effect] = []

    def read(self, report: Report) -> None:
        """Apply all facts. After a RemoteFault those before the bad one are applied and kept."""
        for fact in report.facts:
            match fact:
                case Ended():
                    self._ended(fact)
                case Closed():
                    self._close(fact)
                case Started():
                    self._start(fact)
                case Bounced():
                    self._bounced(fact)
                case Retracted():
                    self._retracted(fact)

    # --- facts

    def _start(self, fact: Started) -> None:
        tasks, instances, slots = _rows(fact.tasks, fact.instances, fact.slots)
        _finite("started", _ages(fact.ages, len(tasks)))
        batches = self._batches(tasks, instances)
        self._known_slots(slots)
        running = self._mirror.running
        if self._mirror.had_past:
            for task, slot, batch in zip(tasks, slots, batches, strict=True):
                if batch is not None and slot in self._mirror.slots:
                    running[task] = slot
        else:
            running.update(zip(tasks, slots, strict=True))
        if self._mirror.gang is not None:
            self._tell_gang(tasks, slots)
        if self._mirror.varied:
            self._tell_variants(tasks, slots)
        self.started.append(fact)

    def _tell_gang(self, tasks: array[int], slots: array[int]) -> None:
        for task, number in zip(tasks, slots, strict=True):
            slot = self._mirror.slots.get(number)
            if slot is not None and slot.gang is not None:
                self.gangs.append((task, tuple(member.id for member in slot.gang.members)))

    def _tell_variants(self, tasks: Iterable[int], slots: Iterable[int]) -> None:
        for task, number in zip(tasks, slots, strict=True):
            slot = self._mirror.slots.get(number)
            if slot is not None and slot.variant:
                self.variants.append((task, slot.variant))

    def _ended(self, fact: Ended) -> None:
        tasks, instances, slots = _rows(fact.tasks, fact.instances, fact.slots)
        count = len(tasks)
        started, ended = _ended_ages(fact, count)
        batches = self._batches(tasks, instances)
        self._known_slots(slots)
        mirror = self._mirror
        if mirror.gang is not None:
            self._tell_gang(tasks, slots)
        if mirror.varied:
            new = [(t, s) for t, s in zip(tasks, slots, strict=True) if t not in mirror.running]
            self._tell_variants((task for task, _ in new), (slot for _, slot in new))
        self._learn(batches, started, ended)
        if mirror.retracting:
            for task, batch in zip(tasks, batches, strict=True):
                if batch is not None:
                    mirror.end_retracting(task)
        if mirror.had_past:
            mirror.doomed.difference_update(tasks)
            tasks = array("Q", (t for t, b in zip(tasks, batches, strict=True) if b is not None))
        if mirror.running:
            deque(map(mirror.running.pop, tasks, repeat(None)), maxlen=0)
        if mirror.cancelled:
            mirror.cancelled.difference_update(tasks)
        deque(map(mirror.held.pop, tasks), maxlen=0)
        for owner, number in Counter(batches).items():
            if owner is not None:
                mirror.drop_tasks(owner, number)
                mirror.unseen_rows += number
                mirror.urgent |= owner.gates
                self._tables.thin[mirror.id, owner.klass.id] = None
        self.ended.append(fact)

    def _close(self, fact: Closed) -> None:
        slots = read_u32(fact.slots)
        _bounded(len(slots))
        mirror = self._mirror
        if len(set(slots)) != len(slots):
            raise RemoteFault("a slot is closed twice in one report")
        unknown = [slot for slot in slots if slot not in mirror.slots]
        if unknown and not mirror.had_past:
            raise RemoteFault(f"slot {unknown[0]} was closed, but was never open")
        for slot in slots:
            if slot in mirror.slots:
                gang = mirror.close_slot(slot).gang
                self._closed.add(slot)
                if gang is not None:
                    self.rested += gang.members[1:]
                    for member in gang.members:
                        self._tables.leave_gang(member)
        if mirror.in_use:
            self._tables.freed[mirror.id] = None

    def _bounced(self, fact: Bounced) -> None:
        tasks, instances, _ = _rows(fact.tasks, fact.instances, None)
        batches = self._batches(tasks, instances)
        self._mirror.doomed.difference_update(tasks)
        self._not_running(tasks)
        rows = [(t, b) for t, b in zip(tasks, batches, strict=True) if b is not None]
        if fact.reason == TOO_LATE:
            # The worker's clock decides; without this mark the same tasks would be sent again.
            self._mirror.too_late.update(b.klass.id for _, b in rows if b.klass.timed)
            self._tables.review = True
        self._give_back(rows)

    def _retracted(self, fact: Retracted) -> None:
        mirror = self._mirror
        asked = mirror.retracts.get(fact.seq)
        if asked is None:
            raise RemoteFault(f"retract {fact.seq} was answered, but never asked")
        released = read_u64(fact.released)
        _bounded(len(released))
        if not set(asked).issuperset(released):
            raise RemoteFault(f"retract {fact.seq} released a task that was not asked for")
        held = mirror.held
        rows = [(task, held[task]) for task in released if task in held]
        if len(rows) != len(released):
            raise RemoteFault(f"retract {fact.seq} released a task that had ended")
        self._not_running(released)
        del mirror.retracts[fact.seq]
        kept: set[RequestClass] = set()
        for task in asked:
            if mirror.retracting.get(task) == fact.seq:
                kept.add(held[task].klass)
                mirror.end_retracting(task)
        if not released:
            for klass in kept:
                # It had nothing to give; asking again at once would only make noise.
                mirror.stakes[klass.id].quiet_until = self._now + 1.0
        self._give_back(rows)

    def _give_back(self, rows: list[tuple[int, Batch]]) -> None:
        """The worker has these tasks no more, and they are ready unless cancelled."""
        if not rows:
            return
        mirror = self._mirror
        ready = []
        for task, batch in rows:
            mirror.end_retracting(task)
            del mirror.held[task]
            mirror.drop_tasks(batch, 1)
            if task in mirror.cancelled:
                mirror.cancelled.discard(task)
            else:
                ready.append((task, batch))
        tasks = [task for task, _ in rows]
        self._tables.requeue(ready)
        self.effects.append(TakenBack(mirror.id, u64(tasks)))
        self.effects.append(Fact(TasksBounced(mirror.id, tuple(tasks))))

    # --- validation

    def _batches(self, tasks: array[int], instances: array[int]) -> list[Batch | None]:
        """What each task belongs to; a row of an earlier attachment belongs to nothing."""
        held = self._mirror.held
        batches: list[Batch | None] = list(map(held.get, tasks))
        if len(set(tasks)) != len(tasks):
            raise RemoteFault("a task stands twice in one fact")
        if None in batches:
            if not self._mirror.had_past:
                task = tasks[batches.index(None)]
                raise RemoteFault(f"task {format_task(task)} was reported, but is not held here")
        elif len(owners := set(batches)) == 1:
            (owner,) = owners
            if owner is None or instances.count(owner.instance) == len(instances):
                return batches
        elif array("I", [b.instance for b in batches if b is not None]) == instances:
            return batches
        for row, batch in enumerate(batches):
            if batch is not None and batch.instance != instances[row]:
                if not self._mirror.had_past:
                    raise RemoteFault(
                        f"task {format_task(tasks[row])} was reported as instance"
                        f" {instances[row]}, but is {batch.instance} here"
                    )
                batches[row] = None
        return batches

    def _known_slots(self, slots: array[int]) -> None:
        if self._mirror.had_past:
            return
        unknown = set(slots).difference(self._mirror.slots, self._closed, (0,))
        if unknown:
            raise RemoteFault(f"slot {min(unknown)} was reported, but is not open")

    def _not_running(self, tasks: array[int]) -> None:
        running = self._mirror.running
        for task in tasks:
            if task in running:
                raise RemoteFault(f"task {format_task(task)} was given back while running")

    # --- durations

    def _learn(
        self, batches: list[Batch | None], started: array[float], ended: array[float]
    ) -> None:
        """Move the average duration of each class towards what was measured."""
        if not batches:
            return
        first = batches[0]
        owners = set(batches)
        if first is not None and len(owners) == 1 and min(started) >= 0:
            self._average(first.klass, len(batches), sum(started) - sum(ended))
            return
        sums: dict[RequestClass, tuple[int, float]] = {}
        for batch, start, end in zip(batches, started, ended, strict=True):
            if batch is not None and start >= 0:
                count, total = sums.get(batch.klass, (0, 0.0))
                sums[batch.klass] = (count + 1, total + start - end)
        for klass, (count, total) in sums.items():
            self._average(klass, count, total)

    @staticmethod
    def _average(klass: RequestClass, count: int, total_s: float) -> None:
        mean = max(0.0, total_s / count)
        if klass.mean_s < 0:
            klass.mean_s = mean
        else:
            share = min(1.0, max(LEARNING_LEAST, count / LEARNING_TASKS))
            klass.mean_s += (mean - klass.mean_s) * share


def check_report(report: Report) -> None:
    """RemoteFault unless every fact of the report can be read, whatever it speaks of."""
    for fact in report.facts:
        match fact:
            case Started():
                tasks, _, _ = _rows(fact.tasks, fact.instances, fact.slots)
                _finite("started", _ages(fact.ages, len(tasks)))
            case Ended():
                tasks, _, _ = _rows(fact.tasks, fact.instances, fact.slots)
                _ended_ages(fact, len(tasks))
            case _:
                pass  # of slots and of tasks given back the statement itself tells


def _ended_ages(fact: Ended, count: int) -> tuple[array[float], array[float]]:
    """Both ages of every row, after all other columns were found fit for use."""
    started, ended = _ages(fact.started_ages, count), _ages(fact.ended_ages, count)
    _finite("ended", started, ended)
    widths = ((fact.endings, 1), (fact.codes, 4), (fact.cpu_s, 4), (fact.peak_kib, 4))
    if any(len(column) != width * count for column, width in widths):
        raise RemoteFault("columns of one fact differ in length")
    if count and max(fact.endings) >= ENDINGS:
        raise RemoteFault(f"unknown ending {max(fact.endings)}")
    if any(not 0 <= row < count for row, _ in fact.texts):
        raise RemoteFault("a text belongs to no row")
    return started, ended


def _rows(
    tasks_data: bytes, instances_data: bytes, slots_data: bytes | None
) -> tuple[array[int], array[int], array[int]]:
    tasks, instances = read_u64(tasks_data), read_u32(instances_data)
    slots = array("I") if slots_data is None else read_u32(slots_data)
    _bounded(len(tasks))
    if len(instances) != len(tasks) or (slots_data is not None and len(slots) != len(tasks)):
        raise RemoteFault("columns of one fact differ in length")
    return tasks, instances, slots


def _bounded(rows: int) -> None:
    if rows > ROWS_MAX:
        raise RemoteFault(f"a fact has {rows} rows; at most {ROWS_MAX} are allowed")


def _ages(data: bytes, count: int) -> array[float]:
    ages = read_f64(data)
    if len(ages) != count:
        raise RemoteFault("columns of one fact differ in length")
    return ages


def _finite(what: str, *columns: array[float]) -> None:
    for column in columns:
        if column and not (
            isfinite(sum(column)) and -AGE_MAX_S < min(column) <= max(column) < AGE_MAX_S
        ):
            raise RemoteFault(f"an age of a {what} task is no number of seconds")
