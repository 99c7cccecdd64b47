"""What was told of a history so far, to leave out what is no news when it is told once more."""

from __future__ import annotations

from hqtrio.ids import NUMBER_BITS, NUMBER_MASK
from hqtrio.journal.ledger import JobLedger
from hqtrio.model.job import JobHead

__all__ = ["Told"]


class Told:
    """How far everything is. `before` holds what was told when the history was read before.

    The methods `has_...` tell whether something was said then.
    """

    def __init__(self, before: Told | None = None) -> None:
        self.before = before
        self.jobs: dict[int, JobLedger] = {}
        self.completed: dict[int, None] = {}
        self.turns: dict[int, int] = {}  # how often each worker was connected or lost
        self.loads: dict[int, float] = {}  # when each told last how busy its node is
        self.servers: dict[float, None] = {}  # when one started or stopped
        self.allocations: dict[tuple[int, int], tuple[str, int]] = {}  # id and nodes
        self._in_queues: dict[tuple[str, int, int], None] = {}

    def job(self, number: int) -> JobLedger:
        """The job; one that nobody has told of may be met in a journal that was pruned."""
        job = self.jobs.get(number)
        if job is None:
            job = self.jobs[number] = JobLedger(JobHead(""))
        return job

    def is_new_in_queue(self, what: str, queue: int, number: int) -> bool:
        """Whether this is said for the first time of the allocation, or of the queue (0)."""
        key = what, queue, number
        is_new = not self._has_in_queue(key)
        self._in_queues[key] = None
        return is_new

    def _has_in_queue(self, key: tuple[str, int, int]) -> bool:
        before = self.before
        return key in self._in_queues or (before is not None and before._has_in_queue(key))

    # --- what was said before

    def has_job(self, number: int) -> bool:
        told = self.before
        return told is not None and (
            number in told.jobs or number in told.completed or told.has_job(number)
        )

    def has_completed(self, number: int) -> bool:
        told = self.before
        return told is not None and (number in told.completed or told.has_completed(number))

    def has_submit(self, number: int, which: int) -> bool:
        """The submit of this job that is the `which`-th from 1."""
        if self.before is None:
            return False
        job = self.before.jobs.get(number)
        said = number in self.before.completed or (job is not None and job.submits >= which)
        return said or self.before.has_submit(number, which)

    def has_closed(self, number: int) -> bool:
        if self.before is None:
            return False
        job = self.before.jobs.get(number)
        said = number in self.before.completed or (job is not None and not job.is_open)
        return said or self.before.has_closed(number)

    def has_cancelled(self, number: int, at: float) -> bool:
        if self.before is None:
            return False
        job = self.before.jobs.get(number)
        said = number in self.before.completed or (job is not None and at in job.cancels)
        return said or self.before.has_cancelled(number, at)

    def has_turned(self, worker: int, turns: int) -> bool:
        """The worker had been connected and lost so many times together."""
        told = self.before
        return told is not None and (
            told.turns.get(worker, 0) >= turns or told.has_turned(worker, turns)
        )

    def has_load(self, worker: int, at: float) -> bool:
        told = self.before
        return told is not None and (told.loads.get(worker, 0.0) >= at or told.has_load(worker, at))

    def has_server(self, at: float) -> bool:
        told = self.before
        return told is not None and (at in told.servers or told.has_server(at))

    def has_task(self, task: int, instance: int, state: int) -> bool:
        """The task was so far, or farther."""
        if self.before is None:
            return False
        number = task >> NUMBER_BITS
        job = self.before.jobs.get(number)
        said = number in self.before.completed or (
            job is not None and job.stand(task & NUMBER_MASK) >= (instance, state)
        )
        return said or self.before.has_task(task, instance, state)
