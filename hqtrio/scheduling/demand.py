"""How many workers that do not exist would be of use for what the present ones cannot start.

Waiting tasks are laid out on empty workers of the given types, type by type and worker by worker,
each as full as it gets: so few workers are counted. Equal workers are filled once, and nothing
here depends on how many tasks wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import sqrt
from typing import Final, NamedTuple

from hqtrio.model.resources import Variants
from hqtrio.scheduling.offers import Offer, Room, Way, WorkerType, lasts
from hqtrio.scheduling.packing import Option, fill
from hqtrio.scheduling.tables import Tables

__all__ = ["Demand", "Load", "Waiting", "WorkerType", "lay_out", "plan", "waiting_in"]

LEVELS_MAX: Final = 32  # priorities told apart; of more than that, low ones share a level
LEVEL_WORTH: Final = 64.0  # of a task against one of the level below, where both count
TOGETHER_MAX: Final = 8  # levels planned together for a worker that wants to be used enough
NODES: Final = 300  # a good filling is good enough ...
EXACT_NODES: Final = 5_000  # ... but for a worker that wants to be used enough


@dataclass(frozen=True, slots=True)
class Waiting:
    """Ready tasks that have not started and have no slot, backlog included."""

    variants: Variants
    priority: int
    count: int


@dataclass(frozen=True, slots=True)
class Demand:
    """Workers that would be used if they existed."""

    single_node: tuple[int, ...]  # one per type
    # Type, nodes per allocation, allocations; sorted.
    multi_node: tuple[tuple[int, int, int], ...] = ()


class Load(NamedTuple):
    """What each of so many workers of one type starts: variants, which of them, how often."""

    type: int
    workers: int
    starts: tuple[tuple[Variants, int, int], ...]


def plan(waiting: Sequence[Waiting], types: Sequence[WorkerType]) -> Demand:
    """The workers of each type that would get at least one of the waiting tasks."""
    single_node = [0] * len(types)
    for load in lay_out(waiting, types):
        single_node[load.type] += load.workers
    return Demand(tuple(single_node), _multi_node(waiting, types))


def waiting_in(tables: Tables) -> list[Waiting]:
    """Everything that is ready and has neither started nor got a slot, highest priority first."""
    cancelled: Counter[tuple[int, int]] = Counter()
    for mirror in tables.workers.values():
        for task in mirror.cancelled:
            if task not in mirror.running:
                batch = mirror.held[task]
                cancelled[batch.klass.id, batch.priority] += 1
    counts: dict[tuple[int, int], int] = {}
    for klass in tables.classes.values():
        for priority, count in klass.backlog_levels():
            counts[priority, klass.id] = max(0, count - cancelled[klass.id, priority])
    variants = {klass.id: klass.variants for klass in tables.classes.values()}
    for priority, level in tables.levels.items():
        for number, queue in level.items():
            counts[priority, number] = counts.get((priority, number), 0) + queue.count
    return [
        Waiting(variants[number], priority, count)
        for (priority, number), count in sorted(
            counts.items(), key=lambda row: (-row[0][0], row[0][1])
        )
        if count
    ]


# --- multi-node


def _multi_node(
    waiting: Sequence[Waiting], types: Sequence[WorkerType]
) -> tuple[tuple[int, int, int], ...]:
    wanted: Counter[tuple[int, int]] = Counter()
    for row in waiting:
        if row.variants[0].nodes and row.count > 0:
            place = _place(row.variants, types)
            if place is not None:
                wanted[place] += row.count
    return tuple(sorted((*place, count) for place, count in wanted.items()))


def _place(variants: Variants, types: Sequence[WorkerType]) -> tuple[int, int] | None:
    """The first type that could take all nodes in one allocation, and how many nodes it is."""
    for request in variants:
        for index, kind in enumerate(types):
            if request.nodes <= kind.max_workers_per_allocation and lasts(kind, request):
                return index, request.nodes
    return None


# --- single-node


def lay_out(waiting: Sequence[Waiting], types: Sequence[WorkerType]) -> list[Load]:
    """Put single-node tasks on as few workers as it takes, highest priorities first.

    Tasks use the variant that comes first if all tasks can start that way, or else the mix of
    variants that is worth most; if both serve all tasks, whichever needs fewer workers.
    """
    classes, levels = _levels(waiting)
    totals: Counter[str] = Counter()
    for kind in types:
        for pool in kind.descriptor.pools:
            totals[pool.resource] += pool.size * kind.max_sn_workers
    offers = [
        Offer(index, kind, classes, totals)
        for index, kind in enumerate(types)
        if kind.max_sn_workers > 0
    ]
    by_value = _LayOut(offers, levels, by_value=True)
    if all(len(ways) == 1 for offer in offers for ways in offer.ways.values()):
        return by_value.loads(classes)
    in_order = _LayOut(offers, levels, by_value=False)
    if in_order.serves_all and (not by_value.serves_all or in_order.workers <= by_value.workers):
        return in_order.loads(classes)
    return by_value.loads(classes)


Level = dict[int, int]  # tasks by class


def _levels(waiting: Sequence[Waiting]) -> tuple[list[Variants], list[Level]]:
    """The classes of single-node tasks, and how many of each wait at each level."""
    numbers: dict[Variants, int] = {}
    known: dict[int, int] = {}  # by identity, which spares comparing long requests
    by_priority: dict[int, Level] = {}
    for row in waiting:
        number = known.get(id(row.variants))
        if number is None:
            number = known[id(row.variants)] = numbers.setdefault(row.variants, len(numbers))
        level = by_priority.setdefault(row.priority, {})
        level[number] = level.get(number, 0) + row.count
    levels: list[Level] = [{} for _ in range(min(len(by_priority), LEVELS_MAX))]
    for at, priority in enumerate(sorted(by_priority, reverse=True)):
        level = levels[_band(at, len(by_priority))]
        for number, count in by_priority[priority].items():
            level[number] = level.get(number, 0) + count
    return list(numbers), levels


def _band(at: int, count: int) -> int:
    """The level of the priority that is `at` from the top: the top ones have one each."""
    alone = LEVELS_MAX // 4
    if count <= LEVELS_MAX or at < alone:
        return at
    return alone + int(sqrt((at - alone) / (count - alone)) * (LEVELS_MAX - alone))


Starts = dict[tuple[int, int, int], int]  # tasks by level, class and variant


class _LayOut:
    """All waiting tasks on workers, or as many as there may be workers for."""

    def __init__(self, offers: list[Offer], levels: list[Level], *, by_value: bool) -> None:
        self._by_value: Final = by_value
        self._left: Final = [level.copy() for level in levels]
        self._rows: Final[list[tuple[Offer, int, Starts]]] = []
        self.workers = 0
        for offer in offers:
            self._serve(offer)
        able = {klass for offer in offers for klass in offer.ways}
        self.serves_all: Final = not any(
            count and klass in able for level in self._left for klass, count in level.items()
        )

    def loads(self, classes: list[Variants]) -> list[Load]:
        """What was laid out, level by level."""
        return [
            Load(
                offer.index,
                workers,
                tuple((classes[klass], way, count) for (_, klass, way), count in starts.items()),
            )
            for offer, workers, starts in self._rows
        ]

    def _serve(self, offer: Offer) -> None:
        """Fill workers of one type as long as they get anything."""
        limit = offer.kind.max_sn_workers
        while limit:
            starts = self._fill(offer)
            if not starts:
                return
            taken: Counter[tuple[int, int]] = Counter()
            for (number, klass, _), count in starts.items():
                taken[number, klass] += count
            # As long as there is enough for the same filling again it is the best again.
            workers = min(self._left[at][klass] // count for (at, klass), count in taken.items())
            workers = min(workers, limit)
            for (number, klass), count in taken.items():
                self._left[number][klass] -= workers * count
            self._rows.append((offer, workers, starts))
            self.workers += workers
            limit -= workers

    def _fill(self, offer: Offer) -> Starts:
        """What one more worker starts; nothing if that would be less than it insists on."""
        room = Room(offer)
        starts: Starts = {}
        alive, free = list(offer.ways), None
        for number, level in enumerate(self._left):
            if free is not room.free:  # something has started since
                free = room.free
                alive = [klass for klass in alive if any(map(room.fits, offer.ways[klass]))]
                if not alive:
                    break
            here = [klass for klass in alive if level.get(klass)]
            if here:
                counts = [level[klass] for klass in here]
                for choice in self._rounds([offer.ways[klass] for klass in here]):
                    for (at, way), count in _pack(room, choice, counts).items():
                        starts[number, here[at], way] = count
        if offer.at_least and offer.sizes[0] - room.free[0] < offer.at_least:
            return self._fill_up(offer)
        return starts

    def _rounds(self, ways: list[list[Way]]) -> list[list[list[Way]]]:
        """What to pack one after the other: variants that come first before others, or all."""
        if self._by_value:
            return [ways]
        ranks = zip_longest(*ways)
        return [[[way] if way is not None else [] for way in rank] for rank in ranks]

    def _fill_up(self, offer: Offer) -> Starts:
        """What one more worker starts so that it is used enough, of high levels if possible."""
        room = Room(offer)
        rows: list[tuple[int, int]] = []  # level and class
        ways: list[list[Way]] = []
        levels = 0
        for number, level in enumerate(self._left):
            here = [klass for klass in offer.ways if level.get(klass)]
            if here and levels < TOGETHER_MAX:
                worth = LEVEL_WORTH**-levels
                levels += 1
                rows += [(number, klass) for klass in here]
                ways += [
                    [way._replace(value=way.value * worth) for way in offer.ways[klass]]
                    for klass in here
                ]
        counts = [self._left[number][klass] for number, klass in rows]
        started = _pack(room, ways, counts, at_least=offer.at_least)
        if offer.sizes[0] - room.free[0] < offer.at_least:
            return {}
        return {(*rows[at], way): count for (at, way), count in started.items()}


def _pack(
    room: Room, ways: list[list[Way]], counts: list[int], *, at_least: int = 0
) -> dict[tuple[int, int], int]:
    """Start the most valuable mix: how many by position and variant. `counts` are lowered by it.

    Where amounts promise too much, what is left is packed again.
    """
    started: dict[tuple[int, int], int] = {}
    least = room.free[0] - at_least if at_least else 0
    deceived = True
    while deceived:
        deceived = False
        limited: list[tuple[int, Way]] = []
        for at, group in enumerate(ways):
            for way in group:
                if counts[at] and room.fits(way):
                    if any(way.demand):
                        limited.append((at, way))
                    else:  # nothing known limits it
                        started[at, way.variant] = counts[at]
                        counts[at] = 0
        if not limited:
            break
        options = [Option(at, way.demand, way.value) for at, way in limited]
        missing = max(0, room.free[0] - least) if at_least else 0
        nodes = EXACT_NODES if missing else NODES
        wanted = fill(room.free, options, counts, at_least=missing, nodes=nodes)
        for (at, way), count in zip(limited, wanted, strict=True):
            if count:
                taken = room.take(way, count)
                deceived |= taken < count
                if taken:
                    key = at, way.variant
                    started[key] = started.get(key, 0) + taken
                    counts[at] -= taken
    return started
