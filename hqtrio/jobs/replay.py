"""From the records of a journal back to the tables of the job book.

A record says what happened; what follows for other tasks is worked out by the rules by which it was
when the record was written, so that consequences that a journal lacks are made up for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import repeat
from typing import Final, assert_never

from hqtrio.ids import NUMBER_BITS, NUMBER_MASK, task_id
from hqtrio.jobs.draft import Draft
from hqtrio.jobs.gangs import drop_node
from hqtrio.jobs.instances import RaisedInstances
from hqtrio.jobs.job import CANCELLED, RUNNING, WAITING, Job
from hqtrio.jobs.pairing import free_unconditional
from hqtrio.jobs.replayed_rows import (
    replay_ended,
    replay_repeated,
    replay_requeued,
    replay_started,
)
from hqtrio.jobs.reports import abort_doomed, apply_loss
from hqtrio.jobs.tables import Tables
from hqtrio.jobs.variants import choose_variants
from hqtrio.messages.client import SubmitPart
from hqtrio.messages.columns import read_u32, read_u64
from hqtrio.messages.records import (
    IdsUsed,
    InstancesRaised,
    JobCancelled,
    JobClosed,
    JobCompleted,
    JobOpened,
    JobsForgotten,
    NodeDropped,
    QueueRecord,
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
    TasksShipped,
    TasksStarted,
    TasksTakenBack,
    VariantsChosen,
    WorkerConnected,
    WorkerLost,
    WorkerStopping,
    WorkerTold,
)
from hqtrio.messages.scheduling import NodeLost
from hqtrio.model.job import JobHead
from hqtrio.model.task import NEVER_RESTART
from hqtrio.model.worker import LossReason

_DROP: Final = deque[object](maxlen=0)

Rows = list[tuple[int, int]]  # packed task id, instance


class Misfit(ValueError):
    """A record does not fit those before it. Nothing was changed."""


class Replay:
    """The tables as they were after the last record.

    Jobs that were completed are gone; `keys` of their submits are not. `shipped` tells whose each
    task is that has been shipped and has neither ended nor come back; perhaps of others too, which
    are not active. Nothing has been announced: of no block a task is `released`.
    """

    def __init__(self, server_uid: str = "") -> None:
        self.tables = Tables()
        self.server_uid = server_uid
        self.submissions = 0  # the last number
        self.has_gap = False  # records after the last ones may be lost, jobs among them
        self.shipped: dict[int, int] = {}
        self._drafts: dict[int, Draft] = {}
        self._completed: dict[int, list[bytes]] = {}  # keys of jobs that are gone

    def apply(self, record: Record) -> None:
        """Take in the next record; any error means that it does not fit those before it.

        After another error than Misfit the tables are of no use any more.
        """
        tables = self.tables
        if isinstance(record, QueueRecord):
            return  # of other books
        match record:
            case TasksEnded():
                replay_ended(tables, record)
                self._unship(read_u64(record.tasks))
            case TasksStarted():
                replay_started(tables, record)
            case TasksShipped():
                self._ship(record)
            case TasksTakenBack():
                self._unship(read_u64(record.tasks))
            case TasksRequeued():
                replay_requeued(tables, record)
                self._unship(read_u64(record.tasks))
            case TasksRepeated():
                replay_repeated(tables, record)
                self._unship(read_u64(record.tasks))
            case SubmitBegun():
                self._begin(record)
            case SubmitContinued():
                self._continue(record)
            case SubmitCommitted():
                self._commit(record)
            case SubmitDropped(submission):
                self._drafts.pop(submission, None)
            case JobOpened(number, head, at):
                self._new_job(number, JobHead(head.name, head.max_fails, True), at)
            case JobClosed(number, at):
                job = self._job(number)
                job.is_open, job.closed_at = False, at
                tables.changed[number] = None
            case JobCancelled(number, reason, at):
                job = self._job(number)
                job.cancel_reason = reason or None
                tables.sweep(job, CANCELLED, at)
            case JobCompleted(number):
                self._completed[number] = self._job(number).keys
                del tables.jobs[number]
            case JobsForgotten(jobs):
                for number in jobs:
                    for key in self._completed.pop(number, ()):
                        tables.keys.pop(key, None)
            case WorkerConnected(worker, key, attachment, config, at):
                tables.workers.restored(worker, key, attachment, config, at)
            case WorkerStopping(worker, reason):
                # Journals keep of workers that are gone no more than others need.
                if worker in tables.workers.entries:
                    tables.workers.entries[worker].stopping = reason
            case WorkerLost(worker, reason, at):
                tables.workers.gone(worker, reason, at)
            case NodeDropped(task, instance, worker):
                drop_node(tables, NodeLost(task, instance, worker))
            case ServerStarted(server_uid):
                self.server_uid = server_uid
                self._drafts.clear()
                self.has_gap = False
            case ServerStopped(at):
                self._all_stopped(at)
            case IdsUsed(jobs, workers, submissions, keys):
                tables.last_job = max(tables.last_job, jobs)
                tables.workers.used(workers)
                self.submissions = max(self.submissions, submissions)
                for key, number in keys:
                    tables.keys[key] = number
                    self._completed.setdefault(number, []).append(key)
            case InstancesRaised(at, workers_keep):
                if workers_keep:
                    self.has_gap = True
                    self._raise_unowned()
                else:
                    self._raise_instances(at)
            case VariantsChosen(tasks):
                choose_variants(tables, tasks)
            case WorkerTold(worker, load, at):
                tables.workers.busy(worker, load, at)
            case _:
                assert_never(record)
        self._settle()

    def _settle(self) -> None:
        """What the job book does after every event, but for telling others."""
        tables = self.tables
        for number in tables.changed:
            job = tables.jobs.get(number)
            if job is None:
                continue
            job.met.clear()
            if job.unconditional:
                free_unconditional(job)
            if not job.active and job.simple and job.blocks:
                job.give_up_bodies()
        tables.changed.clear()
        tables.out.take()

    # --- jobs and submits

    def _job(self, number: int) -> Job:
        job = self.tables.jobs.get(number)
        if job is None:
            raise Misfit(f"job {number} does not exist at this point")
        return job

    def _new_job(self, number: int, head: JobHead, at: float) -> Job:
        tables = self.tables
        if number in tables.jobs or number in self._completed:
            raise Misfit(f"job {number} exists already")
        tables.last_job = max(tables.last_job, number)
        job = tables.jobs[number] = Job(number, head, at)
        tables.changed[number] = None
        return job

    def _begin(self, record: SubmitBegun) -> None:
        self.submissions = max(self.submissions, record.submission)
        submit = record.submit
        job = None if submit.head is not None else self.tables.jobs.get(submit.job)
        if submit.head is not None or job is not None:
            self._drafts[record.submission] = Draft(submit, job)
        # To a job that is gone nothing will be committed.

    def _continue(self, record: SubmitContinued) -> None:
        draft = self._drafts.get(record.submission)
        if draft is not None:
            draft.add(
                SubmitPart(
                    draft.submit.key,
                    record.array,
                    record.entries,
                    record.entry_ends,
                    record.graph,
                    record.arrays,
                )
            )

    def _commit(self, record: SubmitCommitted) -> None:
        draft = self._drafts.pop(record.submission, None)
        if draft is None:
            raise Misfit(f"submit {record.submission} was never begun")
        tables, submit = self.tables, draft.submit
        if submit.head is not None:
            job = self._new_job(record.job, submit.head, record.at)
        else:
            job = self._job(record.job)
            tables.changed[job.id] = None
        if submit.key:
            tables.keys[submit.key] = job.id
            job.keys.append(submit.key)
        _, doomed, numbers = draft.create(job, self.server_uid, tables.bodies)
        job.submit_dates.append(record.at)
        if numbers != record.numbers:
            raise ValueError(f"the tasks of submit {record.submission} are numbered otherwise")
        if doomed:
            abort_doomed(tables, job, doomed, record.at)

    # --- what workers have

    def _ship(self, record: TasksShipped) -> None:
        worker, shipped = record.worker, self.shipped
        firsts, counts = read_u64(record.firsts), read_u32(record.counts)
        if sum(counts) == len(firsts):
            shipped.update(zip(firsts, repeat(worker), strict=False))
            return
        for first, count in zip(firsts, counts, strict=True):
            shipped.update(dict.fromkeys(range(first, first + count), worker))

    def _unship(self, tasks: Iterable[int]) -> None:
        _DROP.extend(map(self.shipped.pop, tasks, repeat(None)))

    def workers(self) -> frozenset[int]:
        """Those that were connected, or might have come back."""
        entries = self.tables.workers.entries.values()
        return frozenset(entry.id for entry in entries if entry.ended_at is None)

    def holdings(self) -> dict[int, tuple[Rows, Rows]]:
        """What runs on each worker, and what else it has, in order of task."""
        tables = self.tables
        held: dict[int, tuple[Rows, Rows]] = {}
        for job in tables.jobs.values():
            for position in job.running():
                worker = job.executions.get(position).worker
                task = task_id(job.id, job.numbering.number(position))
                running, _ = held.setdefault(worker, ([], []))
                running.append((task, job.instances.get(position, 0)))
        for packed in sorted(self.shipped):
            found = tables.jobs.get(packed >> NUMBER_BITS)
            position = -1 if found is None else found.numbering.position(packed & NUMBER_MASK)
            if found is not None and position >= 0 and found.states[position] == WAITING:
                _, waiting = held.setdefault(self.shipped[packed], ([], []))
                waiting.append((packed, found.instances.get(position, 0)))
        return held

    def _all_stopped(self, at: float) -> None:
        """No worker is left, and none of them has crashed."""
        workers = self.tables.workers
        held = self.holdings()
        for worker in workers.entries:
            workers.gone(worker, LossReason.STOPPED, at)
        for worker, (running, waiting) in held.items():
            apply_loss(self.tables, worker, running, waiting, False, False, at)
        self.shipped.clear()

    def _raise_instances(self, at: float) -> None:
        """Whatever a worker has, or may have, is void."""
        tables = self.tables
        for job in list(tables.jobs.values()):
            for position in list(job.running()):
                if job.states[position] != RUNNING:
                    continue  # one before it has failed, and that was one too many
                worker = job.executions.get(position).worker
                tables.workers.released(worker)
                if job.settings_at(position).crash_limit == NEVER_RESTART:
                    task = task_id(job.id, job.numbering.number(position))
                    row = (task, job.instances.get(position, 0))
                    apply_loss(tables, worker, [row], (), False, False, at)
                else:
                    # Raised with all others, below.
                    job.instances[position] = job.requeue(position) - 1
            job.instances = RaisedInstances(job.instances, job.states, RUNNING)
        self.shipped.clear()

    def _raise_unowned(self) -> None:
        """Whatever no worker is known to have, one may have; and another, what one has."""
        tables = self.tables
        owned: dict[int, list[int]] = {}
        for packed in self.shipped:
            job = tables.jobs.get(packed >> NUMBER_BITS)
            if job is not None:
                owned.setdefault(job.id, []).append(job.numbering.position(packed & NUMBER_MASK))
        for job in tables.jobs.values():
            kept = [p for p in owned.get(job.id, ()) if p >= 0 and job.states[p] == WAITING]
            job.skipping.update(kept, job.running())
            states = bytearray(job.states)
            for position in kept:
                states[position] = RUNNING
            job.instances = RaisedInstances(job.instances, states, WAITING)
