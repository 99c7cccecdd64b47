"""Tasks that failed and wait for their next try."""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import Final

from hqtrio.jobs.job import Job
from hqtrio.model.retry import Retry
from hqtrio.model.task import Ending

DUE_MAX: Final = 20_000  # tasks that start again before others get a turn


class Retries:
    """When which task may start again. Rows of tasks that are not paused any more are skipped."""

    __slots__ = ("_fresh", "_heap")

    def __init__(self) -> None:
        self._fresh: list[tuple[float, int, int, int]] = []  # as in the heap, but from now on
        self._heap: list[tuple[float, int, int, int]] = []  # at, job, position, instance

    @property
    def next_at(self) -> float:
        """When the next one is due (monotonic)."""
        return self._heap[0][0] if self._heap else inf

    def pause(self, job: Job, position: int, seconds: float) -> None:
        """The task, whose pause the job has noted, is due after so many seconds."""
        self._fresh.append((seconds, job.id, position, job.instances[position]))

    def settle(self, now: float) -> None:
        """All pauses so far begin now."""
        for seconds, *row in self._fresh:
            heappush(self._heap, (now + seconds, row[0], row[1], row[2]))
        self._fresh.clear()

    def take_due(self, jobs: dict[int, Job], now: float) -> list[tuple[Job, list[int]]]:
        """End the pauses that are over, not too many at once; says whose tasks may start."""
        due: dict[int, list[int]] = {}
        for _ in range(DUE_MAX):
            if self.next_at > now:
                break
            _, number, position, instance = heappop(self._heap)
            job = jobs.get(number)
            if job is None or position not in job.pauses or job.instances[position] != instance:
                continue
            del job.pauses[position]
            due.setdefault(number, []).append(position)
        return [(jobs[number], positions) for number, positions in due.items()]

    def check(self, jobs: dict[int, Job]) -> None:
        """Whoever is paused is due at some time."""
        assert not self._fresh, self._fresh
        rows = {row[1:] for row in self._heap}
        for job in jobs.values():
            for position in job.pauses:
                assert not job.states[position], (job.id, position)
                assert (job.id, position, job.instances[position]) in rows, (job.id, position)


def next_pause_s(job: Job, position: int, ending: int, code: int) -> float | None:
    """Count one more failed try; how long until the next one, or None if there is none."""
    retry = job.settings_at(position).retry
    if retry is None or not _takes(retry, ending, code):
        return None
    tries = job.tries.get(position, 0) + 1
    if tries > retry.times:
        return None
    job.tries[position] = tries
    return retry.pause_s(tries)


def _takes(retry: Retry, ending: int, code: int) -> bool:
    match ending:
        case _ if retry.on_any:
            return True
        case Ending.EXITED:
            return code in retry.codes
        case Ending.SIGNALLED:
            return code in retry.signals
        case Ending.TIME_LIMIT:
            return retry.on_time_limit
        case _:
            return False
