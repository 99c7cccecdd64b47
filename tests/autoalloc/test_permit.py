"""How many allocations of which size may be submitted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqtrio.autoalloc.permit import permit

# Backlog, workers per allocation, remaining, workers that are to come, S, M of n nodes, permit.
TABLE = [
    (2, 1, None, [], 3, (0, 0), [1, 1]),
    (4, 2, None, [], 1, (0, 0), [1]),
    (4, 1, 3, [], 4, (0, 0), [1, 1, 1]),
    (4, 2, 3, [], 4, (0, 0), [2, 1]),
    (4, 1, None, [1, 1], 2, (0, 0), []),
    (4, 3, None, [3, 1], 0, (2, 2), [2]),
    (4, 1, None, [3, 2], 0, (2, 2), []),
    (4, 2, None, [], 0, (2, 2), [2, 2]),
    (4, 2, None, [], 3, (2, 2), [2, 2, 2, 1]),
    (5, 2, None, [3], 4, (2, 2), [2, 2, 1]),
    (4, 3, None, [3, 3], 4, (2, 1), []),
    (4, 1, 0, [], 4, (0, 0), []),
    # A part of a multi-node task's nodes is of no use.
    (4, 4, 3, [], 0, (4, 1), []),
    (4, 4, 3, [], 2, (4, 1), [2]),
]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_the_permit(row) -> None:
    backlog, most, remaining, coming, single, (nodes, count), wanted = row
    gangs = [(nodes, count)] if count else []
    sizes = permit(
        single,
        gangs,
        backlog=backlog,
        max_workers_per_alloc=most,
        expected=coming,
        queued=len(coming),
        remaining=remaining,
    )
    assert sizes == wanted


@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 5)), max_size=3, unique_by=lambda g: g[0]),
    st.integers(1, 6),
    st.integers(8, 20),
    st.lists(st.integers(1, 8), max_size=4),
    st.none() | st.integers(0, 30),
)
def test_no_permit_exceeds_a_limit(single, gangs, backlog, most, coming, remaining) -> None:
    sizes = permit(
        single,
        gangs,
        backlog=backlog,
        max_workers_per_alloc=most,
        expected=coming,
        queued=len(coming),
        remaining=remaining,
    )
    assert len(sizes) <= max(0, backlog - len(coming))
    assert all(0 < size <= most for size in sizes)
    assert remaining is None or sum(sizes) <= remaining
    assert sum(sizes) <= single + sum(nodes * count for nodes, count in gangs)
