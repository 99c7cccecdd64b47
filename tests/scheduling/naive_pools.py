"""The resources of one worker by the book: every label with what is used of it, and nothing else.

Whatever the product computes with masks and memos is here a search over all sets of groups.
"""

from __future__ import annotations

from itertools import combinations, product
from math import ceil

from hqtrio.model.resources import CPUS, UNIT, Claim, Descriptor, Need, Policy, Request

STRICT = (Policy.FORCE_COMPACT, Policy.FORCE_TIGHT)
CHOOSY = (Policy.COMPACT, Policy.TIGHT, *STRICT)  # their groups are chosen jointly


class NaivePools:
    """What is in use of every label, and of every sum."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.pools = {pool.resource: pool for pool in descriptor.pools}
        self.used = {
            pool.resource: {label: 0 for group in pool.groups for label in group} or {"": 0}
            for pool in descriptor.pools
        }
        self.whole = {name: set() for name in self.used}  # labels in use as a whole

    def copy(self) -> NaivePools:
        other = NaivePools(self.descriptor)
        other.used = {name: dict(used) for name, used in self.used.items()}
        other.whole = {name: set(whole) for name, whole in self.whole.items()}
        return other

    # --- claims

    def hold(self, claim: Claim) -> None:
        """Mark what the claim names; fails if any of it is in use already."""
        for share in claim.shares:
            pool, used, whole = (
                self.pools[share.resource],
                self.used[share.resource],
                self.whole[share.resource],
            )
            if not pool.groups:
                used[""] += share.amount
                assert used[""] <= pool.size, ("sum is overdrawn", share, used)
                continue
            labels, part = _parts(share)
            assert len(set(share.labels)) == len(share.labels), ("label twice", share)
            assert share.amount == UNIT * len(labels) + share.fraction, ("amount", share)
            for label in labels:
                assert used[label] == 0, ("label in use", share, label, used[label])
                used[label] = UNIT
                whole.add(label)
            if part is not None:
                assert part not in whole, ("whole and split", share, part)
                used[part] += share.fraction
                assert used[part] <= UNIT, ("split overdrawn", share, part, used[part])

    def free(self, claim: Claim) -> None:
        for share in claim.shares:
            used = self.used[share.resource]
            if not self.pools[share.resource].groups:
                used[""] -= share.amount
                continue
            labels, part = _parts(share)
            for label in labels:
                used[label] = 0
                self.whole[share.resource].discard(label)
            if part is not None:
                used[part] -= share.fraction

    # --- what fits

    def size(self, resource: str) -> int:
        pool = self.pools.get(resource)
        return 0 if pool is None else pool.size

    def free_amount(self, resource: str) -> int:
        if resource not in self.pools:
            return 0
        return self.size(resource) - sum(self.used[resource].values())

    def demand(self, request: Request, resource: str) -> int:
        """How much of a resource the request takes here."""
        for need in request.needs:
            if need.resource == resource:
                return self.size(resource) if need.policy is Policy.ALL else need.amount
        return 0

    def capable(self, request: Request) -> bool:
        """Whether the empty worker could serve the request."""
        for need in request.needs:
            pool = self.pools.get(need.resource)
            if pool is None or pool.size == 0:
                return False
            if need.policy is Policy.ALL:
                continue
            if pool.groups:
                if ceil(need.amount / UNIT) * UNIT > pool.size:
                    return False
            elif need.amount > pool.size:
                return False
        return True

    def fits(self, request: Request) -> bool:
        """Whether a concrete claim exists now."""
        if not self.capable(request):
            return False
        return all(self._enough(need) for need in request.needs) and self._strictly(request)

    def _enough(self, need: Need) -> bool:
        used = self.used[need.resource]
        if need.policy is Policy.ALL:
            return not any(used.values())
        if not self.pools[need.resource].groups:
            return need.amount <= self.free_amount(need.resource)
        return _sufficient(need, used, list(used))

    # --- strictness

    def _strictly(self, request: Request) -> bool:
        """Strict needs, and what coupling ties to them, do as well as on the empty worker."""
        empty = NaivePools(self.descriptor)
        return all(
            self.quality(team) == empty.quality(team)
            for team in self.teams(request)
            if any(need.policy in STRICT for need in team)
        )

    def teams(self, request: Request) -> list[list[Need]]:
        """Needs whose groups are chosen, together with those they are coupled with."""
        names = [pool.resource for pool in self.descriptor.pools]
        teams = [
            [need]
            for need in request.needs
            if need.policy in CHOOSY and self.pools[need.resource].groups
        ]
        for link in self.descriptor.coupling:
            ends = {names[link.pool1], names[link.pool2]}
            tied = [team for team in teams if ends & {need.resource for need in team}]
            if len(tied) > 1:
                teams = [team for team in teams if team not in tied]
                teams.append([need for team in tied for need in team])
        return teams

    def quality(self, team: list[Need]) -> tuple[int, int]:
        """The least number of groups for all needs, and the best coupling weight with so few."""
        best = [self._smallest_sets(need) for need in team]
        weight = max(
            (self.weight(team, choice) for choice in product(*best)),
            default=0,
        )
        return sum(len(sets[0]) for sets in best), weight

    def _smallest_sets(self, need: Need) -> list[tuple[int, ...]]:
        groups = self.pools[need.resource].groups
        used = self.used[need.resource]
        for count in range(1, len(groups) + 1):
            sets = [
                chosen
                for chosen in combinations(range(len(groups)), count)
                if _sufficient(need, used, [label for at in chosen for label in groups[at]])
            ]
            if sets:
                return sets
        raise AssertionError(("asked for a need that does not fit", need, used))

    def weight(self, team: list[Need], choice: tuple[tuple[int, ...], ...]) -> int:
        """Sum of the links that have both ends among the chosen groups."""
        names = [pool.resource for pool in self.descriptor.pools]
        chosen = {
            (need.resource, group)
            for need, groups in zip(team, choice, strict=True)
            for group in groups
        }
        return sum(
            link.weight
            for link in self.descriptor.coupling
            if (names[link.pool1], link.group1) in chosen
            and (names[link.pool2], link.group2) in chosen
        )

    def groups_of(self, claim: Claim, resource: str) -> tuple[int, ...]:
        """The groups that a claim touches."""
        (share,) = [share for share in claim.shares if share.resource == resource]
        groups = self.pools[resource].groups
        return tuple(at for at, group in enumerate(groups) if set(group) & set(share.labels))

    def check_claim(self, request: Request, claim: Claim) -> None:
        """The claim is what the request asks for, and as good as what is free allows."""
        assert len(request.needs) == len(claim.shares), (request, claim)
        for need, share in zip(request.needs, claim.shares, strict=True):
            assert need.resource == share.resource, (request, claim)
            assert share.amount == self.demand(request, need.resource), (need, share)
        assert self.fits(request), ("granted although it does not fit", request, claim)
        for team in self.teams(request):
            choice = tuple(self.groups_of(claim, need.resource) for need in team)
            quality = sum(map(len, choice)), self.weight(team, choice)
            assert quality == self.quality(team), (request, claim, quality, self.quality(team))

    @property
    def cpus_in_use(self) -> int:
        return sum(self.used.get(CPUS, {}).values())


def _parts(share):
    """Labels used as a whole, and the partly used one."""
    if share.fraction:
        return share.labels[:-1], share.labels[-1]
    return share.labels, None


def _sufficient(need: Need, used: dict[str, int], labels: list[str]) -> bool:
    """Whether these labels could serve the need."""
    units, fraction = divmod(need.amount, UNIT)
    whole = sum(used[label] == 0 for label in labels)
    rest = max((UNIT - used[label] for label in labels if used[label]), default=0)
    if units > whole:
        return False
    return not fraction or units + 1 <= whole or rest >= fraction
