"""What a compacted journal keeps of allocation queues.

Of queues that exist: everything but allocations that ended long ago, of which only what they have
used is kept, and what was learned of their workers before the last time. Of queues that were
removed: what may still be at the manager.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from hqtrio.messages.records import (
    AllocationEnded,
    AllocationPlanned,
    AllocationQueued,
    AllocationsForgotten,
    AllocationStarted,
    QueueAdded,
    QueueRecord,
    QueueRemoved,
    QueuesUsed,
    ResourcesLearned,
    SubmissionFailed,
)

__all__ = ["QueueSurvey"]

ENDED_MAX: Final = 1000  # of each queue; a server does not remember more either


class QueueSurvey:
    """What a first pass over the records of queues finds out."""

    def __init__(self) -> None:
        self._last = 0
        self._live: set[int] = set()
        self._open: dict[int, set[int]] = defaultdict(set)  # allocations that have not ended
        # Of queues that were removed, those that had not at any time since: one that comes back
        # needs its queue, which others have kept there until then.
        self._outlived: dict[int, set[int]] = {}
        # Node seconds of those that have, by number, the earliest first.
        self._ended: dict[int, dict[int, float]] = defaultdict(dict)
        self._forgotten: dict[int, tuple[int, float]] = {}
        self._learned: dict[int, int] = defaultdict(int)  # how often, by queue

    def see(self, record: QueueRecord) -> None:
        match record:
            case QueueAdded(queue):
                self._last = max(self._last, queue)
                self._live.add(queue)
            case QueueRemoved(queue):
                self._last = max(self._last, queue)
                self._live.discard(queue)
                self._outlived[queue] = set(self._open[queue])
            case QueuesUsed(queue):
                self._last = max(self._last, queue)
            case ResourcesLearned(queue):
                self._learned[queue] += 1
            case AllocationPlanned(queue, number):
                self._open[queue].add(number)
            case AllocationQueued(queue, number) | AllocationStarted(queue, number):
                self._open[queue].add(number)
                self._ended[queue].pop(number, None)
                if queue in self._outlived:
                    self._outlived[queue].add(number)
            case AllocationEnded(queue, number, node_s=node_s):
                self._end(queue, number, node_s)
            case SubmissionFailed(queue, number):
                self._end(queue, number, 0.0)
            case AllocationsForgotten(queue, number, node_s):
                self._forget(queue, number, node_s)
            case _:
                pass

    def _end(self, queue: int, number: int, node_s: float) -> None:
        self._open[queue].discard(number)
        ended = self._ended[queue]
        ended[number] = node_s
        if len(ended) > ENDED_MAX:
            oldest = next(iter(ended))
            self._forget(queue, oldest, ended.pop(oldest))

    def _forget(self, queue: int, number: int, node_s: float) -> None:
        last, used = self._forgotten.get(queue, (0, 0.0))
        self._forgotten[queue] = max(last, number), used + node_s

    # --- what the second pass asks

    def used(self) -> Iterator[QueueRecord]:
        """Which ids have been used."""
        if self._last:
            yield QueuesUsed(self._last)

    def kept(self, record: QueueRecord) -> Iterator[QueueRecord]:
        """The record, and what else is said with it; or nothing."""
        match record:
            case QueuesUsed() | AllocationsForgotten():
                return
            case QueueAdded(queue):
                if self._matters(queue):
                    yield record
                    if queue in self._forgotten:
                        yield AllocationsForgotten(queue, *self._forgotten[queue])
            case ResourcesLearned(queue):
                self._learned[queue] -= 1
                if self._matters(queue) and not self._learned[queue]:
                    yield record
            case _:
                number = getattr(record, "number", None)
                if self._matters(record.queue) and (
                    number is None or self._knows(record.queue, number)
                ):
                    yield record

    def _matters(self, queue: int) -> bool:
        return queue in self._live or bool(self._open[queue])

    def _knows(self, queue: int, number: int) -> bool:
        if number in self._open[queue]:
            return True
        if queue in self._live:
            return number in self._ended[queue]
        return number in self._outlived.get(queue, ())
