"""Submissions, one after another within each queue, and those of which nobody knows the outcome."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import inf
from typing import Final

from hqtrio.autoalloc.books import Allocation, Queue, Stage
from hqtrio.autoalloc.context import FOLDER, Context, label
from hqtrio.autoalloc.dialogues import Accepted, Found, Rejected, Unanswered, Unsure
from hqtrio.autoalloc.events import Cancel, Find, LookedFor, Submit, Submitted
from hqtrio.autoalloc.room import has_room
from hqtrio.autoalloc.tracking import Tracking
from hqtrio.messages.records import AllocationPlanned, AllocationQueued, SubmissionFailed
from hqtrio.model.allocation import Rejection
from hqtrio.now import Now

__all__ = ["Submitting"]

# A submission that was given up may still be worked off by a manager that was busy.
FINDS: Final = 3
FIND_S: Final = (5.0, 20.0, 60.0)  # when it is looked for, again and again


class Submitting:
    """What is about to be submitted."""

    def __init__(self, context: Context, tracking: Tracking) -> None:
        self._context, self._tracking = context, tracking
        self._pending: dict[int, deque[int]] = {}  # nodes of allocations to come, by queue

    def is_busy(self, queue: int) -> bool:
        return queue in self._pending

    def begin(self, queue: Queue, sizes: Iterable[int], now: Now) -> None:
        """Submit allocations with so many nodes, until one is refused."""
        self._pending[queue.id] = deque(sizes)
        self._next(queue, now)

    def stop(self, queue: int) -> None:
        """Nothing more; what is on its way is."""
        if queue in self._pending:
            self._pending[queue].clear()

    def _next(self, queue: Queue, now: Now) -> None:
        context, pending = self._context, self._pending[queue.id]
        if not pending or queue.paused is not None or context.is_ending:
            del self._pending[queue.id]
            return
        nodes = pending.popleft()
        if not has_room(queue, nodes, now.wall):
            # It was edited meanwhile, or something has come back: the next pass knows.
            del self._pending[queue.id]
            context.is_wanted = True
            return
        number, params = queue.last_number + 1, queue.params
        name = params.name or f"hq-{queue.id}"
        folder = f"{queue.id}-{params.name}" if params.name else f"{queue.id}"
        directory = f"{context.settings.directory}/{FOLDER}/{folder}/{number:03}"
        context.record(
            AllocationPlanned(
                queue.id,
                number,
                nodes,
                params.time_limit_s,
                f"{name}-{number}",
                directory,
                now.wall,
            )
        )
        allocation = queue.allocations[number]
        context.trace(allocation).is_submitting = True
        context.effects.append(Submit(queue.id, number, context.submission(queue, allocation)))

    def submitted(self, event: Submitted, now: Now) -> None:
        """The manager has answered, or has not."""
        context = self._context
        allocation = context.books.allocation((event.queue, event.number))
        if allocation is None:
            return
        trace = context.trace(allocation)
        trace.is_submitting = False
        match event.answer:
            case Accepted(job_id):
                self._accepted(allocation, job_id, now)
            case Rejected(rejection, words):
                self._failed(allocation, rejection, words, now)
            case Unsure(words):
                context.say(f"{label(allocation)}: {words}; it may exist: looked for by its name")
                trace.find_at, trace.reason = now.monotonic + FIND_S[0], words
                self.stop(event.queue)
        queue = context.books.queue(event.queue)
        if queue is not None and self.is_busy(event.queue):
            self._next(queue, now)
        else:
            self._pending.pop(event.queue, None)

    def _accepted(self, allocation: Allocation, job_id: str, now: Now) -> None:
        context = self._context
        if allocation.id and allocation.id != job_id:
            # One of two jobs of the same submission, and the other one was found first.
            manager = context.queue_of(allocation).params.manager
            context.effects.append(Cancel(manager, job_id, allocation.directory))
            return
        if not allocation.id:
            context.record(AllocationQueued(allocation.queue, allocation.number, job_id, now.wall))
            context.say(f"{label(allocation)} waits for {allocation.nodes} node(s)")
            context.refresh_in(context.settings.watch_s, now)
            self._tracking.match(allocation, now)
        if allocation.is_cancelled or context.is_ending:
            context.cancel(allocation, now)

    def _failed(self, allocation: Allocation, rejection: Rejection, words: str, now: Now) -> None:
        context = self._context
        if allocation.stage is not Stage.PLANNED:
            return  # it was found meanwhile
        text = f"{label(allocation)} could not be submitted: {words}"
        context.say(text, is_error=True)
        context.record(
            SubmissionFailed(allocation.queue, allocation.number, rejection, words, now.wall)
        )
        context.traces.pop((allocation.queue, allocation.number), None)
        context.is_wanted = True
        self._tracking.discard_old(allocation)
        self.stop(allocation.queue)

    # --- submissions of unknown outcome

    def resume(self, allocation: Allocation, now: Now) -> None:
        """A server died while it submitted this."""
        context = self._context
        context.trace(allocation).find_at = now.monotonic

    def find_due(self, now: Now) -> None:
        """Look for what is due."""
        context = self._context
        for allocation in list(context.books.active()):
            trace = context.traces.get((allocation.queue, allocation.number))
            if trace is None or trace.find_at > now.monotonic:
                continue
            trace.find_at = inf
            if allocation.stage is Stage.PLANNED and not trace.is_submitting:
                params = context.queue_of(allocation).params
                context.effects.append(
                    Find(
                        allocation.queue,
                        allocation.number,
                        params.manager,
                        allocation.name,
                        allocation.directory,
                    )
                )

    def looked_for(self, event: LookedFor, now: Now) -> None:
        """What the manager says of a submission of unknown outcome."""
        context = self._context
        allocation = context.books.allocation((event.queue, event.number))
        if allocation is None or allocation.stage is not Stage.PLANNED:
            return
        trace = context.trace(allocation)
        match event.answer:
            case Unanswered():
                trace.find_at = now.monotonic + FIND_S[-1]
            case Found(()):
                trace.finds += 1
                if trace.finds >= FINDS:
                    words = trace.reason or "the server ended while it was submitted"
                    self._failed(allocation, Rejection.UNREACHABLE, words, now)
                else:
                    trace.find_at = now.monotonic + FIND_S[trace.finds]
            case Found(jobs):
                # What its status says may be the end of a removed queue.
                manager = context.queue_of(allocation).params.manager
                self._accepted(allocation, jobs[0].id, now)
                self._tracking.heard(allocation, jobs[0].status, now)
                for job in jobs[1:]:
                    context.effects.append(Cancel(manager, job.id, allocation.directory))
