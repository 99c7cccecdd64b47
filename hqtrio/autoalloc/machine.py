"""Machine 4: allocation queues, what is submitted for them, and what becomes of that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, assert_never

from hqtrio.autoalloc.books import Allocation, Books, Queue, Stage, is_active
from hqtrio.autoalloc.checks import check_params
from hqtrio.autoalloc.context import Context, Settings, Trace
from hqtrio.autoalloc.events import (
    Answer,
    Asked,
    CancelAnswered,
    DemandKnown,
    DemandUnknown,
    Effect,
    Event,
    LookedFor,
    ServerEnds,
    StatusKnown,
    Submitted,
    Trial,
    Tried,
    WorkerCame,
    WorkerWent,
    WorkKnown,
    WorkSubmitted,
)
from hqtrio.autoalloc.listing import (
    allocation_row,
    allocation_rows,
    find_allocation,
    page_of,
    queue_row,
    queue_size,
)
from hqtrio.autoalloc.passes import Passes
from hqtrio.autoalloc.submitting import Submitting
from hqtrio.autoalloc.tracking import Tracking
from hqtrio.errors import InputError
from hqtrio.messages import allocations as ask
from hqtrio.messages.client import Done, Failure
from hqtrio.messages.records import (
    QueueAdded,
    QueueEdited,
    QueuePaused,
    QueueRemoved,
    QueueResumed,
)
from hqtrio.model.allocation import Manager, QueueParams
from hqtrio.model.worker import LossReason
from hqtrio.now import Now
from hqtrio.units import quote

__all__ = ["Allocating"]

TRIALS_MAX: Final = 8  # at once
HAS_RUNNING: Final = (
    "Allocation queue has running jobs, so it will not be removed. Use `--force` if you want to "
    "remove the queue anyway"
)


class Allocating:
    """Machine 4. With `books` it goes on where an earlier one has ended."""

    def __init__(self, settings: Settings, books: Books | None = None) -> None:
        self._context = context = Context(settings, books or Books())
        self._tracking = Tracking(context)
        self._submitting = Submitting(context, self._tracking)
        self._passes = Passes(context, self._submitting)
        self._trials: dict[int, tuple[QueueParams, bool]] = {}  # and whether it is to be a queue

    # --- the machine

    def begin(self, workers: Iterable[int], now: Now) -> Sequence[Effect]:
        """Go on: `workers` are connected, or may come back; others are gone."""
        context, books = self._context, self._context.books
        known = set(workers)
        for worker in [worker for worker in books.workers if worker not in known]:
            self._tracking.went(WorkerWent(worker, LossReason.STOPPED), now)
        for allocation in list(books.active()):
            if allocation.stage is Stage.PLANNED:
                self._submitting.resume(allocation, now)
            if allocation.is_cancelled or allocation.queue in books.removed:
                context.cancel(allocation, now)
        ended = [
            one
            for queue in books.queues.values()
            for one in queue.allocations.values()
            if not is_active(one)
        ]
        self._tracking.restore(sorted(ended, key=lambda one: one.ended_at or 0.0))
        context.refresh_at = now.monotonic
        return self._settled()

    def handle(self, event: Event, now: Now) -> Sequence[Effect]:
        """Change the books, and say what has to be done about it."""
        context = self._context
        match event:
            case Asked():
                self._asked(event, now)
            case Tried():
                self._tried(event, now)
            case WorkSubmitted():
                context.is_wanted = True
            case WorkerCame():
                self._tracking.came(event, now)
            case WorkerWent():
                self._tracking.went(event, now)
            case DemandKnown():
                self._passes.known(event, now)
            case DemandUnknown():
                self._passes.unknown()
            case WorkKnown():
                self._passes.work(event, now)
            case Submitted():
                self._submitting.submitted(event, now)
            case LookedFor():
                self._submitting.looked_for(event, now)
            case StatusKnown():
                self._tracking.known(event, now)
            case CancelAnswered():
                self._tracking.cancel_answered(event, now)
            case ServerEnds():
                context.is_ending = True
                for queue in list(context.books.all_queues()):
                    self._tracking.cancel_open(list(queue.allocations.values()), now)
                for allocation in list(context.books.active()):
                    context.cancel(allocation, now)
            case _:
                assert_never(event)
        return self._settled()

    def tick(self, now: Now) -> Sequence[Effect]:
        """Do what is due."""
        context = self._context
        if self._passes.next_at() <= now.monotonic:
            self._passes.tick(now)
        if context.refresh_at <= now.monotonic:
            self._tracking.refresh(now)
        self._submitting.find_due(now)
        self._tracking.cancel_due(now)
        return self._settled()

    def next_deadline(self) -> float:
        """When something is due; never while there is no queue and no allocation."""
        context = self._context
        at = self._passes.next_at()
        for allocation in context.books.active():
            at = min(at, context.refresh_at)
            if trace := context.traces.get((allocation.queue, allocation.number)):
                at = min(at, trace.find_at, trace.cancel_at)
        if context.books.queues or any(map(self._tracking.has_strays, Manager)):
            at = min(at, context.refresh_at)
        return at

    @property
    def is_quiet(self) -> bool:
        """No submission, no trial and no cancel is on its way."""
        traces = self._context.traces.values()
        return not self._trials and not any(
            trace.is_submitting or trace.is_cancelling for trace in traces
        )

    @property
    def books(self) -> Books:
        return self._context.books

    def _settled(self) -> Sequence[Effect]:
        effects, self._context.effects = self._context.effects, []
        return effects

    # --- clients

    def _asked(self, event: Asked, now: Now) -> None:
        try:
            self._respond(event, now)
        except InputError as error:
            self._context.effects.append(Answer(event.token, Failure(str(error))))

    def _respond(self, event: Asked, now: Now) -> None:
        context, token = self._context, event.token
        books = context.books

        def answer(response: ask.QueueResponse | Done) -> None:
            context.effects.append(Answer(token, response))

        match event.request:
            case ask.AddQueue(params, trial):
                check_params(params, context.settings.directory)
                if trial:
                    self._try(token, params, is_queue=True)
                else:
                    answer(self._add(params, now))
            case ask.TryQueue(params):
                check_params(params, context.settings.directory)
                self._try(token, params, is_queue=False)
            case ask.EditQueue(number, params):
                queue = self._queue(number, f"Queue {number} not found")
                if params.manager is not queue.params.manager:
                    raise InputError("The manager of a queue cannot be changed: add another queue")
                check_params(params, context.settings.directory)
                context.record(QueueEdited(number, params, now.wall))
                context.is_wanted = True
                answer(Done())
            case ask.RemoveQueue(number, force):
                self._remove(self._queue(number, "Allocation queue not found"), force, now)
                answer(Done())
            case ask.PauseQueue(number):
                text = f"Allocation queue {number} that should have been paused was not found"
                if self._queue(number, text).paused is None:
                    context.record(QueuePaused(number, "", now.wall))
                answer(Done())
            case ask.ResumeQueue(number):
                text = f"Allocation queue {number} that should have been resumed was not found"
                if self._queue(number, text).paused is not None:
                    context.record(QueueResumed(number, now.wall))
                    context.is_wanted = True
                answer(Done())
            case ask.ListQueues(after):
                rows = (
                    queue_row(queue, self._passes.note(queue, now), now.wall)
                    for number, queue in sorted(books.queues.items())
                    if number > after
                )
                page, more = page_of(rows, queue_size)
                answer(ask.QueueRows(tuple(page), more))
            case ask.ListAllocations(number, after):
                queue = self._queue(number, f"Queue {number} not found")
                answer(allocation_rows(queue, after, self._trace))
            case ask.FindAllocation(text):
                found = find_allocation(books, text)
                if found is None:
                    raise InputError(f"Allocation {quote(text)} not found")
                answer(ask.AllocationRows((allocation_row(found, self._trace(found)),)))
            case _:
                assert_never(event.request)

    def _queue(self, number: int, missing: str) -> Queue:
        queue = self._context.books.queues.get(number)
        if queue is None:
            raise InputError(missing)
        return queue

    def _trace(self, allocation: Allocation) -> Trace | None:
        return self._context.traces.get((allocation.queue, allocation.number))

    def _add(self, params: QueueParams, now: Now) -> ask.QueueAnswer:
        context = self._context
        number = context.books.last_queue + 1
        context.record(QueueAdded(number, params, now.wall))
        context.is_wanted = True
        return ask.QueueAnswer(number)

    def _remove(self, queue: Queue, force: bool, now: Now) -> None:
        context = self._context
        active = list(queue.active.values())
        if not force and any(one.stage is Stage.RUNNING for one in active):
            raise InputError(HAS_RUNNING)
        self._tracking.cancel_open(list(queue.allocations.values()), now)
        context.record(QueueRemoved(queue.id, now.wall))
        self._submitting.stop(queue.id)
        for allocation in active:
            context.cancel(allocation, now)

    # --- trials

    def _try(self, token: int, params: QueueParams, *, is_queue: bool) -> None:
        if len(self._trials) >= TRIALS_MAX:
            raise InputError(f"{TRIALS_MAX} trial allocations are being submitted: try again later")
        self._trials[token] = params, is_queue
        self._context.effects.append(Trial(token, params))

    def _tried(self, event: Tried, now: Now) -> None:
        if event.token not in self._trials:
            return  # whoever wanted it has been told that it failed
        params, is_queue = self._trials.pop(event.token)
        response: ask.QueueResponse | Done | Failure
        if event.error:
            what = "Dry-run (test allocation submission) has failed: " if is_queue else ""
            response = Failure(what + event.error)
        elif is_queue and self._context.is_ending:
            response = Failure("The server ends")
        elif is_queue:
            response = self._add(params, now)
        else:
            response = Done()
        self._context.effects.append(Answer(event.token, response))
