"""What a queue may still have."""

from __future__ import annotations

from hqtrio.autoalloc.books import HOUR_S, Queue, Stage

__all__ = ["has_room", "queued", "remaining", "workers"]


def queued(queue: Queue) -> int:
    """Allocations that wait in the manager's queue, or may."""
    return sum(one.stage in (Stage.PLANNED, Stage.QUEUED) for one in queue.active.values())


def workers(queue: Queue) -> int:
    """Those that are there or to come."""
    return sum(one.nodes for one in queue.active.values())


def remaining(queue: Queue, at: float) -> int | None:
    """How many workers more it may have; None: any number."""
    params, bounds = queue.params, []
    if params.max_worker_count is not None:
        bounds.append(params.max_worker_count - workers(queue))
    if params.max_node_hours is not None:
        used = queue.spent_node_hours(at) + queue.committed_node_hours(at)
        hours = params.max_node_hours - used
        # What is exactly enough is enough, whatever the sums have been rounded to.
        bounds.append(int((hours + 1e-9) * HOUR_S / params.time_limit_s))
    return max(0, min(bounds)) if bounds else None


def has_room(queue: Queue, nodes: int, at: float) -> bool:
    """Whether it may have one more allocation of this size."""
    left = remaining(queue, at)
    return (
        nodes <= queue.params.max_workers_per_alloc
        and queued(queue) < queue.params.backlog
        and (left is None or nodes <= left)
    )
