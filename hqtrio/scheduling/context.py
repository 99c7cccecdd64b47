"""What the parts of one scheduling round share."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from hqtrio.model.resources import UNIT
from hqtrio.scheduling import shipping
from hqtrio.scheduling.mirror import Mirror, OpenedSlot, RequestClass, Shape
from hqtrio.scheduling.ready import ReadyQueue
from hqtrio.scheduling.tables import Tables

SLICE_SLOTS: Final = 400  # slots opened before other work gets its turn
SHIP_COST: Final = 2  # of choosing a worker, in slots
LEAST_VALUE: Final = 1e-12


class Context:
    """One round: an instant, the tables, and what was found out meanwhile."""

    def __init__(self, tables: Tables, now: float, patience_s: float) -> None:
        self.tables: Final = tables
        self.now: Final = now
        self.patience_s: Final = patience_s
        self.wake_at = inf  # when time alone may change the answer
        self.slots_left = SLICE_SLOTS
        self.spent: Final[set[int]] = set()  # classes that fit nowhere any more
        self._wanted: Final[dict[int, bool]] = {}
        self._free: Final = dict(tables.free)
        self._values: Final[dict[tuple[Shape, int, int], float]] = {}
        self.present: Final = {number for level in tables.levels.values() for number in level}
        self._candidates: Final[dict[bool, list[Mirror]]] = {}  # of all workers, of the freed ones
        self._unsorted: Final[set[bool]] = set()

    @property
    def is_cut(self) -> bool:
        """Whether the rest has to wait for the next round."""
        return self.slots_left <= 0

    def cut(self) -> None:
        """Leave the rest for the next round."""
        self.slots_left = 0

    def candidates(self, queues: Sequence[ReadyQueue]) -> list[Mirror]:
        """Workers to look at: those in use first, so that idle ones can leave, then the oldest."""
        tables = self.tables
        everywhere = tables.review or any(queue.klass.id in tables.fresh for queue in queues)
        numbers = tables.workers if everywhere else tables.freed
        mirrors = self._candidates.get(everywhere)
        if mirrors is None:
            mirrors = [tables.workers[number] for number in numbers]
            self._candidates[everywhere] = mirrors
            self._unsorted.add(everywhere)
        # Of thousands of levels each sees only the workers that those before it left room on.
        full = self.present
        mirrors[:] = [m for m in mirrors if not full <= m.no_fit and m.gang is None]
        if everywhere in self._unsorted:
            self._unsorted.discard(everywhere)
            mirrors.sort(key=_in_order)
        wanted = {queue.klass.id for queue in queues}
        return [mirror for mirror in mirrors if not wanted <= mirror.no_fit]

    def value(self, mirror: Mirror, klass: RequestClass, variant: int) -> float:
        """What starting the variant here is worth: its weighted share of what is free anywhere."""
        key = (mirror.shape, klass.id, variant)
        known = self._values.get(key)
        if known is None:
            free = self._free
            demand = mirror.shape.demand(klass, variant)
            shares = [
                amount / free[name]
                for name, amount in zip(mirror.shape.resources, demand, strict=True)
                if amount and free.get(name)
            ]
            known = klass.variants[variant].weight / UNIT * sum(shares)
            known = self._values[key] = max(known, LEAST_VALUE)
        return known

    def is_wanted(self, klass: RequestClass) -> bool:
        """Whether tasks of the class could help to use a worker as much as it has to be."""
        known = self._wanted.get(klass.id)
        if known is None:
            known = self._wanted[klass.id] = any(
                mirror.can_run(klass, self.now) and mirror.room_for(klass)
                for mirror in self.tables.demanding.values()
            )
        return known

    def ship(self, mirror: Mirror, queue: ReadyQueue, opened: list[OpenedSlot]) -> None:
        """Give the worker as many tasks of the queue as slots were opened for them."""
        klass = queue.klass
        self.slots_left -= len(opened) + SHIP_COST
        if len(mirror.slots) == len(opened):
            self._unsorted.update(self._candidates)
        klass.started_at = self.now
        self._wanted.clear()
        self.tables.thin[mirror.id, klass.id] = None
        shipping.ship(self.tables, mirror, queue, len(opened), opened)


def _in_order(mirror: Mirror) -> tuple[bool, int]:
    return not mirror.slots, mirror.id


def has_higher_backlog(mirror: Mirror, queue: ReadyQueue) -> bool:
    """Whether tasks of the class that come before the queue's wait at the worker.

    What is free there is theirs, also while they are on their way to a slot that has closed.
    """
    stake = mirror.stakes.get(queue.klass.id)
    return stake is not None and stake.unserved(queue.priority + 1) > 0
