"""Exact mirrors of a worker's pools: which label is free, and how much of a split one.

Whole free indices are the bits of one integer; a split index is in a small map with what is left
of it. An index is never both.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Final

from hqtrio.model.resources import UNIT, Claim, Need, Policy, Pool, Request, Share

STRICT: Final = (Policy.FORCE_COMPACT, Policy.FORCE_TIGHT)


class Taken:
    """What one need took from one pool, in the pool's own terms."""

    __slots__ = ("amount", "fraction", "mask", "split")

    def __init__(self, amount: int, mask: int = 0, split: int = -1, fraction: int = 0) -> None:
        self.amount = amount
        self.mask = mask
        self.split = split
        self.fraction = fraction


class IndexedPool:
    """Labels in one or more groups."""

    __slots__ = ("_full", "_groups", "_labels", "_sizes", "_splits", "_whole", "free", "pool")

    def __init__(self, pool: Pool) -> None:
        self.pool: Final = pool
        self._labels = tuple(label for group in pool.groups for label in group)
        self._sizes = [len(group) for group in pool.groups]
        starts = accumulate(self._sizes, initial=0)
        self._groups = [
            ((1 << size) - 1) << start for size, start in zip(self._sizes, starts, strict=False)
        ]
        self._full = (1 << len(self._labels)) - 1
        self._whole = self._full
        self._splits: dict[int, int] = {}
        self.free = pool.size  # the total, whole and split

    def capable(self, need: Need) -> bool:
        """Whether the empty pool could serve the need."""
        if need.policy is Policy.ALL:
            return self._full != 0
        return -(-need.amount // UNIT) <= len(self._labels)

    def take(self, need: Need) -> Taken | None:
        """Take labels for the need, or nothing and return None if they are not there."""
        if need.policy is Policy.ALL:
            if self.free != self.pool.size or self._splits:
                return None
            taken = Taken(self.free, self._full)
            self._whole = self.free = 0
            return taken
        amount = need.amount
        if amount > self.free:
            return None
        units, fraction = divmod(amount, UNIT)
        if fraction == 0 and len(self._groups) == 1:
            mask = _lowest(self._whole, units) if units <= self._whole.bit_count() else -1
            if mask < 0:
                return None
            self._whole ^= mask
            self.free -= amount
            return Taken(amount, mask)
        return self._take_grouped(need, units, fraction)

    def _take_grouped(self, need: Need, units: int, fraction: int) -> Taken | None:
        caps = [(self._whole & group).bit_count() for group in self._groups]
        split = self._best_split(fraction)
        wanted = units + (1 if fraction and split < 0 else 0)
        chosen = choose_groups(caps, wanted)
        if chosen is None:
            return None
        if need.policy in STRICT:
            at_best = choose_groups(self._sizes, -(-need.amount // UNIT))
            touched = set(chosen) | ({self._group_of(split)} if split >= 0 else set())
            if at_best is None or len(touched) > len(at_best):
                return None
        mask, missing = 0, wanted
        for group in chosen:
            here = min(missing, caps[group])
            mask |= _lowest(self._whole & self._groups[group], here)
            missing -= here
        self._whole ^= mask
        self.free -= need.amount
        if not fraction:
            return Taken(need.amount, mask)
        if split < 0:
            split = mask.bit_length() - 1
            mask ^= 1 << split
            self._splits[split] = UNIT
        self._splits[split] -= fraction
        return Taken(need.amount, mask, split, fraction)

    def _best_split(self, fraction: int) -> int:
        """The split index with the smallest remainder that can hold `fraction`, or -1."""
        if not fraction:
            return -1
        fitting = [(left, index) for index, left in self._splits.items() if left >= fraction]
        return min(fitting)[1] if fitting else -1

    def _group_of(self, index: int) -> int:
        return next(i for i, group in enumerate(self._groups) if group >> index & 1)

    def release(self, taken: Taken) -> None:
        assert not self._whole & taken.mask, (self.pool.resource, taken.mask)
        self._whole |= taken.mask
        self.free += taken.amount
        if taken.split >= 0:
            left = self._splits[taken.split] + taken.fraction
            assert left <= UNIT, (self.pool.resource, taken.split, left)
            if left == UNIT:
                del self._splits[taken.split]
                self._whole |= 1 << taken.split
            else:
                self._splits[taken.split] = left

    def share(self, taken: Taken) -> Share:
        """`taken` in words, the partly used label last."""
        labels, mask = [], taken.mask
        while mask:
            bit = mask & -mask
            labels.append(self._labels[bit.bit_length() - 1])
            mask ^= bit
        if taken.split >= 0:
            labels.append(self._labels[taken.split])
        return Share(self.pool.resource, taken.amount, tuple(labels), taken.fraction)

    def check(self, held: list[Taken]) -> None:
        """Free and held parts make up the pool exactly; no label is in two claims."""
        whole, splits = self._whole, dict(self._splits)
        for taken in held:
            assert not whole & taken.mask, (self.pool.resource, taken.mask)
            whole |= taken.mask
            if taken.split >= 0:
                splits[taken.split] += taken.fraction
        for index, amount in splits.items():
            assert amount == UNIT, (self.pool.resource, index, amount)
            assert not whole >> index & 1, (self.pool.resource, index)
            whole |= 1 << index
        assert whole == self._full, (self.pool.resource, whole)
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

    __slots__ = ("by_name",)

    def __init__(self, pools: tuple[Pool, ...]) -> None:
        self.by_name: Final[dict[str, IndexedPool | SumPool]] = {
            pool.resource: IndexedPool(pool) if pool.groups else SumPool(pool) for pool in pools
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
        taken: list[Taken] = []
        for need in request.needs:
            part = self.by_name[need.resource].take(need)
            if part is None:
                self.release(request, taken)
                return None
            taken.append(part)
        return taken

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


def choose_groups(caps: list[int], wanted: int) -> list[int] | None:
    """The fewest groups that hold `wanted` whole indices, ascending; None if all do not.

    Of the sets of that size, one that leaves big groups alone where a smaller one is enough.
    """
    if wanted == 0:
        return []
    by_size = sorted(range(len(caps)), key=lambda group: (-caps[group], group))
    chosen: list[int] = []
    missing = wanted
    for group in by_size:
        if caps[group] == 0:
            break
        if caps[group] >= missing:
            enough = [g for g in by_size if g not in chosen and caps[g] >= missing]
            chosen.append(min(enough, key=lambda g: (caps[g], g)))
            return sorted(chosen)
        chosen.append(group)
        missing -= caps[group]
    return None


def _lowest(mask: int, count: int) -> int:
    """The `count` lowest bits that are set in `mask`."""
    if count == mask.bit_count():
        return mask
    left = mask
    for _ in range(count):
        left &= left - 1
    return mask ^ left
