"""Several needs whose groups links join: what sets of groups earn together.

A need takes a fixed number of groups. The set for each need is chosen here, by a search in
`searching` or a climb in `climbing`; both count their steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final

from hqtrio.scheduling.policies import Ask, Groups, is_sufficient, merit, useful

Bonds = tuple[tuple[int, int, int], ...]  # a group of one need, a group of the other, weight
Sets = tuple[Groups, ...]  # by need
Score = tuple[int, int, int, int, Sets]  # weight of the links, negated, and merit; less is better


class Joint:
    """Needs, the number of groups that each takes, and the links between groups."""

    def __init__(
        self, bonds: dict[tuple[int, int], Bonds], asks: Sequence[Ask], counts: Sequence[int]
    ) -> None:
        self.bonds: Final = bonds  # by positions of two needs, both ways, and of one twice
        self.asks: Final = asks
        self.counts: Final = counts
        self.needs: Final = range(len(asks))
        self.useful: Final = [useful(ask) for ask in asks]
        self.steps = 0  # of work, in additions

    @cached_property
    def hopes(self) -> dict[tuple[int, int], list[int]]:
        """By need and the need at the other end, the most that each group can earn there."""
        hopes = {}
        for (one, two), bond in self.bonds.items():
            if one == two:
                continue
            earned: list[list[int]] = [[] for _ in self.asks[one].caps]
            open_groups = set(self.useful[two])
            for mine, other, weight in bond:
                if other in open_groups:
                    earned[mine].append(weight)
            count = self.counts[two]
            hopes[one, two] = [
                sum(some if len(some) <= count else sorted(some)[-count:]) for some in earned
            ]
            self.steps += 2 * len(bond)
        return hopes

    @cached_property
    def earnings(self) -> dict[tuple[int, int], dict[int, list[tuple[int, int]]]]:
        """By need and another, what a group of the other lets groups of the need earn."""
        earnings: dict[tuple[int, int], dict[int, list[tuple[int, int]]]] = {}
        for pair, bond in self.bonds.items():
            by_other = earnings[pair] = {}
            for mine, theirs, weight in bond:
                by_other.setdefault(theirs, []).append((mine, weight))
            self.steps += 2 * len(bond)
        return earnings

    @cached_property
    def inner(self) -> list[dict[int, dict[int, int]]]:
        """By need and group, the links to other groups of the same need."""
        found: list[dict[int, dict[int, int]]] = []
        for at in self.needs:
            found.append({})
            for one, two, weight in self.bonds.get((at, at), ()):
                for group, other in ((one, two), (two, one)):
                    links = found[at].setdefault(group, {})
                    links[other] = links.get(other, 0) + weight
        return found

    @cached_property
    def most(self) -> dict[tuple[int, int], int]:
        """The most that two needs can earn together."""
        tops = {
            (one, two): sum(
                sorted((hope[group] for group in self.useful[one]), reverse=True)[
                    : self.counts[one]
                ]
            )
            for (one, two), hope in self.hopes.items()
        }
        return {(one, two): min(top, tops[two, one]) for (one, two), top in tops.items()}

    def gains(self, at: int, sets: dict[int, Groups]) -> list[int]:
        """What each group of a need earns with sets of others; of those not chosen, the hope."""
        gains = [0] * len(self.asks[at].caps)
        for other in self.needs:
            bond = self.bonds.get((at, other), ())
            if other == at or not bond:
                continue
            groups = sets.get(other)
            if groups is None:
                gains = list(map(int.__add__, gains, self.hopes[at, other]))
                continue
            from_there = self.earnings[at, other]
            for group in groups:
                earned = from_there.get(group, ())
                self.steps += 1 + len(earned)
                for mine, weight in earned:
                    gains[mine] += weight
        return gains

    def weight(self, sets: Sets) -> int:
        """The weight of the links that have both ends in the sets."""
        self.steps += 2 * sum(map(len, self.bonds.values()))
        return sum(
            weight
            for (one, two), bond in self.bonds.items()
            if one <= two
            for mine, theirs, weight in bond
            if mine in sets[one] and theirs in sets[two]
        )

    def score(self, sets: Sets) -> Score:
        fresh = left = caps = 0
        for ask, groups in zip(self.asks, sets, strict=True):
            of_one = merit(ask, groups)
            fresh, left, caps = fresh + of_one[0], left + of_one[1], caps + of_one[2]
        return -self.weight(sets), fresh, left, caps, sets

    def serves(self, sets: Sets) -> bool:
        """Whether the sets, chosen in another state, can serve the needs now."""
        return all(
            len(groups) == count and is_sufficient(ask, groups)
            for ask, count, groups in zip(self.asks, self.counts, sets, strict=True)
        )
