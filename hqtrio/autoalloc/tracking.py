"""What becomes of allocations: by what the managers say, and by their workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import Final

from hqtrio.autoalloc.books import Allocation, Place, Stage, is_active, job_key
from hqtrio.autoalloc.causes import cause_text
from hqtrio.autoalloc.context import AGAIN_S, FOLDER, STILL_THERE_S, Context, label
from hqtrio.autoalloc.dialogues import (
    Answered,
    Cancelled,
    Ended,
    NotCancelled,
    Other,
    Running,
    Status,
    Unanswered,
    Unclear,
    Unknown,
    Waiting,
)
from hqtrio.autoalloc.events import (
    AskStatus,
    Cancel,
    CancelAnswered,
    Discard,
    StatusKnown,
    WorkerCame,
    WorkerWent,
)
from hqtrio.messages.records import (
    AllocationEnded,
    AllocationQueued,
    AllocationStarted,
    ResourcesLearned,
    WorkerJoined,
    WorkerLeft,
)
from hqtrio.model.allocation import Cause, Manager
from hqtrio.now import Now

__all__ = ["Tracking"]

# So many unclear answers in a row, and it counts as ended.
ERRORS_QUEUED_MAX: Final = 10
ERRORS_RUNNING_MAX: Final = 20
UNKNOWN_MAX: Final = 2  # so many answers in a row say that the manager does not know it
LINGER_S: Final = 120.0  # for so long its job may be there after its workers have left
# What the manager can say more precisely than that all workers have left.
_PRECISE: Final = (
    Cause.TIME_LIMIT,
    Cause.CANCELLED,
    Cause.NODE_FAILED,
    Cause.PREEMPTED,
    Cause.OUT_OF_MEMORY,
)
_BY_WORKERS: Final = (Cause.WORKERS_LEFT, Cause.WORKERS_CRASHED)
_PRESUMED: Final = (*_BY_WORKERS, Cause.VANISHED, Cause.GIVEN_UP)  # it may have gone on


class Tracking:
    """Follows every allocation until the manager is rid of it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._asking: set[Manager] = set()
        self._trouble: dict[Manager, str] = {}  # of those that cannot be asked
        self._unmatched: dict[int, WorkerCame] = {}  # in jobs that are not known (yet)
        self._gone: set[Place] = set()  # of those without workers, what the manager does not know
        self._ended: dict[str, None] = {}  # directories of what has ended, oldest first

    # --- asking

    def refresh(self, now: Now) -> None:
        """Ask every manager that has, or had lately, something of ours."""
        context = self._context
        context.refresh_at = now.monotonic + context.settings.refresh_s
        self._gone = {place for place in self._gone if context.books.allocation(place)}
        for manager in Manager:
            ids = tuple(dict.fromkeys(self._to_ask(manager)))
            if (ids or self.has_strays(manager)) and manager not in self._asking:
                self._asking.add(manager)
                context.effects.append(AskStatus(manager, ids))

    def has_strays(self, manager: Manager) -> bool:
        """Workers are connected whose job is not in the books; it may be one of ours."""
        if not self._context.books.last_queue:
            return False
        return any(event.manager is manager for event in self._unmatched.values())

    def _to_ask(self, manager: Manager) -> Iterator[str]:
        for queue in self._context.books.all_queues():
            if queue.params.manager is manager:
                for allocation in queue.allocations.values():
                    if allocation.id and (is_active(allocation) or self.is_open(allocation)):
                        yield allocation.id

    def is_open(self, allocation: Allocation) -> bool:
        """It has ended as far as its workers can tell, and the manager has not said so yet."""
        return (
            allocation.cause in _BY_WORKERS
            and not allocation.words
            and (allocation.queue, allocation.number) not in self._gone
        )

    def known(self, event: StatusKnown, now: Now) -> None:
        """Bring the books and what the manager says together."""
        context, manager = self._context, event.manager
        self._asking.discard(manager)
        match event.answer:
            case Unanswered(words):
                if self._trouble.get(manager) != words:
                    self._trouble[manager] = words
                    context.say(f"{manager.name} cannot be asked: {words}")
                context.refresh_in(context.settings.watch_s, now)
            case Answered(statuses, others):
                if self._trouble.pop(manager, None) is not None:
                    context.say(f"{manager.name} answers again")
                for job_id, status in statuses.items():
                    place = context.books.jobs.get(job_key(manager, job_id))
                    allocation = place and context.books.allocation(place)
                    if allocation:
                        self.heard(allocation, status, now)
                for other in others:
                    self._found(manager, other, now)
                if any(self._is_watched(one) for one in context.books.active()):
                    context.refresh_in(context.settings.watch_s, now)

    def _is_watched(self, allocation: Allocation) -> bool:
        """The manager knows of its next change before its workers could tell."""
        return allocation.stage is not Stage.RUNNING or allocation.missing > 0

    # --- what the manager says

    def heard(self, allocation: Allocation, status: Status, now: Now) -> None:
        """The manager has said this of an allocation that it has, or had."""
        if not is_active(allocation):
            self._heard_late(allocation, status, now)
            return
        context, trace = self._context, self._context.trace(allocation)
        if not isinstance(status, Unclear):
            trace.errors = 0
        if not isinstance(status, Unknown):
            trace.unknown = 0
        if isinstance(status, Waiting | Running):
            context.cancel_unwanted(allocation, now)
        match status:
            case Waiting(reason):
                trace.reason = reason
                if allocation.stage is Stage.RUNNING and not allocation.workers:
                    context.say(f"{label(allocation)} was queued again by its manager")
                    self._requeue(allocation, now)
            case Running(started_at):
                trace.reason = ""
                if allocation.stage is Stage.QUEUED:
                    at = now.wall if started_at is None else min(started_at, now.wall)
                    context.record(AllocationStarted(allocation.queue, allocation.number, at))
            case Ended(cause, words, started_at, ended_at):
                self._end(allocation, cause, words, now, started_at, ended_at)
            case Unknown():
                trace.unknown += 1
                if allocation.workers:
                    return  # it does exist
                if trace.unknown >= UNKNOWN_MAX or allocation.is_cancelled:
                    self._end(allocation, Cause.VANISHED, "", now)
                else:
                    context.refresh_in(AGAIN_S, now)
            case Unclear(words):
                self._unclear(allocation, words, now)

    def _unclear(self, allocation: Allocation, words: str, now: Now) -> None:
        context, trace = self._context, self._context.trace(allocation)
        trace.errors += 1
        is_running = allocation.stage is Stage.RUNNING
        limit = ERRORS_RUNNING_MAX if is_running else ERRORS_QUEUED_MAX
        if trace.errors <= limit or allocation.workers:
            if trace.errors == 1:
                context.say(f"{label(allocation)}: its state is unclear: {words}")
            return
        context.cancel(allocation, now)  # whatever it is, nobody counts on it
        self._end(allocation, Cause.GIVEN_UP, words, now)

    def _requeue(self, allocation: Allocation, now: Now) -> None:
        record = AllocationQueued(allocation.queue, allocation.number, allocation.id, now.wall)
        self._context.record(record)

    def _end(
        self,
        allocation: Allocation,
        cause: Cause,
        words: str,
        now: Now,
        started_at: float | None = None,
        ended_at: float | None = None,
    ) -> None:
        context = self._context
        if allocation.is_cancelled and cause is not Cause.GIVEN_UP:
            cause = Cause.CANCELLED_HERE
        at = now.wall if ended_at is None else min(ended_at, now.wall)
        node_s = allocation.nodes * allocation.used_s(at, started_at)
        place = allocation.queue, allocation.number
        context.record(AllocationEnded(*place, cause, words, at, started_at, node_s))
        how = "has failed" if allocation.has_failed else "has ended"
        text = f"{label(allocation)} {how}: {cause_text(cause, words)}"
        context.say(text, is_error=allocation.has_failed)
        context.traces.pop((allocation.queue, allocation.number), None)
        self._gone.discard((allocation.queue, allocation.number))
        context.is_wanted = True
        self.discard_old(allocation)

    def _heard_late(self, allocation: Allocation, status: Status, now: Now) -> None:
        """Its workers have left, or it was given up; the job may still be there."""
        context = self._context
        match status:
            case Ended(cause, words, started_at, ended_at) if allocation.cause in _BY_WORKERS:
                # Nobody has to ask again.
                cause = cause if cause in _PRECISE else allocation.cause
                at = (allocation.ended_at or now.wall) if ended_at is None else ended_at
                at = min(at, now.wall)
                node_s = allocation.nodes * allocation.used_s(at, started_at)
                news = cause, words, node_s
                if news != (allocation.cause, allocation.words, allocation.node_s):
                    place = allocation.queue, allocation.number
                    context.record(AllocationEnded(*place, cause, words, at, started_at, node_s))
                    context.is_wanted = True
            case Unknown() if allocation.cause in _BY_WORKERS:
                self._gone.add((allocation.queue, allocation.number))
            case Running() | Waiting() if allocation.is_cancelled:
                self._cancel_again(allocation, now)
            case Waiting():
                context.say(f"{label(allocation)} was queued again by its manager")
                self._requeue(allocation, now)
            case Running(started_at) if allocation.cause not in _BY_WORKERS:
                context.say(f"{label(allocation)} is there after all")
                at = now.wall if started_at is None else min(started_at, now.wall)
                context.record(AllocationStarted(allocation.queue, allocation.number, at))
            case Running():
                gone_s = now.wall - (allocation.ended_at or now.wall)
                stop_cmd = context.queue_of(allocation).params.worker.stop_cmd
                if gone_s >= LINGER_S and not stop_cmd:
                    context.say(f"{label(allocation)} runs without workers: cancelled")
                    self._cancel_again(allocation, now)
                elif not stop_cmd:
                    context.refresh_in(LINGER_S - gone_s + 1.0, now)

    def cancel_open(self, allocations: Iterable[Allocation], now: Now) -> None:
        """Of those that may have been queued again since their workers left, nothing is left."""
        for allocation in allocations:
            if self.is_open(allocation):
                self._requeue(allocation, now)
                self._context.cancel(allocation, now)

    def _cancel_again(self, allocation: Allocation, now: Now) -> None:
        manager = self._context.queue_of(allocation).params.manager
        self._context.effects.append(Cancel(manager, allocation.id, allocation.directory))

    def _found(self, manager: Manager, other: Other, now: Now) -> None:
        """A job that nobody has asked about; ours if it was submitted in a directory of ours."""
        context = self._context
        place = context.books.directories.get(other.directory)
        allocation = place and context.books.allocation(place)
        if isinstance(other.status, Unknown | Unclear):
            return
        if not allocation:
            ours = f"{context.settings.directory}/{FOLDER}/"
            if other.directory.startswith(ours) and not isinstance(other.status, Ended):
                context.say(f"job {other.id} is of no queue any more: cancelled")
                context.effects.append(Cancel(manager, other.id, other.directory))
            return
        trace = context.traces.get((allocation.queue, allocation.number))
        if trace is not None and trace.is_submitting:
            return  # its submission will say which one it is
        has_ended = isinstance(other.status, Ended)
        if allocation.id and job_key(manager, allocation.id) != job_key(manager, other.id):
            if not has_ended:
                context.say(f"job {other.id} is a second one for {label(allocation)}: cancelled")
                context.effects.append(Cancel(manager, other.id, other.directory))
            return
        if not allocation.id:
            if has_ended and not is_active(allocation):
                return
            context.say(f"{label(allocation)} is job {other.id}, which was not known")
            context.record(
                AllocationQueued(allocation.queue, allocation.number, other.id, now.wall)
            )
            self.match(allocation, now)
            context.cancel_unwanted(allocation, now)
        self.heard(allocation, other.status, now)

    # --- workers

    def came(self, event: WorkerCame, now: Now) -> None:
        """A worker is connected that runs in a job of a manager."""
        context = self._context
        place = context.books.jobs.get(job_key(event.manager, event.job_id))
        allocation = place and context.books.allocation(place)
        if not allocation:
            self._unmatched[event.worker] = event
            context.refresh_in(AGAIN_S / 6, now)
            return
        self._join(allocation, event, now)
        context.cancel_unwanted(allocation, now)

    def match(self, allocation: Allocation, now: Now) -> None:
        """Workers that came before the id of their job was known."""
        manager = self._context.queue_of(allocation).params.manager
        key = job_key(manager, allocation.id)
        for event in list(self._unmatched.values()):
            if job_key(event.manager, event.job_id) == key:
                del self._unmatched[event.worker]
                self._join(allocation, event, now)

    def _join(self, allocation: Allocation, event: WorkerCame, now: Now) -> None:
        context, place = self._context, (allocation.queue, allocation.number)
        if context.books.workers.get(event.worker) == place:
            return  # it is back
        if not is_active(allocation):
            context.say(f"{label(allocation)} has a worker, and so has not ended")
        if allocation.stage is not Stage.RUNNING:
            # One that the manager has not seen the end of has gone on all the time.
            since = allocation.started_at if allocation.cause in _PRESUMED else None
            context.record(AllocationStarted(*place, now.wall if since is None else since))
        elif not allocation.missing:
            context.say(f"{label(allocation)} has more workers than nodes")
        context.record(WorkerJoined(*place, event.worker, now.wall))
        queue = context.queue_of(allocation)
        if queue.resources != event.descriptor:
            context.record(ResourcesLearned(queue.id, event.descriptor))
        context.is_wanted = True

    def went(self, event: WorkerWent, now: Now) -> None:
        """A worker is not connected any more and will not be."""
        context = self._context
        self._unmatched.pop(event.worker, None)
        place = context.books.workers.get(event.worker)
        allocation = place and context.books.allocation(place)
        if not allocation:
            return
        context.is_wanted = True
        context.record(
            WorkerLeft(allocation.queue, allocation.number, event.worker, event.reason, now.wall)
        )
        if allocation.is_cancelled:
            # Its job may be there all the same: that is for the manager to say.
            context.refresh_in(AGAIN_S / 3, now)
        elif allocation.stage is Stage.RUNNING and len(allocation.lost) >= allocation.nodes:
            crashed = all(loss.has_crashed for loss in allocation.lost.values())
            cause = Cause.WORKERS_CRASHED if crashed else Cause.WORKERS_LEFT
            self._end(allocation, cause, "", now)
            context.refresh_in(AGAIN_S / 3, now)  # the manager may know why

    # --- cancels

    def cancel_answered(self, event: CancelAnswered, now: Now) -> None:
        """A cancel was accepted, or was not."""
        context = self._context
        place = context.books.jobs.get(job_key(event.manager, event.id))
        allocation = place and context.books.allocation(place)
        if isinstance(event.answer, NotCancelled):
            context.say(f"job {event.id} could not be cancelled: {event.answer.words}")
        if not allocation or not is_active(allocation):
            return
        trace = context.trace(allocation)
        trace.is_cancelling = False
        match event.answer:
            case Cancelled():
                trace.cancel_at = now.monotonic + STILL_THERE_S
                context.refresh_in(AGAIN_S / 6, now)
            case NotCancelled():
                trace.cancel_at = now.monotonic + AGAIN_S

    def cancel_due(self, now: Now) -> None:
        """Repeat cancels that have not helped."""
        for allocation in list(self._context.books.active()):
            trace = self._context.traces.get((allocation.queue, allocation.number))
            if trace is not None and trace.cancel_at <= now.monotonic:
                trace.cancel_at = inf
                self._context.cancel(allocation, now)

    # --- directories

    def restore(self, ended: Iterable[Allocation]) -> None:
        """What had ended before this server, the earliest first."""
        self._ended.update(dict.fromkeys(one.directory for one in ended))

    def discard_old(self, allocation: Allocation) -> None:
        """Of what has ended, the latest directories are kept."""
        self._ended.pop(allocation.directory, None)
        self._ended[allocation.directory] = None
        while len(self._ended) > self._context.settings.kept_directories:
            directory = next(iter(self._ended))
            del self._ended[directory]
            place = self._context.books.directories.get(directory)
            one = place and self._context.books.allocation(place)
            if not one or not is_active(one):  # it may have come back to life
                self._context.effects.append(Discard(directory))
