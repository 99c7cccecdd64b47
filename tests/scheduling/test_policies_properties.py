"""Allocation policies against every way there is, and pools after any history (I17)."""

from itertools import chain, combinations, product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numa_worker import NumaWorker

from hqtrio.model.resources import UNIT, Descriptor, Link, Policy, Pool
from hqtrio.scheduling.coupling import teams
from hqtrio.scheduling.policies import STRICT, Ask, place
from hqtrio.units import format_amount

CHOOSY = [Policy.COMPACT, Policy.FORCE_COMPACT, Policy.TIGHT, Policy.FORCE_TIGHT]
NAMES = ("a", "b", "c")


@st.composite
def asks(draw):
    """A need, a pool in some state, and the sizes of its groups."""
    sizes = tuple(draw(st.lists(st.integers(1, 4), min_size=2, max_size=4)))
    caps = tuple(draw(st.integers(0, size)) for size in sizes)
    amount = draw(st.integers(1, 2 * sum(sizes))) * UNIT // 2
    units, fraction = divmod(min(amount, sum(sizes) * UNIT), UNIT)
    least = st.sampled_from([0, fraction, fraction + 1, 9_000])
    fits = tuple(
        draw(least) if fraction and cap < size else 0 for cap, size in zip(caps, sizes, strict=True)
    )
    return Ask(units, fraction, draw(st.sampled_from(CHOOSY)), caps, fits), sizes


def subsets(count):
    return chain.from_iterable(combinations(range(count), size) for size in range(1, count + 1))


def is_enough(ask, groups):
    whole = sum(ask.caps[group] for group in groups)
    carried = any(ask.fits[group] for group in groups)
    return whole >= ask.units + bool(ask.fraction and not carried)


def best_by_trying(many, links):
    """Groups for each need, the number of groups and the weight; None if there is no way."""
    ways = [[s for s in subsets(len(ask.caps)) if is_enough(ask, s)] for ask in many]
    best = None
    for sets in product(*ways):
        weight = sum(w for p1, g1, p2, g2, w in links if g1 in sets[p1] and g2 in sets[p2])
        lefts = [
            min((ask.fits[g] for g in groups if ask.fits[g]), default=0)
            for ask, groups in zip(many, sets, strict=True)
        ]
        fresh = sum(ask.fraction > 0 and not left for ask, left in zip(many, lefts, strict=True))
        caps = sum(ask.caps[g] for ask, groups in zip(many, sets, strict=True) for g in groups)
        key = (sum(map(len, sets)), -weight, fresh, sum(lefts), caps, sets)
        best = key if best is None else min(best, key)
    return best and (list(best[5]), best[0], -best[1])


def expected(many, sizes, links):
    found = best_by_trying(many, links)
    if found and any(ask.policy in STRICT for ask in many):
        empty = [
            ask._replace(caps=size, fits=(0,) * len(size))
            for ask, size in zip(many, sizes, strict=True)
        ]
        if best_by_trying(empty, links)[1:] != found[1:]:
            return None
    return found and found[0]


def groups_of(give):
    return tuple(sorted({group for group, _ in give.counts} | ({give.carrier} - {-1})))


def check_give(ask, give):
    counts = dict(give.counts)
    assert sum(counts.values()) == ask.units
    assert (give.carrier >= 0) == (ask.fraction > 0)
    for group, cap in enumerate(ask.caps):
        split = give.fresh and give.carrier == group
        assert counts.get(group, 0) + split <= cap
    assert give.fresh or give.carrier < 0 or ask.fits[give.carrier]


@given(asks())
@settings(max_examples=300)
def test_groups_for_one_need_are_the_best_there_are(case):
    ask, sizes = case
    wanted = expected([ask], [sizes], [])
    give = place(ask, sizes)
    assert (give and [groups_of(give)]) == wanted
    if give:
        check_give(ask, give)


@given(st.lists(asks(), min_size=2, max_size=3), st.data())
@settings(max_examples=300, deadline=None)
def test_groups_for_coupled_needs_are_the_best_there_are(cases, data):
    many, sizes = [case[0] for case in cases], [case[1] for case in cases]
    ends = [(pool, group) for pool, size in enumerate(sizes) for group in range(len(size))]
    possible = list(combinations(ends, 2))
    chosen = data.draw(st.lists(st.sampled_from(possible), unique=True, max_size=8))
    weights = st.sampled_from([1, 128, 256])
    # The chain of first groups makes the needs one team.
    chosen += [((at, 0), (at + 1, 0)) for at in range(len(many) - 1)]
    links = [(*one, *two, data.draw(weights)) for one, two in dict.fromkeys(chosen)]
    check_team(many, sizes, links)


@pytest.mark.parametrize("seed", range(60))
def test_ties_and_rings_of_links_are_resolved_like_by_trying(seed):
    """Pools of equal groups, most of them free, densely coupled in a ring or around the second."""
    rnd = Random(seed)
    count = rnd.choice([3, 4])
    sizes = [(2,) * count] * 3
    many = [
        Ask(
            rnd.choice([1, 3, 4]),
            0,
            Policy.COMPACT,
            tuple(rnd.choice([1, 2, 2, 2]) for _ in range(count)),
            (0,) * count,
        )
        for _ in range(3)
    ]
    ends = [(0, 1), (1, 2)] + [(0, 2)] * (seed % 2)
    links = [
        (one, i, two, j, rnd.choice([100, 100, 256]))
        for one, two in ends
        for i, j in product(range(count), repeat=2)
        if rnd.random() < 0.4
    ]
    links += [(0, 0, 1, 0, 1), (1, 0, 2, 0, 1)]
    check_team(many, sizes, links)


def check_team(many, sizes, links):
    names = NAMES[: len(many)]
    pools = [
        Pool(name, tuple(("x",) * count for count in size), sum(size) * UNIT)
        for name, size in zip(names, sizes, strict=True)
    ]
    (team,) = teams(Descriptor(tuple(pools), tuple(Link(*link) for link in links)), names)
    gives = team.place(tuple(many))
    assert (gives and [groups_of(give) for give in gives]) == expected(many, sizes, links)
    for ask, give in zip(many, gives or (), strict=False):
        check_give(ask, give)


AMOUNTS = st.one_of(
    st.integers(1, 9).map(lambda units: units * UNIT),
    st.integers(1, 12).map(lambda quarters: quarters * UNIT // 4),
    st.integers(1, 5 * UNIT),
)
NEEDS = st.one_of(
    st.just("all"),
    st.builds(
        lambda amount, policy: f"{format_amount(amount)} {policy}",
        AMOUNTS,
        st.sampled_from(["compact", "compact!", "tight", "tight!", "scatter"]),
    ),
)
GROUPS = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@given(GROUPS, GROUPS, st.booleans(), st.data())
@settings(max_examples=100, deadline=None)
def test_i17_what_is_taken_and_given_back_leaves_the_pools_as_they_were(cpus, gpus, link, data):
    shared = min(len(cpus), len(gpus))
    coupling = [("cpus", g, "gpus", g, 256) for g in range(shared)] if link else []
    worker = NumaWorker(
        coupling, cpus="|".join(map(str, cpus)), gpus="|".join(map(str, gpus)), mem="sum 3.5"
    )
    untouched = worker.snapshot()
    for _ in range(data.draw(st.integers(1, 12))):
        before = worker.snapshot()
        names = data.draw(st.sets(st.sampled_from(["cpus", "gpus", "mem"]), min_size=1))
        needs = {name: data.draw(NEEDS) for name in sorted(names)}
        task = worker.run(**needs)
        if task is None:
            assert worker.snapshot() == before
        elif data.draw(st.booleans()):
            worker.end(task)
            assert worker.snapshot() == before
        if worker.held and data.draw(st.booleans()):
            worker.end(data.draw(st.sampled_from(worker.held)))
    worker.end(*list(worker.held))
    assert worker.snapshot() == untouched
