"""Rows of queues and allocations, as clients ask for them."""

from __future__ import annotations

from collections.abc import Callable

from hqtrio.autoalloc.books import Allocation, Books, Queue, Stage, is_active
from hqtrio.autoalloc.causes import cause_text
from hqtrio.autoalloc.context import Trace
from hqtrio.messages.allocations import (
    AllocationRow,
    AllocationRows,
    AllocationState,
    QueueRow,
)
from hqtrio.messages.client import PAGE_ROWS

__all__ = ["allocation_row", "allocation_rows", "find_allocation", "queue_row"]


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
    known = [
        one
        for number, one in queue.allocations.items()
        if number > after and one.stage is not Stage.REFUSED
    ]
    page = known[:PAGE_ROWS]
    rows = tuple(allocation_row(one, trace_of(one)) for one in page)
    return AllocationRows(rows, more=len(known) > len(page))


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
