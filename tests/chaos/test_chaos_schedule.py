"""The same seed breaks the same things; nothing is cut for about as long as the grace."""

from __future__ import annotations

from itertools import islice

import pytest
from chaos_schedule import FAULTS, GRACE_S, JOBS, breaks, orders


def test_a_seed_tells_everything() -> None:
    assert breaks(7, 100.0) == breaks(7, 100.0) != breaks(8, 100.0)
    first, again, other = (list(islice(orders(7, client), 50)) for client in (0, 0, 1))
    assert first == again != other


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    short = breaks(3, 50.0)
    assert breaks(3, 500.0)[: len(short)] == short


@pytest.mark.parametrize("seed", range(20))
def test_no_cut_is_about_as_long_as_the_grace(seed: int) -> None:
    for one in breaks(seed, 300.0):
        if one.what in ("cut", "stall", "forget"):
            assert 0 < one.duration_s < GRACE_S / 3
        elif one.what.startswith("long"):
            assert one.duration_s > GRACE_S * 1.5


def test_everything_occurs() -> None:
    assert {one.what for one in breaks(1, 600.0)} == FAULTS.keys()
    assert {order.kind for order in islice(orders(1, 0), 300)} == JOBS.keys()
