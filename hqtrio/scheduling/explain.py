"""Where a task could ever run: its request against what workers have in all.

What is free, who else waits and what is held for whom play no part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from hqtrio.messages.client import (
    AmountCondition,
    Condition,
    NodesCondition,
    TimeCondition,
    WorkerFit,
)
from hqtrio.model.resources import Request, Variants
from hqtrio.scheduling.mirror import Mirror, Shape

_PAGE_BYTES: Final = 128 * 1024  # keeps a page within one frame, and short to make
_CONDITION_BYTES: Final = 24  # about what one takes, beside the name of its resource


@dataclass(frozen=True, slots=True)
class Fits:
    """Workers by id, and whether there are more behind the last one."""

    rows: tuple[WorkerFit, ...]
    more: bool


def explain(workers: Mapping[int, Mirror], variants: Variants, after: int, now: float) -> Fits:
    """How the variants fit the workers with ids above `after`: as many as make a page."""
    wanted = sorted(worker for worker in workers if worker > after)
    shown = wanted[: _page_rows(variants)]
    groups = Counter(mirror.config.group for mirror in workers.values())
    rows = []
    for worker in shown:
        mirror = workers[worker]
        sizes = {pool.resource: pool.size for pool in mirror.shape.descriptor.pools}
        remaining_s = None if mirror.deadline_at == inf else max(0.0, mirror.deadline_at - now)
        group_size = groups[mirror.config.group]
        asked = tuple(
            tuple(conditions(request, sizes, remaining_s, group_size)) for request in variants
        )
        rows.append(WorkerFit(worker, asked))
    return Fits(tuple(rows), len(shown) < len(wanted))


class Uses:
    """For which workers there is anything to do, perhaps with others that are not there yet.

    What a worker must have is looked at once for all of one shape.
    """

    def __init__(self, waiting: Iterable[Variants]) -> None:
        self._requests = {request for variants in waiting for request in variants}
        self._shortest: dict[int, float | None] = {}  # by shape

    def has_any(self, mirror: Mirror, now: float) -> bool:
        """Whether the worker could ever run one of the variants."""
        key = id(mirror.shape)
        if key not in self._shortest:
            self._shortest[key] = self._shortest_on(mirror.shape)
        shortest_s = self._shortest[key]
        return shortest_s is not None and shortest_s <= max(0.0, mirror.deadline_at - now)

    def _shortest_on(self, shape: Shape) -> float | None:
        """How long a worker must live at least; None if nothing fits it."""
        sizes = {pool.resource: pool.size for pool in shape.descriptor.pools}
        times = (
            request.time_s
            for request in self._requests
            if all(one.holds for one in conditions(request, sizes, None, request.nodes))
        )
        return min(times, default=None)


def conditions(
    request: Request, sizes: Mapping[str, int], remaining_s: float | None, group_size: int
) -> Iterator[Condition]:
    """What a worker has to have in all, which has so much of each resource, lives so long, and is
    in a group of so many."""
    if request.time_s > 0:
        yield TimeCondition(request.time_s, remaining_s)
    if request.nodes:
        # Whole workers are taken, whatever else the request names.
        yield NodesCondition(request.nodes, group_size)
        return
    for need in request.needs:
        yield AmountCondition(need.resource, need.amount, sizes.get(need.resource, 0))


def _page_rows(variants: Variants) -> int:
    names = [need.resource for request in variants for need in request.needs]
    conditions = len(names) + 2 * len(variants)
    return max(1, _PAGE_BYTES // (conditions * _CONDITION_BYTES + sum(map(len, names))))
