"""Who comes before whom, when things need each other."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from heapq import heappop, heappush
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def sort_by_needs(needs: Mapping[K, Sequence[K]]) -> list[K]:
    """The keys, each behind those it needs and otherwise as they came; members of circles lack."""
    keys = list(needs)
    places = {key: place for place, key in enumerate(keys)}
    open_needs = [len({n for n in needs[key] if n in places}) for key in keys]
    users: list[list[int]] = [[] for _ in keys]
    for place, key in enumerate(keys):
        for need in dict.fromkeys(needs[key]):
            if need in places:
                users[places[need]].append(place)
    ready = [place for place, count in enumerate(open_needs) if not count]
    order = []
    while ready:
        place = heappop(ready)
        order.append(keys[place])
        for user in users[place]:
            open_needs[user] -= 1
            if not open_needs[user]:
                heappush(ready, user)
    return order


def find_cycle(needs: Mapping[K, Sequence[K]]) -> list[K]:
    """One circle, from the first key that lies on it back to that key; empty if there is none."""
    stuck = dict.fromkeys(needs)
    for key in sort_by_needs(needs):
        del stuck[key]
    if not stuck:
        return []
    # Everyone left needs another one left, so a walk along needs must come round.
    walk: dict[K, None] = {}
    here = next(iter(stuck))
    while here not in walk:
        walk[here] = None
        here = next(need for need in needs[here] if need in stuck)
    circle = list(walk)[list(walk).index(here) :]
    members = set(circle)
    first = next(key for key in needs if key in members)
    at = circle.index(first)
    return [*circle[at:], *circle[:at], first]
