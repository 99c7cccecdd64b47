"""The tasks of a job as a picture: a graph in the DOT language."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hqtrio.api.job import Job
from hqtrio.api.validation import ValidationException, shown

__all__ = ["visualize_job"]

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*|[0-9]+")
_KEYWORDS: Final = ("digraph", "edge", "graph", "node", "strict", "subgraph")


def visualize_job(job: Job, path: str | os.PathLike[str]) -> None:
    """The file holds the job's graph: a node for each task, an edge to each task that needs it.

    Nodes and edges come in the order of the tasks, and are called by the tasks' labels.
    """
    if not isinstance(job, Job):
        raise ValidationException(f"job has to be a Job, not {shown(job)}")
    Path(path).write_text("".join(f"{line}\n" for line in _lines(job)), encoding="utf-8")


def _lines(job: Job) -> Iterator[str]:
    nodes = list(_nodes(job))
    yield "digraph job {"
    for task in job.tasks:
        node, label = nodes[task.task_id], _quoted(task.label)
        yield f"{node};" if node == label else f"{node} [label={label}];"
        for needed in task.dependencies:
            yield f"{nodes[needed.task_id]} -> {node};"
    yield "}"


def _nodes(job: Job) -> Iterator[str]:
    """A name for each task that no other has: its label, if that is its own."""
    taken: set[str] = set()
    for task in job.tasks:
        text = task.label
        while text in taken:
            text = f"{text} ({task.task_id})"
        taken.add(text)
        yield _quoted(text)


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _KEYWORDS:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
