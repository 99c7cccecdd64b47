"""Tasks that did not finish, as those who wait for them are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hqtrio.api.job import Job
from hqtrio.errors import HqError

__all__ = ["FailedJobsException", "FailedTaskContext"]

_SHOWN_MAX: Final = 5  # tasks of each job and state


@dataclass(frozen=True)
class FailedTaskContext:
    """What is known of a failed task; paths are absolute, None: there is no such file."""

    error: str
    cwd: str | None = None
    stdout: str | None = None
    stderr: str | None = None


class FailedJobsException(HqError):
    """Some tasks have not finished: `failed_tasks` says why, by job and task; `canceled_tasks` and
    `aborted_tasks` hold the numbers of others by job. `job_map` has the jobs that were submitted
    here.
    """

    def __init__(
        self,
        failed_tasks: Mapping[int, Mapping[int, FailedTaskContext]],
        job_map: Mapping[int, Job],
        canceled_tasks: Mapping[int, Sequence[int]] | None = None,
        aborted_tasks: Mapping[int, Sequence[int]] | None = None,
        labels: Mapping[tuple[int, int], str] | None = None,
    ) -> None:
        super().__init__(failed_tasks, job_map, canceled_tasks, aborted_tasks, labels)
        self.failed_tasks, self.job_map = failed_tasks, job_map
        self.canceled_tasks = canceled_tasks or {}
        self.aborted_tasks = aborted_tasks or {}
        self._labels = labels or {}  # of tasks that joined an open job: by job and number

    def task_label(self, job_id: int, task_id: int) -> str:
        """The task's name, or its number."""
        label = self._labels.get((job_id, task_id))
        job = self.job_map.get(job_id)
        if label is not None or job is None:
            return label or str(task_id)
        task = job.task_by_id(task_id)
        return str(task_id) if task is None else task.label

    def __str__(self) -> str:
        jobs = {*self.failed_tasks, *self.canceled_tasks, *self.aborted_tasks}
        return "\n".join(line for job in sorted(jobs) for line in self._of_job(job))

    def _of_job(self, job: int) -> Iterator[str]:
        failed = self.failed_tasks.get(job, {})
        if failed:
            yield f"Job {job}: {_count(len(failed), 'failed')}"
        for number in sorted(failed)[:_SHOWN_MAX]:
            yield from self._of_task(job, number, failed[number])
        if len(failed) > _SHOWN_MAX:
            yield f"  and {len(failed) - _SHOWN_MAX} more"
        for state, by_job in (("canceled", self.canceled_tasks), ("aborted", self.aborted_tasks)):
            if numbers := by_job.get(job):
                yield f"Job {job}: {_count(len(numbers), state)}: {self._named(job, numbers)}"

    def _of_task(self, job: int, number: int, context: FailedTaskContext) -> Iterator[str]:
        error = context.error.rstrip().replace("\n", "\n    ")
        yield f"  Task {self._name(job, number)}: {error}"
        for name in ("cwd", "stdout", "stderr"):
            if path := getattr(context, name):
                yield f"    {name}: {path}"

    def _named(self, job: int, numbers: Sequence[int]) -> str:
        names = [self._name(job, number) for number in sorted(numbers)[:_SHOWN_MAX]]
        if len(numbers) > _SHOWN_MAX:
            names.append(f"and {len(numbers) - _SHOWN_MAX} more")
        return ", ".join(names)

    def _name(self, job: int, number: int) -> str:
        label = self.task_label(job, number)
        return label if label == str(number) else f"{label} (id {number})"


def _count(count: int, state: str) -> str:
    return f"{count} {state} task{'s' * (count > 1)}"
