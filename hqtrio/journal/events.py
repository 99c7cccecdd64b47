"""From records to events: what users read of a journal and of a running server.

A record of thousands of tasks gives as many events, one after another. What a record only implies
(which tasks a cancel ends) is worked out here, so records must come from the first one on. How
events look is a matter of who says them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

from hqtrio.ids import NUMBER_BITS, NUMBER_MASK
from hqtrio.journal.ledger import ENDED, RUNNING, WAITING, Group, JobLedger
from hqtrio.journal.submits import PendingSubmit
from hqtrio.journal.told import Told
from hqtrio.messages.columns import read_f64, read_u32, read_u64
from hqtrio.messages.records import (
    AllocationEnded,
    AllocationPlanned,
    AllocationQueued,
    AllocationStarted,
    InstancesRaised,
    JobCancelled,
    JobClosed,
    JobCompleted,
    JobOpened,
    QueueAdded,
    QueueRemoved,
    Record,
    ServerStarted,
    ServerStopped,
    SubmitBegun,
    SubmitCommitted,
    SubmitContinued,
    SubmitDropped,
    TasksEnded,
    TasksRepeated,
    TasksRequeued,
    TasksStarted,
    VariantsChosen,
    WorkerConnected,
    WorkerLost,
    WorkerTold,
)
from hqtrio.model.allocation import QueueParams
from hqtrio.model.job import JobHead, Ranges
from hqtrio.model.load import NodeLoad
from hqtrio.model.task import TaskState
from hqtrio.model.worker import LossReason, WorkerConfig

__all__ = ["Events", "Teller"]

BATCH_MAX: Final = 5000  # tasks that one event names

_FINISHED: Final = int(TaskState.FINISHED)


E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)


class Teller(Protocol[E_co]):
    """Makes of each event what its listeners want; tasks are named by packed ids."""

    def server_started(self, uid: str, at: float) -> E_co: ...

    def server_stopped(self, at: float) -> E_co: ...

    def worker_connected(self, worker: int, config: WorkerConfig, at: float) -> E_co: ...

    def worker_lost(self, worker: int, reason: LossReason, at: float) -> E_co: ...

    def worker_told(self, worker: int, load: NodeLoad, at: float) -> E_co: ...

    def job_opened(self, job: int, head: JobHead, at: float) -> E_co: ...

    def job_created(
        self, job: int, head: JobHead, submit: PendingSubmit, numbers: tuple[Ranges, ...], at: float
    ) -> E_co: ...

    def job_closed(self, job: int, at: float) -> E_co: ...

    def job_cancelled(self, job: int, reason: str, at: float) -> E_co: ...

    def job_completed(self, job: int, at: float) -> E_co: ...

    def job_idle(self, job: int, at: float) -> E_co: ...

    def started(
        self,
        task: int,
        instance: int,
        at: float,
        workers: int | tuple[int, ...],
        variant: int,
        group: Group,
    ) -> E_co: ...

    def finished(self, task: int, at: float) -> E_co: ...

    def failed(self, task: int, error: str, at: float) -> E_co: ...

    def cancelled(self, tasks: Sequence[int], at: float) -> E_co: ...

    def aborted(self, tasks: Sequence[int], at: float) -> E_co: ...

    def requeued(
        self, task: int, instance: int, tries: int, next_at: float, error: str, at: float
    ) -> E_co:
        """The task waits again, for this instance; `tries` of it have failed and are repeated."""
        ...

    def queue_created(self, queue: int, params: QueueParams, at: float) -> E_co: ...

    def queue_removed(self, queue: int, at: float) -> E_co: ...

    def allocation_queued(self, queue: int, allocation: str, nodes: int, at: float) -> E_co: ...

    def allocation_started(self, queue: int, allocation: str, at: float) -> E_co: ...

    def allocation_finished(self, queue: int, allocation: str, at: float) -> E_co: ...


class Events(Generic[E]):
    """Tells of one record after another.

    With `told`, which has read a part of the same history, only what is news after that. From
    `begin_live` on also what no journal keeps.
    """

    def __init__(self, teller: Teller[E], told: Events[E] | None = None) -> None:
        self._teller = teller
        self._told: Told = Told(None if told is None else told._told)
        self._is_live = False
        self._pending: dict[int, PendingSubmit] = {}
        self._variants: dict[int, int] = {}  # of tasks that start next
        self._idle: dict[int, None] = {}  # jobs without active tasks, of the present record
        self._at = 0.0

    def begin_live(self) -> None:
        """The history is over: everything that follows is news."""
        self._is_live = True
        self._told.before = None

    def of(self, record: Record) -> Iterator[E]:
        """What has happened; the next record may only come after the last event."""
        say = self._teller
        match record:
            case TasksEnded():
                yield from self._ended(record)
            case TasksStarted():
                yield from self._started(record)
            case TasksRequeued():
                rows = zip(read_u64(record.tasks), read_u32(record.instances), strict=True)
                for task, instance in rows:
                    yield from self._requeue(task, instance, self._at)
            case TasksRepeated():
                yield from self._repeated(record)
            case SubmitBegun(submission, submit):
                self._pending[submission] = PendingSubmit(submit)
            case SubmitContinued():
                if pending := self._pending.get(record.submission):
                    pending.add(record)
            case SubmitCommitted():
                yield from self._committed(record)
            case SubmitDropped(submission):
                self._pending.pop(submission, None)
            case JobOpened(number, head, at):
                self._at = at
                self._told.jobs[number] = JobLedger(JobHead(head.name, head.max_fails, True))
                if not self._told.has_job(number):
                    yield say.job_opened(number, head, at)
            case JobClosed(number, at):
                yield from self._close(number, at)
            case JobCancelled(number, reason, at):
                yield from self._cancel(number, reason, at)
            case JobCompleted(number, at):
                self._at = at
                self._told.jobs.pop(number, None)
                self._told.completed[number] = None
                if not self._told.has_completed(number):
                    yield say.job_completed(number, at)
            case WorkerConnected():
                # One that has come back before it counted as lost was there all the time.
                is_there = self._told.turns.get(record.worker, 0) % 2
                if not is_there and self._is_turn(record.worker, record.at):
                    yield say.worker_connected(record.worker, record.config, record.at)
            case WorkerLost(worker, reason, at):
                if self._is_turn(worker, at):
                    yield say.worker_lost(worker, reason, at)
            case VariantsChosen(tasks):
                self._variants = dict(tasks)
            case WorkerTold(worker, load, at):
                self._at = self._told.loads[worker] = at
                if not self._told.has_load(worker, at):
                    yield say.worker_told(worker, load, at)
            case ServerStarted(server_uid, _, at):
                self._pending.clear()
                self._at = at
                if self._is_news(at):
                    yield say.server_started(server_uid, at)
            case ServerStopped(at):
                yield from self._all_wait(at)
                if self._is_news(at):
                    yield say.server_stopped(at)
            case InstancesRaised(at, workers_keep):
                if not workers_keep:
                    yield from self._all_wait(at)
            case _:
                yield from self._of_queue(record)
        if self._idle:
            yield from self._tell_idle()

    def _is_news(self, at: float) -> bool:
        """Whether nobody has heard of the server that starts or stops."""
        self._told.servers[at] = None
        return not self._told.has_server(at)

    def _is_turn(self, worker: int, at: float) -> bool:
        """The worker is lost, or there again; whether that is news."""
        self._at = at
        self._told.turns[worker] = turns = self._told.turns.get(worker, 0) + 1
        return not self._told.has_turned(worker, turns)

    # --- allocation queues

    def _of_queue(self, record: Record) -> Iterator[E]:
        """Allocations are told of from when the manager has them, by its name for them."""
        say, told = self._teller, self._told
        match record:
            case QueueAdded(queue, params, at):
                if told.is_new_in_queue("created", queue, 0):
                    yield say.queue_created(queue, params, at)
            case QueueRemoved(queue, at):
                if told.is_new_in_queue("removed", queue, 0):
                    yield say.queue_removed(queue, at)
            case AllocationPlanned(queue, number, nodes):
                told.allocations[queue, number] = "", nodes
            case AllocationQueued(queue, number, allocation, at):
                _, nodes = told.allocations.get((queue, number), ("", 0))
                told.allocations[queue, number] = allocation, nodes
                if told.is_new_in_queue("queued", queue, number):
                    yield say.allocation_queued(queue, allocation, nodes, at)
            case AllocationStarted(queue, number, at):
                allocation, _ = told.allocations.get((queue, number), ("", 0))
                if allocation and told.is_new_in_queue("started", queue, number):
                    yield say.allocation_started(queue, allocation, at)
            case AllocationEnded(queue, number, at=at):
                allocation, _ = told.allocations.get((queue, number), ("", 0))
                if allocation and told.is_new_in_queue("finished", queue, number):
                    yield say.allocation_finished(queue, allocation, at)
            case _:
                pass  # of no concern to users

    # --- jobs

    def _committed(self, record: SubmitCommitted) -> Iterator[E]:
        pending = self._pending.pop(record.submission, None)
        if pending is None:
            return
        self._at = record.at
        submit, number = pending.submit, record.job
        head = submit.head
        if head is not None:
            self._told.jobs[number] = JobLedger(head)
        job = self._told.job(number)
        job.submits += 1
        pending.create(job, record.numbers)
        if self._told.has_submit(number, job.submits):
            return
        shown = JobHead(job.head.name, job.head.max_fails, head is None or head.is_open)
        yield self._teller.job_created(number, shown, pending, record.numbers, record.at)

    def _close(self, number: int, at: float) -> Iterator[E]:
        self._at = at
        self._told.job(number).is_open = False
        if not self._told.has_closed(number):
            yield self._teller.job_closed(number, at)

    def _cancel(self, number: int, reason: str, at: float) -> Iterator[E]:
        self._at = at
        job = self._told.job(number)
        job.cancels.append(at)
        if not self._told.has_cancelled(number, at):
            yield self._teller.job_cancelled(number, reason, at)
        for tasks in self._end_all(number, job.active_numbers(spared=False), at):
            yield self._teller.cancelled(tasks, at)

    def _tell_idle(self) -> Iterator[E]:
        for number in self._idle:
            job = self._told.jobs.get(number)
            if self._is_live and job is not None and job.is_open and not job.active:
                yield self._teller.job_idle(number, self._at)
        self._idle.clear()

    # --- tasks

    def _started(self, record: TasksStarted) -> Iterator[E]:
        gangs, worker, told = dict(record.gangs), record.worker, self._told
        is_repeated = told.before is not None
        rows = zip(
            read_u64(record.tasks), read_u32(record.instances), read_f64(record.at), strict=True
        )
        for task, instance, at in rows:
            job = self._told.job(task >> NUMBER_BITS)
            group, position = job.find(task & NUMBER_MASK)
            if group.states[position] == ENDED:
                continue
            group.states[position] = RUNNING
            if instance:
                job.instances[task & NUMBER_MASK] = instance
            if not (is_repeated and told.has_task(task, instance, RUNNING)):
                yield self._start(task, instance, at, gangs.get(task, worker), group)
            self._at = at

    def _ended(self, record: TasksEnded) -> Iterator[E]:
        self._at = record.at
        if record.aborted_firsts:
            yield from self._aborted(record)
        gangs, worker, told = dict(record.gangs), record.worker, self._told
        is_repeated = told.before is not None
        errors = dict(record.errors)
        rows = zip(
            read_u64(record.tasks),
            read_u32(record.instances),
            record.states,
            read_f64(record.started),
            read_f64(record.ended),
            strict=True,
        )
        for row, (task, instance, state, started, ended) in enumerate(rows):
            number, local = task >> NUMBER_BITS, task & NUMBER_MASK
            job = self._told.job(number)
            group, position = job.find(local)
            before = group.states[position]
            if before == ENDED:
                continue
            if instance:
                job.instances[local] = instance
            group.states[position] = ENDED
            job.active -= 1
            if not job.active:
                self._idle[number] = None
            if (
                before == WAITING
                and started > 0
                and not (is_repeated and told.has_task(task, instance, RUNNING))
            ):
                yield self._start(task, instance, started, gangs.get(task, worker), group)
            if is_repeated and told.has_task(task, instance, ENDED):
                continue
            if state == _FINISHED:
                yield self._teller.finished(task, ended)
            else:
                yield self._teller.failed(task, errors.get(row, ""), ended)
        for number in record.swept:
            active = self._told.job(number).active_numbers(spared=True)
            for batch in self._end_all(number, active, record.at):
                yield self._teller.aborted(batch, record.at)

    def _aborted(self, record: TasksEnded) -> Iterator[E]:
        runs = zip(read_u64(record.aborted_firsts), read_u32(record.aborted_counts), strict=True)
        by_job: dict[int, list[range]] = {}
        for first, count in runs:
            local = first & NUMBER_MASK
            by_job.setdefault(first >> NUMBER_BITS, []).append(range(local, local + count))
        for number, ranges in by_job.items():
            numbers = (local for run in ranges for local in run)
            for batch in self._end_all(number, numbers, record.at):
                yield self._teller.aborted(batch, record.at)

    def _end_all(self, number: int, numbers: Iterable[int], at: float) -> Iterator[list[int]]:
        """These tasks end as one fact; says which of them had not, thousands at a time."""
        job = self._told.job(number)
        base = number << NUMBER_BITS
        ended = (
            base + local
            for local in numbers
            if job.end(local)
            and not self._told.has_task(base + local, job.instances.get(local, 0), ENDED)
        )
        while batch := list(islice(ended, BATCH_MAX)):
            yield batch
        if not job.active:
            self._idle[number] = None

    def _repeated(self, record: TasksRepeated) -> Iterator[E]:
        errors = dict(record.errors)
        rows = zip(
            read_u64(record.tasks),
            read_u32(record.instances),
            read_u32(record.tries),
            read_f64(record.at),
            strict=True,
        )
        for row, (task, instance, tries, at) in enumerate(rows):
            yield from self._requeue(task, instance, self._at, tries, at, errors.get(row, ""))

    def _requeue(
        self,
        task: int,
        instance: int,
        at: float,
        tries: int = 0,
        next_at: float = 0.0,
        error: str = "",
    ) -> Iterator[E]:
        """The task waits again; told if it was running as far as anybody knows."""
        local = task & NUMBER_MASK
        job = self._told.job(task >> NUMBER_BITS)
        group, position = job.find(local)
        before = group.states[position]
        if before == ENDED:
            return
        group.states[position] = WAITING
        job.instances[local] = instance
        if (before == RUNNING or tries) and not self._told.has_task(task, instance, WAITING):
            yield self._teller.requeued(task, instance, tries, next_at, error, at)

    def _all_wait(self, at: float) -> Iterator[E]:
        """Whatever ran does so no more."""
        self._at = at
        for number, job in self._told.jobs.items():
            for local in list(job.running()):
                instance = job.instances.get(local, 0) + 1
                yield from self._requeue(number << NUMBER_BITS | local, instance, at)

    def _start(
        self, task: int, instance: int, at: float, workers: int | tuple[int, ...], group: Group
    ) -> E:
        variant = self._variants.pop(task, 0) if self._variants else 0
        return self._teller.started(task, instance, at, workers, variant, group)
