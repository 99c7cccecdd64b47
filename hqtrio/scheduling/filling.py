"""Starting single-node tasks of one level on the workers.

If all tasks of the level can start, each takes its earliest variant that fits. Otherwise every
worker is filled so that the value started there is greatest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hqtrio.model.resources import UNIT, Policy
from hqtrio.scheduling.context import Context, has_higher_backlog
from hqtrio.scheduling.holds import gap, holders, rank_of
from hqtrio.scheduling.mirror import Amounts, Mirror, OpenedSlot, RequestClass
from hqtrio.scheduling.packing import Option, fill, fill_together
from hqtrio.scheduling.policies import STRICT
from hqtrio.scheduling.ready import ReadyQueue

TRIAL_TASKS: Final = 1_000  # of so many tasks it is tried whether all can start
JOINT_MIRRORS: Final = 8  # so few workers are filled together, if
JOINT_OPTIONS: Final = 24  # there are no more ways to start a task
TRIALS_MAX: Final = 4  # that fail in one round
COUNT_MAX: Final = 1_024  # tasks of one class that a worker is planned for in one go
LEVELS_MAX: Final = 8  # that are planned together for a worker with a minimal utilization
LEVEL_WORTH: Final = 64.0  # of a task, against one of the level below

Choice = tuple[ReadyQueue, int]  # a class, and one of its variants


class Filler:
    """Starts what fits. Queues shrink as their tasks are shipped."""

    def __init__(self, context: Context) -> None:
        self._context: Final = context
        self._memo: dict[object, tuple[int, ...]] = {}
        self._failed = 0  # trials

    # --- one level

    def fill(self, queues: Sequence[ReadyQueue], *, aged: bool = False) -> None:
        """Start as many tasks of these queues of one level as fit; of aged ones a single each."""
        context = self._context
        queues = [q for q in queues if q.count and q.klass.id not in context.spent]
        if not queues or context.is_cut:
            return
        rank = rank_of(queues[0].priority, aged=aged)
        mirrors = context.candidates(queues)
        if aged:
            for queue in queues:
                self._fill_alone(queue, mirrors, rank, most=1)
        elif len(queues) == 1 and len(queues[0].klass.variants) == 1:
            self._fill_alone(queues[0], mirrors, rank, most=queues[0].count)
        elif not self.try_all(queues, mirrors):
            self._fill_each(queues, mirrors, rank)

    def _fill_alone(
        self, queue: ReadyQueue, mirrors: Sequence[Mirror], rank: int, most: int
    ) -> None:
        """Start up to `most` tasks of the queue, few workers first."""
        context, klass = self._context, queue.klass
        for mirror in mirrors:
            if mirror.least_cpus or not mirror.takes_slots or not self._fitting(mirror, (queue,)):
                continue
            opened = self._open(mirror, klass, None, most, self._left(mirror, klass, rank))
            if opened:
                most -= len(opened)
                context.ship(mirror, queue, opened)
                if most == 0 or context.is_cut:
                    return

    def _is_open(self, mirror: Mirror, queue: ReadyQueue) -> bool:
        """Whether tasks of the queue may be looked at for this worker."""
        klass = queue.klass
        return (
            klass.id not in mirror.no_fit
            and mirror.gang is None
            and not mirror.least_cpus
            and mirror.can_run(klass, self._context.now)
            and not has_higher_backlog(mirror, queue)
        )

    def _left(self, mirror: Mirror, klass: RequestClass | None, rank: int) -> list[int] | None:
        """What is left for the class beside the holds on the worker; None: whatever is free."""
        held = holders(self._context.tables, mirror, klass, rank, self._context.now)
        if not held:
            return None
        left = gap(mirror, held, mirror.free())
        return list(left) if left is not None else [0] * len(mirror.shape.sizes)

    def _open(
        self,
        mirror: Mirror,
        klass: RequestClass,
        variant: int | None,
        most: int,
        left: list[int] | None,
    ) -> list[OpenedSlot]:
        """Open up to `most` slots, and take from `left` what they claim."""
        opened: list[OpenedSlot] = []
        now = self._context.now
        most = min(most, max(1, self._context.slots_left))
        if left is None and variant is None:
            while len(opened) < most:
                slot = mirror.open_slot(klass, now)
                if slot is None:
                    break
                opened.append(slot)
            return opened
        for index in mirror.variants(klass, now) if variant is None else (variant,):
            demand = mirror.shape.demand(klass, index)
            while len(opened) < most:
                if left is not None and any(map(int.__gt__, demand, left)):
                    break
                slot = mirror.open_variant(klass, index)
                if slot is None:
                    break
                opened.append(slot)
                if left is not None:
                    left[:] = map(int.__sub__, left, demand)
        return opened

    # --- all or nothing

    def try_all(self, queues: Sequence[ReadyQueue], mirrors: Sequence[Mirror]) -> bool:
        """Start every task of these queues, or none; the most valuable ones are placed first.

        The queues may be of several levels if nobody is kept waiting by that.
        """
        context = self._context
        if sum(queue.count for queue in queues) > TRIAL_TASKS or not self._may_fit(queues):
            return False
        if self._failed >= TRIALS_MAX:
            return False
        plan: list[tuple[Mirror, ReadyQueue, list[OpenedSlot]]] = []
        for queue in sorted(queues, key=self._size):
            left = queue.count
            for variant in range(len(queue.klass.variants)):
                for mirror in mirrors if left else ():
                    opened = self._try(mirror, queue, variant, left)
                    if opened:
                        plan.append((mirror, queue, opened))
                        left -= len(opened)
                        if not left:
                            break
            if left:
                for mirror, _, opened in plan:
                    for number, _ in opened:
                        mirror.close_slot(number)
                self._failed += 1
                return False
        for mirror, queue, opened in sorted(plan, key=lambda row: -row[1].priority):
            context.ship(mirror, queue, opened)
        return True

    def _try(self, mirror: Mirror, queue: ReadyQueue, variant: int, most: int) -> list[OpenedSlot]:
        klass = queue.klass
        if not self._is_open(mirror, queue) or variant not in mirror.variants(
            klass, self._context.now
        ):
            return []
        left = self._left(mirror, klass, rank_of(queue.priority))
        only = None if len(klass.variants) == 1 else variant
        return self._open(mirror, klass, only, most, left)

    def _may_fit(self, queues: Sequence[ReadyQueue]) -> bool:
        """Whether what all tasks need at least is free in all."""
        wanted: dict[str, int] = {}
        for queue in queues:
            variants = queue.klass.variants
            for name in {need.resource for request in variants for need in request.needs}:
                least = min(
                    next((need.amount for need in request.needs if need.resource == name), 0)
                    for request in variants
                )
                wanted[name] = wanted.get(name, 0) + least * queue.count
        free = self._context.tables.free
        return all(amount <= free.get(name, 0) for name, amount in wanted.items())

    def _size(self, queue: ReadyQueue) -> tuple[float, int, int]:
        """The largest tasks first, then those that few workers can run, then the oldest."""
        tables = self._context.tables
        request, size = queue.klass.variants[0], 0.0
        for need in request.needs:
            free = tables.free.get(need.resource, 0)
            size += 1.0 if need.policy is Policy.ALL else need.amount / free if free else 0.0
        able = tables.could_run(queue.klass, self._context.now)
        return -size * request.weight / UNIT, able, queue.first

    # --- by value

    def _fill_each(
        self, queues: Sequence[ReadyQueue], mirrors: Sequence[Mirror], rank: int
    ) -> None:
        """Fill one worker after the other with what is worth most there."""
        context = self._context
        able = {q.klass.id: context.tables.could_run(q.klass, context.now) for q in queues}
        live = sorted(queues, key=lambda queue: (able[queue.klass.id], queue.first))
        if len(mirrors) <= JOINT_MIRRORS:
            self._fill_jointly(live, mirrors, rank)
            live = [queue for queue in live if queue.count]
        for mirror in mirrors:
            if context.is_cut or not live:
                return
            if mirror.least_cpus or not mirror.takes_slots:
                continue
            if self._fill_worker(mirror, live, rank):
                live = [queue for queue in live if queue.count]

    def _fill_jointly(
        self, queues: Sequence[ReadyQueue], mirrors: Sequence[Mirror], rank: int
    ) -> None:
        """Fill very few workers so that the value started on all of them is greatest."""
        rows: list[tuple[Mirror, list[int] | None, list[Choice]]] = []
        rooms: list[Amounts] = []
        options: list[list[Option]] = []
        for mirror in mirrors:
            if mirror.least_cpus or not mirror.takes_slots:
                continue
            left = self._left(mirror, None, rank) if self._context.tables.holds else None
            room = mirror.free() if left is None else tuple(left)
            mine = self._fitting(mirror, queues)
            choices, own = self._options(mirror, mine, room)
            if own:
                rows.append((mirror, left, choices))
                rooms.append(room)
                options.append([o._replace(klass=queues.index(mine[o.klass])) for o in own])
        if len(rows) < 2 or sum(map(len, options)) > JOINT_OPTIONS:
            return
        available = [min(queue.count, COUNT_MAX) for queue in queues]
        for (mirror, left, choices), counts in zip(
            rows, fill_together(rooms, options, available), strict=True
        ):
            opened: dict[ReadyQueue, list[OpenedSlot]] = {}
            planned = [(choice, n) for choice, n in zip(choices, counts, strict=True) if n]
            for (queue, variant), count in sorted(planned, key=_delicate):
                slots = opened.setdefault(queue, [])
                slots += self._open(mirror, queue.klass, variant, count, left)
            for queue, slots in opened.items():
                if slots:
                    self._context.ship(mirror, queue, slots)

    def _fill_worker(self, mirror: Mirror, live: Sequence[ReadyQueue], rank: int) -> bool:
        """Start the most valuable tasks that fit; whether anything was started."""
        mine = self._fitting(mirror, live)
        if not mine:
            return False
        if len(mine) == 1 and len(mine[0].klass.variants) == 1:
            klass = mine[0].klass
            left = self._left(mirror, klass, rank)
            slots = self._open(mirror, klass, None, mine[0].count, left)
            if slots:
                self._context.ship(mirror, mine[0], slots)
            return bool(slots)
        opened: dict[ReadyQueue, list[OpenedSlot]] = {}
        left = self._left(mirror, None, rank)
        self._open_by_value(mirror, mine, left, rank, opened)
        for queue, slots in opened.items():
            if slots:
                self._context.ship(mirror, queue, slots)
        return any(opened.values())

    def _open_by_value(
        self,
        mirror: Mirror,
        queues: list[ReadyQueue],
        left: list[int] | None,
        rank: int,
        opened: dict[ReadyQueue, list[OpenedSlot]],
    ) -> None:
        """Open the slots that are worth most together, then whatever else still fits."""
        # A strict request may need just the groups that others would take as well.
        for (queue, variant), count in sorted(self._plan(mirror, queues, left), key=_delicate):
            slots = opened.setdefault(queue, [])
            slots += self._open(mirror, queue.klass, variant, count, left)
        # Groups may have stood in the way of the plan, which is about amounts; and no class has
        # to leave room for tasks of its own that lie elsewhere.
        for queue in self._fitting(mirror, queues):
            slots = opened.setdefault(queue, [])
            if queue.count > len(slots):
                if left is not None:
                    left = self._left(mirror, queue.klass, rank)
                slots += self._open(mirror, queue.klass, None, queue.count - len(slots), left)

    def _fitting(self, mirror: Mirror, queues: Sequence[ReadyQueue]) -> list[ReadyQueue]:
        """Those of the queues that could have a task started in what is free, by amounts."""
        now, no_fit, shape = self._context.now, mirror.no_fit, mirror.shape
        free = mirror.free()
        fitting = []
        for queue in queues:
            klass = queue.klass
            if klass.id in no_fit:
                continue
            for variant in mirror.variants(klass, now):
                demand = shape.demand(klass, variant)
                if demand[0] <= free[0] and not any(map(int.__gt__, demand, free)):
                    if klass.id not in mirror.too_late and not has_higher_backlog(mirror, queue):
                        fitting.append(queue)
                    break
            else:
                no_fit.add(klass.id)
        return fitting

    def _plan(
        self, mirror: Mirror, queues: list[ReadyQueue], left: list[int] | None
    ) -> list[tuple[Choice, int]]:
        """How many tasks to start in which variant."""
        free = mirror.free() if left is None else tuple(left)
        choices, options = self._options(mirror, queues, free)
        available = [min(queue.count, COUNT_MAX) for queue in queues]
        if not options:
            return []
        key = (
            mirror.shape,
            free,
            tuple((queues[o.klass].klass.id, o.demand) for o in options),
            tuple(available[option.klass] for option in options),
        )
        counts = self._memo.get(key)
        if counts is None:
            counts = self._memo[key] = fill(free, options, available)
        return [(choice, n) for choice, n in zip(choices, counts, strict=True) if n]

    def _options(
        self, mirror: Mirror, queues: Sequence[ReadyQueue], free: Amounts
    ) -> tuple[list[Choice], list[Option]]:
        context, shape = self._context, mirror.shape
        choices: list[Choice] = []
        options: list[Option] = []
        for at, queue in enumerate(queues):
            klass = queue.klass
            for variant in mirror.variants(klass, context.now):
                demand = shape.demand(klass, variant)
                if not any(map(int.__gt__, demand, free)):
                    choices.append((queue, variant))
                    options.append(Option(at, demand, context.value(mirror, klass, variant)))
        return choices, options

    # --- workers that are to be used to some degree or not at all

    def fill_demanding(self, mirror: Mirror, levels: Sequence[Sequence[ReadyQueue]]) -> None:
        """Start tasks of all levels on a worker with a minimal utilization, if that is reached.

        Level by level where that is enough, else what reaches it with the most value.
        """
        context, now = self._context, self._context.now
        missing = mirror.least_cpus - (mirror.shape.sizes[0] - mirror.free()[0])
        open_levels = [
            [q for q in level if q.count and mirror.can_run(q.klass, now) and not q.klass.nodes]
            for level in levels[: LEVELS_MAX * 2]
        ]
        open_levels = [level for level in open_levels if level]
        if not open_levels or mirror.gang is not None or not mirror.in_use:
            return
        opened: dict[ReadyQueue, list[OpenedSlot]] = {}
        for level in open_levels:
            rank = rank_of(level[0].priority)
            self._open_by_value(mirror, level, self._left(mirror, None, rank), rank, opened)
        if _cpus(mirror, opened) < missing:
            _undo(mirror, opened)
            free_levels = [
                level
                for level in open_levels[:LEVELS_MAX]
                if self._left(mirror, None, rank_of(level[0].priority)) is None
            ]
            opened = self._open_exactly(mirror, free_levels, missing)
        for queue, slots in opened.items():
            if slots:
                context.ship(mirror, queue, slots)

    def _open_exactly(
        self, mirror: Mirror, levels: Sequence[Sequence[ReadyQueue]], missing: int
    ) -> dict[ReadyQueue, list[OpenedSlot]]:
        """Slots that claim at least the missing cpus, or none."""
        queues = [queue for level in levels for queue in level]
        worth = {
            queue: LEVEL_WORTH ** (len(levels) - at)
            for at, level in enumerate(levels)
            for queue in level
        }
        free = mirror.free()
        choices, options = self._options(mirror, queues, free)
        scaled = [
            option._replace(value=option.value * worth[queue])
            for (queue, _), option in zip(choices, options, strict=True)
        ]
        available = [min(queue.count, COUNT_MAX) for queue in queues]
        counts = fill(free, scaled, available, at_least=max(1, missing))
        opened: dict[ReadyQueue, list[OpenedSlot]] = {}
        rows = [(choice, n) for choice, n in zip(choices, counts, strict=True) if n]
        for (queue, variant), count in sorted(rows, key=_delicate):
            opened.setdefault(queue, []).extend(
                self._open(mirror, queue.klass, variant, count, None)
            )
        if _cpus(mirror, opened) < missing:
            _undo(mirror, opened)
            return {}
        return opened


def _delicate(row: tuple[Choice, int]) -> tuple[bool, int, bool]:
    """Strict requests first, then large ones, then those that want to stay together."""
    (queue, variant), _ = row
    needs = queue.klass.variants[variant].needs
    strict = any(need.policy in STRICT for need in needs)
    scattered = any(need.policy is Policy.SCATTER for need in needs)
    return not strict, -max(need.amount for need in needs), scattered


def _cpus(mirror: Mirror, opened: dict[ReadyQueue, list[OpenedSlot]]) -> int:
    return sum(
        mirror.shape.demand(queue.klass, slot.variant)[0]
        for queue, slots in opened.items()
        for _, slot in slots
    )


def _undo(mirror: Mirror, opened: dict[ReadyQueue, list[OpenedSlot]]) -> None:
    for slots in opened.values():
        for number, _ in slots:
            mirror.close_slot(number)
