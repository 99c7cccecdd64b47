"""Tasks that did not finish, as those who wait for them are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hqtrio.api.job import Job
from hqtrio.errors import HqError

__all__ = ["FailedJobsException", "FailedTaskContext"]

_SHOWN_MAX: Final = 5  # tasks of each job


@dataclass(frozen=True)
class FailedTaskContext:
    """What is known of a failed task; paths are absolute, None: there is no such file."""

    error: str
    cwd: str | None = None
    stdout: str | None = None
    stderr: str | None = None


class FailedJobsException(HqError):
    """Some tasks have not finished: `failed_tasks` by job and task, and in `unfinished` how many
    of each job were cancelled or aborted. `job_map` holds the jobs that were submitted here.
    """

    def __init__(
        self,
        failed_tasks: Mapping[int, Mapping[int, FailedTaskContext]],
        job_map: Mapping[int, Job],
        unfinished: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__()
        self.failed_tasks, self.job_map = failed_tasks, job_map
        self.unfinished = unfinished or {}

    def task_label(self, job_id: int, task_id: int) -> str:
        """The task's name, or its number."""
        job = self.job_map.get(job_id)
        task = None if job is None else job.task_by_id(task_id)
        return str(task_id) if task is None else task.label

    def __str__(self) -> str:
        lines: list[str] = []
        for job in sorted({*self.failed_tasks, *self.unfinished}):
            tasks = self.failed_tasks.get(job, {})
            if tasks:
                lines.append(f"Job {job}: {len(tasks)} failed task{'s' * (len(tasks) > 1)}")
            for number in sorted(tasks)[:_SHOWN_MAX]:
                lines += self._of_task(job, number, tasks[number])
            if len(tasks) > _SHOWN_MAX:
                lines.append(f"  and {len(tasks) - _SHOWN_MAX} more")
            if job in self.unfinished:
                lines.append(f"Job {job}: {self.unfinished[job]}")
        return "\n".join(lines)

    def _of_task(self, job: int, number: int, context: FailedTaskContext) -> list[str]:
        error = context.error.rstrip().replace("\n", "\n    ")
        lines = [f"  Task {self.task_label(job, number)} (id {number}): {error}"]
        paths = [(name, getattr(context, name)) for name in ("cwd", "stdout", "stderr")]
        return lines + [f"    {name}: {path}" for name, path in paths if path]
