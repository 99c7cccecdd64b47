"""Levels over time in bins, against a naive account of the same changes."""

from hypothesis import given
from hypothesis import strategies as st

from hqtrio.journal.levels import BINS_MAX, Clock

MOMENTS = st.floats(0, 5000).map(lambda s: round(s, 2))
SPANS = st.lists(st.tuples(MOMENTS, MOMENTS, st.integers(1, 9)), max_size=20)


def area(spans, start_s, end_s):
    """What all spans amount to, from one moment to another."""
    parts = ((max(min(a, b), start_s), min(max(a, b), end_s), h) for a, b, h in spans)
    return sum(max(0.0, last - first) * height for first, last, height in parts)


@given(spans=SPANS, start_s=MOMENTS)
def test_each_bin_has_the_mean_of_its_time(spans, start_s):
    clock = Clock(start_s)
    clock.zero = 100.0
    level = clock.level()
    for begin, end, height in spans:
        level.change(100.0 + min(begin, end), height)
        level.change(100.0 + max(begin, end), -height)
    means = level.means()
    assert len(means) == clock.bins <= BINS_MAX
    for index, mean in enumerate(means):
        first = start_s + index * clock.width_s
        expected = area(spans, first, first + clock.width_s) / clock.width_s
        assert abs(mean - expected) < 1e-6, index


@given(spans=SPANS)
def test_what_comes_after_the_end_is_left_out(spans):
    clock = Clock(0.0, 1000.0)
    clock.zero = 0.0
    level = clock.level()
    for begin, end, height in spans:
        level.change(min(begin, end), height)
        level.change(max(begin, end), -height)
    for index, mean in enumerate(level.means()):
        first = index * clock.width_s
        if first + clock.width_s <= 1000.0:
            expected = area(spans, first, first + clock.width_s) / clock.width_s
            assert abs(mean - expected) < 1e-6, index
