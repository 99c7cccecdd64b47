"""Queues and their allocations, as the records tell of them.

Everything here follows from the records alone, in their order: what a server writes it applies, and
what the next one reads gives the same books.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from hqtrio.autoalloc.causes import cause_text
from hqtrio.autoalloc.limiter import Limiter
from hqtrio.messages.records import (
    AllocationCancelling,
    AllocationEnded,
    AllocationPlanned,
    AllocationQueued,
    AllocationsForgotten,
    AllocationStarted,
    QueueAdded,
    QueueEdited,
    QueuePaused,
    QueueRecord,
    QueueRemoved,
    QueueResumed,
    QueuesUsed,
    ResourcesLearned,
    SubmissionFailed,
    WorkerJoined,
    WorkerLeft,
)
from hqtrio.model.allocation import FAILURES, Cause, Manager, QueueParams
from hqtrio.model.resources import Descriptor
from hqtrio.model.worker import CRASHES, LossReason

__all__ = ["Allocation", "Books", "Place", "Queue", "Stage", "is_active", "job_key"]

CRASH_S: Final = 60.0  # a worker that is lost later than this has not crashed
HOUR_S: Final = 3600.0
ENDED_MAX: Final = 1000  # allocations of a queue that are remembered after their end

Key = tuple[Manager, str]


class Stage(IntEnum):
    """How far an allocation has come."""

    PLANNED = 0  # the manager may have it
    QUEUED = 1
    RUNNING = 2
    ENDED = 3
    REFUSED = 4  # the manager never had it


_ACTIVE: Final = (Stage.PLANNED, Stage.QUEUED, Stage.RUNNING)


@dataclass(slots=True)
class Loss:
    """A worker that left."""

    reason: LossReason
    lived_s: float

    @property
    def has_crashed(self) -> bool:
        return self.reason in CRASHES and self.lived_s <= CRASH_S


@dataclass(slots=True)
class Allocation:
    """A job of the manager. Dates are Unix seconds."""

    queue: int
    number: int
    nodes: int
    time_limit_s: float
    name: str
    directory: str
    planned_at: float
    stage: Stage = Stage.PLANNED
    id: str = ""  # as the manager gave it
    queued_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    cause: Cause | None = None
    words: str = ""
    is_cancelled: bool = False  # it is to end
    earlier_s: float = 0.0  # of runs before the manager queued it again
    node_s: float = 0.0  # that it has used, once it has ended
    workers: dict[int, float] = field(default_factory=dict)  # connected ones, since when
    lost: dict[int, Loss] = field(default_factory=dict)

    @property
    def has_failed(self) -> bool:
        """It has ended without having been of use."""
        if self.stage is Stage.REFUSED:
            return True
        if self.stage is not Stage.ENDED or self.cause not in FAILURES:
            return False
        if self.cause in (Cause.CANCELLED, Cause.NODE_FAILED):
            return not self.workers and not self.lost  # these are not to blame
        end = self.ended_at or 0.0
        lived = any(end - since > CRASH_S for since in self.workers.values())
        return not lived and all(loss.has_crashed for loss in self.lost.values())

    @property
    def missing(self) -> int:
        """Workers that are still to come."""
        return max(0, self.nodes - len(self.workers) - len(self.lost))

    def used_s(self, at: float, started_at: float | None = None) -> float:
        """For how long it has run up to now; `started_at` is when the manager says it has begun,
        which workers tell only later."""
        began = self.started_at if started_at is None else started_at
        return self.earlier_s + (0.0 if began is None else max(0.0, at - began))


def is_active(allocation: Allocation) -> bool:
    """The manager has it, or may have it."""
    return allocation.stage in _ACTIVE


@dataclass(slots=True)
class Queue:
    """`paused` says why it is; empty if a user wanted it, None if it is not."""

    id: int
    params: QueueParams
    paused: str | None = None
    resources: Descriptor | None = None  # of its latest worker
    last_number: int = 0
    limiter: Limiter = field(default_factory=Limiter)
    allocations: dict[int, Allocation] = field(default_factory=dict)
    active: dict[int, Allocation] = field(default_factory=dict)  # of them
    ended: dict[int, None] = field(default_factory=dict)  # numbers of the others, oldest first
    ended_node_s: float = 0.0  # of those that are not active any more

    def spent_node_hours(self, at: float) -> float:
        """What its allocations have used so far."""
        running = sum(one.nodes * one.used_s(at) for one in self.active.values())
        return (self.ended_node_s + running) / HOUR_S

    def committed_node_hours(self, at: float) -> float:
        """What those that wait or run may still use."""
        return sum(one.nodes * _left_s(one, at) for one in self.active.values()) / HOUR_S


def _left_s(allocation: Allocation, at: float) -> float:
    if allocation.started_at is None:
        return allocation.time_limit_s
    return max(0.0, allocation.time_limit_s - max(0.0, at - allocation.started_at))


def job_key(manager: Manager, job_id: str) -> Key:
    """What names one job of a manager, however much of its server's name stands behind it."""
    return manager, job_id.partition(".")[0] if manager is Manager.PBS else job_id


Place = tuple[int, int]  # queue, number of the allocation


class Books:
    """All queues by id, and where allocations and workers are to be found.

    A queue that was removed stays as long as one of its allocations may be there: in `removed`.
    """

    def __init__(self) -> None:
        self.queues: dict[int, Queue] = {}
        self.removed: dict[int, Queue] = {}
        self.last_queue = 0
        self.jobs: dict[Key, Place] = {}
        self.workers: dict[int, Place] = {}  # connected ones
        self.directories: dict[str, Place] = {}

    def copy(self) -> Books:
        """The same, and whatever becomes of one of them concerns the other no more."""
        return deepcopy(self)

    # --- looking

    def all_queues(self) -> Iterator[Queue]:
        """Those that exist, then those that were removed."""
        yield from self.queues.values()
        yield from self.removed.values()

    def queue(self, number: int) -> Queue | None:
        """Also one that was removed."""
        return self.queues.get(number) or self.removed.get(number)

    def allocation(self, place: Place) -> Allocation | None:
        queue = self.queue(place[0])
        return None if queue is None else queue.allocations.get(place[1])

    def active(self) -> Iterator[Allocation]:
        """What the managers have, or may have."""
        for queue in self.all_queues():
            yield from queue.active.values()

    # --- records

    def apply(self, record: QueueRecord) -> None:
        """Take in the next record; what it says of somebody unknown is nobody's concern."""
        match record:
            case QueueAdded(number, params):
                self.last_queue = max(self.last_queue, number)
                self.queues[number] = Queue(number, params)
            case QueuesUsed(number):
                self.last_queue = max(self.last_queue, number)
            case QueueRemoved(number):
                self._remove(number)
            case _:
                queue = self.queue(record.queue)
                if queue is not None:
                    self._apply(queue, record)

    def _apply(self, queue: Queue, record: QueueRecord) -> None:
        match record:
            case QueueEdited(_, params):
                queue.params = params
                queue.limiter = Limiter()
            case QueuePaused(_, why):
                queue.paused = why
            case QueueResumed():
                queue.paused = None
                queue.limiter = Limiter(was_accepted=queue.limiter.was_accepted)
            case ResourcesLearned(_, descriptor):
                queue.resources = descriptor
            case AllocationPlanned():
                self._plan(queue, record)
            case AllocationsForgotten(_, number, node_s):
                queue.last_number = max(queue.last_number, number)
                queue.ended_node_s += node_s
            case (
                AllocationQueued() | SubmissionFailed() | AllocationStarted() | AllocationEnded()
                | AllocationCancelling() | WorkerJoined() | WorkerLeft()
            ):  # fmt: skip
                allocation = queue.allocations.get(record.number)
                if allocation is not None:
                    self._change(queue, allocation, record)
                    self._settle(queue, allocation)

    def _plan(self, queue: Queue, record: AllocationPlanned) -> None:
        queue.last_number = max(queue.last_number, record.number)
        queue.limiter.attempt(record.at)
        allocation = Allocation(
            queue.id,
            record.number,
            record.nodes,
            record.time_limit_s,
            record.name,
            record.directory,
            record.at,
        )
        queue.allocations[record.number] = queue.active[record.number] = allocation
        self.directories[record.directory] = queue.id, record.number

    def _change(self, queue: Queue, allocation: Allocation, record: QueueRecord) -> None:
        match record:
            case AllocationQueued(_, _, job_id, at):
                self._queue(queue, allocation, job_id, at)
            case SubmissionFailed(_, _, rejection, words, at):
                allocation.stage, allocation.ended_at = Stage.REFUSED, at
                allocation.words = words
                queue.limiter.reject(rejection, words)
            case AllocationStarted(_, _, at):
                if not is_active(allocation):
                    self._reopen(queue, allocation, at)
                allocation.stage, allocation.started_at = Stage.RUNNING, at
            case AllocationEnded():
                self._end(queue, allocation, record)
            case AllocationCancelling():
                allocation.is_cancelled = True
            case WorkerJoined(_, _, worker, at):
                allocation.workers[worker] = at
                allocation.lost.pop(worker, None)
                self.workers[worker] = queue.id, allocation.number
            case WorkerLeft(_, _, worker, reason, at):
                since = allocation.workers.pop(worker, None)
                self.workers.pop(worker, None)
                if since is not None:
                    allocation.lost[worker] = Loss(reason, max(0.0, at - since))

    def _queue(self, queue: Queue, allocation: Allocation, job_id: str, at: float) -> None:
        """The manager has it: for the first time, or again."""
        if not is_active(allocation):
            self._reopen(queue, allocation, at)
        if allocation.stage is Stage.RUNNING:
            allocation.earlier_s = allocation.used_s(at)
            allocation.lost.clear()
        if allocation.queued_at is None:
            queue.limiter.accept()
        allocation.stage, allocation.id = Stage.QUEUED, job_id
        allocation.queued_at = allocation.queued_at or at
        allocation.started_at = None
        self.jobs[job_key(queue.params.manager, job_id)] = queue.id, allocation.number

    def _reopen(self, queue: Queue, allocation: Allocation, at: float) -> None:
        """It was thought to have ended, and has not; what began before that end still goes on."""
        queue.ended_node_s -= allocation.node_s
        if allocation.ended_at is not None and at >= allocation.ended_at:
            allocation.earlier_s = allocation.used_s(allocation.ended_at)
        allocation.node_s = 0.0
        allocation.cause = allocation.ended_at = None
        allocation.started_at, allocation.words = None, ""
        allocation.lost.clear()

    def _end(self, queue: Queue, allocation: Allocation, record: AllocationEnded) -> None:
        was_active, had_failed = is_active(allocation), allocation.has_failed
        allocation.cause, allocation.words = record.cause, record.words
        if not was_active:
            # Only said more precisely; perhaps it was not the queue's fault.
            self._close(queue, allocation, record)
            if had_failed and not allocation.has_failed:
                queue.limiter.pardon()
            return
        allocation.stage = Stage.ENDED
        self._close(queue, allocation, record)
        _judge(queue, allocation)

    @staticmethod
    def _close(queue: Queue, allocation: Allocation, record: AllocationEnded) -> None:
        """When it ended, and what it has used."""
        allocation.ended_at = record.at
        if record.started_at is not None:
            allocation.started_at = min(record.started_at, record.at)
        queue.ended_node_s += record.node_s - allocation.node_s
        allocation.node_s = record.node_s

    def _settle(self, queue: Queue, allocation: Allocation) -> None:
        number = allocation.number
        if is_active(allocation):
            queue.active[number] = allocation
            queue.ended.pop(number, None)
            return
        queue.active.pop(number, None)
        queue.ended.setdefault(number)
        if queue.id in self.removed and not queue.active:
            del self.removed[queue.id]
            for one in queue.allocations.values():
                self._forget(queue, one)
        elif len(queue.ended) > ENDED_MAX:
            oldest = next(iter(queue.ended))
            del queue.ended[oldest]
            self._forget(queue, queue.allocations.pop(oldest))

    def _remove(self, number: int) -> None:
        self.last_queue = max(self.last_queue, number)
        queue = self.queues.pop(number, None)
        if queue is None:
            return
        if queue.active:
            self.removed[number] = queue
            return
        for allocation in queue.allocations.values():
            self._forget(queue, allocation)

    def _forget(self, queue: Queue, allocation: Allocation) -> None:
        """Nothing leads to it any more."""
        self.directories.pop(allocation.directory, None)
        key = job_key(queue.params.manager, allocation.id)
        if self.jobs.get(key) == (queue.id, allocation.number):
            del self.jobs[key]
        for worker in allocation.workers:
            self.workers.pop(worker, None)


def _judge(queue: Queue, allocation: Allocation) -> None:
    """What the end of an allocation says of its queue."""
    limiter, cause = queue.limiter, allocation.cause
    if cause is Cause.CANCELLED_HERE or cause is Cause.GIVEN_UP or cause is None:
        return
    words = cause_text(cause, allocation.words)
    if allocation.has_failed:
        if cause is Cause.NODE_FAILED:
            limiter.slow_down(words)
        else:
            limiter.fail(words)
    elif not allocation.lost and not allocation.workers:
        limiter.slow_down(f"{words}, and no worker has come")
    elif allocation.lost and all(_was_useless(loss, queue) for loss in allocation.lost.values()):
        limiter.slow_down("its workers could do none of the waiting tasks")
    else:
        limiter.succeed()


def _was_useless(loss: Loss, queue: Queue) -> bool:
    """It was sent away before it could have been idle for so long."""
    idle_s = queue.params.worker.idle_timeout_s
    return loss.reason is LossReason.IDLE_TIMEOUT and loss.lived_s < idle_s
