"""Good sets of groups for several needs together, quickly: each need responds to the others.

One need leads: it takes the groups with the heaviest links. The others follow, and then all change
single groups in turn, until none finds a better set for itself. Every need leads once, as long as
there are steps left.
"""

from __future__ import annotations

from typing import Final

from hqtrio.scheduling.joint import Joint, Sets
from hqtrio.scheduling.policies import Groups, Merit, good_set, is_sufficient, merit

ROUNDS_MAX: Final = 4  # in which needs respond to each other
EXCHANGE: Final = 3  # steps that looking at an exchange is worth


def climb(joint: Joint, steps_max: int) -> Sets:
    """Sets that no need alone would change, unless the steps run out before."""
    best = None
    for leader in joint.needs:
        if best is not None and joint.steps > steps_max:
            break
        found = joint.score(_climb_from(joint, leader, steps_max))
        best = found if best is None else min(best, found)
    assert best is not None
    return best[4]


def _climb_from(joint: Joint, leader: int, steps_max: int) -> Sets:
    order = [leader, *(at for at in joint.needs if at != leader)]
    sets: dict[int, Groups] = {}
    for at in order:
        gains = joint.gains(at, sets)
        sets[at] = _respond(joint, at, gains, _greedy(joint, at, gains), steps_max)
    for _ in range(ROUNDS_MAX):
        before = dict(sets)
        for at in order:
            gains = joint.gains(at, sets)
            offers = [sets[at], _greedy(joint, at, gains)]
            sets[at] = min(
                (_respond(joint, at, gains, groups, steps_max) for groups in offers),
                key=lambda groups: _value(joint, at, gains, groups),
            )
        if sets == before or joint.steps > steps_max:
            break
    return tuple(sets[at] for at in joint.needs)


def _greedy(joint: Joint, at: int, gains: list[int]) -> Groups:
    """The groups that earn most, if they are enough; else the fullest ones."""
    ask, count = joint.asks[at], joint.counts[at]
    by_gain = sorted(joint.useful[at], key=lambda group: (-gains[group], -ask.caps[group], group))
    joint.steps += len(by_gain) * EXCHANGE
    groups = tuple(sorted(by_gain[:count]))
    return groups if is_sufficient(ask, groups) else good_set(ask, count, by_gain)


def _value(joint: Joint, at: int, gains: list[int], groups: Groups) -> tuple[int, Merit, Groups]:
    """What a set is worth to its need while the others stay; less is better."""
    earned = [gains[group] for group in groups]
    for one, other, weight in joint.bonds.get((at, at), ()):
        if one in groups and other in groups:
            earned.append(weight)
    joint.steps += len(groups) + len(joint.bonds.get((at, at), ()))
    return -sum(earned), merit(joint.asks[at], groups), groups


def _respond(joint: Joint, at: int, gains: list[int], groups: Groups, steps_max: int) -> Groups:
    """The set after exchanging single groups as long as that makes it better."""
    while joint.steps <= steps_max:
        better = _exchange(joint, at, gains, groups)
        if better is None:
            break
        groups = better
    return groups


def _exchange(joint: Joint, at: int, gains: list[int], groups: Groups) -> Groups | None:
    """The set with one group exchanged so that it is better; None if no exchange does that."""
    ask, inner = joint.asks[at], joint.inner[at]
    caps = ask.caps
    spare = sum([caps[group] for group in groups]) - ask.units
    own = merit(ask, groups)
    # With links inside the pool, what a group earns depends on which groups are there.
    if inner:
        gains = list(gains)
        for group in groups:
            for other, weight in inner.get(group, {}).items():
                gains[other] += weight
    inside = sorted(groups, key=lambda group: (gains[group], -caps[group], group))
    outside = [group for group in joint.useful[at] if group not in groups]
    outside.sort(key=lambda group: (-gains[group], caps[group], group))
    joint.steps += EXCHANGE * (len(gains) + sum(map(len, inner.values())))
    for out in inside:
        links = inner.get(out, {})
        for into in outside:
            joint.steps += EXCHANGE
            more = gains[into] - gains[out]
            if more < 0:
                break
            more -= links.get(into, 0)
            if more < 0 or spare + caps[into] < caps[out]:
                continue
            if not more and not ask.fraction and caps[into] > caps[out]:
                continue
            tried = tuple(sorted([into, *(group for group in groups if group != out)]))
            joint.steps += len(tried)
            if is_sufficient(ask, tried) and (more or (merit(ask, tried), tried) < (own, groups)):
                return tried
    return None
