"""Exact mirrors of a worker's pools: which label is free, and how much of a split one.

Whole free indices are the bits of one integer; a split index is in a small map with what is left
of it. An index is never both.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Final

from hqtrio.model.resources import UNIT, Claim, Descriptor, Need, Policy, Pool, Request, Share
from hqtrio.scheduling.coupling import Team, teams
from hqtrio.scheduling.policies import Ask, Give, place

MEMO_MAX: Final = 2_000  # placements remembered per pool of a shape
CHOOSY: Final = frozenset(Policy) - {Policy.SCATTER, Policy.ALL}  # their groups are chosen
UNKNOWN: Final = Give(())  # not a placement: every placement gives something

Counts = tuple[tuple[int, int], ...]  # group and number of whole indices


class Taken:
    """What one need took from one pool, in the pool's own terms."""

    __slots__ = ("amount", "counts", "fraction", "mask", "split")

    def __init__(
        self, amount: int, mask: int = 0, split: int = -1, fraction: int = 0, counts: Counts = ()
    ) -> None:
        self.amount = amount
        self.mask = mask
        self.split = split
        self.fraction = fraction
        self.counts = counts  # of the mask, by group


class PoolLayout:
    """What the same indexed pool of equal workers has in common."""

    __slots__ = (
        "everything",
        "full",
        "group_of",
        "labels",
        "masks",
        "memo",
        "no_fits",
        "pool",
        "sizes",
    )

    def __init__(self, pool: Pool) -> None:
        self.pool: Final = pool
        self.labels: Final = tuple(label for group in pool.groups for label in group)
        self.sizes: Final = tuple(len(group) for group in pool.groups)
        starts = accumulate(self.sizes, initial=0)
        self.masks: Final = tuple(
            ((1 << size) - 1) << start for size, start in zip(self.sizes, starts, strict=False)
        )
        self.full: Final = (1 << len(self.labels)) - 1
        self.group_of: Final = tuple(at for at, size in enumerate(self.sizes) for _ in range(size))
        self.no_fits: Final = (0,) * len(self.sizes)
        self.everything: Final[Counts] = tuple(enumerate(self.sizes))
        self.memo: Final[dict[Ask, Give | None]] = {}


class Layout:
    """What the pools of equal workers have in common, and placements found before."""

    __slots__ = ("_teams", "coupled", "descriptor", "indexed")

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor: Final = descriptor
        self.indexed: Final = {
            pool.resource: PoolLayout(pool) for pool in descriptor.pools if pool.groups
        }
        self.coupled: Final = frozenset(
            descriptor.pools[at].resource
            for link in descriptor.coupling
            for at in (link.pool1, link.pool2)
        )
        self._teams: Final[dict[tuple[str, ...], tuple[Team, ...]]] = {}

    def teams(self, resources: tuple[str, ...]) -> tuple[Team, ...]:
        """Those of the resources that are coupled with each other."""
        known = self._teams.get(resources)
        if known is None:
            if len(self._teams) >= MEMO_MAX:
                self._teams.clear()
            known = self._teams[resources] = teams(self.descriptor, resources)
        return known


class IndexedPool:
    """Labels in one or more groups."""

    __slots__ = ("_caps", "_layout", "_splits", "_whole", "free", "pool")

    def __init__(self, layout: PoolLayout) -> None:
        self.pool: Final = layout.pool
        self._layout: Final = layout
        self._whole = layout.full
        self._caps = list(layout.sizes)  # bits of `_whole` by group
        self._splits: dict[int, int] = {}  # what is left of a split index, if anything is
        self.free = layout.pool.size  # the total, whole and split

    def capable(self, need: Need) -> bool:
        """Whether the empty pool could serve the need."""
        if need.policy is Policy.ALL:
            return self._layout.full != 0
        return -(-need.amount // UNIT) <= len(self._layout.labels)

    def take(self, need: Need) -> Taken | None:
        """Take labels for the need, or nothing and return None if they are not there."""
        if need.policy is Policy.ALL:
            return self._take_all()
        amount = need.amount
        if len(self._caps) == 1 and amount % UNIT == 0:
            return self._take_units(amount // UNIT)
        ask = self.ask(need)
        if ask is None:
            return None
        memo = self._layout.memo
        give = memo.get(ask, UNKNOWN)
        if give is UNKNOWN:
            if len(memo) >= MEMO_MAX:
                memo.clear()
            give = memo[ask] = place(ask, self._layout.sizes)
        return None if give is None else self.hand_out(ask, give)

    def ask(self, need: Need) -> Ask | None:
        """The need and what there is for it; None if there is too little for certain."""
        if need.amount > self.free:
            return None
        units, fraction = divmod(need.amount, UNIT)
        fits = self._fits(fraction) if fraction else self._layout.no_fits
        return Ask(units, fraction, need.policy, tuple(self._caps), fits)

    def _take_units(self, units: int) -> Taken | None:
        """The lowest free labels of a pool of one group."""
        if units > self._caps[0]:
            return None
        mask = _lowest(self._whole, units)
        self._whole ^= mask
        self._caps[0] -= units
        self.free -= units * UNIT
        return Taken(units * UNIT, mask)

    def _take_all(self) -> Taken | None:
        if self.free != self.pool.size:
            return None
        taken = Taken(self.free, self._whole, counts=self._layout.everything)
        self._whole = self.free = 0
        self._caps = [0] * len(self._caps)
        return taken

    def _fits(self, fraction: int) -> tuple[int, ...]:
        """By group, the least that is left of a split index and holds `fraction`; 0 if none."""
        fits = [0] * len(self._caps)
        group_of = self._layout.group_of
        for index, left in self._splits.items():
            if left >= fraction:
                group = group_of[index]
                if not fits[group] or left < fits[group]:
                    fits[group] = left
        return tuple(fits)

    def hand_out(self, ask: Ask, give: Give) -> Taken:
        """Take the labels that the groups give."""
        caps, masks = self._caps, self._layout.masks
        mask = 0
        for group, count in give.counts:
            mask |= _lowest(self._whole & masks[group], count)
            caps[group] -= count
        self._whole ^= mask
        fraction = ask.fraction
        amount = ask.units * UNIT + fraction
        self.free -= amount
        if not fraction:
            return Taken(amount, mask, counts=give.counts)
        if give.fresh:
            bit = _lowest(self._whole & masks[give.carrier], 1)
            self._whole ^= bit
            caps[give.carrier] -= 1
            split, left = bit.bit_length() - 1, UNIT
        else:
            left, split = min(
                (left, index)
                for index, left in self._splits.items()
                if left >= fraction and masks[give.carrier] >> index & 1
            )
        if left == fraction:
            self._splits.pop(split)
        else:
            self._splits[split] = left - fraction
        return Taken(amount, mask, split, fraction, give.counts)

    def retake(self, need: Need, share: Share) -> Taken | None:
        """Take the very labels of the share for the need; None if it does not serve the need, or
        if they are not free."""
        amount = self.pool.size if need.policy is Policy.ALL else need.amount
        units, fraction = divmod(amount, UNIT)
        index_of = {label: index for index, label in enumerate(self._layout.labels)}
        indices = [index_of.get(label, -1) for label in share.labels]
        if (share.amount, share.fraction) != (amount, fraction) or -1 in indices:
            return None
        if len(indices) != units + bool(fraction) or len(set(indices)) != len(indices):
            return None
        split = indices.pop() if fraction else -1
        mask = sum(1 << index for index in indices)
        left = UNIT if self._whole >> max(split, 0) & 1 else self._splits.get(split, 0)
        if mask & ~self._whole or (fraction and left < fraction):
            return None
        counts = tuple(
            (group, (mask & part).bit_count())
            for group, part in enumerate(self._layout.masks)
            if mask & part
        )
        for group, count in counts:
            self._caps[group] -= count
        self._whole ^= mask
        if fraction:
            if self._whole >> split & 1:
                self._whole ^= 1 << split
                self._caps[self._layout.group_of[split]] -= 1
            self._splits[split] = left - fraction
            if not self._splits[split]:
                del self._splits[split]
        self.free -= amount
        return Taken(amount, mask, split, fraction, counts)

    def copy(self) -> IndexedPool:
        """An independent pool in the same state."""
        other = IndexedPool(self._layout)
        other._whole, other.free = self._whole, self.free
        other._caps[:] = self._caps
        other._splits.update(self._splits)
        return other

    def groups(self, taken: Taken) -> list[int]:
        """The groups that it was taken from; nothing if there is only one."""
        if len(self._caps) == 1:
            return []
        groups = [group for group, _ in taken.counts]
        if taken.split >= 0:
            groups.append(self._layout.group_of[taken.split])
        return groups

    def release(self, taken: Taken) -> None:
        assert not self._whole & taken.mask, (self.pool.resource, taken.mask)
        self._whole |= taken.mask
        self.free += taken.amount
        caps = self._caps
        if taken.counts:
            for group, count in taken.counts:
                caps[group] += count
        else:
            caps[0] += taken.mask.bit_count()
        if taken.split >= 0:
            left = self._splits.get(taken.split, 0) + taken.fraction
            assert left <= UNIT, (self.pool.resource, taken.split, left)
            if left == UNIT:
                self._splits.pop(taken.split, None)
                self._whole |= 1 << taken.split
                caps[self._layout.group_of[taken.split]] += 1
            else:
                self._splits[taken.split] = left

    def share(self, taken: Taken) -> Share:
        """`taken` in words, the partly used label last."""
        labels, mask = [], taken.mask
        while mask:
            bit = mask & -mask
            labels.append(self._layout.labels[bit.bit_length() - 1])
            mask ^= bit
        if taken.split >= 0:
            labels.append(self._layout.labels[taken.split])
        return Share(self.pool.resource, taken.amount, tuple(labels), taken.fraction)

    def check(self, held: list[Taken]) -> None:
        """Free and held parts make up the pool exactly; no label is in two claims."""
        whole, splits = self._whole, dict(self._splits)
        for taken in held:
            assert not whole & taken.mask, (self.pool.resource, taken.mask)
            whole |= taken.mask
            if taken.split >= 0:
                assert not whole >> taken.split & 1, (self.pool.resource, taken.split)
                splits[taken.split] = splits.get(taken.split, 0) + taken.fraction
        for index, amount in splits.items():
            assert amount == UNIT, (self.pool.resource, index, amount)
            assert not whole >> index & 1, (self.pool.resource, index)
            whole |= 1 << index
        assert whole == self._layout.full, (self.pool.resource, whole)
        caps = [(self._whole & mask).bit_count() for mask in self._layout.masks]
        assert self._caps == caps, (self.pool.resource, self._caps, caps)
        expected = self._whole.bit_count() * UNIT + sum(self._splits.values())
        assert self.free == expected, (self.pool.resource, self.free, expected)


class SumPool:
    """An amount without identity."""

    __slots__ = ("free", "pool")

    def __init__(self, pool: Pool) -> None:
        self.pool: Final = pool
        self.free = pool.size

    def capable(self, need: Need) -> bool:
        """Whether the empty pool could serve the need."""
        return self.pool.size > 0 if need.policy is Policy.ALL else need.amount <= self.pool.size

    def take(self, need: Need) -> Taken | None:
        amount = need.amount
        if need.policy is Policy.ALL:
            amount = self.pool.size
        if amount > self.free:
            return None
        self.free -= amount
        return Taken(amount)

    def retake(self, need: Need, share: Share) -> Taken | None:
        """Take the share for the need; None if it does not serve the need, or does not fit."""
        taken = self.take(need)
        if taken is not None and (taken.amount, share.labels) != (share.amount, ()):
            self.release(taken)
            return None
        return taken

    def copy(self) -> SumPool:
        """An independent pool in the same state."""
        other = SumPool(self.pool)
        other.free = self.free
        return other

    def release(self, taken: Taken) -> None:
        self.free += taken.amount

    def share(self, taken: Taken) -> Share:
        return Share(self.pool.resource, taken.amount)

    def check(self, held: list[Taken]) -> None:
        """Free and held amounts make up the pool exactly."""
        total = self.free + sum(taken.amount for taken in held)
        assert self.free >= 0, (self.pool.resource, self.free)
        assert total == self.pool.size, (self.pool.resource, total)


class Pools:
    """All pools of one worker."""

    __slots__ = ("_indexed", "_layout", "by_name")

    def __init__(self, layout: Layout) -> None:
        self._layout: Final = layout
        self._indexed: Final = {
            name: IndexedPool(common) for name, common in layout.indexed.items()
        }
        self.by_name: Final[dict[str, IndexedPool | SumPool]] = {
            pool.resource: self._indexed.get(pool.resource) or SumPool(pool)
            for pool in layout.descriptor.pools
        }

    def copy(self) -> Pools:
        """Independent pools in the same state."""
        other = Pools(self._layout)
        for name, pool in self._indexed.items():
            other.by_name[name] = other._indexed[name] = pool.copy()
        for name, some in self.by_name.items():
            if isinstance(some, SumPool):
                other.by_name[name] = some.copy()
        return other

    def groups(self, request: Request, taken: list[Taken]) -> set[tuple[str, int]]:
        """The groups of grouped pools that it was taken from."""
        return {
            (need.resource, group)
            for need, part in zip(request.needs, taken, strict=False)
            if need.resource in self._indexed
            for group in self._indexed[need.resource].groups(part)
        }

    def capable(self, request: Request) -> bool:
        """Whether the empty worker could serve the request."""
        for need in request.needs:
            pool = self.by_name.get(need.resource)
            if pool is None or not pool.capable(need):
                return False
        return True

    def take(self, request: Request) -> list[Taken] | None:
        """Take what the request needs, all of it or nothing."""
        planned: dict[str, tuple[Ask, Give]] = {}
        if self._layout.coupled and not self._plan_coupled(request, planned):
            return None
        taken: list[Taken] = []
        for need in request.needs:
            plan = planned.pop(need.resource, None) if planned else None
            if plan is not None:
                taken.append(self._indexed[need.resource].hand_out(*plan))
                continue
            part = self.by_name[need.resource].take(need)
            if part is None:
                self.release(request, taken)
                return None
            taken.append(part)
        return taken

    def retake(self, request: Request, claim: Claim) -> list[Taken] | None:
        """Take again what was claimed before for the request, all of it or nothing."""
        names = tuple(need.resource for need in request.needs)
        if names != tuple(share.resource for share in claim.shares):
            return None
        taken: list[Taken] = []
        for need, share in zip(request.needs, claim.shares, strict=True):
            pool = self.by_name.get(need.resource)
            part = None if pool is None else pool.retake(need, share)
            if part is None:
                self.release(request, taken)
                return None
            taken.append(part)
        return taken

    def _plan_coupled(self, request: Request, planned: dict[str, tuple[Ask, Give]]) -> bool:
        """Plan for the needs that coupling binds together; whether they all can be served."""
        coupled = self._layout.coupled
        needs = {
            need.resource: need
            for need in request.needs
            if need.resource in coupled and need.policy in CHOOSY
        }
        for team in self._layout.teams(tuple(needs)):
            asks: list[Ask] = []
            for name in team.resources:
                ask = self._indexed[name].ask(needs[name])
                if ask is None:
                    return False
                asks.append(ask)
            gives = team.place(tuple(asks))
            if gives is None:
                return False
            planned.update(zip(team.resources, zip(asks, gives, strict=True), strict=True))
        return True

    def release(self, request: Request, taken: list[Taken]) -> None:
        for need, part in zip(request.needs, taken, strict=False):
            self.by_name[need.resource].release(part)

    def claim(self, request: Request, taken: list[Taken]) -> Claim:
        return Claim(
            tuple(
                self.by_name[need.resource].share(part)
                for need, part in zip(request.needs, taken, strict=True)
            )
        )

    def room_for(self, request: Request) -> int:
        """How often the request fits into the free amounts: an upper bound."""
        room = 1 << 30
        for need in request.needs:
            pool = self.by_name[need.resource]
            if need.policy is Policy.ALL:
                room = min(room, int(pool.free == pool.pool.size))
            else:
                room = min(room, pool.free // need.amount)
        return room


def _lowest(mask: int, count: int) -> int:
    """The `count` lowest bits that are set in `mask`."""
    if count == 1:
        return mask & -mask
    if count == mask.bit_count():
        return mask
    left = mask
    for _ in range(count):
        left &= left - 1
    return mask ^ left
