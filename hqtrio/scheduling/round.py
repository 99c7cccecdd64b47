"""One scheduling round: start what may start, hold what must wait, ship and steal backlog.

Levels are served from the highest priority down. What a waiting task could use is kept for it
(holds), except for the part of a worker that it can never use (the gap).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Final

from hqtrio.scheduling import backlog
from hqtrio.scheduling.context import Context
from hqtrio.scheduling.drains import reconcile
from hqtrio.scheduling.filling import Filler
from hqtrio.scheduling.gangs import can_be_hosted, start_gangs
from hqtrio.scheduling.holds import Keeper, rank_of
from hqtrio.scheduling.mirror import Mirror, RequestClass, Stake
from hqtrio.scheduling.ready import ReadyQueue
from hqtrio.scheduling.tables import Tables

Waiting = dict[int, tuple[RequestClass, int]]  # by class: how many tasks

PASSES: Final = 3  # over all levels, after holds have ended
PACKED_LEVELS: Final = 16  # that are placed together if all their tasks can start


class Round:
    """Brings the tables to where nothing more can be started, at one instant.

    A round that would take long stops between two workers; the tables stay dirty then.
    """

    def __init__(self, tables: Tables, now: float, patience_s: float) -> None:
        self._tables = tables
        self._context = Context(tables, now, patience_s)
        self._filler = Filler(self._context)
        self._late_starts = 0  # on workers that are filled after all levels
        self._newly_held: dict[int, None] = {}
        self._unsettled = False  # somebody may use what was held before
        self.placed = False  # whether priorities and holds were gone through
        self.wake_at = inf  # when time alone may change the answer

    def run(self) -> None:
        """Place, then top up backlogs, then move backlog to where there is room."""
        tables, context = self._tables, self._context
        # A backlog that has shrunk may leave a hold without anybody to wait for.
        if tables.review or tables.freed or tables.fresh or (tables.thin and tables.holds):
            self._place()
            for _ in range(PASSES):
                if not self._unsettled or context.is_cut:
                    break
                tables.review = True
                context.spent.clear()
                self._place()
        backlog.top_up_all(context)
        if context.is_cut:
            return
        if self.placed:
            self._drain()
            if tables.review:
                backlog.take_back_late(context)
            backlog.steal(context)
        tables.clean()

    # --- levels

    def _place(self) -> None:
        """Go through the levels: start what fits, and hold workers for what waits."""
        tables, context = self._tables, self._context
        self.placed = True
        self._late_starts = 0
        before = tables.holds
        keeper = Keeper(context)
        shipped = self._backlogs()
        with_room = backlog.with_room(context)
        present = sorted({*tables.levels, *shipped, *with_room}, reverse=True)
        levels = [min(klass.shipped_at) for klass in tables.classes.values() if klass.shipped]
        lowest = min([*levels, *present[-1:]], default=0)
        if not shipped and not with_room:
            self._pack(present)
        for priority in present:
            stakes = with_room.get(priority, ())
            self._place_level(keeper, priority, stakes, shipped.get(priority, ()), lowest)
            if context.is_cut:
                # What was not looked at keeps what it had.
                tables.holds = before
                return
            if self._is_exhausted():
                self._open_below(priority, with_room)
                break
        if tables.demanding:
            self._fill_demanding()
        self._newly_held.update(dict.fromkeys(keeper.newly_held()))
        released = keeper.settle() and not tables.review
        # A hold that was placed before its task started tentatively is not needed any more.
        self._unsettled = released or (self._late_starts > 0 and bool(tables.holds))
        for klass in tables.classes.values():
            if klass.timed and (klass.ready or klass.backlog):
                context.wake_at = min(context.wake_at, tables.next_crossing(klass, context.now))
        self.wake_at = context.wake_at

    def _place_level(
        self,
        keeper: Keeper,
        priority: int,
        stakes: Iterable[Stake],
        shipped: Iterable[RequestClass],
        lowest: int,
    ) -> None:
        context = self._context
        for stake in stakes:
            backlog.open_for_backlog(context, stake, priority)
        level = self._tables.levels.get(priority)
        queues = [] if level is None else list(level.values())
        singles = [queue for queue in queues if not queue.klass.nodes]
        gangs = [queue for queue in queues if queue.klass.nodes]
        kept = [q.klass for q in self._overdue(queues) if self._start_overdue(keeper, q)]
        if gangs:
            if self._tables.demanding:
                self._fill_demanding(above=priority)
            classes = [queue.klass for queue in singles]
            gangs = [queue for queue in gangs if queue.count]
            for queue in sorted(gangs, key=lambda queue: (-queue.klass.nodes, queue.first)):
                start_gangs(context, queue, classes, queue.count)
        self._filler.fill(singles)
        if context.is_cut:
            return
        for stake in stakes:
            backlog.open_for_backlog(context, stake, priority)
        waiting: Waiting = {
            klass.id: (klass, count)
            for klass in shipped
            if (count := dict(klass.backlog_levels(self._tables.unused.values())).get(priority, 0))
        }
        for queue in queues:
            if queue.count:
                backlog.overtake(context, queue)
        for queue in queues:
            if queue.count:
                context.spent.add(queue.klass.id)
                klass, count = queue.klass, queue.count
                waiting[klass.id] = (klass, count + waiting.get(klass.id, (klass, 0))[1])
        self._watch(queues, alone=len(waiting) < 2)
        for klass, count in waiting.values():
            if priority == lowest and not klass.nodes:
                continue  # nobody comes after it; but nodes must not leave while they wait
            count -= klass in kept
            if count and self._could_start(klass):
                keeper.keep(klass, rank_of(priority), count)

    def _is_exhausted(self) -> bool:
        """Whether nothing of lower levels could start: every class waits, and is kept everywhere.

        Classes that wait only on lower levels are not spent yet.
        """
        context, holds = self._context, self._tables.holds
        if len(context.spent) < len(context.present) or self._tables.demanding:
            return False
        return all(
            (hold := holds.get(number)) is not None and hold.everywhere is not None
            for number in context.present
        )

    def _open_below(self, priority: int, with_room: dict[int, list[Stake]]) -> None:
        """Slots for backlog of lower levels: no hold keeps a class from its own worker."""
        for level in sorted((level for level in with_room if level < priority), reverse=True):
            for stake in with_room[level]:
                backlog.open_for_backlog(self._context, stake, level)

    def _could_start(self, klass: RequestClass) -> bool:
        return not klass.nodes or can_be_hosted(self._context, klass)

    def _pack(self, present: list[int]) -> None:
        """Place the tasks of several levels together, if all of them can start."""
        levels = [list(self._tables.levels[priority].values()) for priority in present]
        queues = [queue for level in levels for queue in level]
        able = [queue for queue in queues if self._tables.could_run(queue.klass, self._context.now)]
        if len(levels) < 2 or len(levels) > PACKED_LEVELS or self._tables.holds:
            return
        if any(queue.klass.nodes for queue in queues):
            return
        if able:
            self._filler.try_all(able, self._context.candidates(able))

    def _backlogs(self) -> dict[int, list[RequestClass]]:
        """By priority: classes with tasks that wait at workers and that others could start, too."""
        shipped: dict[int, list[RequestClass]] = {}
        unused = self._tables.unused.values()
        for klass in self._tables.classes.values():
            if backlog.is_worth_moving(klass):
                for priority, _ in klass.backlog_levels(unused):
                    shipped.setdefault(priority, []).append(klass)
        return shipped

    def _fill_demanding(self, above: float = -inf) -> None:
        """Workers with a minimal utilization get from all levels above what reaches it."""
        tables, before = self._tables, self._context.slots_left
        priorities = sorted((p for p in tables.levels if p > above), reverse=True)
        levels = [list(tables.levels[priority].values()) for priority in priorities]
        for mirror in list(tables.demanding.values()):
            self._filler.fill_demanding(mirror, levels)
        self._late_starts += before - self._context.slots_left

    # --- patience

    def _overdue(self, queues: list[ReadyQueue]) -> list[ReadyQueue]:
        """Queues that others of their level have overtaken for too long."""
        context = self._context
        if not context.patience_s:
            return []
        latest = context.now - context.patience_s
        overdue = [q for q in queues if q.klass.waits_since.get(q.priority, inf) <= latest]
        # Those that were served least recently first, then the oldest.
        return sorted(overdue, key=lambda queue: (queue.klass.started_at, queue.first))

    def _start_overdue(self, keeper: Keeper, queue: ReadyQueue) -> bool:
        """Start the oldest task of the queue before the rest of its level; whether it waits on.

        Workers are held for it then, if any could run it.
        """
        klass, before = queue.klass, queue.count
        if klass.nodes:
            start_gangs(self._context, queue, (), 1, aged=True)
        else:
            self._filler.fill([queue], aged=True)
            for mirror in self._tables.demanding.values() if queue.count == before else ():
                self._filler.fill_demanding(mirror, [[queue]])
        if queue.count != before or not self._could_start(klass):
            return False
        keeper.keep(klass, rank_of(queue.priority, aged=True), 1)
        return True

    def _watch(self, queues: list[ReadyQueue], *, alone: bool) -> None:
        """Note since when the queues wait, if others of the level may overtake them."""
        context = self._context
        for queue in queues:
            if alone or not context.patience_s:
                queue.klass.waits_since.pop(queue.priority, None)
            elif queue.count:
                since = queue.klass.waits_since.setdefault(queue.priority, context.now)
                if since + context.patience_s > context.now:
                    context.wake_at = min(context.wake_at, since + context.patience_s)

    # --- drains

    def _drain(self) -> None:
        tables = self._tables
        if tables.review or tables.fresh:
            mirrors = list(tables.workers.values())
        else:
            near = dict.fromkeys((*tables.freed, *self._newly_held))
            near.update((worker, None) for worker, _ in tables.thin)
            mirrors = [tables.workers[n] for n in near if n in tables.workers]
        if tables.holds or any(mirror.drained for mirror in mirrors):
            reconcile(self._context, mirrors)


def held_workers(tables: Tables, now: float) -> list[Mirror]:
    """Workers that are kept for somebody."""
    return [
        mirror
        for mirror in tables.workers.values()
        if any(hold.rank_on(mirror, now) is not None for hold in tables.holds.values())
    ]
