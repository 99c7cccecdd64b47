"""Sentences and table of `task explain`."""

from __future__ import annotations

from typing import Final

from hqtrio.cli.render.wording import date
from hqtrio.ids import IdArray, format_ids, format_task, task_id
from hqtrio.messages.client import (
    AmountCondition,
    Condition,
    NodesCondition,
    TaskExplained,
    TimeCondition,
    WorkerFit,
)
from hqtrio.units import format_amount, format_elapsed

COLUMNS: Final = ("Worker Id", "Runnable", "Variant", "Type", "Provides", "Request")


def sentences(explained: TaskExplained) -> tuple[str, str]:
    """Whether the task may start, and where it could."""
    task = f"Task {format_task(task_id(explained.job, explained.number))}"
    needs, unfinished = explained.needs, explained.unfinished
    if explained.retry_at is not None:
        ready = (
            f"has failed {_times(explained.tries)} and waits until {date(explained.retry_at)}"
            f" for its next try. It failed with: {explained.error}"
        )
    elif unfinished:
        ready = f"is not ready to run, because {unfinished}/{needs} dependencies are not finished."
    elif needs:
        ready = f"is ready to run because its all {needs} dependencies are finished."
    else:
        ready = "is ready to run because it has no dependencies."
    return f"{task} {ready}", _where([fit.worker for fit in explained.workers if fit.enabled])


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _where(workers: list[int]) -> str:
    if not workers:
        return "There is no worker where the task can run."
    plural = "s" if len(workers) > 1 else ""
    return f"The task can run on {len(workers)} worker{plural}: {format_ids(IdArray.of(workers))}"


def rows(explained: TaskExplained) -> list[list[str]]:
    """One row per worker and variant, with a line per condition."""
    table = []
    for fit in explained.workers:
        head = [str(fit.worker), _runnable(fit)]
        for number, conditions in enumerate(fit.variants):
            cells = [_cells(condition) for condition in conditions]
            columns = ["\n".join(column) for column in zip(*cells, strict=True)]
            table.append([*head, str(number), *columns])
            head = ["", ""]
    return table


def _runnable(fit: WorkerFit) -> str:
    if not fit.enabled:
        return "No"
    return f"Yes ({fit.enabled}/{len(fit.variants)})" if len(fit.variants) > 1 else "Yes"


def _cells(condition: Condition) -> tuple[str, str, str]:
    """Type, what the worker provides, what the task requests."""
    match condition:
        case TimeCondition(time_s, remaining_s):
            remaining = "unknown" if remaining_s is None else format_elapsed(remaining_s)
            return "time", remaining, format_elapsed(time_s)
        case AmountCondition(resource, amount, size):
            return resource, format_amount(size), format_amount(amount) if amount else "all"
        case NodesCondition(nodes, group_size):
            return "nodes", f"group size {group_size}", str(nodes)
