"""Holds: workers kept for tasks that wait, and the gap that lower tasks may use there meanwhile.

A hold stays on its worker until the task starts there, nobody waits any more, or the worker could
no more run it. Choosing anew in every round would let a stream of small tasks keep a large one
waiting for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Final

from hqtrio.scheduling.mirror import Amounts, Mirror, RequestClass

if TYPE_CHECKING:
    from hqtrio.scheduling.context import Context
    from hqtrio.scheduling.tables import Tables


LOOKS_LEAST: Final = 200  # workers that are compared for a new hold


def rank_of(priority: int, *, aged: bool = False) -> int:
    """User priorities as even numbers; a class that waited too long comes half a level higher."""
    return 2 * priority + aged


class Hold:
    """Workers kept for waiting tasks of one class."""

    __slots__ = ("everywhere", "klass", "waiting", "workers")

    def __init__(self, klass: RequestClass) -> None:
        self.klass: Final = klass
        self.waiting = 0
        self.workers: Final[dict[int, int]] = {}  # with the rank of the task it is kept for
        # The rank from which every other worker that could run the class is kept as well.
        self.everywhere: int | None = None

    def rank_on(self, mirror: Mirror, now: float) -> int | None:
        """The rank of the task that the worker is kept for; None if it is not."""
        rank = self.workers.get(mirror.id)
        if rank is None and self.everywhere is not None and self.may_keep(mirror, now):
            return self.everywhere
        return rank

    def may_keep(self, mirror: Mirror, now: float) -> bool:
        """Whether the worker may be kept for single-node tasks of the class.

        One that has to be used to some degree is kept only for tasks that reach it by themselves.
        """
        if not mirror.can_run(self.klass, now):
            return False
        wanted = mirror.least_cpus
        return not wanted or any(
            mirror.shape.demand(self.klass, variant)[0] * self.waiting >= wanted
            for variant in mirror.variants(self.klass, now)
        )


def holders(
    tables: Tables, mirror: Mirror, klass: RequestClass | None, rank: int, now: float
) -> list[Hold]:
    """Holds of other classes on the worker that come before `rank`."""
    if not tables.holds:
        return []
    found = []
    for hold in tables.holds.values():
        if hold.klass is not klass:
            held_at = hold.rank_on(mirror, now)
            if held_at is not None and held_at > rank:
                found.append(hold)
    return found


def gap(mirror: Mirror, holds: Iterable[Hold], free: Amounts) -> Amounts | None:
    """What of `free` the holders can never use, however densely they fill the worker."""
    left = free
    for hold in holds:
        klass = hold.klass
        used = None if klass.nodes else mirror.shape.used_by(klass)
        if used is None:
            return None
        own = _own(mirror, klass)
        left = tuple(
            max(0, min(least, have + mine - most))
            for least, have, mine, most in zip(left, free, own, used, strict=True)
        )
    return left


def fits_gap(mirror: Mirror, klass: RequestClass, variant: int, holds: list[Hold]) -> bool:
    """Whether one more task of the class leaves the holders all that they could use."""
    left = gap(mirror, holds, mirror.free())
    if left is None:
        return False
    demand = mirror.shape.demand(klass, variant)
    return all(amount <= have for amount, have in zip(demand, left, strict=True))


def missing(mirror: Mirror, klass: RequestClass, now: float) -> tuple[float, int]:
    """How much of the worker, relative to its pools, has to become free for one task.

    With the variant that needs least.
    """
    least, best = inf, -1
    shape = mirror.shape
    free = mirror.free() if mirror.takes_slots else (0,) * len(shape.sizes)
    for index in mirror.variants(klass, now):
        worst = 0.0
        for amount, have, size in zip(shape.demand(klass, index), free, shape.sizes, strict=True):
            if amount > have:
                worst = max(worst, (amount - have) / size)
        if worst < least:
            least, best = worst, index
    return least, best


class Keeper:
    """Places the holds of one round, level after level, as few as needed in other places."""

    def __init__(self, context: Context) -> None:
        self._context: Final = context
        self._old: Final[Mapping[int, Hold]] = context.tables.holds
        self._stocks: Final[dict[int, list[int]]] = {}
        context.tables.holds = {}

    def keep(self, klass: RequestClass, rank: int, waiting: int) -> None:
        """Hold workers for so many more tasks that wait at this rank, if any could run them."""
        tables = self._context.tables
        hold = tables.holds.get(klass.id)
        if hold is not None and hold.everywhere is not None:
            hold.waiting += waiting
            return
        if hold is None:
            hold = Hold(klass)
        hold.waiting += waiting
        if klass.nodes:
            self._keep_nodes(hold, rank)
        else:
            self._keep_workers(hold, rank)
        if hold.workers or hold.everywhere is not None:
            tables.holds[klass.id] = hold

    def newly_held(self) -> Iterable[int]:
        """Workers that are kept for somebody now, or for somebody more important."""
        for number, new in self._context.tables.holds.items():
            old = self._old.get(number)
            if new.everywhere is not None and (old is None or old.everywhere != new.everywhere):
                yield from self._context.tables.workers
                return
            for worker, rank in new.workers.items():
                if old is None or old.workers.get(worker, rank - 1) < rank:
                    yield worker

    def settle(self) -> bool:
        """Whether somebody may use what was held before this round."""
        holds = self._context.tables.holds
        for number, old in self._old.items():
            new = holds.get(number)
            if new is None:
                return True
            everywhere = -inf if new.everywhere is None else new.everywhere
            if old.everywhere is not None and everywhere < old.everywhere:
                return True
            if any(
                max(everywhere, new.workers.get(worker, -inf)) < rank
                for worker, rank in old.workers.items()
            ):
                return True
        return False

    def _keep_workers(self, hold: Hold, rank: int) -> None:
        tables, now, klass = self._context.tables, self._context.now, hold.klass
        able = self._able(hold)
        if able == 0:
            return
        if hold.waiting >= able:
            hold.everywhere = rank
            return
        old = self._old.get(klass.id)
        if old is not None:
            for number in old.workers:
                if len(hold.workers) >= hold.waiting:
                    return
                mirror = tables.workers.get(number)
                if mirror is not None and hold.may_keep(mirror, now):
                    hold.workers.setdefault(number, rank)
        stock = self._stock(hold)
        while len(hold.workers) < hold.waiting and stock:
            hold.workers.setdefault(stock.pop(), rank)

    def _stock(self, hold: Hold) -> list[int]:
        """Workers that may be held for the class, the best one last."""
        known = self._stocks.get(hold.klass.id)
        if known:
            return known
        tables, now = self._context.tables, self._context.now
        able = (
            mirror
            for mirror in tables.workers.values()
            if mirror.id not in hold.workers and hold.may_keep(mirror, now)
        )
        looks = max(LOOKS_LEAST, 2 * (hold.waiting - len(hold.workers)))
        stock = sorted(islice(able, looks), key=lambda m: self._cost(m, hold.klass), reverse=True)
        known = self._stocks[hold.klass.id] = [mirror.id for mirror in stock]
        return known

    def _able(self, hold: Hold) -> int:
        tables, now, klass = self._context.tables, self._context.now, hold.klass
        if klass.timed or tables.demanding:
            return sum(hold.may_keep(mirror, now) for mirror in tables.workers.values())
        return tables.could_run(klass, now)

    def _cost(self, mirror: Mirror, klass: RequestClass) -> tuple[bool, float, int, int]:
        tables, now = self._context.tables, self._context.now
        taken = any(mirror.id in hold.workers for hold in tables.holds.values())
        lacks, _ = missing(mirror, klass, now)
        return taken, lacks, sum(mirror.free()), mirror.id

    def _keep_nodes(self, hold: Hold, rank: int) -> None:
        """Hold exactly as many workers of a group as each waiting task needs."""
        tables, now, klass = self._context.tables, self._context.now, hold.klass
        old = self._old.get(klass.id)
        before = old.workers if old is not None else {}
        taken = {n for other in tables.holds.values() if other is not hold for n in other.workers}
        stocks: dict[str, list[tuple[bool, bool, int, int]]] = {}
        least = min(request.nodes for request in klass.variants)
        for group, members in tables.groups.items():
            stock = sorted(
                (m.id not in before, m.id in taken, _load(m), m.id)
                for m in members.values()
                if m.id not in hold.workers
                and any(m.can_join(klass, v, now) for v in range(len(klass.variants)))
            )
            if len(stock) >= least:
                stocks[group] = stock
        for _ in range(hold.waiting - len(hold.workers) // least):
            if not stocks:
                return
            group = min(stocks, key=lambda name: (stocks[name][:least], name))
            for *_, number in stocks[group][:least]:
                hold.workers[number] = rank
            stocks[group] = stocks[group][least:]
            if len(stocks[group]) < least:
                del stocks[group]


def _load(mirror: Mirror) -> int:
    """How much has to end before the worker is empty."""
    return len(mirror.slots) if mirror.gang is None else 1 + len(mirror.gang.root.slots)


def _own(mirror: Mirror, klass: RequestClass) -> Amounts:
    """What slots of the class claim on the worker."""
    own = [0] * len(mirror.shape.sizes)
    stake = mirror.stakes.get(klass.id)
    if stake is not None and stake.slots:
        for slot in mirror.slots.values():
            if slot.klass is klass:
                for at, amount in enumerate(mirror.shape.demand(klass, slot.variant)):
                    own[at] += amount
    return tuple(own)
