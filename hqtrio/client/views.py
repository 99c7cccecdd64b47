"""Answers as callers use them: a task together with the tables that its row points into."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from hqtrio.messages.client import TaskRow, TaskRows
from hqtrio.model.resources import Variants
from hqtrio.model.task import Stdio, TaskBody, TaskSettings, TaskState
from hqtrio.placeholders import fill


@dataclass(frozen=True, slots=True)
class TaskPaths:
    """Where an execution of a task works and writes; None for an output that is not a file."""

    cwd: str
    stdout: str | None
    stderr: str | None


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a job."""

    job: int
    row: TaskRow
    body: TaskBody
    variants: Variants
    settings: TaskSettings
    hostnames: tuple[str, ...]  # of the workers of its last execution, the main one first

    @property
    def number(self) -> int:
        return self.row.number

    @property
    def state(self) -> TaskState:
        return TaskState(self.row.state)

    @property
    def is_multi_node(self) -> bool:
        return any(request.nodes for request in self.variants)

    @property
    def paths(self) -> TaskPaths | None:
        """Paths of the last execution; None for a task that never started, or was aborted."""
        if self.row.started_at is None or self.state is TaskState.ABORTED:
            return None
        return resolve(
            self.body,
            {
                "JOB_ID": str(self.job),
                "TASK_ID": str(self.row.number),
                "INSTANCE_ID": str(self.row.instance),
            },
        )


def tasks_of(job: int, page: TaskRows) -> Iterator[Task]:
    """The tasks of one page of a listing."""
    hostnames = dict(page.hostnames)
    for row in page.rows:
        names = tuple(hostnames.get(worker, "N/A") for worker in row.workers)
        body, variants = page.bodies[row.body], page.variants[row.variants]
        yield Task(job, row, body, variants, page.settings[row.settings], names)


def resolve(body: TaskBody, values: dict[str, str]) -> TaskPaths:
    """The paths with these placeholders filled; a path that still has one stays as it is.

    Relative outputs lie in the task's working directory, and that, if relative, in the directory
    of the submit.
    """
    values = {**values, "SUBMIT_DIR": body.submit_dir}
    cwd = _under(body.submit_dir, fill(body.cwd, values))
    values["CWD"] = cwd
    return TaskPaths(cwd, _output(body.stdout, cwd, values), _output(body.stderr, cwd, values))


def _output(stdio: Stdio, cwd: str, values: dict[str, str]) -> str | None:
    if stdio.path is None or stdio.stream:
        return None
    return _under(cwd, fill(stdio.path, values))


def _under(directory: str, path: str) -> str:
    return path if "%{" in path else posixpath.join(directory, path)
