"""Multi-node tasks: whole workers of one group, for one task at a time."""

from __future__ import annotations

from collections.abc import Sequence

from hqtrio.scheduling.context import Context
from hqtrio.scheduling.holds import holders, rank_of
from hqtrio.scheduling.mirror import Gang, Mirror, RequestClass
from hqtrio.scheduling.ready import ReadyQueue


def start_gangs(
    context: Context,
    queue: ReadyQueue,
    others: Sequence[RequestClass],
    most: int,
    *,
    aged: bool = False,
) -> int:
    """Start up to `most` tasks of the queue and return how many started.

    Workers that are of no use to the `others`, single-node classes of the level, are taken first.
    """
    rank = rank_of(queue.priority, aged=aged)
    started = 0
    while started < most and not context.is_cut:
        found = _find(context, queue.klass, others, rank)
        if found is None:
            break
        variant, members = found
        task, _, _, batch = queue.first_run
        gang = Gang(members, task, batch.instance)
        context.tables.join_gang(gang)
        context.ship(members[0], queue, [members[0].open_gang(queue.klass, variant, gang)])
        started += 1
    return started


def _find(
    context: Context, klass: RequestClass, others: Sequence[RequestClass], rank: int
) -> tuple[int, list[Mirror]] | None:
    """The first variant for which a group has enough workers with nothing to do."""
    tables, now = context.tables, context.now
    for variant, request in enumerate(klass.variants):
        best: list[tuple[int, int, Mirror]] = []
        for members in tables.groups.values():
            if len(members) < request.nodes:
                continue
            idle = [
                (sum(mirror.can_run(other, now) for other in others), mirror.id, mirror)
                for mirror in members.values()
                if mirror.is_idle
                and mirror.can_join(klass, variant, now)
                and not holders(tables, mirror, klass, rank, now)
            ]
            if len(idle) >= request.nodes:
                chosen = sorted(idle, key=lambda row: row[:2])[: request.nodes]
                if not best or _cost(chosen) < _cost(best):
                    best = chosen
        if best:
            return variant, [mirror for _, _, mirror in best]
    return None


def _cost(chosen: list[tuple[int, int, Mirror]]) -> tuple[int, int]:
    return sum(use for use, _, _ in chosen), chosen[0][1]


def can_be_hosted(context: Context, klass: RequestClass) -> bool:
    """Whether some group has enough workers, busy or not."""
    return any(
        sum(mirror.can_join(klass, variant, context.now) for mirror in members.values())
        >= request.nodes
        for members in context.tables.groups.values()
        for variant, request in enumerate(klass.variants)
    )
