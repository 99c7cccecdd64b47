"""How many nodes each allocation to be submitted now should have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["permit"]


def permit(
    single_node: int,
    multi_node: Sequence[tuple[int, int]],
    *,
    backlog: int,
    max_workers_per_alloc: int,
    expected: Iterable[int],
    queued: int,
    remaining: int | None,
) -> list[int]:
    """Nodes of each allocation, larger ones first.

    Wanted are `single_node` workers, and for each (nodes, count) of `multi_node` so many
    allocations of that size. `expected` are workers that are still to come, by allocation: they
    will serve what is waiting, so that much less is asked for. `queued` allocations wait in the
    manager's queue already, of `backlog` that may. `remaining` workers may be added, None: any
    number.
    """
    gangs = {nodes: count for nodes, count in multi_node if count > 0}
    for coming in sorted(expected, reverse=True):
        left = coming
        size = max((nodes for nodes in gangs if nodes <= left), default=0)
        if size:
            gangs[size] -= 1
            left -= size
            if not gangs[size]:
                del gangs[size]
        single_node = max(0, single_node - left)
    # No more of each size than there is room for, however many are wanted.
    room = max(0, backlog - queued)
    wanted = [
        nodes for nodes in sorted(gangs, reverse=True) for _ in range(min(gangs[nodes], room))
    ]
    is_gang = [True] * len(wanted)
    full, rest = divmod(single_node, max_workers_per_alloc)
    wanted += [max_workers_per_alloc] * min(full, room)
    if rest:
        wanted.append(rest)
    is_gang += [False] * (len(wanted) - len(is_gang))
    sizes: list[int] = []
    for nodes, whole in zip(wanted, is_gang, strict=True):
        if len(sizes) == room or remaining == 0:
            break
        if remaining is not None:
            if whole and nodes > remaining:
                continue  # a part of a multi-node task's nodes would be of no use
            nodes = min(nodes, remaining)
            remaining -= nodes
        sizes.append(nodes)
    return sizes
