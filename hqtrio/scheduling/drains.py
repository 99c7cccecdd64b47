"""Draining by need: slots of lower work close where a hold needs their room, and no others."""

from __future__ import annotations

from collections.abc import Iterable

from hqtrio.model.resources import Policy
from hqtrio.scheduling import shipping
from hqtrio.scheduling.context import Context
from hqtrio.scheduling.holds import Hold, missing, rank_of
from hqtrio.scheduling.mirror import Mirror, RequestClass, Stake
from hqtrio.scheduling.policies import STRICT


def reconcile(context: Context, mirrors: Iterable[Mirror]) -> None:
    """Tell each of the workers which slots are to close by now, if that has changed."""
    for mirror in mirrors:
        stakes = _lower(context, mirror) if context.tables.holds else None
        if stakes is None:
            if mirror.drained:
                _tell(mirror, {}, 0)
            continue
        hold, lower = stakes
        slots, count = _needed(context, mirror, hold, lower)
        _tell(mirror, slots, count)
        if slots and not count:
            _clear(mirror, lower, hold.rank_on(mirror, context.now) or 0)


def may_go_on(mirror: Mirror, stake: Stake) -> int:
    """How many slots of the stake on a held worker are not going to be closed."""
    if not mirror.drain_count:
        return 0
    if not any(mirror.slots[number].klass is stake.klass for number in mirror.drained):
        return 0
    return stake.slots * (len(mirror.drained) - mirror.drain_count) // len(mirror.drained)


def _lower(context: Context, mirror: Mirror) -> tuple[Hold, list[Stake]] | None:
    """The most pressing hold on the worker, and what would go on there before it."""
    if not mirror.stakes or not mirror.in_use or mirror.gang is not None:
        return None
    if not any(stake.slots and stake.backlog for stake in mirror.stakes.values()):
        return None
    first, rank = None, 0
    for hold in context.tables.holds.values():
        held_at = hold.rank_on(mirror, context.now)
        if held_at is not None and (first is None or held_at > rank):
            first, rank = hold, held_at
    if first is None:
        return None
    lower = [
        stake
        for stake in mirror.stakes.values()
        if stake.klass is not first.klass
        and stake.slots
        and _waits_below(stake, rank)
        and stake.from_level((rank + 1) // 2) <= stake.slots
    ]
    return (first, lower) if lower else None


def _waits_below(stake: Stake, rank: int) -> bool:
    """Whether some of the tasks that wait for a slot there come after `rank`."""
    return stake.backlog > 0 and rank_of(stake.lowest) < rank


def _needed(
    context: Context, mirror: Mirror, hold: Hold, lower: list[Stake]
) -> tuple[dict[int, None], int]:
    """Slots of which so many have to close (0: all) for what is held to fit."""
    klass = hold.klass
    classes = {stake.klass.id for stake in lower}
    slots = [number for number, slot in mirror.slots.items() if slot.klass.id in classes]
    if klass.nodes:
        return dict.fromkeys(slots), 0
    _, variant = missing(mirror, klass, context.now)
    if variant < 0:
        return {}, 0
    if _is_choosy(mirror, klass, variant):
        return dict.fromkeys(_least(mirror, klass, variant, slots)), 0
    shape = mirror.shape
    tasks = 1
    if hold.everywhere is not None:
        tasks = -(-hold.waiting // max(1, context.tables.could_run(klass, context.now)))
    demand = shape.demand(klass, variant)
    if mirror.least_cpus and demand[0]:
        tasks = max(tasks, -(-mirror.least_cpus // demand[0]))
    densest = min(
        size // amount for size, amount in zip(shape.sizes, demand, strict=True) if amount
    )
    tasks = min(tasks, densest)
    count = 0
    helpful: set[int] = set()
    for at, (amount, have) in enumerate(zip(demand, mirror.free(), strict=True)):
        lacks = amount * tasks - have
        if not amount or lacks <= 0:
            continue
        given = sorted(
            (shape.demand(mirror.slots[n].klass, mirror.slots[n].variant)[at], n) for n in slots
        )
        helpful.update(n for amount_given, n in given if amount_given)
        given = [row for row in given if row[0]]
        enough = 0
        for amount_given, _ in given:
            if lacks <= 0:
                break
            lacks -= amount_given
            enough += 1
        count = max(count, enough)
    chosen = dict.fromkeys(number for number in slots if number in helpful)
    return chosen, 0 if count >= len(chosen) else count


def _is_choosy(mirror: Mirror, klass: RequestClass, variant: int) -> bool:
    """Whether it matters which slots close, not only how many."""
    grouped = {pool.resource for pool in mirror.shape.descriptor.pools if len(pool.groups) > 1}
    return any(
        need.policy is Policy.ALL or (need.policy in STRICT and need.resource in grouped)
        for need in klass.variants[variant].needs
    )


def _least(mirror: Mirror, klass: RequestClass, variant: int, slots: list[int]) -> list[int]:
    """Few of the slots whose closing lets the request fit, else all of them.

    Tried with the slots of one group first, for each group.
    """
    request = klass.variants[variant]
    best = slots
    for order in _orders(mirror, slots):
        pools = mirror.pools.copy()
        for count, number in enumerate(order, start=1):
            slot = mirror.slots[number]
            pools.release(slot.request, slot.taken)
            if count >= len(best):
                break
            if pools.take(request) is not None:
                best = order[:count]
                break
    return best


def _orders(mirror: Mirror, slots: list[int]) -> list[list[int]]:
    """The slots in several orders: those that touch the same group of a pool first."""
    touched = {
        number: mirror.pools.groups(mirror.slots[number].request, mirror.slots[number].taken)
        for number in slots
    }
    groups = sorted({group for touched_groups in touched.values() for group in touched_groups})
    return [slots] + [
        [n for n in slots if group in touched[n]] + [n for n in slots if group not in touched[n]]
        for group in groups
    ]


def _tell(mirror: Mirror, slots: dict[int, None], count: int) -> None:
    """Make the worker drain these slots and no others."""
    if mirror.drained == slots and mirror.drain_count == count:
        return
    gone = [number for number in mirror.drained if number not in slots]
    if gone:
        shipping.undrain(mirror, gone)
    if slots:
        shipping.drain(mirror, list(slots), count)
    mirror.drained, mirror.drain_count = slots, count


def _clear(mirror: Mirror, lower: list[Stake], rank: int) -> None:
    """Ask for the backlog that no slot is left for."""
    classes = {
        stake.klass.id
        for stake in lower
        if all(
            number in mirror.drained
            for number, slot in mirror.slots.items()
            if slot.klass is stake.klass
        )
    }
    tasks = [
        task
        for task, batch in mirror.held.items()
        if batch.klass.id in classes and rank_of(batch.priority) < rank and mirror.is_waiting(task)
    ]
    if tasks:
        shipping.retract(mirror, tasks)
