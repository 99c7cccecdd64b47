"""Groups for several needs of one request together, where links say which groups are close.

The fewest groups for every need come first, then the most link weight, then the merit of the
sets. The search decides the need with the most links first: what remains then falls apart into
pieces that do not depend on each other, each a single need as long as links form a star.
"""

from __future__ import annotations

from typing import Final

from hqtrio.model.resources import Descriptor, Policy
from hqtrio.scheduling.policies import (
    STRICT,
    Ask,
    Give,
    Groups,
    draw,
    fewest_groups,
    merit,
    sufficient_sets,
    when_empty,
)

MEMO_MAX: Final = 2_000  # placements remembered per team
LOOKS_MAX: Final = 50_000  # sets looked at in one search, before the best so far is good enough

Bonds = tuple[tuple[int, int, int], ...]  # a group of one pool, a group of the other, weight
Score = tuple[int, int, int, int]  # weight of the links, negated, and the merit; less is better
Option = tuple[Groups, Score]  # a set that can serve one need, scored on its own
Found = tuple[Score, dict[int, Groups]]  # sets by position of the need in the team


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
        self._optimum: dict[tuple[Ask, ...], tuple[list[int], int]] = {}

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
        score, chosen = Search(self, asks, counts).run()
        if least is not None and -score[0] < least:
            return None
        return tuple(draw(ask, chosen[at]) for at, ask in enumerate(asks))

    def _best_when_empty(self, asks: tuple[Ask, ...]) -> tuple[list[int], int]:
        """Numbers of groups and the weight that the empty worker would give."""
        empty = tuple(
            when_empty(ask, sizes)._replace(policy=Policy.COMPACT)
            for ask, sizes in zip(asks, self.sizes, strict=True)
        )
        known = self._optimum.get(empty)
        if known is None:
            if len(self._optimum) >= MEMO_MAX:
                self._optimum.clear()
            counts = [fewest_groups(ask) for ask in empty]
            score, _ = Search(self, empty, counts).run()
            known = self._optimum[empty] = counts, -score[0]
        return known


class Search:
    """One search for the best sets of a team."""

    __slots__ = ("_bonds", "_counts", "_floors", "_left", "_options", "_sizes")

    def __init__(self, team: Team, asks: tuple[Ask, ...], counts: list[int]) -> None:
        self._bonds: Final = team.bonds
        self._counts: Final = counts
        self._sizes: Final = [len(sizes) for sizes in team.sizes]
        self._left = LOOKS_MAX
        self._options: list[list[Option]] = []
        self._floors: list[Score] = []  # by need, no option is better in any respect
        for at, (ask, count) in enumerate(zip(asks, counts, strict=True)):
            own = team.bonds.get((at, at), ())
            options: list[Option] = [
                (groups, (-_weight_within(own, groups), *merit(ask, groups)))
                for groups in sufficient_sets(ask, count)
            ]
            self._options.append(options)
            self._floors.append(
                (
                    min(score[0] for _, score in options),
                    min(score[1] for _, score in options),
                    min(score[2] for _, score in options),
                    min(score[3] for _, score in options),
                )
            )

    def run(self) -> Found:
        nothing = [[0] * size for size in self._sizes]
        return self._best(tuple(range(len(self._sizes))), nothing)

    def _best(self, members: tuple[int, ...], gains: list[list[int]]) -> Found:
        """The best sets for these needs; `gains` is what each group earns with sets chosen."""
        if len(members) == 1:
            return self._best_of_one(members[0], gains[members[0]])
        pivot = max(members, key=lambda at: (self._degree(at, members), -at))
        rest = tuple(at for at in members if at != pivot)
        pieces = connected(rest, self._bonds)
        trials = self._trials(pivot, rest, gains)
        trials.sort(key=lambda trial: trial[:2])
        best: tuple[Score, list[Groups]] | None = None
        found: Found | None = None
        for floor, groups, score, nearer in trials:
            if best is not None:
                hopeless = floor == best[0] and pivot == members[0] and groups > best[1][0]
                if floor > best[0] or hopeless or self._left <= 0:
                    break
            chosen = {pivot: groups}
            for piece in pieces:
                part, sets = self._best(piece, nearer)
                score = _sum(score, part)
                chosen.update(sets)
            candidate = score, [chosen[at] for at in members]
            if best is None or candidate < best:
                best, found = candidate, (score, chosen)
        assert found is not None
        return found

    def _best_of_one(self, at: int, gain: list[int]) -> Found:
        options = self._options[at]
        self._left -= len(options)
        score, groups = min(
            ((own[0] - sum([gain[group] for group in groups]), *own[1:]), groups)
            for groups, own in options
        )
        return score, {at: groups}

    def _degree(self, at: int, members: tuple[int, ...]) -> int:
        return sum(other != at and (at, other) in self._bonds for other in members)

    def _trials(
        self, pivot: int, rest: tuple[int, ...], gains: list[list[int]]
    ) -> list[tuple[Score, Groups, Score, list[list[int]]]]:
        """Every set of the pivot: what the whole cannot beat, the set, its score, new gains."""
        self._left -= len(self._options[pivot])
        neighbours = [at for at in rest if (pivot, at) in self._bonds]
        # A link between two needs that are both open might be earned; it is counted at one end.
        hopes = {at: [0] * self._sizes[at] for at in rest}
        for at in rest:
            for other in rest:
                if other > at:
                    for group, _, weight in self._bonds.get((at, other), ()):
                        hopes[at][group] += weight
        trials = []
        for groups, own in self._options[pivot]:
            score = (own[0] - sum([gains[pivot][group] for group in groups]), *own[1:])
            nearer = list(gains)
            for at in neighbours:
                nearer[at] = gain = list(gains[at])
                for mine, group, weight in self._bonds[pivot, at]:
                    if mine in groups:
                        gain[group] += weight
            floor = score
            for at in rest:
                reach = map(int.__add__, nearer[at], hopes[at])
                most = sum(sorted(reach, reverse=True)[: self._counts[at]])
                floor = _sum(floor, self._floors[at])
                floor = (floor[0] - most, *floor[1:])
            trials.append((floor, groups, score, nearer))
        return trials


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


def _weight_within(bonds: Bonds, groups: Groups) -> int:
    """The weight of the links between these groups of one pool."""
    return sum(weight for one, two, weight in bonds if one in groups and two in groups)


def _sum(one: Score, two: Score) -> Score:
    return one[0] + two[0], one[1] + two[1], one[2] + two[2], one[3] + two[3]
