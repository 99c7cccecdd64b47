"""Rows of queues and allocations, as clients ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from hqtrio.autoalloc.books import Allocation, Books, Queue, Stage, is_active
from hqtrio.autoalloc.causes import cause_text
from hqtrio.autoalloc.context import Trace
from hqtrio.messages.allocations import (
    AllocationRow,
    AllocationRows,
    AllocationState,
    QueueRow,
)
from hqtrio.model.allocation import QueueParams

__all__ = [
    "allocation_row",
    "allocation_rows",
    "find_allocation",
    "page_of",
    "queue_row",
    "queue_size",
    "texts_of",
]

PAGE_CHARACTERS: Final = 100_000  # of a frame of a megabyte, in which each has up to four bytes
ROW_CHARACTERS: Final = 200  # of numbers and of what is known to be short


def queue_row(queue: Queue, note: str, at: float) -> QueueRow:
    stages = [one.stage for one in queue.active.values()]
    return QueueRow(
        queue.id,
        queue.params,
        queue.paused is not None,
        note,
        queue.resources,
        queue.spent_node_hours(at),
        queue.committed_node_hours(at),
        len(stages) - stages.count(Stage.RUNNING),
        stages.count(Stage.RUNNING),
    )


def allocation_row(allocation: Allocation, trace: Trace | None) -> AllocationRow:
    return AllocationRow(
        allocation.queue,
        allocation.number,
        allocation.id,
        _state(allocation),
        allocation.nodes,
        allocation.directory,
        allocation.queued_at or allocation.planned_at,
        allocation.started_at,
        allocation.ended_at,
        _note(allocation, trace),
        tuple(sorted(allocation.workers)),
    )


def _state(allocation: Allocation) -> AllocationState:
    if is_active(allocation):
        is_running = allocation.stage is Stage.RUNNING
        return AllocationState.RUNNING if is_running else AllocationState.QUEUED
    return AllocationState.FAILED if allocation.has_failed else AllocationState.FINISHED


def _note(allocation: Allocation, trace: Trace | None) -> str:
    if allocation.stage is Stage.REFUSED:
        return allocation.words
    if allocation.cause is not None:
        return cause_text(allocation.cause, allocation.words)
    if allocation.is_cancelled:
        return "is being cancelled"
    if allocation.stage is Stage.PLANNED:
        unsure = trace is not None and trace.reason
        return f"it is not clear whether it exists: {unsure}" if unsure else "is being submitted"
    return trace.reason if trace is not None and allocation.stage is Stage.QUEUED else ""


def allocation_rows(
    queue: Queue, after: int, trace_of: Callable[[Allocation], Trace | None]
) -> AllocationRows:
    """The next page of what the manager has or had; what it refused is not among it."""
    known = (
        allocation_row(one, trace_of(one))
        for number, one in sorted(queue.allocations.items())
        if number > after and one.stage is not Stage.REFUSED
    )
    rows, more = page_of(known, lambda row: len(row.note) + len(row.directory))
    return AllocationRows(tuple(rows), more)


R = TypeVar("R")


def page_of(rows: Iterable[R], size: Callable[[R], int]) -> tuple[list[R], bool]:
    """As many as fit a frame, and whether there are more; `size` counts the characters of a row."""
    page: list[R] = []
    room = PAGE_CHARACTERS
    for row in rows:
        room -= size(row) + ROW_CHARACTERS
        if page and room < 0:
            return page, True
        page.append(row)
    return page, False


def texts_of(params: QueueParams) -> tuple[str, ...]:
    """Everything that users have typed."""
    worker = params.worker
    return (
        params.name, *params.manager_args, worker.cpus, *worker.resources, worker.coupling,
        worker.group, worker.detect, worker.start_cmd, worker.stop_cmd, worker.wrap_cmd,
        worker.program,
    )  # fmt: skip


def queue_size(row: QueueRow) -> int:
    """Characters of a row, about."""
    labels = 0
    for descriptor in (row.resources, row.params.descriptor):
        if descriptor is not None:
            labels += sum(
                len(label) + 1
                for pool in descriptor.pools
                for group in pool.groups
                for label in group
            )
    return len(row.note) + labels + sum(map(len, texts_of(row.params)))


def find_allocation(books: Books, text: str) -> Allocation | None:
    """The latest allocation with this id of its manager, else the latest of the queue."""
    number = text.partition(".")[0]
    named = [
        one
        for queue in books.all_queues()
        for one in queue.allocations.values()
        if one.id and (one.id == text or one.id.partition(".")[0] == number)
    ]
    exact = [one for one in named if one.id == text]
    if found := exact or named:
        return max(found, key=lambda one: one.queued_at or 0.0)
    queue = books.queues.get(int(text)) if text.isascii() and text.isdigit() else None
    if queue is None or not queue.allocations:
        return None
    return queue.allocations[max(queue.allocations)]
