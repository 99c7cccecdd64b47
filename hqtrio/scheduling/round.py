"""One scheduling round: start what may start, hold what must wait, ship and steal backlog.

Levels are served from the highest priority down. What a waiting task could use is kept for it
(holds), except for the part of a worker that it can never use (the gap).
"""

from __future__ import annotations

from math import ceil, inf
from typing import Final

from hqtrio.model.resources import UNIT, Policy
from hqtrio.scheduling import shipping
from hqtrio.scheduling.mirror import Mirror, RequestClass, Stake
from hqtrio.scheduling.policies import STRICT
from hqtrio.scheduling.ready import ReadyQueue
from hqtrio.scheduling.tables import Hold, Tables

BACKLOG_MAX: Final = 20_000  # tasks of one class at one worker
BACKLOG_BYTES: Final = 1024 * 1024  # entries shipped ahead in one go
COVER_S: Final = 0.25 + 2 * 0.02  # work per slot, and two round trips
TASK_MIN_S: Final = 20e-6
LONG_S: Final = 10.0  # longer tasks get no backlog
LIFETIME_MARGIN_S: Final = 60.0  # a time request gets backlog only where it is far from too late
STEAL_MIN_S: Final = 0.01  # less work than this is done before it could move


class Round:
    """Brings the tables to where nothing more can be started, at one instant."""

    def __init__(self, tables: Tables, now: float) -> None:
        self._tables = tables
        self._now = now
        self._order: list[Mirror] = []
        self._order_is_stale = True
        self.placed = False  # whether priorities and holds were gone through
        self.wake_at = inf  # when lifetimes alone may change the answer

    def run(self) -> None:
        """Place, then top up backlogs, then move backlog to where there is room."""
        tables = self._tables
        # A backlog that has shrunk may leave a hold without anybody to wait for.
        if tables.review or tables.freed or tables.fresh or (tables.thin and tables.holds):
            self._place()
        self._top_up_all()
        if tables.review or tables.freed or tables.fresh:
            self._widen()
            self._steal()
        tables.clean()

    # --- starting

    def _place(self) -> None:
        """Go through the levels: start what fits, and hold workers for what waits."""
        tables = self._tables
        self.placed, self.wake_at = True, inf
        old, tables.holds = tables.holds, {}
        shipped = self._backlogs()
        present = tables.levels.keys() | shipped.keys()
        lowest = min(present, default=0)
        for priority, number in old:
            ready = number in tables.levels.get(priority, ())
            if not ready and number not in shipped.get(priority, ()):
                tables.review = True
        spent: set[int] = set()  # classes that fit nowhere any more
        orphans = self._orphans()
        for priority in sorted(present, reverse=True):
            for stake in orphans.get(priority, ()):
                self._open_for_backlog(stake, priority)
            waiting = shipped.get(priority, {})
            level = tables.levels.get(priority, {})
            for queue in sorted(level.values(), key=self._rank):
                klass = queue.klass
                if klass.id not in spent:
                    self._fill(queue)
                if queue.count:
                    spent.add(klass.id)
                    waiting[klass.id] = (klass, queue.count + waiting.get(klass.id, (klass, 0))[1])
            if priority == lowest:
                break
            for klass, count in waiting.values():
                self._hold(klass, priority, count, old.get((priority, klass.id)))
            for key in old:
                if key[0] == priority and key not in tables.holds:
                    tables.review = True

    def _orphans(self) -> dict[int, list[Stake]]:
        """By priority: backlog whose last slot closed while it was on its way.

        Its worker waits a moment for a new slot before it gives such tasks back; with tasks of
        microseconds this happens all the time, and giving back would cost more than running.
        """
        tables = self._tables
        orphans: dict[int, list[Stake]] = {}
        for number in tables.workers if tables.review else tables.freed:
            for stake in tables.workers[number].stakes.values():
                if stake.backlog and not stake.slots:
                    orphans.setdefault(_priority(stake), []).append(stake)
        return orphans

    def _backlogs(self) -> dict[int, dict[int, tuple[RequestClass, int]]]:
        """By priority and class: tasks that wait at workers, which others could start, too."""
        shipped: dict[int, dict[int, tuple[RequestClass, int]]] = {}
        for klass in self._tables.classes.values():
            if klass.shipped > klass.slots:
                for priority, count in klass.backlog_levels():
                    shipped.setdefault(priority, {})[klass.id] = (klass, count)
        return shipped

    def _rank(self, queue: ReadyQueue) -> tuple[float, int]:
        """Within a level the most valuable class first, then the oldest."""
        totals = self._tables.totals
        value = 0.0
        for request in queue.klass.variants:
            shares = (
                1.0 if need.policy is Policy.ALL else need.amount / totals[need.resource]
                for need in request.needs
                if totals.get(need.resource)
            )
            value = max(value, request.weight / UNIT * sum(shares))
        return -value, queue.first

    def _fill(self, queue: ReadyQueue) -> None:
        """Start as many tasks of the queue as fit, few workers first."""
        klass, now = queue.klass, self._now
        for mirror in self._candidates(klass):
            if klass.id in mirror.no_fit or not mirror.can_run(klass, now):
                continue
            if _has_higher_backlog(mirror, queue):
                continue
            holds = self._holds_on(mirror, klass, queue.priority)
            opened: list[shipping.OpenedSlot] = []
            while len(opened) < queue.count:
                if holds and not self._in_gaps(mirror, klass, holds):
                    break
                slot = mirror.open_slot(klass, now)
                if slot is None:
                    break
                opened.append(slot)
            if not opened:
                continue
            if len(mirror.slots) == len(opened):
                self._order_is_stale = True
            last = len(opened) == queue.count
            shipping.ship(self._tables, mirror, queue, len(opened), opened)
            self._tables.thin[mirror.id, klass.id] = None
            if last:
                return

    def _candidates(self, klass: RequestClass) -> list[Mirror]:
        """Workers to look at: those in use first, so that idle ones can leave, then the oldest."""
        tables = self._tables
        if tables.review or klass.id in tables.fresh:
            if self._order_is_stale:
                self._order = _compact(list(tables.workers.values()))
                self._order_is_stale = False
            return self._order
        return _compact([tables.workers[number] for number in tables.freed])

    # --- holds and gaps

    def _hold(self, klass: RequestClass, priority: int, waiting: int, old: Hold | None) -> None:
        """Keep one worker per waiting task, sticky; lower levels get only the gaps there."""
        tables, now = self._tables, self._now
        self.wake_at = min(self.wake_at, tables.next_crossing(klass, now))
        able = tables.could_run(klass, now)
        if able == 0:
            return
        hold = Hold(klass, priority)
        tables.holds[priority, klass.id] = hold
        before: dict[int, None] | None = {} if old is None else old.workers
        if waiting >= able:
            hold.workers = None
            if before is not None:
                self._clear(hold, list(tables.workers.values()), waiting)
            return
        kept: dict[int, None] = {}
        for number in before or ():
            mirror = tables.workers.get(number)
            if mirror is not None and mirror.can_run(klass, now) and len(kept) < waiting:
                kept[number] = None
        if before is None or len(kept) < len(before):
            tables.review = True
        if len(kept) < waiting:
            able_workers = [
                mirror
                for mirror in tables.workers.values()
                if mirror.id not in kept and mirror.can_run(klass, now)
            ]
            able_workers.sort(key=lambda mirror: (_missing(mirror, klass), mirror.id))
            chosen = able_workers[: waiting - len(kept)]
            kept.update((mirror.id, None) for mirror in chosen)
            self._clear(hold, chosen, waiting)
        hold.workers = kept

    def _clear(self, hold: Hold, mirrors: list[Mirror], waiting: int) -> None:
        """Ask back lower backlog where the hold's tasks are to start, from few workers."""
        for mirror in mirrors:
            if waiting <= 0:
                return
            if not mirror.can_run(hold.klass, self._now):
                continue
            lower = [
                stake
                for stake in mirror.stakes.values()
                if stake.klass is not hold.klass and stake.backlog
            ]
            if not lower:
                continue
            classes = {stake.klass.id for stake in lower}
            tasks = [
                task
                for task, batch in mirror.held.items()
                if batch.priority < hold.priority
                and batch.klass.id in classes
                and _is_still(mirror, task)
            ]
            if tasks:
                shipping.retract(mirror, tasks)
                waiting -= max(1, sum(stake.slots for stake in lower))

    def _holds_on(self, mirror: Mirror, klass: RequestClass, priority: int) -> list[Hold]:
        return [
            hold
            for hold in self._tables.holds.values()
            if hold.priority > priority
            and hold.klass is not klass
            and hold.keeps(mirror, self._now)
        ]

    def _in_gaps(self, mirror: Mirror, klass: RequestClass, holds: list[Hold]) -> bool:
        """Whether one more task of the class fits what no holder can ever use here."""
        return all(_fits_gap(mirror, klass, hold.klass) for hold in holds)

    # --- backlog

    def _top_up_all(self) -> None:
        tables = self._tables
        stakes: dict[tuple[int, int], Stake] = {}
        for worker, number in tables.thin:
            mirror = tables.workers.get(worker)
            stake = None if mirror is None else mirror.stakes.get(number)
            if stake is not None and stake.klass.ready:
                stakes[worker, number] = stake
        if tables.fresh:
            for klass in tables.classes.values():
                if klass.id in tables.fresh and klass.ready:
                    stakes.update(((s.mirror.id, klass.id), s) for s in klass.stakes.values())
        # Shares are cut from what was there before the first worker was served.
        surplus = {stake.klass.id: _top_count(stake.klass) for stake in stakes.values()}
        for stake in stakes.values():
            self._top_up(stake, surplus[stake.klass.id])

    def _top_up(self, stake: Stake, surplus: int) -> None:
        """Ship ahead what the worker's slots get through until the next chance."""
        klass, mirror = stake.klass, stake.mirror
        queue = klass.top
        if queue is None or not stake.slots or not mirror.in_use:
            return
        want = backlog_target(klass, stake.slots)
        backlog = stake.backlog
        if want == 0 or backlog * 2 > want:
            return
        count = min(want - backlog, surplus * stake.slots // klass.slots, queue.count)
        if count <= 0 or self._holds_on(mirror, klass, queue.priority):
            return
        if klass.timed and not self._is_timely(mirror, klass):
            return
        shipping.ship(self._tables, mirror, queue, max(1, min(count, _by_bytes(queue))))

    def _is_timely(self, mirror: Mirror, klass: RequestClass) -> bool:
        longest = max(request.time_s for request in klass.variants)
        return self._now + longest + LIFETIME_MARGIN_S <= mirror.deadline_at

    # --- moving backlog

    def _widen(self) -> None:
        """Open more slots where a worker has both room and backlog of a class."""
        tables = self._tables
        numbers = tables.workers if tables.review else tables.freed
        for mirror in [tables.workers[number] for number in numbers]:
            for stake in list(mirror.stakes.values()):
                top = stake.klass.top
                if stake.backlog and (top is None or _has_higher_backlog(mirror, top)):
                    self._open_for_backlog(stake, _priority(stake))

    def _open_for_backlog(self, stake: Stake, priority: int) -> None:
        """Grant slots to tasks that already lie at their worker, as far as there is room."""
        mirror, klass = stake.mirror, stake.klass
        while stake.backlog and klass.id not in mirror.no_fit and mirror.can_run(klass, self._now):
            holds = self._holds_on(mirror, klass, priority)
            if holds and not self._in_gaps(mirror, klass, holds):
                return
            slot = mirror.open_slot(klass, self._now)
            if slot is None:
                return
            shipping.ship_slot(mirror, klass, slot)

    def _steal(self) -> None:
        """Ask back backlog of classes that could start elsewhere at once."""
        for klass in self._tables.classes.values():
            if klass.ready or not klass.backlog:
                continue
            victims = [stake for stake in klass.stakes.values() if self._may_lose(stake)]
            if not victims:
                continue
            asked = sum(stake.retracting for stake in klass.stakes.values())
            need = self._room_elsewhere(klass, _priority(victims[0])) - asked
            if need > 0:
                self._take_from(victims, need)

    def _may_lose(self, stake: Stake) -> bool:
        if not stake.backlog or stake.retracting or stake.quiet_until > self._now:
            return False
        if stake.mirror.stopping is not None:
            return False
        mean = stake.klass.mean_s
        return mean < 0 or stake.backlog * mean >= STEAL_MIN_S * max(1, stake.slots)

    def _room_elsewhere(self, klass: RequestClass, priority: int) -> int:
        """How many tasks could start at once on workers without backlog of their own."""
        room = 0
        for mirror in self._tables.workers.values():
            if klass.id in mirror.no_fit or not mirror.can_run(klass, self._now):
                continue
            stake = mirror.stakes.get(klass.id)
            if stake is not None and stake.backlog:
                continue
            if not self._holds_on(mirror, klass, priority):
                room += mirror.room_for(klass)
            if room >= klass.backlog:
                break
        return room

    def _take_from(self, victims: list[Stake], need: int) -> None:
        """The latest tasks of the longest backlogs, so that all slots end up with as many."""
        klass = victims[0].klass
        fair = sum(stake.backlog for stake in victims) / (klass.slots + need)
        most = need * (1 + backlog_target(klass, 1))
        victims.sort(key=lambda s: (-s.backlog / max(1, s.slots), s.mirror.id))
        for stake in victims:
            if most <= 0:
                return
            count = min(most, max(1, int(stake.backlog - stake.slots * fair)))
            tasks: list[int] = []
            for task, batch in reversed(stake.mirror.held.items()):
                if batch.klass is klass and _is_still(stake.mirror, task):
                    tasks.append(task)
                    if len(tasks) == count:
                        break
            if tasks:
                shipping.retract(stake.mirror, tasks)
                most -= len(tasks)


def _has_higher_backlog(mirror: Mirror, queue: ReadyQueue) -> bool:
    """Whether tasks of the class that come before the queue's wait at the worker.

    What is free there is theirs, also while they are on their way to a slot that has closed.
    """
    stake = mirror.stakes.get(queue.klass.id)
    return stake is not None and stake.backlog > 0 and _priority(stake) > queue.priority


def backlog_target(klass: RequestClass, slots: int) -> int:
    """How many tasks should lie ready for so many slots: a quarter second of work for each."""
    if klass.mean_s > LONG_S:
        return 0
    if klass.mean_s < 0:
        return slots  # nothing is known yet, and a slot without successor closes
    return min(BACKLOG_MAX, slots * ceil(COVER_S / max(klass.mean_s, TASK_MIN_S)))


def _compact(mirrors: list[Mirror]) -> list[Mirror]:
    return sorted(mirrors, key=lambda mirror: (not mirror.slots, mirror.id))


def _top_count(klass: RequestClass) -> int:
    queue = klass.top
    return 0 if queue is None else queue.count


def _by_bytes(queue: ReadyQueue) -> int:
    """How many tasks may be shipped ahead before their entries grow too long."""
    entries = queue.head.slice
    if entries is None:
        return BACKLOG_MAX
    each = len(entries.blob) * 8 // max(1, entries.ends.nbytes)
    return BACKLOG_BYTES // max(1, each)


def _is_still(mirror: Mirror, task: int) -> bool:
    """Whether it makes sense to ask for the task."""
    return not (task in mirror.running or task in mirror.retracting or task in mirror.cancelled)


def _priority(stake: Stake) -> int:
    """The priority of the backlog; a class has backlog of one level at a time, nearly always."""
    held = stake.mirror.held
    return next(batch.priority for batch in reversed(held.values()) if batch.klass is stake.klass)


def _missing(mirror: Mirror, klass: RequestClass) -> float:
    """How much of the worker, relative to its pools, has to become free for one task."""
    least = inf
    for index in mirror.shape.usable(klass):
        worst = 0.0
        for need in klass.variants[index].needs:
            pool = mirror.pools.by_name[need.resource]
            amount = pool.pool.size if need.policy is Policy.ALL else need.amount
            worst = max(worst, (amount - pool.free) / pool.pool.size)
        least = min(least, worst)
    return least


def _fits_gap(mirror: Mirror, klass: RequestClass, holder: RequestClass) -> bool:
    """Whether a task of `klass` leaves the holder all it could use of a worker full of itself.

    A holder with several variants, or a strict one, for which amounts say little where there are
    groups, is taken to use everything.
    """
    usable = mirror.shape.usable(holder)
    if len(usable) != 1:
        return False
    request = holder.variants[usable[0]]
    pools = mirror.pools.by_name
    for need in request.needs:
        grouped = len(pools[need.resource].pool.groups) > 1
        if need.policy is Policy.ALL or (need.policy in STRICT and grouped):
            return False
    densest = min(pools[need.resource].pool.size // need.amount for need in request.needs)
    stake = mirror.stakes.get(holder.id)
    more = densest - (stake.slots if stake is not None else 0)
    wanted = {need.resource: more * need.amount for need in request.needs}
    for index in mirror.shape.usable(klass):
        if all(
            need.policy is not Policy.ALL
            and need.amount <= pools[need.resource].free - wanted.get(need.resource, 0)
            for need in klass.variants[index].needs
        ):
            return True
    return False
