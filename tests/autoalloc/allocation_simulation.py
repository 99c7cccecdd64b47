"""Queues in virtual time: the real machine and the real demand; manager, workers and tasks made up.

`python tests/autoalloc/allocation_simulation.py` prints what each scenario cost, beside what an
allocator would have needed that knows the future.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from typing import Final

from allocation_desk import Desk

from hqtrio.autoalloc import events as act
from hqtrio.autoalloc.dialogues import Accepted, Ended, Rejected, Running, SubmitAnswer, Unsure
from hqtrio.model.allocation import Cause, Manager, QueueParams, Rejection, WorkerOptions
from hqtrio.model.resources import UNIT, Descriptor, Need, Request, single_pool
from hqtrio.model.worker import LossReason
from hqtrio.scheduling.demand import Waiting as Ready
from hqtrio.scheduling.demand import plan
from hqtrio.scheduling.offers import WorkerType

STARTS_S: Final = (1.0, 8.0)  # from the start of a job to its worker's connection
STEP_S: Final = 5.0
LEAVES_S: Final = 2.0  # from the end of the last worker to that of the job


@dataclass(frozen=True)
class Shape:
    """So many equal tasks; `at` is when they are submitted."""

    count: int
    cpus: int
    seconds: float
    nodes: int = 0
    at: float = 0.0

    @property
    def request(self) -> Request:
        needs = () if self.nodes else (Need("cpus", self.cpus * UNIT),)
        return Request(needs, self.nodes, self.seconds)


@dataclass(frozen=True)
class Scenario:
    name: str
    shapes: tuple[Shape, ...]
    queues: tuple[QueueParams, ...]
    cpus: tuple[int, ...]  # of the nodes of each queue
    wait_s: tuple[float, float] = (5.0, 120.0)  # in the manager's queue
    site_nodes: int = 64
    refusals: float = 0.0  # part of the submissions
    losses: float = 0.0  # of the answers to them
    preemptions: float = 0.0  # per hour and job
    node_failures: float = 0.0
    outages: tuple[tuple[float, float], ...] = ()  # of the manager, from and to


@dataclass
class Worker:
    id: int
    job: str
    cpus: int
    ends_at: float
    came_at: float
    free: int = 0
    running: dict[int, int] = field(default_factory=dict)  # cpus by execution
    busy_s: float = 0.0
    busy_since: float = -1.0
    idle_since: float = 0.0


@dataclass
class Cost:
    """What a scenario took."""

    makespan_s: float = 0.0
    held_s: float = 0.0  # seconds of nodes that jobs held
    busy_s: float = 0.0  # of those, with at least one task
    ideal_s: float = 0.0  # that perfect packing needs
    jobs: int = 0
    useless: int = 0  # whose workers did nothing

    @property
    def wasted_s(self) -> float:
        return self.held_s - self.busy_s


class Simulation:
    """One scenario with one seed."""

    def __init__(self, scenario: Scenario, seed: int, manager: Manager = Manager.SLURM) -> None:
        self.scenario, self.random = scenario, random.Random(seed)
        self.desk = _SiteDesk(self, manager)
        self.desk.wanted = self._wanted
        self.ready: Counter[Shape] = Counter()
        self.workers: dict[int, Worker] = {}
        self.cost = Cost()
        self.left = sum(shape.count for shape in scenario.shapes)
        self._ids, self._runs, self._order = count(1), count(1), count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._granted: dict[int, int] = {}  # workers that the last demand allows, by queue
        self._executions: dict[int, tuple[Shape, list[Worker]]] = {}
        self._started: dict[str, float] = {}
        self._used: set[str] = set()
        self._nodes: dict[str, tuple[int, int]] = {}  # nodes, and queue, by job
        for queue in scenario.queues:
            self.desk.add(
                **{f: getattr(queue, f) for f in queue.__struct_fields__ if f != "manager"}
            )
        for shape in scenario.shapes:
            self.later(shape.at, lambda shape=shape: self._arrive(shape))
        for begin, end in scenario.outages:
            self.later(begin, lambda: setattr(self.desk, "is_down", True))
            self.later(end, lambda: setattr(self.desk, "is_down", False))
        best = max(scenario.cpus)
        for shape in scenario.shapes:
            nodes = shape.nodes or shape.cpus / best
            self.cost.ideal_s += shape.count * shape.seconds * nodes

    @property
    def time(self) -> float:
        return self.desk.time

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.time + seconds, next(self._order), do))

    def run(self, longest_s: float = 3 * 86400.0) -> Cost:
        """To the end of the last task and the last allocation."""
        while self._events or self.left:
            # What the machine does meanwhile may bring new events.
            at = min(self._events[0][0] if self._events else longest_s, self.time + STEP_S)
            assert at < longest_s, f"{self.left} tasks never end: {self.desk.row().note}"
            self.desk.advance(max(0.0, at - self.time))
            if self._events and self._events[0][0] <= self.time:
                heapq.heappop(self._events)[2]()
                self._place()
            if not self.left and not self.desk.alive() and not self.workers:
                break
        return self.cost

    # --- demand and tasks

    def _arrive(self, shape: Shape) -> None:
        self.ready[shape] += shape.count
        self.desk.do(act.WorkSubmitted())

    def _wanted(self, queries: Sequence[act.Query]) -> list[int]:
        rows = [Ready((shape.request,), 0, n) for shape, n in self.ready.items() if n]
        types = [
            WorkerType(
                q.descriptor, q.partial, q.lifetime_s, q.max_sn_workers, q.max_workers_per_alloc,
                q.min_utilization,
            )
            for q in queries
        ]  # fmt: skip
        demand = plan(rows, types)
        self.desk.gangs = demand.multi_node
        active = [row.id for row in self.desk.queue_rows() if not row.is_paused]
        self._granted = {
            queue: demand.single_node[at]
            + sum(nodes * n for index, nodes, n in demand.multi_node if index == at)
            for at, queue in enumerate(active)
        }
        return list(demand.single_node)

    def check_submission(self, effect: act.Submit) -> None:
        """Within all limits, and for work that is there."""
        queue = self.desk.machine.books.queues[effect.queue]
        params, active = queue.params, list(queue.active.values())
        waiting = sum(one.started_at is None for one in active)
        assert waiting <= params.backlog
        assert effect.submission.nodes <= params.max_workers_per_alloc
        workers = sum(one.nodes for one in active)
        assert params.max_worker_count is None or workers <= params.max_worker_count
        if params.max_node_hours is not None:
            at = self.desk.now().wall
            used = queue.spent_node_hours(at) + queue.committed_node_hours(at)
            assert used <= params.max_node_hours + 1e-6
        to_come = sum(one.missing for one in active if one.started_at is None)
        assert to_come <= self._granted.get(effect.queue, 0), "an allocation without work"

    def _place(self) -> None:
        """Tasks start wherever they fit, the first shape first."""
        for shape in list(self.ready):
            while self.ready[shape]:
                if not (self._start_gang(shape) if shape.nodes else self._start(shape)):
                    break
                self.ready[shape] -= 1
        for worker in self.workers.values():
            if not worker.running and worker.busy_since >= 0:
                worker.busy_s += self.time - worker.busy_since
                worker.busy_since, worker.idle_since = -1.0, self.time
                self._await_idle(worker)

    def _fits(self, worker: Worker, shape: Shape) -> bool:
        return worker.ends_at - self.time >= shape.seconds

    def _start(self, shape: Shape) -> bool:
        for worker in self.workers.values():
            if worker.free >= shape.cpus and self._fits(worker, shape):
                self._begin(shape, [worker], shape.cpus)
                return True
        return False

    def _start_gang(self, shape: Shape) -> bool:
        groups: dict[str, list[Worker]] = {}
        for worker in self.workers.values():
            if not worker.running and self._fits(worker, shape):
                groups.setdefault(worker.job, []).append(worker)
        for group in groups.values():
            if len(group) >= shape.nodes:
                self._begin(shape, group[: shape.nodes], 0)
                return True
        return False

    def _begin(self, shape: Shape, workers: list[Worker], cpus: int) -> None:
        run = next(self._runs)
        for worker in workers:
            amount = cpus or worker.cpus
            worker.running[run] = amount
            worker.free -= amount
            self._used.add(worker.job)
            if worker.busy_since < 0:
                worker.busy_since = self.time
        self._executions[run] = shape, workers
        self.later(shape.seconds, lambda: self._end(run))

    def _end(self, run: int) -> None:
        if run not in self._executions:
            return  # it was lost with its worker
        _, workers = self._executions.pop(run)
        for worker in workers:
            worker.free += worker.running.pop(run)
        self.left -= 1
        if not self.left:
            self.cost.makespan_s = self.time

    # --- jobs and workers

    def submit(self, effect: act.Submit) -> SubmitAnswer:
        self.check_submission(effect)
        chance = self.random.random()
        if self.desk.is_down:
            return Rejected(Rejection.UNREACHABLE, "connect failure")
        if chance < self.scenario.refusals:
            return Rejected(Rejection.LIMITS, "too many jobs")
        submission = effect.submission
        job = self.desk.make(submission.directory)
        self._nodes[job] = submission.nodes, effect.queue
        self.cost.jobs += 1
        self.later(self.random.uniform(*self.scenario.wait_s), lambda: self._start_job(job))
        if chance > 1.0 - self.scenario.losses:
            return Unsure("timed out")
        return Accepted(job)

    def _start_job(self, job: str) -> None:
        if job not in self.desk.alive():
            return
        nodes, queue = self._nodes[job]
        if nodes + sum(self._nodes[one][0] for one in self._started) > self.scenario.site_nodes:
            self.later(30.0, lambda: self._start_job(job))
            return
        self.desk.jobs[job] = Running(self.desk.now().wall)
        self._started[job] = self.time
        limit_s = self.scenario.queues[queue - 1].time_limit_s
        self.later(limit_s, lambda: self._end_job(job, Cause.TIME_LIMIT))
        for rate, cause in (
            (self.scenario.preemptions, Cause.PREEMPTED),
            (self.scenario.node_failures, Cause.NODE_FAILED),
        ):
            if rate and (after := self.random.expovariate(rate / 3600.0)) < limit_s:
                self.later(after, lambda cause=cause: self._end_job(job, cause))
        for _ in range(nodes):
            self.later(self.random.uniform(*STARTS_S), lambda: self._come(job, queue))

    def _come(self, job: str, queue: int) -> None:
        if job not in self._started:
            return
        cpus = self.scenario.cpus[queue - 1]
        limit_s = self.scenario.queues[queue - 1].time_limit_s
        worker = Worker(next(self._ids), job, cpus, self.time + limit_s, self.time, free=cpus)
        worker.idle_since = self.time
        self.workers[worker.id] = worker
        descriptor = Descriptor((single_pool("cpus", tuple(map(str, range(cpus)))),))
        self.desk.come(job, descriptor=descriptor, worker=worker.id)
        self._await_idle(worker)

    def _await_idle(self, worker: Worker) -> None:
        queue = self._nodes[worker.job][1]
        idle_s = self.scenario.queues[queue - 1].worker.idle_timeout_s
        since = worker.idle_since

        def check() -> None:
            if worker.id in self.workers and not worker.running and worker.idle_since == since:
                self._leave(worker, LossReason.IDLE_TIMEOUT)
                if not any(one.job == worker.job for one in self.workers.values()):
                    self.later(LEAVES_S, lambda: self._end_job(worker.job, Cause.COMPLETED))

        self.later(idle_s, check)

    def dismiss(self, workers: Sequence[int]) -> None:
        """Idle ones that could do nothing of what waits leave."""
        waiting = [shape for shape, n in self.ready.items() if n]
        self.desk.do(act.WorkKnown(bool(waiting)))
        for number in workers:
            worker = self.workers.get(number)
            if worker is None or worker.running or not waiting:
                continue
            if not any(
                (shape.nodes or worker.cpus >= shape.cpus) and self._fits(worker, shape)
                for shape in waiting
            ):
                self._leave(worker, LossReason.IDLE_TIMEOUT)
                if not any(one.job == worker.job for one in self.workers.values()):
                    self.later(LEAVES_S, lambda job=worker.job: self._end_job(job, Cause.COMPLETED))

    def _leave(self, worker: Worker, reason: LossReason) -> None:
        del self.workers[worker.id]
        for run in list(worker.running):
            shape, others = self._executions.pop(run)
            for other in others:
                if other is not worker and run in other.running:
                    other.free += other.running.pop(run)
            self.ready[shape] += 1
        if worker.busy_since >= 0:
            worker.busy_s += self.time - worker.busy_since
        self.cost.busy_s += worker.busy_s
        self.desk.do(act.WorkerWent(worker.id, reason))

    def _end_job(self, job: str, cause: Cause) -> None:
        if job not in self._started or isinstance(self.desk.jobs.get(job), Ended):
            self._free(job)
            return
        self.desk.end(job, cause, cause.name)
        self._free(job)

    def _free(self, job: str) -> None:
        """The nodes are somebody else's from now on."""
        began = self._started.pop(job, None)
        if began is None:
            return
        self.cost.held_s += self._nodes[job][0] * (self.time - began)
        self.cost.useless += job not in self._used
        for worker in [one for one in self.workers.values() if one.job == job]:
            self._leave(worker, LossReason.CONNECTION_LOST)

    def cancelled(self, job: str) -> None:
        self._free(job)


class _SiteDesk(Desk):
    """A desk whose manager is the simulation's."""

    def __init__(self, simulation: Simulation, manager: Manager) -> None:
        self._simulation = simulation
        super().__init__(manager)

    def queue_rows(self):
        return [
            type("Row", (), {"id": queue.id, "is_paused": queue.paused is not None})
            for queue in self.machine.books.queues.values()
        ]

    def _submit(self, effect: act.Submit) -> SubmitAnswer:
        return self._simulation.submit(effect)

    def _perform(self, effects: Sequence[act.Effect]) -> None:
        for effect in effects:
            super()._perform([effect])
            match effect:
                case act.DismissUseless(workers):
                    self._simulation.dismiss(workers)
                case act.Cancel(_, job, _):
                    self._simulation.cancelled(job)


def queue(**fields) -> QueueParams:
    idle_s = fields.pop("idle_s", 60.0)
    given = {"time_limit_s": 3600.0, "worker": WorkerOptions(idle_timeout_s=idle_s), **fields}
    return QueueParams(Manager.SLURM, **given)


SCENARIOS: Final = (
    Scenario("a thousand small tasks", (Shape(1000, 1, 60.0),), (queue(backlog=4),), (8,)),
    Scenario("one long task", (Shape(1, 4, 3000.0),), (queue(),), (8,)),
    Scenario(
        "waves",
        tuple(Shape(100, 1, 120.0, at=1800.0 * n) for n in range(6)),
        (queue(backlog=3, max_worker_count=6),),
        (16,),
    ),
    Scenario(
        "two queues, three shapes",
        (Shape(300, 1, 90.0), Shape(40, 16, 300.0), Shape(20, 4, 600.0)),
        (queue(backlog=4, max_worker_count=10), queue(backlog=2, max_worker_count=6)),
        (4, 32),
    ),
    Scenario(
        "several nodes",
        (Shape(10, 0, 300.0, nodes=4), Shape(100, 2, 60.0)),
        (queue(backlog=3, max_workers_per_alloc=4),),
        (8,),
    ),
    Scenario(
        "a busy site",
        (Shape(400, 2, 120.0),),
        (queue(backlog=8, max_workers_per_alloc=4),),
        (8,),
        wait_s=(600.0, 7200.0),
        site_nodes=6,
    ),
    Scenario(
        "everything fails at times",
        (Shape(500, 1, 120.0),),
        (queue(backlog=4, max_workers_per_alloc=2),),
        (8,),
        refusals=0.2,
        losses=0.2,
        preemptions=3.0,
        node_failures=1.0,
        outages=((300.0, 900.0), (2000.0, 5000.0)),
    ),
    Scenario(
        "a budget",
        (Shape(64, 1, 300.0),),
        (queue(backlog=4, max_node_hours=4.5),),
        (16,),
    ),
)


def main() -> None:
    print(f"{'scenario':28}{'jobs':>6}{'useless':>9}{'makespan':>10}{'node s':>9}{'wasted':>9}"
          f"{'ideal':>9}{'of ideal':>9}")  # fmt: skip
    for scenario in SCENARIOS:
        costs = [Simulation(scenario, seed).run() for seed in range(5)]
        cost = sorted(costs, key=lambda one: one.held_s)[len(costs) // 2]
        print(
            f"{scenario.name:28}{cost.jobs:6}{cost.useless:9}{ceil(cost.makespan_s):10}"
            f"{cost.held_s:9.0f}{cost.wasted_s:9.0f}{cost.ideal_s:9.0f}"
            f"{cost.held_s / cost.ideal_s:9.2f}"
        )


if __name__ == "__main__":
    sys.exit(main())
