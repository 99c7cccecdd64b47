"""Identifiers, and compact sets of task numbers.

A task is named by its job and its number inside the job. Tables and messages hold both packed
into one integer, so that a column of tasks is an array of 64-bit numbers and sorts by job, then
number.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, NewType

from hqtrio.errors import InputError

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

    __slots__ = ("_offsets", "_sorted", "count", "ranges")

    def __init__(self, ranges: Iterable[tuple[int, int, int]]) -> None:
        self.ranges: Final = tuple((a, n, s) for a, n, s in ranges if n > 0)
        offsets, total = [], 0
        for _, count, _ in self.ranges:
            offsets.append(total)
            total += count
        self.count: Final = total
        self._offsets = offsets
        self._sorted = sorted(range(len(self.ranges)), key=lambda i: self.ranges[i][0])

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
        # before the number is asked, the nearest first.
        starts = [self.ranges[i][0] for i in self._sorted]
        for at in range(bisect_right(starts, number) - 1, -1, -1):
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
        return max((a + (n - 1) * s for a, n, s in self.ranges), default=-1)


MAX_NUMBER: Final = NUMBER_MASK


def parse_ids(text: str) -> IdArray:
    """Read `1-10:2, 15, 20-30`; ranges are inclusive and may not overlap."""
    ranges: list[tuple[int, int, int]] = []
    for item in text.split(","):
        bounds, colon, step_text = item.strip().partition(":")
        first_text, dash, last_text = bounds.partition("-")
        first = _integer(first_text, text)
        last = _integer(last_text, text) if dash else first
        step = _integer(step_text, text) if colon else 1
        if colon and (not dash or not 0 < step <= last - first):
            raise InputError(f"Invalid range '{item.strip()}' in '{text}'")
        if last < first:
            raise InputError(f"Invalid range '{item.strip()}' in '{text}'")
        ranges.append((first, (last - first) // step + 1, step))
    if _overlap(ranges):
        raise InputError(f"Ranges overlap in '{text}'")
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


def _integer(text: str, whole: str) -> int:
    text = text.strip()
    digits = text.replace("_", "")
    if not digits.isascii() or not digits.isdigit() or text.startswith("_"):
        found = f"Unexpected token '{text}'" if text else "Unexpected end of input"
        raise InputError(f"{found} in '{whole}': expected a number or a range such as 1-10:2")
    number = int(digits)
    if number > MAX_NUMBER:
        raise InputError(f"Number {text} in '{whole}' is too large (at most {MAX_NUMBER})")
    return number


def _overlap(ranges: list[tuple[int, int, int]]) -> bool:
    """Whether two ranges share a number; stepped ranges are compared exactly."""
    spans = sorted((a, a + (n - 1) * s, s) for a, n, s in ranges)
    active: list[tuple[int, int, int]] = []
    for span in spans:
        active = [other for other in active if other[1] >= span[0]]
        if any(_share(span, other) for other in active):
            return True
        active.append(span)
    return False


def _share(x: tuple[int, int, int], y: tuple[int, int, int]) -> bool:
    (a, a_last, s), (b, b_last, t) = x, y
    low, high = max(a, b), min(a_last, b_last)
    if s > t:
        a, s, b, t = b, t, a, s
    # Walk the coarser range; its members inside the common span decide.
    first = b + max(0, -(-(low - b) // t)) * t
    for number in range(first, min(high, first + t * s) + 1, t):
        if (number - a) % s == 0:
            return True
    return False
