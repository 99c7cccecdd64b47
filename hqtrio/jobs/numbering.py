"""The task numbers of one job, and where each task's row stands in the job's tables.

Rows are in order of submission, numbers are the user's. Consecutive numbers are one segment, found
by bisection; numbers that come out of order are looked up one by one; long stepped ranges may
interleave with anything, so there are few of them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from math import gcd
from typing import Final

from hqtrio.errors import InputError
from hqtrio.ids import MAX_NUMBER, IdArray
from hqtrio.model.job import Ranges

STEPPED_MAX: Final = 256  # long stepped ranges of one job
_SHORT: Final = 64  # stepped or late ranges up to this length become single numbers
_LATE_MAX: Final = 10_000  # long ranges below the largest number so far
_CHECKS_MAX: Final = 200_000  # comparisons that one submit may cost
_MERGE_MAX: Final = 200_000  # numbers that are merged one by one for display

Range = tuple[int, int, int]  # start, count, step


class Numbering:
    """Numbers to positions and back. `shift` >= 0: number - shift is the position of them all."""

    __slots__ = (
        "_first_positions",
        "_lasts",
        "_late",
        "_odd",
        "_odd_sorted",
        "_offsets",
        "_starts",
        "_stepped",
        "_submitted",
        "count",
        "largest",
        "shift",
    )

    def __init__(self) -> None:
        self.count = 0
        self.largest = -1
        self.shift = -1
        # Plain segments by number: disjoint, ascending.
        self._starts = array("Q")
        self._lasts = array("Q")
        self._offsets = array("Q")
        self._late = 0
        self._odd: dict[int, int] = {}
        self._odd_sorted: list[int] = []
        self._stepped: list[tuple[int, int, int, int]] = []  # start, last, step, offset
        # All segments by position, and the position at which each begins.
        self._submitted: list[Range] = []
        self._first_positions = array("Q")

    def add(self, start: int, count: int = 1, step: int = 1) -> None:
        """Give the next `count` positions to these numbers, none of which is known yet."""
        if count <= 1:
            step = 1
        if step > 1 and count <= _SHORT:
            for number in range(start, start + count * step, step):
                self.add(number)
            return
        if count <= 0:
            return
        last = start + (count - 1) * step
        in_order = not self._starts or start > self._lasts[-1]
        goes_on = bool(self._submitted) and step == 1 and self._ends_before(start)
        if step > 1:
            self._stepped.append((start, last, step, self.count))
        elif in_order and goes_on and self._starts and self._lasts[-1] == start - 1:
            self._lasts[-1] = last
        elif in_order:
            goes_on = False
            self._starts.append(start)
            self._lasts.append(last)
            self._offsets.append(self.count)
        elif count <= _SHORT:
            for offset, number in enumerate(range(start, last + 1), self.count):
                self._odd[number] = offset
        else:
            goes_on = False
            at = bisect_left(self._starts, start)
            self._starts.insert(at, start)
            self._lasts.insert(at, last)
            self._offsets.insert(at, self.count)
            self._late += 1
        if goes_on:
            before, length, _ = self._submitted[-1]
            self._submitted[-1] = (before, length + count, 1)
        else:
            self._submitted.append((start, count, step))
            self._first_positions.append(self.count)
        self.count += count
        self.largest = max(self.largest, last)
        self.shift = start if self.count == count and step == 1 else self._common_shift()

    def _ends_before(self, start: int) -> bool:
        first, length, step = self._submitted[-1]
        return step == 1 and first + length == start

    def _common_shift(self) -> int:
        return self.shift if len(self._submitted) == 1 else -1

    @property
    def segments(self) -> Sequence[Range]:
        """The ranges in order of position, consecutive ones merged."""
        return self._submitted

    def position(self, number: int) -> int:
        """The position of `number`, or -1."""
        at = bisect_right(self._starts, number) - 1
        if at >= 0 and number <= self._lasts[at]:
            return self._offsets[at] + number - self._starts[at]
        if self._odd and number in self._odd:
            return self._odd[number]
        for start, last, step, offset in self._stepped:
            if start <= number <= last and not (number - start) % step:
                return offset + (number - start) // step
        return -1

    def number(self, position: int) -> int:
        """The number at `position`."""
        if self.shift >= 0:
            return self.shift + position
        at = bisect_right(self._first_positions, position) - 1
        start, _, step = self._submitted[at]
        return start + (position - self._first_positions[at]) * step

    def runs(self, position: int, count: int) -> Iterator[tuple[int, int]]:
        """The numbers at `count` positions, as runs `(first, count)` of consecutive ones."""
        at = bisect_right(self._first_positions, position) - 1
        while count > 0:
            start, length, step = self._submitted[at]
            skipped = position - self._first_positions[at]
            taken = min(count, length - skipped)
            first = start + skipped * step
            if step == 1:
                yield first, taken
            else:
                for number in range(first, first + taken * step, step):
                    yield number, 1
            position += taken
            count -= taken
            at += 1

    def walk(self, number: int) -> Iterator[tuple[int, int]]:
        """(number, position) of all tasks from `number` on, in order of number."""
        streams = [self._walk_plain(number)]
        if self._odd:
            if len(self._odd_sorted) != len(self._odd):
                self._odd_sorted = sorted(self._odd)
            streams.append(self._walk_odd(number))
        streams += [_walk_stepped(segment, number) for segment in self._stepped]
        return merge(*streams) if len(streams) > 1 else streams[0]

    def _walk_plain(self, number: int) -> Iterator[tuple[int, int]]:
        at = max(0, bisect_right(self._starts, max(number, 0)) - 1)
        while at < len(self._starts):
            start, last, offset = self._starts[at], self._lasts[at], self._offsets[at]
            first = max(start, number)
            yield from zip(
                range(first, last + 1), range(offset + first - start, self.count), strict=False
            )
            at += 1

    def _walk_odd(self, number: int) -> Iterator[tuple[int, int]]:
        for at in range(bisect_left(self._odd_sorted, number), len(self._odd_sorted)):
            odd = self._odd_sorted[at]
            yield odd, self._odd[odd]

    def merged(self) -> Ranges:
        """The numbers sorted, consecutive ones merged.

        Long stepped ranges are merged with others only if all numbers together are few.
        """
        if self._stepped and self.count <= _MERGE_MAX:
            numbers = (n for a, c, s in self._submitted for n in range(a, a + c * s, s))
            return IdArray.of(numbers).ranges
        spans = [(a, b - a + 1) for a, b in zip(self._starts, self._lasts, strict=True)]
        spans += [(number, 1) for number in self._odd]
        spans.sort()
        ranges: list[Range] = []
        for start, count in spans:
            if ranges and ranges[-1][0] + ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + count, 1)
            else:
                ranges.append((start, count, 1))
        for start, last, step, _ in self._stepped:
            insort(ranges, (start, (last - start) // step + 1, step))
        return tuple(ranges)

    def clash(self, ranges: Iterable[Range]) -> int:
        """A number of `ranges` that is known already, or -1. Refuses what takes long to find."""
        checks = 0
        for start, count, step in ranges:
            if not count or not self.count or start > self.largest:
                continue
            last = start + (count - 1) * step
            found, cost = self._clash_plain((start, last, step), _CHECKS_MAX - checks)
            checks += cost
            if found < 0 and self._odd:
                members = range(start, last + 1, step)
                checks += min(len(members), len(self._odd))
                if len(members) < len(self._odd):
                    found = next((n for n in members if n in self._odd), -1)
                else:
                    found = min((n for n in self._odd if n in members), default=-1)
            for first, end, stride, _ in self._stepped:
                if found < 0:
                    checks += 1
                    found = _first_common((start, last, step), (first, end, stride))
            if found >= 0:
                return found
            _within_budget(checks)
        return -1

    def _clash_plain(self, wanted: Range, budget: int) -> tuple[int, int]:
        start, last, _ = wanted
        first = max(0, bisect_right(self._starts, start) - 1)
        at = first
        while at < len(self._starts) and self._starts[at] <= last:
            found = _first_common(wanted, (self._starts[at], self._lasts[at], 1))
            if found >= 0:
                return found, at - first
            at += 1
            if at - first > budget:
                _within_budget(_CHECKS_MAX + 1)
        return -1, at - first

    def accept(self, ranges: Iterable[Range]) -> None:
        """Refuse ranges that would make looking up a number slow."""
        stepped, late, largest = len(self._stepped), self._late, self.largest
        for start, count, step in ranges:
            stepped += step > 1 and count > _SHORT
            late += step == 1 and count > _SHORT and start < largest
            largest = max(largest, start + (count - 1) * step)
        if stepped > STEPPED_MAX or late > _LATE_MAX:
            raise InputError(
                "Too many long ranges of task ids with a step or out of order;"
                " number the tasks consecutively."
            )


def _walk_stepped(segment: tuple[int, int, int, int], number: int) -> Iterator[tuple[int, int]]:
    start, last, step, offset = segment
    skipped = max(0, -(-(number - start) // step))
    return zip(
        range(start + skipped * step, last + 1, step),
        range(offset + skipped, offset + (last - start) // step + 1),
        strict=True,
    )


def _within_budget(checks: int) -> None:
    if checks > _CHECKS_MAX:
        raise InputError("Too many interleaved ranges of task ids; use fewer, longer ones.")


def _first_common(x: Range, y: Range) -> int:
    """The smallest number that two ranges (start, last, step) share, or -1."""
    (a, a_last, s), (b, b_last, t) = x, y
    low, high = max(a, b), min(a_last, b_last)
    if low > high:
        return -1
    divisor = gcd(s, t)
    distance, rest = divmod(b - a, divisor)
    if rest:
        return -1
    # a + s * k = b (mod t) has one solution k modulo t / divisor.
    modulus = t // divisor
    common = a + s * (distance * pow(s // divisor, -1, modulus) % modulus)
    period = s * modulus
    common += -(-(low - common) // period) * period
    return common if common <= high else -1


def check_ranges(ranges: Ranges) -> None:
    """Refuse ranges that are not ranges of task numbers."""
    for start, count, step in ranges:
        if start < 0 or count < 0 or step < 1:
            raise InputError(f"Invalid range of task ids ({start}, {count}, {step}).")
        if count and start + (count - 1) * step > MAX_NUMBER:
            raise InputError(f"Task ids above {MAX_NUMBER} are not possible.")
