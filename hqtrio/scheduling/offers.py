"""Workers that might exist, and what could start on one of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil
from typing import Final, NamedTuple

from hqtrio.model.resources import CPUS, UNIT, Descriptor, Need, Policy, Request, Variants
from hqtrio.scheduling.policies import STRICT
from hqtrio.scheduling.pools import Layout, Pools

TAKES_MAX: Final = 1_024  # claims tried on one worker; of more than that, amounts decide


@dataclass(frozen=True, slots=True)
class WorkerType:
    """A worker that might exist.

    What a `partial` descriptor does not list is unknown and never limits; what it lists with
    size 0 is not there. `lifetime_s` None is for ever.
    """

    descriptor: Descriptor
    partial: bool = False
    lifetime_s: float | None = None
    max_sn_workers: int = 1
    max_workers_per_allocation: int = 1
    min_utilization: float = 0.0


def lasts(kind: WorkerType, request: Request) -> bool:
    """Whether such a worker lives as long as the request asks for."""
    return kind.lifetime_s is None or request.time_s <= kind.lifetime_s


class Way(NamedTuple):
    """One variant of a class as it could start on a worker of one type."""

    klass: int
    variant: int
    request: Request  # only what limits
    demand: tuple[int, ...]
    value: float
    is_exact: bool  # amounts tell whether it fits


class Offer:
    """Workers of one type, and which variants could start on an empty one."""

    def __init__(
        self, index: int, kind: WorkerType, classes: list[Variants], totals: Counter[str]
    ) -> None:
        self.index: Final = index
        self.kind: Final = kind
        self.layout: Final = Layout(kind.descriptor)
        self._empty: Final = Pools(self.layout)
        pools = sorted(kind.descriptor.pools, key=lambda pool: pool.resource != CPUS)
        self._names: Final = [pool.resource for pool in pools]
        self.sizes: Final = tuple(pool.size for pool in pools)
        self._totals: Final = totals
        self.ways: Final[dict[int, list[Way]]] = {}
        for number, variants in enumerate(classes):
            ways = [self._way(number, at, request) for at, request in enumerate(variants)]
            if any(ways):
                self.ways[number] = [way for way in ways if way is not None]
        self.is_exact: Final = all(way.is_exact for ways in self.ways.values() for way in ways)
        # Of cpus; rounded, for 0.1 times 30000 is more than 3000 in floating point.
        knows_cpus = CPUS in self._names
        share = kind.min_utilization if knows_cpus else 0.0
        self.at_least: Final = ceil(round(share * self.sizes[0], 3)) if share > 0 else 0

    def _way(self, klass: int, variant: int, request: Request) -> Way | None:
        if request.nodes or not lasts(self.kind, request):
            return None
        limits: list[Need] = []
        value = 0.0
        for need in request.needs:
            pool = self._empty.by_name.get(need.resource)
            if pool is not None:
                if not pool.capable(need):
                    return None
                limits.append(need)
                amount = need.amount or pool.pool.size
                value += amount / self._totals[need.resource]
            elif self.kind.partial:
                value += need.amount / UNIT
            else:
                return None
        amounts = {need.resource: need.amount for need in limits}
        demand = tuple(
            (amounts[name] or size) if name in amounts else 0
            for name, size in zip(self._names, self.sizes, strict=True)
        )
        only = Request(tuple(limits))
        is_exact = all(self._is_exact(need) for need in limits)
        return Way(klass, variant, only, demand, value * request.weight / UNIT, is_exact)

    def _is_exact(self, need: Need) -> bool:
        """Whether amounts suffice: fractions share indices, and strict policies want groups."""
        pool = self._empty.by_name[need.resource].pool
        if not pool.groups or need.policy is Policy.ALL:
            return True
        return need.amount % UNIT == 0 and (need.policy not in STRICT or len(pool.groups) == 1)


class Room:
    """What is free on one worker."""

    def __init__(self, offer: Offer) -> None:
        self._pools = None if offer.is_exact else Pools(offer.layout)
        self._takes = TAKES_MAX
        self._closed: set[tuple[int, int]] = set()  # class and variant
        self.free = offer.sizes

    def fits(self, way: Way) -> bool:
        """Whether amounts allow one more, and it has not been found that they deceive."""
        for need, have in zip(way.demand, self.free, strict=True):
            if need > have:
                return False
        return not self._closed or (way.klass, way.variant) not in self._closed

    def take(self, way: Way, count: int) -> int:
        """Take as many as fit of `count`, for which there are amounts; returns how many."""
        taken = 0
        while self._pools is not None and taken < count:
            self._takes -= 1
            if self._takes < 0:
                self._pools = None
            elif self._pools.take(way.request) is None:
                self._closed.add((way.klass, way.variant))
                break
            else:
                taken += 1
        if self._pools is None:
            taken = count
        if taken:
            self.free = tuple(
                have - taken * need for have, need in zip(self.free, way.demand, strict=True)
            )
        return taken
