"""Identifiers, and compact sets of task numbers.

A task is named by its job and its number inside the job. Tables and messages hold both packed
into one integer, so that a column of tasks is an array of 64-bit numbers and sorts by job, then
number.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from math import gcd
from typing import Final, NewType

from hqtrio.errors import InputError
from hqtrio.units import MAX_U32, parse_integer, quote

JobId = NewType("JobId", int)
TaskId = NewType("TaskId", int)  # job << 32 | number
WorkerId = NewType("WorkerId", int)
InstanceId = NewType("InstanceId", int)
ClassId = NewType("ClassId", int)
BodyId = NewType("BodyId", int)
SlotId = NewType("SlotId", int)

NUMBER_BITS: Final = 32
NUMBER_MASK: Final = (1 << NUMBER_BITS) - 1


def task_id(job: int, number: int) -> TaskId:
    """The packed id of task `number` of `job`."""
    return TaskId(job << NUMBER_BITS | number)


def job_of(task: int) -> JobId:
    """The job that a packed task id belongs to."""
    return JobId(task >> NUMBER_BITS)


def number_of(task: int) -> int:
    """The number of a task inside its job."""
    return task & NUMBER_MASK


def format_task(task: int) -> str:
    """`job@number`, as users see a task."""
    return f"{task >> NUMBER_BITS}@{task & NUMBER_MASK}"


class IdArray:
    """An ordered set of numbers, kept as ranges `(start, count, step)`.

    The order is the user's. Positions count from 0 in that order. Ranges never overlap.
    """

    __slots__ = ("_offsets", "_reach", "_sorted", "_starts", "count", "ranges")

    def __init__(self, ranges: Iterable[tuple[int, int, int]]) -> None:
        self.ranges: Final = tuple((a, n, s) for a, n, s in ranges if n > 0)
        offsets, total = [], 0
        for _, count, _ in self.ranges:
            offsets.append(total)
            total += count
        self.count: Final = total
        self._offsets = offsets
        # By start, for lookups; `_reach` is the largest number of this range and those before.
        self._sorted = sorted(range(len(self.ranges)), key=lambda i: self.ranges[i][0])
        self._starts = [self.ranges[i][0] for i in self._sorted]
        self._reach: list[int] = []
        reach = -1
        for which in self._sorted:
            start, count, step = self.ranges[which]
            reach = max(reach, start + (count - 1) * step)
            self._reach.append(reach)

    @classmethod
    def span(cls, start: int, count: int) -> IdArray:
        """`count` consecutive numbers from `start`."""
        return cls([(start, count, 1)])

    @classmethod
    def of(cls, numbers: Iterable[int]) -> IdArray:
        """The given numbers sorted, with consecutive ones merged."""
        ranges: list[tuple[int, int, int]] = []
        start, count = 0, 0
        for number in sorted(set(numbers)):
            if count and number == start + count:
                count += 1
                continue
            if count:
                ranges.append((start, count, 1))
            start, count = number, 1
        if count:
            ranges.append((start, count, 1))
        return cls(ranges)

    @classmethod
    def of_runs(cls, runs: Iterable[tuple[int, int]]) -> IdArray:
        """The numbers of runs `(first, count)` that share none, sorted, neighbours merged."""
        ranges: list[tuple[int, int, int]] = []
        for first, count in sorted(runs):
            if ranges and ranges[-1][0] + ranges[-1][1] == first:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + count, 1)
            else:
                ranges.append((first, count, 1))
        return cls(ranges)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        for start, count, step in self.ranges:
            yield from range(start, start + count * step, step)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdArray) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __contains__(self, number: int) -> bool:
        return self.position(number) >= 0

    def __repr__(self) -> str:
        return f"IdArray({format_ids(self)!r})"

    def position(self, number: int) -> int:
        """Where `number` stands in the order, or -1."""
        if len(self.ranges) == 1:
            start, count, step = self.ranges[0]
            index, rest = divmod(number - start, step)
            return index if rest == 0 and 0 <= index < count else -1
        # Stepped ranges may interleave (0-10:2 and 1-9:2), so every range that begins at or
        # before the number and may reach it is asked, the nearest first.
        for at in range(bisect_right(self._starts, number) - 1, -1, -1):
            if self._reach[at] < number:
                break
            which = self._sorted[at]
            start, count, step = self.ranges[which]
            index, rest = divmod(number - start, step)
            if rest == 0 and index < count:
                return self._offsets[which] + index
        return -1

    def number(self, position: int) -> int:
        """The number at `position` (0 <= position < count)."""
        at = bisect_right(self._offsets, position) - 1
        start, _, step = self.ranges[at]
        return start + (position - self._offsets[at]) * step

    @property
    def largest(self) -> int:
        """The largest number, or -1 if there is none."""
        return self._reach[-1] if self._reach else -1


MAX_NUMBER: Final = MAX_U32
_COMPARISONS_MAX: Final = 200_000  # some 0.1 s; ordinary arrays need none or a few
_EXPECTED: Final = "expected a number or a range such as 1-10:2"


def parse_ids(text: str) -> IdArray:
    """Read `1-10:2, 15, 20-30`; ranges are inclusive and may not overlap."""
    ranges: list[tuple[int, int, int]] = []
    for item in text.split(","):
        bounds, colon, step_text = item.strip().partition(":")
        first_text, dash, last_text = bounds.partition("-")
        first = _integer(first_text, text)
        last = _integer(last_text, text) if dash else first
        step = _integer(step_text, text) if colon else 1
        if last < first or (colon and (not dash or not 0 < step <= last - first)):
            raise InputError(f"Invalid range '{quote(item.strip())}' in '{quote(text)}'")
        ranges.append((first, (last - first) // step + 1, step))
    if ranges_overlap(ranges):
        raise InputError(f"Ranges overlap in '{quote(text)}'")
    return IdArray(ranges)


def format_ids(ids: IdArray) -> str:
    """The array range by range, as it was entered or merged."""
    parts = []
    for start, count, step in ids.ranges:
        last = start + (count - 1) * step
        if count == 1:
            parts.append(str(start))
        else:
            parts.append(f"{start}-{last}" + (f":{step}" if step != 1 else ""))
    return ",".join(parts)


def ranges_overlap(ranges: Iterable[tuple[int, int, int]]) -> bool:
    """Whether two ranges `(start, count, step)` share a number; refuses hopelessly tangled ones."""
    spans = sorted((a, a + (n - 1) * s, s) for a, n, s in ranges if n > 0)
    active: list[tuple[int, int, int]] = []
    comparisons = 0
    for span in spans:
        if active:
            active = [other for other in active if other[1] >= span[0]]
            if any(_share(span, other) for other in active):
                return True
            comparisons += len(active)
            if comparisons > _COMPARISONS_MAX:
                raise InputError("Too many interleaved ranges: give fewer, or list plain ranges")
        active.append(span)
    return False


def _integer(text: str, whole: str) -> int:
    text = text.strip()
    if not text:
        raise InputError(f"Unexpected end of input in '{quote(whole)}': {_EXPECTED}")
    digits = text.replace("_", "")
    if not (digits.isascii() and digits.isdigit()) or text.startswith("_"):
        raise InputError(f"Unexpected token '{quote(text)}' in '{quote(whole)}': {_EXPECTED}")
    return parse_integer(text)


def _share(x: tuple[int, int, int], y: tuple[int, int, int]) -> bool:
    """Whether two spans `(first, last, step)` share a number."""
    (a, a_last, s), (b, b_last, t) = x, y
    common = gcd(s, t)
    if (b - a) % common:
        return False
    # The numbers that both steps meet repeat every least common multiple; find one, then the
    # first of them that lies in both spans.
    tries = (b - a) // common * pow(s // common, -1, t // common) % (t // common)
    meeting = a + s * tries
    period = s // common * t
    low = max(a, b)
    first = meeting + -(-(low - meeting) // period) * period
    return first <= min(a_last, b_last)
