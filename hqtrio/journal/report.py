"""What a journal tells in figures: workers and tasks over time, utilisation, durations, failures.

However many tasks there are, what is kept grows with those that run at one time only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from hqtrio.errors import InputError
from hqtrio.ids import NUMBER_BITS, format_task
from hqtrio.journal.events import Events
from hqtrio.journal.ledger import Group
from hqtrio.journal.levels import Clock, Level
from hqtrio.journal.submits import PendingSubmit
from hqtrio.messages.records import IdsUsed, Record, ServerStarted
from hqtrio.model.allocation import QueueParams
from hqtrio.model.job import JobHead, Ranges
from hqtrio.model.load import NodeLoad
from hqtrio.model.resources import Policy, Pool, Request, Variants
from hqtrio.model.worker import LossReason, WorkerConfig

__all__ = ["DURATIONS", "Kind", "Report", "WorkerType"]

FAILURES_MAX: Final = 200  # different texts
_TEXT_MAX: Final = 400
KINDS_MAX: Final = 200  # different requests, or types of workers
# Upper ends of the bins of durations: 1, 2, 5, 10 ... from a millisecond to eleven days.
DURATIONS: Final = (*(m * 10.0**e for e in range(-3, 6) for m in (1, 2, 5)), 1e6)

WorkerType = tuple[Pool, ...]


@dataclass(slots=True)
class Usage:
    """The workers that offer the same."""

    count: Level
    capacity: dict[str, Level]
    used: dict[str, Level]
    ever: int = 0


@dataclass(slots=True)
class Kind:
    """The tasks that ask for the same. Durations are those of finished ones."""

    finished: int = 0
    failed: int = 0
    durations: list[int] = field(default_factory=lambda: [0] * (len(DURATIONS) + 1))
    total_s: float = 0.0
    shortest_s: float = inf
    longest_s: float = 0.0


@dataclass(slots=True)
class Failure:
    """Tasks that failed with the same words."""

    job: str
    count: int = 0
    first: str = ""
    at: float = 0.0


class _Taken:
    """What tasks of one request take of workers of one type; keeps both, as their ids are keys."""

    def __init__(self, pools: WorkerType, request: Request, used: dict[str, Level]) -> None:
        self.pools, self.request = pools, request
        sizes = {pool.resource: pool.size for pool in pools}
        if request.nodes:
            self.amounts = [(used[resource], size) for resource, size in sizes.items()]
        else:
            self.amounts = [
                (
                    used[need.resource],
                    sizes[need.resource] if need.policy is Policy.ALL else need.amount,
                )
                for need in request.needs
                if need.resource in used
            ]


_Running = tuple[float, tuple[int, ...], Variants, int]


class Report:
    """Takes in the records of a journal, from the first one on."""

    def __init__(self, start_s: float = 0.0, end_s: float = inf) -> None:
        self.clock = Clock(start_s, end_s)
        self.server_uid = ""
        self.servers = 0
        self.jobs = 0
        self.counts = {"submitted": 0, "finished": 0, "failed": 0, "canceled": 0, "aborted": 0}
        self.restarts = 0
        self.losses = 0
        self.workers = self.clock.level()
        self.running = self.clock.level()
        self.waiting = self.clock.level()
        self.types: dict[WorkerType, Usage] = {}
        self.kinds: dict[Variants, Kind] = {}
        self.failures: dict[tuple[str, str], Failure] = {}
        self._events: Events[None] = Events(self)
        self._connected: dict[int, WorkerType] = {}
        self._same: dict[WorkerType, WorkerType] = {}
        self._type_of: dict[int, WorkerType] = {}  # also of those that are gone
        self._taken: dict[tuple[int, int], _Taken] = {}
        self._runs: dict[int, _Running] = {}
        self._names: dict[int, str] = {}

    def take(self, record: Record) -> None:
        """The next record. InputError if the first one is not that of a server's start."""
        if self.clock.zero is None:
            if isinstance(record, IdsUsed):
                return
            if not isinstance(record, ServerStarted):
                raise InputError("Journal does not start with server start event")
            self.clock.zero = record.at
        for _ in self._events.of(record):
            pass

    # --- servers and workers

    def server_started(self, uid: str, at: float) -> None:
        self.server_uid = uid
        self.servers += 1
        self.clock.place(at)

    def queue_created(self, queue: int, params: QueueParams, at: float) -> None:
        pass

    def queue_removed(self, queue: int, at: float) -> None:
        pass

    def allocation_queued(self, queue: int, allocation: str, nodes: int, at: float) -> None:
        pass

    def allocation_started(self, queue: int, allocation: str, at: float) -> None:
        pass

    def allocation_finished(self, queue: int, allocation: str, at: float) -> None:
        pass

    def server_stopped(self, at: float) -> None:
        for worker in list(self._connected):
            self._leave(worker, at)

    def worker_connected(self, worker: int, config: WorkerConfig, at: float) -> None:
        pools = self._same.setdefault(config.descriptor.pools, config.descriptor.pools)
        usage = self.types.get(pools)
        if usage is None:
            if len(self.types) >= KINDS_MAX:
                pools, usage = next(reversed(self.types.items()))
            else:
                capacity = {pool.resource: self.clock.level() for pool in pools}
                used = {pool.resource: self.clock.level() for pool in pools}
                usage = self.types[pools] = Usage(self.clock.level(), capacity, used)
        self._connected[worker] = self._type_of[worker] = pools
        usage.ever += 1
        self._count(pools, at, 1)

    def worker_lost(self, worker: int, reason: LossReason, at: float) -> None:
        self.losses += reason in (LossReason.CONNECTION_LOST, LossReason.HEARTBEAT_LOST)
        self._leave(worker, at)

    def worker_told(self, worker: int, load: NodeLoad, at: float) -> None:
        pass

    def _leave(self, worker: int, at: float) -> None:
        pools = self._connected.pop(worker, None)
        if pools is not None:
            self._count(pools, at, -1)

    def _count(self, pools: WorkerType, at: float, by: int) -> None:
        self.workers.change(at, by)
        usage = self.types[pools]
        usage.count.change(at, by)
        for pool in pools:
            usage.capacity[pool.resource].change(at, by * pool.size)

    # --- jobs

    def job_opened(self, job: int, head: JobHead, at: float) -> None:
        self.jobs += 1
        self._names[job] = head.name

    def job_created(
        self, job: int, head: JobHead, submit: PendingSubmit, numbers: tuple[Ranges, ...], at: float
    ) -> None:
        self.jobs += job not in self._names
        self._names[job] = head.name
        self.counts["submitted"] += submit.tasks
        self.waiting.change(at, submit.tasks)

    def job_closed(self, job: int, at: float) -> None:
        pass

    def job_cancelled(self, job: int, reason: str, at: float) -> None:
        pass

    def job_completed(self, job: int, at: float) -> None:
        pass

    def job_idle(self, job: int, at: float) -> None:
        pass

    # --- tasks

    def started(
        self,
        task: int,
        instance: int,
        at: float,
        workers: int | tuple[int, ...],
        variant: int,
        group: Group,
    ) -> None:
        on = (workers,) if isinstance(workers, int) else workers
        if task in self._runs:
            self._stop(task, at)
        else:
            self.waiting.change(at, -1)
        self._runs[task] = (at, on, group.variants, variant)
        self.running.change(at, 1)
        self._use(self._runs[task], at, 1)

    def finished(self, task: int, at: float) -> None:
        run = self._stop(task, at)
        if not self.clock.within(at):
            return
        self.counts["finished"] += 1
        kind = self._kind(run)
        kind.finished += 1
        if run is not None:
            duration = max(0.0, at - run[0])
            kind.durations[bisect_right(DURATIONS, duration)] += 1
            kind.total_s += duration
            kind.shortest_s = min(kind.shortest_s, duration)
            kind.longest_s = max(kind.longest_s, duration)

    def failed(self, task: int, error: str, at: float) -> None:
        run = self._stop(task, at)
        if not self.clock.within(at):
            return
        self.counts["failed"] += 1
        self._kind(run).failed += 1
        name = self._names.get(task >> NUMBER_BITS, "")
        key = (name, error[:_TEXT_MAX])
        failure = self.failures.get(key)
        if failure is None:
            if len(self.failures) >= FAILURES_MAX:
                key = ("", "Other errors")
            failure = self.failures.setdefault(key, Failure(key[0], 0, format_task(task), at))
        failure.count += 1

    def cancelled(self, tasks: Sequence[int], at: float) -> None:
        self._end_all("canceled", tasks, at)

    def aborted(self, tasks: Sequence[int], at: float) -> None:
        self._end_all("aborted", tasks, at)

    def requeued(
        self, task: int, instance: int, tries: int, next_at: float, error: str, at: float
    ) -> None:
        if self._runs.get(task) is not None:
            self._stop(task, at)
            self.waiting.change(at, 1)
        self.restarts += self.clock.within(at)

    def _end_all(self, how: str, tasks: Sequence[int], at: float) -> None:
        for task in tasks:
            self._stop(task, at)
        if self.clock.within(at):
            self.counts[how] += len(tasks)

    def _stop(self, task: int, at: float) -> _Running | None:
        """It runs, or waits, no more."""
        run = self._runs.pop(task, None)
        if run is None:
            self.waiting.change(at, -1)
        else:
            self.running.change(at, -1)
            self._use(run, at, -1)
        return run

    def _use(self, run: _Running, at: float, sign: int) -> None:
        _, workers, variants, variant = run
        request = variants[variant] if variant < len(variants) else Request()
        for worker in workers:
            pools = self._type_of.get(worker)
            if pools is None:
                continue  # a journal that was pruned tells of current workers only
            key = (id(pools), id(request))
            taken = self._taken.get(key)
            if taken is None:
                taken = self._taken[key] = _Taken(pools, request, self.types[pools].used)
            for level, amount in taken.amounts:
                level.change(at, sign * amount)

    def _kind(self, run: _Running | None) -> Kind:
        variants = () if run is None else run[2]
        if variants not in self.kinds and len(self.kinds) >= KINDS_MAX:
            variants = ()
        return self.kinds.setdefault(variants, Kind())
