"""What becomes due by itself: SIGKILL after SIGINT, time limits, ends that were held back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from math import inf
from typing import Final

from hqtrio.worker.orders import TaskRan
from hqtrio.worker.tables import Klass, LaneTask

GRACE_S: Final = 1.0  # from SIGINT to SIGKILL
HOLD_BACK_S: Final = 0.5


class Alarms:
    """Queues in order of time: every delay is the same for all members of its queue."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._kills: deque[tuple[float, Sequence[LaneTask]]] = deque()
        self._held_back: deque[tuple[float, LaneTask, TaskRan, float]] = deque()
        self._fresh: deque[tuple[float, Klass]] = deque()
        self._limited: dict[int, LaneTask] = {}
        self._limit_at = inf  # no limit is due earlier
        self._expiry: dict[Klass, float] = {}

    def next_deadline(self) -> float:
        """When something may be due."""
        deadline = self._limit_at if self._limited else inf
        for queue in (self._kills, self._held_back, self._fresh):
            if queue:
                deadline = min(deadline, queue[0][0])
        return min(deadline, min(self._expiry.values(), default=inf))

    # --- kill ladder

    def interrupted(self, lane_tasks: Sequence[LaneTask], now: float) -> None:
        """These were asked to end; some time later they have to."""
        self._kills.append((now + self._grace_s, lane_tasks))

    def to_kill(self, now: float) -> Iterator[Sequence[LaneTask]]:
        """Those whose grace is over."""
        while self._kills and self._kills[0][0] <= now:
            yield self._kills.popleft()[1]

    # --- time limits

    def limit(self, lane_task: LaneTask) -> None:
        """The running task ends at its `limit_at` at the latest."""
        self._limited[lane_task.task] = lane_task
        self._limit_at = min(self._limit_at, lane_task.limit_at)

    def unlimit(self, lane_task: LaneTask) -> None:
        """The task has ended."""
        self._limited.pop(lane_task.task, None)

    def over_limit(self, now: float) -> list[LaneTask]:
        """Tasks that have run for too long, each once."""
        if now < self._limit_at:
            return []
        late = [t for t in self._limited.values() if t.limit_at <= now]
        for lane_task in late:
            del self._limited[lane_task.task]
        self._limit_at = min((t.limit_at for t in self._limited.values()), default=inf)
        return late

    # --- suspicious deaths

    def hold_back(self, lane_task: LaneTask, ran: TaskRan, now: float) -> None:
        """Whether this end counts is known a moment later."""
        lane_task.slot.held_back += 1
        self._held_back.append((now + HOLD_BACK_S, lane_task, ran, now))

    def held_back(self) -> list[tuple[LaneTask, TaskRan, float]]:
        """Ends that are not reported yet, with the instant at which they were heard of."""
        return [(lane_task, ran, at) for _, lane_task, ran, at in self._held_back]

    def to_report(self, now: float) -> Iterator[tuple[LaneTask, TaskRan, float]]:
        """Ends that count after all, with the instant at which they were heard of."""
        while self._held_back and self._held_back[0][0] <= now:
            _, lane_task, ran, at = self._held_back.popleft()
            lane_task.slot.held_back -= 1
            yield lane_task, ran, at

    def forget_held_back(self) -> None:
        """Those tasks were lost with the worker."""
        self._held_back.clear()

    # --- classes

    def freshen(self, klass: Klass, until: float) -> None:
        """A new slot of the class waits for its first task until then."""
        self._fresh.append((until, klass))

    def expire(self, klass: Klass, at: float) -> None:
        """From then on the worker's remaining time is too short for the class."""
        self._expiry[klass] = at

    def keep(self, klass: Klass) -> None:
        """The class has nothing that could become too late."""
        self._expiry.pop(klass, None)

    def classes_due(self, now: float) -> list[Klass]:
        """Classes to look at again."""
        due: list[Klass] = []
        while self._fresh and self._fresh[0][0] <= now:
            due.append(self._fresh.popleft()[1])
        for klass in [k for k, at in self._expiry.items() if at <= now]:
            del self._expiry[klass]
            due.append(klass)
        return due
