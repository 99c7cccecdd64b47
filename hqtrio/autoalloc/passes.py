"""When to ask for demand, and what to submit for it."""

from __future__ import annotations

from math import inf
from typing import Final

from hqtrio.autoalloc import room
from hqtrio.autoalloc.books import Allocation, Queue, Stage
from hqtrio.autoalloc.context import Context, label
from hqtrio.autoalloc.events import AskDemand, DemandKnown, DismissUseless, Query, WorkKnown
from hqtrio.autoalloc.permit import permit
from hqtrio.autoalloc.submitting import Submitting
from hqtrio.messages.records import QueuePaused
from hqtrio.model.resources import Descriptor
from hqtrio.now import Now
from hqtrio.units import format_elapsed

__all__ = ["Passes"]

# Workers of an allocation that runs, but that have not come for so long, are not waited for.
COMING_S: Final = 300.0
# What lies before other workers is fetched from there first.
SETTLE_S: Final = 2.0
_NOTHING: Final = Descriptor(())


class Passes:
    """One pass at a time: pause what fails, ask for demand, submit what it permits."""

    def __init__(self, context: Context, submitting: Submitting) -> None:
        self._context, self._submitting = context, submitting
        self._tick_at = self._last_at = -inf
        self._asked: tuple[int, ...] | None = None
        self._idle_since: float | None = None  # since when no task waits
        self._wanted: dict[int, tuple[int, int]] = {}  # workers and gangs, when last asked

    def next_at(self) -> float:
        """When the next tick is due, if there is anything to look after."""
        return self._tick_at if self._context.books.queues else inf

    def tick(self, now: Now) -> None:
        """Begin a pass if somebody wants one, or if there was none for long."""
        context, settings = self._context, self._context.settings
        self._tick_at = now.monotonic + settings.tick_s
        if context.is_ending or self._asked is not None:
            return
        if context.books.workers or any(map(_only_waits, context.books.active())):
            context.effects.append(DismissUseless(tuple(context.books.workers)))
        if context.is_wanted or self._last_at + settings.max_delay_s <= now.monotonic:
            context.is_wanted, self._last_at = False, now.monotonic
            self._pause_failing(now)
            queues = [queue for queue in context.books.queues.values() if queue.paused is None]
            if any(room.has_room(queue, 1, now.wall) for queue in queues):
                self._asked = tuple(queue.id for queue in queues)
                context.effects.append(AskDemand(tuple(_query(queue) for queue in queues)))

    def work(self, event: WorkKnown, now: Now) -> None:
        """Where nothing has waited for as long as idle workers are kept, nothing needs to start."""
        context = self._context
        if event.waits:
            self._idle_since = None
            return
        if self._idle_since is None:
            self._idle_since = now.monotonic
        for queue in list(context.books.queues.values()):
            if now.monotonic - self._idle_since >= queue.params.worker.idle_timeout_s:
                for allocation in list(queue.active.values()):
                    if _only_waits(allocation) and not allocation.is_cancelled:
                        context.say(f"{label(allocation)} is withdrawn: no task waits")
                        context.cancel(allocation, now)

    def _pause_failing(self, now: Now) -> None:
        context = self._context
        for queue in list(context.books.queues.values()):
            if queue.paused is None and (why := queue.limiter.verdict(context.settings.limits)):
                context.say(f"queue {queue.id} is paused: {why}", is_error=True)
                context.record(QueuePaused(queue.id, why, now.wall))

    def unknown(self) -> None:
        """The scheduler is busy: another time."""
        self._asked = None
        self._context.is_wanted = True

    def known(self, event: DemandKnown, now: Now) -> None:
        """Submit what is wanted and permitted, queue by queue."""
        context = self._context
        asked, self._asked = self._asked or (), None
        for at, number in enumerate(asked):
            gangs = [(nodes, count) for index, nodes, count in event.multi_node if index == at]
            single = event.single_node[at]
            self._wanted[number] = single, sum(count for _, count in gangs)
            queue = context.books.queues.get(number)
            if queue is None or queue.paused is not None or context.is_ending:
                continue
            if self._submitting.is_busy(number):
                continue
            sizes = self._permitted(queue, single, gangs, now)
            if sizes and not queue.limiter.wait_s(context.settings.limits, now.wall):
                self._submitting.begin(queue, sizes, now)
        self._pause_failing(now)

    def _permitted(
        self, queue: Queue, single: int, gangs: list[tuple[int, int]], now: Now
    ) -> list[int]:
        params = queue.params
        return permit(
            single,
            gangs,
            backlog=params.backlog,
            max_workers_per_alloc=params.max_workers_per_alloc,
            expected=_expected(queue, now.wall),
            queued=room.queued(queue),
            remaining=room.remaining(queue, now.wall),
        )

    # --- what users are told

    def note(self, queue: Queue, now: Now) -> str:
        """Why the queue submits nothing right now; empty if it does."""
        params, limits = queue.params, self._context.settings.limits
        if queue.paused is not None:
            return f"paused: {queue.paused}" if queue.paused else "paused by a user"
        if self._context.is_ending:
            return "the server ends"
        if self._submitting.is_busy(queue.id):
            return ""
        if wait_s := queue.limiter.wait_s(limits, now.wall):
            words = f" after: {queue.limiter.words}" if queue.limiter.words else ""
            return f"waits {format_elapsed(max(wait_s, 1.0))}{words}"
        if (queued := room.queued(queue)) >= params.backlog:
            return _backlog_note(queued, self._reason(queue))
        if params.max_worker_count is not None and room.workers(queue) >= params.max_worker_count:
            return f"all {params.max_worker_count} workers that it may have are there or to come"
        if (remaining := room.remaining(queue, now.wall)) is not None and remaining <= 0:
            used = queue.spent_node_hours(now.wall) + queue.committed_node_hours(now.wall)
            return f"{used:.4g} of {params.max_node_hours:.4g} node hours are spent or committed"
        if queue.id not in self._wanted:
            return "demand was not looked at yet"
        if self._wanted[queue.id] == (0, 0):
            return "no waiting task needs a worker of this queue"
        if any(_expected(queue, now.wall)):
            return "workers that are to come will take what waits"
        return ""

    def _reason(self, queue: Queue) -> str:
        """The first word of the manager on why an allocation waits."""
        for allocation in queue.active.values():
            trace = self._context.traces.get((queue.id, allocation.number))
            if trace is not None and trace.reason and allocation.stage is Stage.QUEUED:
                return trace.reason
        return ""


def _only_waits(allocation: Allocation) -> bool:
    return allocation.stage is Stage.QUEUED


def _backlog_note(queued: int, reason: str) -> str:
    what = "allocation waits" if queued == 1 else "allocations wait"
    return f"{queued} {what} in the manager's queue already" + (f" ({reason})" if reason else "")


def _query(queue: Queue) -> Query:
    params = queue.params
    known = queue.resources
    return Query(
        known or params.descriptor or _NOTHING,
        known is None,
        params.time_limit_s,
        params.backlog * params.max_workers_per_alloc,
        params.max_workers_per_alloc,
        params.min_utilization,
    )


def _expected(queue: Queue, at: float) -> list[int]:
    """Workers that are to come, or that the scheduler may not have given work yet, by
    allocation."""
    coming = []
    for one in queue.active.values():
        is_new = one.started_at is None or at - one.started_at < COMING_S
        workers = one.missing if is_new and not one.is_cancelled else 0
        workers += sum(at - since < SETTLE_S for since in one.workers.values())
        if workers:
            coming.append(workers)
    return coming
