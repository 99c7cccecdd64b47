"""Tasks of one class that wait on this worker, as runs of consecutive ids.

Order: higher priority first, then smaller task id.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hqtrio.worker.bodies import Body


@dataclass(slots=True)
class Run:
    """Waiting tasks `first .. first + count - 1` with one body and instance.

    `entries`, if any, are shared by the pieces of one message; the first task's is at `offset`.
    """

    first: int
    count: int
    instance: int
    priority: int
    body: Body
    entries: Sequence[bytes] = ()
    offset: int = 0

    def part(self, skip: int, count: int) -> Run:
        """`count` tasks of this run after the first `skip`."""
        return Run(
            self.first + skip,
            count,
            self.instance,
            self.priority,
            self.body,
            self.entries,
            self.offset + skip,
        )

    def entry(self, index: int) -> bytes:
        """The entry of the task `first + index`, or nothing."""
        return self.entries[self.offset + index] if self.entries else b""


class Found(NamedTuple):
    """A task that was taken out of a backlog by name."""

    task: int
    instance: int
    body: Body


def _key(run: Run) -> tuple[int, int]:
    return (run.priority, -run.first)


class Backlog:
    """The runs of one class. What starts next is the last one: taking it moves nothing."""

    __slots__ = ("_runs", "count")

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self.count = 0

    def __bool__(self) -> bool:
        return self.count > 0

    def __iter__(self) -> Iterator[Run]:
        """The runs, first to start first."""
        return reversed(self._runs)

    def add(self, run: Run) -> None:
        """Put the run where its priority and first id want it."""
        insort(self._runs, run, key=_key)
        self.count += run.count

    def next_body(self) -> Body:
        """The body of the task that starts next; there must be one."""
        return self._runs[-1].body

    def take(self, most: int) -> Run:
        """Remove and return what starts next: at most `most` tasks that share one run."""
        run = self._runs[-1]
        if run.count <= most:
            del self._runs[-1]
            self.count -= run.count
            return run
        taken = run.part(0, most)
        run.first += most
        run.offset += most
        run.count -= most
        self.count -= most
        return taken

    def take_all(self) -> list[Run]:
        """Remove and return everything, first to start first."""
        runs = self._runs[::-1]
        self._runs, self.count = [], 0
        return runs

    def remove(self, tasks: Sequence[int]) -> list[Found]:
        """Remove those of the given tasks (ascending) that wait here."""
        if not self._runs or not tasks:
            return []
        found: list[Found] = []
        left: list[Run] = []
        for run in self._runs:
            low = bisect_left(tasks, run.first)
            high = bisect_left(tasks, run.first + run.count, lo=low)
            if low == high:
                left.append(run)
                continue
            pieces, begin = [], 0
            for task in tasks[low:high]:
                found.append(Found(task, run.instance, run.body))
                index = task - run.first
                if index > begin:
                    pieces.append(run.part(begin, index - begin))
                begin = max(begin, index + 1)
            if begin < run.count:
                pieces.append(run.part(begin, run.count - begin))
            left += reversed(pieces)
        self._runs = left
        self.count = sum(run.count for run in left)
        return found

    def check(self) -> None:
        """Runs are in order, not empty, and counted."""
        keys = [_key(run) for run in self._runs]
        assert keys == sorted(keys), keys
        assert all(run.count > 0 for run in self._runs), self._runs
        assert self.count == sum(run.count for run in self._runs), self.count
