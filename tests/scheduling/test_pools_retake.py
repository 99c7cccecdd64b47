"""Claims that workers state again: exactly what was taken, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scheduling_cluster import needs, pools

from hqtrio.model.resources import UNIT, Claim, Policy, Share
from hqtrio.scheduling.pools import Layout, Pools

SHAPES = [
    {"cpus": 4, "foo": 2},
    {"cpus": (4, 4), "gpus": (2, 2), "coupling": [("cpus", 0, "gpus", 0)]},
    {"cpus": (2, 3), "foo": 1.5},
]
REQUESTS = [
    needs(1),
    needs(2),
    needs(0.5),
    needs(1.25),
    needs("all"),
    needs(3, policy=Policy.SCATTER),
    needs(1, foo=0.25),
    needs(1, foo="all"),
    needs(1, gpus=1),
    needs(0.5, gpus=0.5),
]


def state(some):
    return {name: (pool.free, pool.pool.resource) for name, pool in some.by_name.items()}


@given(st.sampled_from(SHAPES), st.lists(st.sampled_from(REQUESTS), max_size=8), st.randoms())
def test_whatever_was_granted_can_be_taken_again_in_any_order(shape, requests, random):
    layout = Layout(pools(**shape))
    first, again = Pools(layout), Pools(layout)
    held = []
    for request in requests:
        taken = first.take(request) if first.capable(request) else None
        if taken is not None:
            held.append((request, taken, first.claim(request, taken)))
    random.shuffle(held)
    retaken = []
    for request, _, claim in held:
        taken = again.retake(request, claim)
        assert taken is not None and again.claim(request, taken) == claim
        retaken.append((request, taken))
    assert state(again) == state(first)
    for request, taken in retaken:
        again.release(request, taken)
    for name, pool in again.by_name.items():
        pool.check([])
        assert pool.free == Pools(layout).by_name[name].free


def cpus(amount, *labels, fraction=0):
    return Claim((Share("cpus", round(amount * UNIT), labels, round(fraction * UNIT)),))


@pytest.mark.parametrize(
    ("request_", "claim"),
    [
        (needs(1), cpus(1, "9")),
        (needs(1), cpus(2, "1")),
        (needs(1), cpus(2, "1", "2")),
        (needs(2), cpus(2, "1", "1")),
        (needs(0.5), cpus(0.5, "1", fraction=0.25)),
        (needs(0.5), cpus(0.5, "0", fraction=0.5)),
        (needs(0.5), cpus(0.5, "3", fraction=0.5)),
        (needs(1), cpus(1, "0")),
        (needs(1), Claim()),
        (needs(1, foo=1), cpus(1, "1")),
        (needs(1, foo=3), Claim((*cpus(1, "1").shares, Share("foo", 3 * UNIT)))),
        (needs(1, foo=1), Claim((*cpus(1, "1").shares, Share("foo", UNIT, ("x",))))),
        (needs("all"), cpus(4, "0", "1", "2", "3")),
    ],
)
def test_what_is_not_free_or_not_what_was_asked_for_is_not_taken(request_, claim):
    some = Pools(Layout(pools(4, foo=2)))
    assert some.retake(needs(1), cpus(1, "0")) is not None
    assert some.retake(needs(0.75), cpus(0.75, "3", fraction=0.75)) is not None
    before = state(some)
    assert some.retake(request_, claim) is None
    assert state(some) == before
