"""Ready tasks, as runs of consecutive ids: a million-task array is one row here."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from sys import byteorder
from typing import TYPE_CHECKING

from hqtrio.messages.columns import read_u64
from hqtrio.messages.scheduling import Body, EntrySlice

if TYPE_CHECKING:
    from hqtrio.scheduling.mirror import RequestClass

Span = tuple[int, int]  # first task id, count


@dataclass(eq=False, slots=True)
class Batch:
    """What the tasks of one announcement share. Compared and hashed by identity."""

    klass: RequestClass
    priority: int
    body: Body
    instance: int
    spans: tuple[Span, ...]
    slice: EntrySlice | None = None
    gates: bool = False  # other tasks may wait for the end of these
    lead: int = 0  # ids by which its tasks come before others of their level
    alone: bool = False  # never shipped ahead of a slot
    _ends: Sequence[int] = ()
    _starts: list[tuple[int, int]] = field(default_factory=list)  # first id, position; sorted

    def entries(self, position: int, count: int) -> tuple[bytes, ...]:
        """The entries at consecutive positions of the array, or nothing if it has none."""
        if self.slice is None:
            return ()
        ends, blob = self._offsets(), self.slice.blob
        cut = int(ends[position - 1]) if position else 0
        entries = []
        for end in ends[position : position + count]:
            entries.append(blob[cut:end])
            cut = end
        return tuple(entries)

    def entry_bytes(self, position: int, count: int) -> int:
        """Total size of `entries(position, count)`."""
        if self.slice is None:
            return 0
        ends = self._offsets()
        return int(ends[position + count - 1]) - (int(ends[position - 1]) if position else 0)

    def position(self, task: int) -> int:
        """Where the entry of a task of this batch is; 0 without entries."""
        if self.slice is None:
            return 0
        if not self._starts:
            at = self.slice.first_position
            for first, count in self.spans:
                self._starts.append((first, at))
                at += count
            self._starts.sort()
        first, at = self._starts[bisect_right(self._starts, (task, 1 << 62)) - 1]
        return at + task - first

    def _offsets(self) -> Sequence[int]:
        if not self._ends:
            assert self.slice is not None
            ends = self.slice.ends
            if byteorder == "little":
                self._ends = ends if ends.format == "Q" else ends.cast("B").cast("Q")
            else:
                self._ends = read_u64(bytes(ends))
        return self._ends


Run = tuple[int, int, int, Batch]  # first task id, count, position of the first entry, batch


class ReadyQueue:
    """Ready tasks of one class and priority, lowest task id first unless their batch leads."""

    __slots__ = ("_has_alone", "_heap", "count", "klass", "priority")

    def __init__(self, klass: RequestClass, priority: int) -> None:
        self.klass = klass
        self.priority = priority
        self.count = 0
        self._has_alone = False
        self._heap: list[tuple[int, Run]] = []  # by first task id less what its batch leads

    @property
    def first(self) -> int:
        """Where the first task stands in the order; the queue must not be empty."""
        return self._heap[0][0]

    @property
    def first_run(self) -> Run:
        """The run that starts next; the queue must not be empty."""
        return self._heap[0][1]

    @property
    def may_ship_ahead(self) -> int:
        """How many of the first tasks at least may lie ready at a worker before it has a slot."""
        if not self._has_alone:
            return self.count
        _, count, _, batch = self.first_run
        return 0 if batch.alone else count

    def runs(self) -> list[Run]:
        """Everything queued, in no particular order."""
        return [run for _, run in self._heap]

    def push(self, runs: Iterable[Run]) -> None:
        for run in runs:
            heappush(self._heap, (run[0] - run[3].lead, run))
            self._has_alone |= run[3].alone
            self.count += run[1]

    def take(self, count: int) -> list[Run]:
        """Remove and return the first `count` tasks; there must be as many."""
        assert count <= self.count, (count, self.count)
        taken: list[Run] = []
        self.count -= count
        heap = self._heap
        while count:
            at, run = heap[0]
            first, length, position, batch = run
            if length <= count:
                taken.append(run)
                heappop(heap)
                count -= length
            else:
                taken.append((first, count, position, batch))
                rest = (first + count, length - count, position + count, batch)
                heapreplace(heap, (at + count, rest))
                count = 0
        return taken

    def remove(self, spans: Spans) -> int:
        """Take out every task in `spans` and return how many there were."""
        kept: list[tuple[int, Run]] = []
        removed = 0
        for row in self._heap:
            first, length, position, batch = row[1]
            at, end = first, first + length
            hit = False
            for low, high in spans.overlapping(first, end):
                hit = True
                if at < low:
                    run = (at, low - at, position + at - first, batch)
                    kept.append((at - batch.lead, run))
                removed += high - low
                at = high
            if not hit:
                kept.append(row)
            elif at < end:
                run = (at, end - at, position + at - first, batch)
                kept.append((at - batch.lead, run))
        if removed:
            heapify(kept)
            self._heap = kept
            self.count -= removed
        return removed


class Spans:
    """A set of task ids as sorted, disjoint half-open intervals."""

    __slots__ = ("_ends", "_starts", "count")

    def __init__(self, runs: Iterable[Span]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for first, count in sorted(runs):
            end = first + count
            if self._ends and first <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            elif count > 0:
                self._starts.append(first)
                self._ends.append(end)
        self.count = sum(self._ends) - sum(self._starts)

    def __contains__(self, task: int) -> bool:
        at = bisect_right(self._starts, task) - 1
        return at >= 0 and task < self._ends[at]

    def __iter__(self) -> Iterator[int]:
        for first, end in zip(self._starts, self._ends, strict=True):
            yield from range(first, end)

    def overlapping(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of the set within `first` to `end` (exclusive), ascending."""
        at = max(bisect_right(self._starts, first) - 1, 0)
        while at < len(self._starts) and self._starts[at] < end:
            low, high = max(first, self._starts[at]), min(end, self._ends[at])
            if low < high:
                yield low, high
            at += 1


def runs_of(tasks: Iterable[tuple[int, Batch]]) -> list[Run]:
    """Single tasks, ascending by id, joined into runs where ids and entries are consecutive."""
    runs: list[Run] = []
    for task, batch in tasks:
        position = batch.position(task)
        if runs:
            first, count, at, last = runs[-1]
            consecutive = task == first + count and last is batch
            if consecutive and (batch.slice is None or position == at + count):
                runs[-1] = (first, count + 1, at, batch)
                continue
        runs.append((task, 1, position, batch))
    return runs
