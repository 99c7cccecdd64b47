"""Deadlines of workers: at most one of each kind for each worker."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from heapq import heappop, heappush
from math import inf


class What(IntEnum):
    """What becomes due."""

    IDLE = 0
    STOP = 1
    ACK = 2
    GRACE = 3


class Timers:
    """A heap whose outdated entries are skipped when they come up."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, What, int]] = []
        self._armed: dict[tuple[What, int], float] = {}

    def arm(self, what: What, worker: int, at: float) -> None:
        """Due at `at`, and no more at another time."""
        if self._armed.get((what, worker)) != at:
            self._armed[what, worker] = at
            heappush(self._heap, (at, what, worker))

    def disarm(self, what: What, worker: int) -> None:
        self._armed.pop((what, worker), None)

    def is_armed(self, what: What, worker: int) -> bool:
        return (what, worker) in self._armed

    def forget(self, worker: int) -> None:
        """Nothing becomes due for this worker any more."""
        for what in What:
            self._armed.pop((what, worker), None)

    def next_at(self) -> float:
        """When the next one is due; inf if none is armed."""
        self._skip()
        return self._heap[0][0] if self._heap else inf

    def due(self, now: float) -> Iterator[tuple[What, int]]:
        """Disarm and yield what is due, in order of time."""
        while self.next_at() <= now:
            _, what, worker = heappop(self._heap)
            del self._armed[what, worker]
            yield what, worker

    def _skip(self) -> None:
        heap = self._heap
        while heap and self._armed.get((heap[0][1], heap[0][2])) != heap[0][0]:
            heappop(heap)
