"""Which groups of a pool serve a need, and how many indices each of them gives.

Nothing here knows an index: a pool is its groups, each with so many whole free indices and, where
one is split already, with what is left of it.
"""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Final, NamedTuple

from hqtrio.model.resources import Policy

STRICT: Final = frozenset({Policy.FORCE_COMPACT, Policy.FORCE_TIGHT})
TIGHT: Final = frozenset({Policy.TIGHT, Policy.FORCE_TIGHT})
SETS_MAX: Final = 2000  # of so many sets the best is found; of more, a good one

Groups = tuple[int, ...]  # ascending


class Ask(NamedTuple):
    """A need, as one pool sees it now."""

    units: int
    fraction: int
    policy: Policy
    caps: tuple[int, ...]  # whole free indices by group
    # By group, the least that is left of a split index and holds the fraction; 0 if none does.
    fits: tuple[int, ...]


class Give(NamedTuple):
    """What the groups give: whole indices, and which one the fraction comes from."""

    counts: tuple[tuple[int, int], ...]  # group and number, never 0, ascending
    carrier: int = -1  # the group of the fraction
    fresh: bool = False  # whether a whole index is split for it


# How good a set of groups is; less is better, and merits of several needs add up:
# indices newly split, what was left of the split index used further, whole indices in the set.
Merit = tuple[int, int, int]


def place(ask: Ask, sizes: tuple[int, ...]) -> Give | None:
    """What the groups of one pool give for one need; None if it has to wait.

    `sizes` are the groups of the empty pool: what a strict need is measured against.
    """
    if ask.policy is Policy.SCATTER:
        return scatter(ask)
    alone = _place_in_one(ask)
    if alone is not None:
        return alone
    count = fewest_groups(ask)
    if count == 0 or (ask.policy in STRICT and count > fewest_groups(when_empty(ask, sizes))):
        return None
    return draw(
        ask, min(sufficient_sets(ask, count), key=lambda groups: (merit(ask, groups), groups))
    )


def _place_in_one(ask: Ask) -> Give | None:
    """The best single group, if one is enough: the common case, in which policies are alike."""
    units, fraction, _, caps, fits = ask
    if not fraction:
        enough = [cap for cap in caps if cap >= units]
        return Give(((caps.index(min(enough)), units),)) if enough else None
    able = [
        (fits[group] == 0, fits[group], cap, group)
        for group, cap in enumerate(caps)
        if cap > units or (cap == units and fits[group])
    ]
    if not able:
        return None
    fresh, _, _, group = min(able)
    return Give(((group, units),) if units else (), group, fresh)


def when_empty(ask: Ask, sizes: tuple[int, ...]) -> Ask:
    """The same need on a pool of which nothing is in use."""
    return ask._replace(caps=sizes, fits=(0,) * len(sizes))


def fewest_groups(ask: Ask) -> int:
    """How many groups are enough together; 0 if all of them are not."""
    caps = ask.caps
    by_size = sorted(range(len(caps)), key=lambda group: -caps[group])
    plain = _enough(ask.units + (1 if ask.fraction else 0), [caps[g] for g in by_size])
    carriers = [group for group in by_size if ask.fraction and ask.fits[group]]
    if not carriers:
        return plain
    # No carrier does better than the one with most whole indices.
    best = carriers[0]
    others = [caps[group] for group in by_size if group != best]
    carried = _enough(ask.units, [caps[best], *others])
    return min(filter(None, (plain, carried)), default=0)


def _enough(wanted: int, caps: list[int]) -> int:
    """How many of the first `caps` sum up to `wanted`, at least one; 0 if all do not."""
    for count, cap in enumerate(caps, start=1):
        wanted -= cap
        if wanted <= 0:
            return count
    return 0


def sufficient_sets(ask: Ask, count: int) -> list[Groups]:
    """Sets of `count` groups that can serve the need: all, or a single good one of very many."""
    groups_of_use = useful(ask)
    if comb(len(groups_of_use), count) > SETS_MAX:
        return [good_set(ask, count, groups_of_use)]
    return [groups for groups in combinations(groups_of_use, count) if is_sufficient(ask, groups)]


def useful(ask: Ask) -> list[int]:
    """The groups that have something for the need."""
    return [
        group for group, cap in enumerate(ask.caps) if cap or (ask.fraction and ask.fits[group])
    ]


def is_sufficient(ask: Ask, groups: Groups) -> bool:
    """Whether the groups can serve the need together."""
    spare = -ask.units
    for group in groups:
        spare += ask.caps[group]
    if spare < 0:
        return False
    return spare > 0 or not ask.fraction or any(ask.fits[group] for group in groups)


def good_set(ask: Ask, count: int, among: list[int]) -> Groups:
    """The fullest groups that do, with the last exchanged for the least that is still enough."""
    by_size = sorted(among, key=lambda group: (-ask.caps[group], group))
    chosen = by_size[:count]
    if not is_sufficient(ask, tuple(chosen)):
        carrier = next(group for group in by_size if ask.fits[group])
        chosen = [carrier, *(group for group in by_size if group != carrier)][:count]
    for last in reversed(by_size):
        groups = (*chosen[:-1], last)
        if last not in chosen[:-1] and is_sufficient(ask, groups):
            return tuple(sorted(groups))
    return tuple(sorted(chosen))


def merit(ask: Ask, groups: Groups) -> Merit:
    """The merit of a sufficient set."""
    caps = sum([ask.caps[group] for group in groups])
    if not ask.fraction:
        return 0, 0, caps
    left = min([ask.fits[group] for group in groups if ask.fits[group]], default=0)
    return int(left == 0), left, caps


def draw(ask: Ask, groups: Groups) -> Give:
    """What each group of a sufficient set gives."""
    return _tight(ask, groups) if ask.policy in TIGHT else _compact(ask, groups)


def _compact(ask: Ask, groups: Groups) -> Give:
    """As evenly as the groups can; the fraction where it harms least."""
    counts, _ = _deal(ask.units, [(group, ask.caps[group]) for group in groups])
    if not ask.fraction:
        return Give(_given(counts))
    carriers = [group for group in groups if ask.fits[group]]
    if carriers:
        carrier = min(carriers, key=lambda group: (ask.fits[group], group))
        return Give(_given(counts), carrier)
    spare = [group for group in groups if ask.caps[group] > counts[group]]
    return Give(_given(counts), min(spare, key=lambda group: (counts[group], group)), fresh=True)


def _tight(ask: Ask, groups: Groups) -> Give:
    """From one group after the other, the last being the smallest that serves the rest."""
    units, fraction = ask.units, ask.fraction
    caps, fits = ask.caps, ask.fits
    counts: dict[int, int] = {}
    carrier, fresh = -1, False
    left = list(groups)
    while units or fraction:
        able = [
            group
            for group in left
            if caps[group] >= units and (not fraction or fits[group] or caps[group] > units)
        ]
        if able:
            group = min(able, key=lambda group: (caps[group], fits[group] == 0, group))
        else:
            group = max(left, key=lambda group: (caps[group], fits[group] > 0, -group))
        left.remove(group)
        counts[group] = min(units, caps[group])
        units -= counts[group]
        if fraction and (able or fits[group]):
            carrier, fresh, fraction = group, not fits[group], 0
    return Give(_given(counts), carrier, fresh)


def scatter(ask: Ask) -> Give | None:
    """From all groups in turn, beginning with the fullest; None if they have too little."""
    caps, fits = ask.caps, ask.fits
    spare = sum(caps) - ask.units
    if spare < 0 or (ask.fraction and spare == 0 and not any(fits)):
        return None
    total = len(caps)
    start = max(range(total), key=lambda group: (caps[group], -group))
    rotation = [(start + step) % total for step in range(total)]
    counts, at = _deal(ask.units, [(group, caps[group]) for group in rotation])
    if not ask.fraction:
        return Give(_given(counts))
    rotation = rotation[at:] + rotation[:at]
    for group in rotation:
        if fits[group]:
            return Give(_given(counts), group)
    whole = next(group for group in rotation if caps[group] > counts[group])
    return Give(_given(counts), whole, fresh=True)


def _deal(units: int, stock: list[tuple[int, int]]) -> tuple[dict[int, int], int]:
    """Units dealt one at a time around groups with so much; and whose turn would be next."""
    counts = dict.fromkeys((group for group, _ in stock), 0)
    live = [(at, group, cap) for at, (group, cap) in enumerate(stock) if cap]
    while units:
        rounds = min(units // len(live), min(cap - counts[group] for _, group, cap in live))
        dealt = live if rounds else live[:units]
        for _, group, _ in dealt:
            counts[group] += rounds or 1
        units -= (rounds or 1) * len(dealt)
        if not rounds:
            return counts, live[len(dealt)][0]
        live = [entry for entry in live if entry[2] > counts[entry[1]]]
    return counts, live[0][0] if live else 0


def _given(counts: dict[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((group, count) for group, count in counts.items() if count))
