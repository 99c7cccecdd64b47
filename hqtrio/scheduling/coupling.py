"""Groups for several needs of one request together, where links say which groups are close.

The fewest groups for every need come first, then the most link weight, then the merit of the
sets, as far as a bounded search finds out. A strict request wants what the search finds on the
empty worker, and the sets found there are tried again in every other state. So it never starts
with less link weight than that, and starts on the empty worker at the latest.
"""

from __future__ import annotations

from typing import Final

from hqtrio.model.resources import Descriptor, Policy
from hqtrio.scheduling.joint import Bonds, Joint
from hqtrio.scheduling.policies import STRICT, Ask, Give, draw, fewest_groups, when_empty
from hqtrio.scheduling.searching import Found, search

MEMO_MAX: Final = 2_000  # placements remembered per team


class Team:
    """Resources of a request that links connect; needs are in the order of `resources`."""

    __slots__ = ("_memo", "_optimum", "bonds", "resources", "sizes")

    def __init__(
        self,
        resources: tuple[str, ...],
        sizes: tuple[tuple[int, ...], ...],
        bonds: dict[tuple[int, int], Bonds],
    ) -> None:
        self.resources: Final = resources
        self.sizes: Final = sizes
        self.bonds: Final = bonds  # by positions of two resources, both ways, and of one twice
        self._memo: dict[tuple[Ask, ...], tuple[Give, ...] | None] = {}
        self._optimum: dict[tuple[Ask, ...], tuple[list[int], Found]] = {}

    def place(self, asks: tuple[Ask, ...]) -> tuple[Give, ...] | None:
        """What the groups give for each need; None if the request has to wait."""
        try:
            return self._memo[asks]
        except KeyError:
            if len(self._memo) >= MEMO_MAX:
                self._memo.clear()
            gives = self._memo[asks] = self._place(asks)
            return gives

    def _place(self, asks: tuple[Ask, ...]) -> tuple[Give, ...] | None:
        counts = [fewest_groups(ask) for ask in asks]
        if 0 in counts:
            return None
        least = None
        if any(ask.policy in STRICT for ask in asks):
            # One strict need makes all of the team strict.
            best_counts, least = self._best_when_empty(asks)
            if counts != best_counts:
                return None
        found = search(Joint(self.bonds, asks, counts), least and least.sets)
        if least is not None and found.weight < least.weight:
            return None
        return tuple(draw(ask, groups) for ask, groups in zip(asks, found.sets, strict=True))

    def _best_when_empty(self, asks: tuple[Ask, ...]) -> tuple[list[int], Found]:
        """Numbers of groups and the sets that the empty worker would give."""
        empty = tuple(
            when_empty(ask, sizes)._replace(policy=Policy.COMPACT)
            for ask, sizes in zip(asks, self.sizes, strict=True)
        )
        known = self._optimum.get(empty)
        if known is None:
            if len(self._optimum) >= MEMO_MAX:
                self._optimum.clear()
            counts = [fewest_groups(ask) for ask in empty]
            known = self._optimum[empty] = counts, search(Joint(self.bonds, empty, counts))
        return known


def teams(descriptor: Descriptor, resources: tuple[str, ...]) -> tuple[Team, ...]:
    """The sets of resources that links connect, directly or through each other."""
    position = {resource: at for at, resource in enumerate(resources)}
    pools = {pool.resource: pool for pool in descriptor.pools}
    bonds: dict[tuple[int, int], Bonds] = {}
    for link in descriptor.coupling:
        one = position.get(descriptor.pools[link.pool1].resource)
        two = position.get(descriptor.pools[link.pool2].resource)
        itself = one == two and link.group1 == link.group2
        if one is None or two is None or itself or link.weight <= 0:
            continue
        there = (link.group1, link.group2, link.weight)
        bonds[one, two] = (*bonds.get((one, two), ()), there)
        if one != two:
            back = (link.group2, link.group1, link.weight)
            bonds[two, one] = (*bonds.get((two, one), ()), back)
    found = []
    for members in connected(tuple(range(len(resources))), bonds):
        names = tuple(resources[at] for at in members)
        inside = {
            (i, j): bonds[one, two]
            for i, one in enumerate(members)
            for j, two in enumerate(members)
            if (one, two) in bonds
        }
        if inside:
            sizes = tuple(tuple(map(len, pools[name].groups)) for name in names)
            found.append(Team(names, sizes, inside))
    return tuple(found)


def connected(
    members: tuple[int, ...], bonds: dict[tuple[int, int], Bonds]
) -> list[tuple[int, ...]]:
    """The members in pieces between which there is no bond, each ascending."""
    pieces: list[tuple[int, ...]] = []
    for at in members:
        near = [piece for piece in pieces if any((at, other) in bonds for other in piece)]
        apart = [piece for piece in pieces if piece not in near]
        pieces = [*apart, tuple(sorted([at, *(other for piece in near for other in piece)]))]
    return pieces
