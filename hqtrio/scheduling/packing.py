"""Filling one worker: how many tasks to start by each option, so that most value is started.

Where all weights are equal the options in their order most often fill it, which is quickly found;
else it is a knapsack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from hqtrio.scheduling.knapsack import EQUAL, Item, Knapsack

OPTIONS_MAX: Final = 64  # that are weighed up; of more than that, the most valuable for their size
NODES: Final = 7_000  # steps that give nearly the best of 20 options within some 20 ms


class Option(NamedTuple):
    """One way to start a task: a variant of a class."""

    klass: int  # index into `available`
    demand: tuple[int, ...]  # amount per resource, in the order of `free`; one is positive
    value: float  # of one start, > 0


def fill(
    free: tuple[int, ...],
    options: Sequence[Option],
    available: Sequence[int],
    *,
    at_least: int = 0,
    nodes: int = NODES,
) -> tuple[int, ...]:
    """How many tasks to start by each option, so that the total value is greatest.

    No class starts more than is available, and the demands fit into `free`. Among equal values
    the result has as many as possible of the first option, then of the second, and so on. With
    `at_least` it uses at least that much of the first resource, or starts nothing. Where `nodes`
    steps do not suffice it is the best that was found, and may be another one of equal value.
    """
    if len(options) == 1:
        klass, demand, _ = options[0]
        count = available[klass]
        for have, amount in zip(free, demand, strict=True):
            if count * amount > have:
                count = have // amount
        return (count if count * demand[0] >= at_least else 0,)
    if at_least and at_least > free[0]:
        return (0,) * len(options)
    caps = _caps(free, options, available)
    if len(caps) - caps.count(0) <= 1:
        counts = caps
    else:
        counts = [] if at_least else _in_order(free, options, available, caps)
        if not counts:
            counts = _weigh_up(free, options, available, caps, at_least, nodes)
    if at_least:
        used = sum(count * option.demand[0] for count, option in zip(counts, options, strict=True))
        if used < at_least:
            return (0,) * len(options)
    return tuple(counts)


def fill_together(
    rooms: Sequence[tuple[int, ...]],
    options: Sequence[Sequence[Option]],
    available: Sequence[int],
    *,
    nodes: int = NODES,
) -> list[tuple[int, ...]]:
    """How many tasks to start by each option on each of several workers, as `fill` for one.

    `rooms` and `options` are by worker. Good for a few workers: all their options together should
    not be more than OPTIONS_MAX.
    """
    free = tuple(amount for room in rooms for amount in room)
    joint: list[Option] = []
    start = 0
    for room, own in zip(rooms, options, strict=True):
        before, after = (0,) * start, (0,) * (len(free) - start - len(room))
        joint += [option._replace(demand=(*before, *option.demand, *after)) for option in own]
        start += len(room)
    counts = iter(fill(free, joint, available, nodes=nodes)) if joint else iter(())
    return [tuple(next(counts) for _ in own) for own in options]


def _caps(free: tuple[int, ...], options: Sequence[Option], available: Sequence[int]) -> list[int]:
    """How often each option could be used on its own."""
    caps = []
    for klass, demand, _ in options:
        cap = available[klass]
        for have, amount in zip(free, demand, strict=True):
            if cap * amount > have:
                cap = have // amount
        caps.append(cap)
    return caps


def _in_order(
    free: tuple[int, ...], options: Sequence[Option], available: Sequence[int], caps: list[int]
) -> list[int]:
    """As much as possible of the first option, then of the second and so on, if that is best.

    It most often is where all weights are equal; it is nothing where it cannot be told so easily.
    """
    rooms, left = list(free), list(available)
    uses = [0] * len(free)
    worth = level = 0.0
    counts = []
    for (klass, demand, value), cap in zip(options, caps, strict=True):
        count = min(cap, left[klass])
        if cap:
            share = 0.0
            for at, amount in enumerate(demand):
                if amount:
                    share += amount / free[at]
                    uses[at] += cap * amount
                    if count * amount > rooms[at]:
                        count = rooms[at] // amount
            level = max(level, value / share)
        if count:
            left[klass] -= count
            worth += count * value
            for at, amount in enumerate(demand):
                rooms[at] -= count * amount
        counts.append(count)
    # No option is worth more than `level` for its share of what there is.
    bound = level * sum(min(1.0, use / have) for use, have in zip(uses, free, strict=True) if use)
    return counts if worth >= bound * (1 - EQUAL) else []


def _weigh_up(
    free: tuple[int, ...],
    options: Sequence[Option],
    available: Sequence[int],
    caps: list[int],
    at_least: int,
    nodes: int,
) -> list[int]:
    """The best counts of those options that fit, as a knapsack.

    A class with several options is a resource, too: each of them takes one of it.
    """
    places = [at for at, cap in enumerate(caps) if cap]
    if len(places) > OPTIONS_MAX:
        places.sort(key=lambda at: -_worth_for_size(options[at], free))
        del places[OPTIONS_MAX:]
        places.sort()
    knapsack = Knapsack([Item(caps[at], options[at].value, []) for at in places])
    for resource, have in enumerate(free):
        demands = [options[at].demand[resource] for at in places]
        # The first resource stays first where the search has to watch it.
        knapsack.add(have, demands, at_least=0 if resource else at_least)
    members = Counter(options[at].klass for at in places)
    for klass, count in members.items():
        if count > 1:
            knapsack.add(available[klass], [int(options[at].klass == klass) for at in places])
    counts = [0] * len(options)
    for at, count in zip(places, knapsack.solve(nodes), strict=True):
        counts[at] = count
    _top_up(free, options, available, counts)
    return counts


def _worth_for_size(option: Option, free: tuple[int, ...]) -> float:
    shares = (need / have for need, have in zip(option.demand, free, strict=True) if need)
    return option.value / sum(shares)


def _top_up(
    free: tuple[int, ...], options: Sequence[Option], available: Sequence[int], counts: list[int]
) -> None:
    """Add what still fits: of options that were not weighed up, or where steps did not suffice."""
    rooms, left = list(free), list(available)
    for count, (klass, demand, _) in zip(counts, options, strict=True):
        if count:
            left[klass] -= count
            for at, amount in enumerate(demand):
                rooms[at] -= count * amount
    for place, (klass, demand, _) in enumerate(options):
        more = left[klass]
        for have, amount in zip(rooms, demand, strict=True):
            if more * amount > have:
                more = have // amount
        if more:
            counts[place] += more
            left[klass] -= more
            for at, amount in enumerate(demand):
                rooms[at] -= more * amount
