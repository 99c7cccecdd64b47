"""Answers as callers use them: a task together with the tables that its row points into."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from hqtrio.messages.client import TaskRow, TaskRows
from hqtrio.model.fields import field_texts
from hqtrio.model.resources import Variants
from hqtrio.model.task import Stdio, TaskBody, TaskSettings, TaskState
from hqtrio.placeholders import fill

# Stands for the number of a task in paths that many tasks share; no path can hold it.
_NUMBER: Final = "\0"


@dataclass(frozen=True, slots=True)
class TaskPaths:
    """Where an execution of a task works and writes; None for an output that is not a file."""

    cwd: str
    stdout: str | None
    stderr: str | None


@dataclass(frozen=True, slots=True)
class BodyPaths:
    """Paths of tasks that share a body, worked out once for each instance they have."""

    job: int
    body: TaskBody
    _known: dict[int, TaskPaths] = field(default_factory=dict)

    def of(self, number: int, instance: int, entry: bytes) -> TaskPaths:
        """The paths of one execution."""
        if names := self.body.fields:
            texts = dict(zip(names, field_texts(entry, names), strict=True))
            return self._resolve(str(number), instance, texts)
        shared = self._known.get(instance)
        if shared is None:
            shared = self._known[instance] = self._resolve(_NUMBER, instance, {})
        text = str(number)
        return TaskPaths(
            shared.cwd.replace(_NUMBER, text),
            None if shared.stdout is None else shared.stdout.replace(_NUMBER, text),
            None if shared.stderr is None else shared.stderr.replace(_NUMBER, text),
        )

    def _resolve(self, number: str, instance: int, texts: dict[str, str]) -> TaskPaths:
        values = {"JOB_ID": str(self.job), "TASK_ID": number, "INSTANCE_ID": str(instance)}
        return resolve(self.body, values | texts)


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a job."""

    job: int
    row: TaskRow
    body: TaskBody
    variants: Variants
    settings: TaskSettings
    hostnames: tuple[str, ...]  # of the workers of its last execution, the main one first
    body_paths: BodyPaths

    @property
    def number(self) -> int:
        return self.row.number

    @property
    def state(self) -> TaskState:
        return TaskState(self.row.state)

    @property
    def started_at(self) -> float | None:
        """Unix seconds; of what an aborted task had begun nothing is told."""
        return None if self.row.state == TaskState.ABORTED else self.row.started_at

    @property
    def is_multi_node(self) -> bool:
        return any(request.nodes for request in self.variants)

    @property
    def paths(self) -> TaskPaths | None:
        """Paths of the last execution; None for a task that never started, or was aborted."""
        if self.started_at is None:
            return None
        return self.body_paths.of(self.row.number, self.row.instance, self.row.entry or b"")


def tasks_of(job: int, page: TaskRows) -> Iterator[Task]:
    """The tasks of one page of a listing."""
    hostnames = dict(page.hostnames)
    paths = [BodyPaths(job, body) for body in page.bodies]
    for row in page.rows:
        workers = () if row.state == TaskState.ABORTED else row.workers
        names = tuple([hostnames.get(worker, "N/A") for worker in workers])
        body, variants = page.bodies[row.body], page.variants[row.variants]
        settings = page.settings[row.settings]
        yield Task(job, row, body, variants, settings, names, paths[row.body])


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
