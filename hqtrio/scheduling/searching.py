"""The best sets of groups for several needs together, within a bounded number of steps.

Every set that can serve a need is an option with a cost, and so is every pair of options of two
needs that links join. A cost is one whole number: link weight, negated, then the merits, then the
place of the option among all of its need, each scaled so that it only decides between equals.
Costs add up, no two choices cost the same, and the least cost says what was chosen.

A need with links to one other need only is absorbed by that: whatever the other chooses, the best
it can do is known. So chains and stars of needs cost as many steps as there are pairs of options.
Of rings, the options of one need are tried, most promising first, as far as they might beat the
best so far. With more options or steps than the bounds allow, the best so far is the result.
"""

from __future__ import annotations

from itertools import combinations
from math import comb, prod
from operator import add
from typing import Final, NamedTuple

from hqtrio.model.resources import UNIT
from hqtrio.scheduling.climbing import climb
from hqtrio.scheduling.joint import Joint, Sets
from hqtrio.scheduling.policies import Groups, is_sufficient, merit

STEPS_MAX: Final = 72_000  # of one search
CLIMB_MAX: Final = 20_000  # of them, after which climbing stops
OPTIONS_MAX: Final = 1_000  # sets of all needs; with more, climbing has to do
EASY: Final = 6_000  # combinations of options that are searched without climbing first
OPTION: Final = 15  # steps that listing an option is worth
ROW: Final = 20  # steps that beginning a row of additions is worth

Costs = list[int]  # by option


class Found(NamedTuple):
    sets: Sets
    weight: int  # of the links between the sets
    is_best: bool  # no other sets are better, for certain


def search(joint: Joint, seed: Sets | None = None) -> Found:
    """The best sets that the steps suffice for, and none worse than a seed that can serve."""
    best = seed if seed is not None and joint.serves(seed) else None
    numbers = [
        comb(len(groups), count) for groups, count in zip(joint.useful, joint.counts, strict=True)
    ]
    is_listed = sum(numbers) <= OPTIONS_MAX
    if not is_listed or prod(numbers) > EASY:
        climbed = climb(joint, CLIMB_MAX)
        best = climbed if best is None else min(best, climbed, key=joint.score)
        if not is_listed:
            return Found(best, joint.weight(best), is_best=False)
    return _Table(joint).search(best)


class _Table:
    """The options of every need, and what they cost."""

    def __init__(self, joint: Joint) -> None:
        self._joint: Final = joint
        self._listed: Final = [self._list(at) for at in joint.needs]
        merits = [
            [merit(joint.asks[at], groups) for groups in listed]
            for at, listed in zip(joint.needs, self._listed, strict=True)
        ]
        joint.steps += OPTION * sum(map(len, merits))
        self._radix: Final = prod(map(len, merits))
        left = self._radix * (1 + sum(max(caps for *_, caps in known) for known in merits))
        fresh = left * (1 + len(merits) * UNIT)
        self._unit: Final = fresh * (1 + len(merits))  # of weight
        weights = [weight for bond in joint.bonds.values() for *_, weight in bond]
        self._never: Final = self._unit * (1 + 2 * sum(weights))  # no links make up for it
        self._options: Final = [list(listed) for listed in self._listed]
        self._costs: Final[list[Costs]] = []
        self._floors: Final[dict[tuple[int, int], Costs]] = {}
        self._rows: Final[dict[tuple[int, int], list[Costs]]] = {}
        scale = self._radix
        for at, known in enumerate(merits):
            scale //= len(known)
            own = joint.inner[at]
            joint.steps += len(known) * joint.counts[at] ** 2 if own else 0
            self._costs.append(
                [
                    (each[0] * fresh + each[1] * left + each[2] * self._radix + place * scale)
                    - self._unit * _inside(own, groups)
                    for place, (each, groups) in enumerate(
                        zip(known, self._listed[at], strict=True)
                    )
                ]
            )

    def _list(self, at: int) -> list[Groups]:
        """Every set that can serve the need, ascending."""
        ask, useful, count = self._joint.asks[at], self._joint.useful[at], self._joint.counts[at]
        caps = [ask.caps[group] for group in useful]
        return [
            groups
            for groups, whole in zip(
                combinations(useful, count), map(sum, combinations(caps, count)), strict=True
            )
            if whole > ask.units or (whole == ask.units and is_sufficient(ask, groups))
        ]

    def search(self, best: Sets | None) -> Found:
        bar, joint = self._unit, self._joint
        if best is not None:
            # One more than it costs: what is best so far is to be found again.
            bar = 1 + self._cost(best)
            self._drop_hopeless(bar)
        cost = self._least(list(joint.needs), list(self._costs), bar)
        is_best = joint.steps <= STEPS_MAX
        if cost >= bar:
            assert best is not None
            return Found(best, joint.weight(best), is_best)
        sets, place = [], cost % self._radix
        for listed in reversed(self._listed):
            place, at = divmod(place, len(listed))
            sets.append(listed[at])
        chosen = tuple(reversed(sets))
        return Found(chosen, joint.weight(chosen), is_best)

    def _cost(self, sets: Sets) -> int:
        own = alone = 0
        for at, groups in enumerate(sets):
            alone += self._costs[at][self._listed[at].index(groups)]
            own += _inside(self._joint.inner[at], groups)
        return alone - self._unit * (self._joint.weight(sets) - own)

    def _drop_hopeless(self, bar: int) -> None:
        """Drop options with which no choice can cost less than the bar."""
        joint, unit = self._joint, self._unit
        least = [min(costs) for costs in self._costs]
        for at in joint.needs:
            near = [other for other in joint.needs if (at, other) in joint.hopes]
            rest = sum(cost for other, cost in enumerate(least) if other != at)
            rest -= unit * sum(
                most
                for (one, two), most in joint.most.items()
                if one < two and at not in (one, two)
            )
            hopes = [(joint.hopes[at, other], joint.most[at, other]) for other in near]
            joint.steps += OPTION * len(self._options[at])
            kept = [
                place
                for place, groups in enumerate(self._options[at])
                if rest
                + self._costs[at][place]
                - unit * sum([min(most, sum([hope[g] for g in groups])) for hope, most in hopes])
                < bar
            ]
            self._options[at] = [self._options[at][place] for place in kept]
            self._costs[at] = [self._costs[at][place] for place in kept]
            least[at] = min(self._costs[at])

    def _least(self, members: list[int], costs: list[Costs], bar: int) -> int:
        """The least cost of these needs; the bar or more if it is not less than that."""
        settled = 0
        while members:
            near = [
                [other for other in members if other != at and (at, other) in self._joint.hopes]
                for at in members
            ]
            degree, leaf = min((len(some), at) for some, at in zip(near, members, strict=True))
            if degree > 1:
                return settled + self._ring(members, costs, bar - settled)
            others = near[members.index(leaf)]
            members = [at for at in members if at != leaf]
            if others:
                costs[others[0]] = self._absorb(others[0], leaf, members, costs, bar - settled)
            else:
                settled += min(costs[leaf])
        return settled

    def _absorb(
        self, into: int, leaf: int, members: list[int], costs: list[Costs], bar: int
    ) -> Costs:
        """The costs of a need together with the best that the leaf can do."""
        joint, table, mine = self._joint, self._table(into, leaf), costs[leaf]
        rest = min(mine) + self._floor([at for at in members if at != into], members, costs)
        joint.steps += ROW + len(costs[into])
        absorbed = []
        for place, (cost, floor) in enumerate(
            zip(costs[into], self._floors[into, leaf], strict=True)
        ):
            if cost + floor + rest >= bar or joint.steps > STEPS_MAX:
                absorbed.append(self._never)
                continue
            joint.steps += ROW + len(mine)
            absorbed.append(cost + min(map(add, mine, table[place])))
        return absorbed

    def _floor(self, open_needs: list[int], members: list[int], costs: list[Costs]) -> int:
        """What needs cost at least, with the links among all members."""
        most = self._joint.most
        links = sum(most.get((one, two), 0) for one in members for two in members if one < two)
        return sum(min(costs[at]) for at in open_needs) - self._unit * links

    def _ring(self, members: list[int], costs: list[Costs], bar: int) -> int:
        """The least cost of needs of which each has links to two others or more."""
        joint = self._joint
        pivot = min(members, key=lambda at: (len(costs[at]), at))
        rest = [at for at in members if at != pivot]
        tables = {at: self._table(pivot, at) for at in rest if (pivot, at) in joint.hopes}
        links = self._unit * sum(
            joint.most.get((one, two), 0) for one in rest for two in rest if one < two
        )
        trials = []
        for place, cost in enumerate(costs[pivot]):
            if joint.steps > STEPS_MAX:
                break
            nearer = list(costs)
            for at, table in tables.items():
                joint.steps += ROW + len(costs[at])
                nearer[at] = list(map(add, costs[at], table[place]))
            trials.append((cost + sum(min(nearer[at]) for at in rest) - links, cost, nearer))
        trials.sort(key=lambda trial: trial[0])
        for floor, cost, nearer in trials:
            if floor >= bar or joint.steps > STEPS_MAX:
                break
            bar = min(bar, cost + self._least(rest, nearer, bar - cost))
        return bar

    def _table(self, one: int, two: int) -> list[Costs]:
        """By options of two needs, what the links between them earn, as a cost."""
        known = self._rows.get((one, two))
        if known is not None:
            return known
        joint = self._joint
        theirs_listed = self._options[two]
        effort = 2 * ROW + (2 + joint.counts[two]) * len(joint.asks[one].caps) * len(theirs_listed)
        if joint.steps + effort > STEPS_MAX:
            # Nothing is tried any more.
            joint.steps = STEPS_MAX + 1
            self._floors[one, two] = [self._never] * len(self._options[one])
            rows = self._rows[one, two] = [[0] * len(theirs_listed)] * len(self._options[one])
            return rows
        joint.steps += effort
        weights: dict[int, list[int]] = {}
        for mine, theirs, weight in joint.bonds[one, two]:
            weights.setdefault(mine, [0] * len(joint.asks[two].caps))[theirs] -= weight * self._unit
        by_group = {
            group: [sum([row[other] for other in groups]) for groups in theirs_listed]
            for group, row in weights.items()
        }
        # Sets that begin alike share the sums of what they begin with.
        sums: list[Costs] = [[0] * len(theirs_listed)]
        before: Groups = ()
        rows = []
        floors: Costs = []
        for groups in self._options[one]:
            depth = 0
            while depth < len(before) and before[depth] == groups[depth]:
                depth += 1
            del sums[depth + 1 :]
            for group in groups[depth:]:
                more = by_group.get(group)
                if more is None or joint.steps > STEPS_MAX:
                    sums.append(sums[-1])
                else:
                    joint.steps += ROW // 2 + len(more)
                    sums.append(list(map(add, sums[-1], more)))
            before = groups
            rows.append(sums[-1])
            if joint.steps > STEPS_MAX:
                # Such an option is not looked at any more.
                floors.append(self._never)
            else:
                joint.steps += ROW // 2 + len(theirs_listed) // 2
                floors.append(min(sums[-1]))
        self._floors[one, two] = floors
        self._rows[one, two] = rows
        return rows


def _inside(links: dict[int, dict[int, int]], groups: Groups) -> int:
    """The weight of the links between these groups of one pool."""
    if not links:
        return 0
    return sum([links[one].get(two, 0) for one, two in combinations(groups, 2) if one in links])
