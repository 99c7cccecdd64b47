"""What a run of a scenario came to, beside what could have been reached at best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.scheduling.cluster import Cluster
from benchmarks.scheduling.tasks import FINISHED, Job
from hqtrio.ids import job_of
from hqtrio.model.resources import UNIT, Policy, Request
from hqtrio.model.worker import WorkerConfig


@dataclass(frozen=True, slots=True)
class Outcome:
    """Times are virtual, but for those of the scheduler."""

    makespan_s: float
    bound_s: float
    bound_by: str  # the resource, or the longest task, that nothing could beat
    lost_share: float  # work that was begun and came to nothing, relative to the work
    idle_share: float  # of the cpu capacity up to the end
    idle_while_waiting: float  # the same up to the last start
    tasks: int
    scheduler_s: float
    longest_s: float
    longest_at: float
    rounds: int
    frames: int
    stolen: int
    drains: int

    @property
    def ratio(self) -> float:
        return self.makespan_s / self.bound_s

    @property
    def ratio_of_done(self) -> float:
        """Makespan over the bound, had the lost work been ordered."""
        return self.ratio / (1 + self.lost_share)

    @property
    def scheduler_us(self) -> float:
        """Per task."""
        return 1e6 * self.scheduler_s / self.tasks

    def lines(self) -> list[str]:
        longest_ms, per_task = 1e3 * self.longest_s, self.frames / self.tasks
        return [
            f"makespan {self.makespan_s:,.1f} s, bound {self.bound_s:,.1f} s ({self.bound_by})",
            f"lost work, done again: {self.lost_share:.2%}",
            f"idle cpus: {self.idle_share:.2%}, until the last start {self.idle_while_waiting:.2%}",
            f"scheduler: {self.scheduler_us:.1f} us/task in {self.rounds:,} rounds",
            f"largest batch: {longest_ms:.1f} ms, at {self.longest_at:.1f} s",
            f"{per_task:.2f} frames/task, {self.stolen:,} stolen, {self.drains:,} drains",
        ]


def outcome(cluster: Cluster) -> Outcome:
    """Of a cluster that has run."""
    ledger, book, tally = cluster.ledger, cluster.book, cluster.tally
    smallest = _smallest(cluster.capacity)
    work, longest_s, end, busy = _work(cluster.jobs.values(), smallest, ledger.last_start_at)
    lost = 0.0
    for one in ledger.lost:
        cpus = _needs(cluster.jobs[job_of(one.task)].kind.variants[0], smallest).get("cpus", 0.0)
        lost += cpus * (one.ended_at - one.started_at)
        last = min(one.ended_at, ledger.last_start_at)
        busy += cpus * max(0.0, last - one.started_at)
    bounds = {resource: _area_s(cluster, resource, amount) for resource, amount in work.items()}
    bounds["longest task"] = longest_s
    if waves := _waves_s(cluster):
        bounds["waves"] = waves
    bound_by = max(bounds, key=lambda name: bounds[name])
    return Outcome(
        makespan_s=end,
        bound_s=bounds[bound_by],
        bound_by=bound_by,
        lost_share=lost / work["cpus"],
        idle_share=1 - (work["cpus"] + lost) / _capacity(cluster, "cpus", end),
        idle_while_waiting=1 - busy / _capacity(cluster, "cpus", ledger.last_start_at),
        tasks=book.finished,
        scheduler_s=tally.machine_s,
        longest_s=tally.longest_s,
        longest_at=tally.longest_at,
        rounds=cluster.machine.statistics().rounds,
        frames=tally.frames_up + tally.frames_down,
        stolen=tally.moved,
        drains=tally.drained,
    )


def _work(
    jobs: Iterable[Job], smallest: dict[str, float], last_start_at: float
) -> tuple[dict[str, float], float, float, float]:
    """Work by resource, longest task, end of the last one, cpu work until the last start."""
    work: dict[str, float] = {}
    longest_s = end = busy = 0.0
    for job in jobs:
        needs = _needs(job.kind.variants[0], smallest)
        total = until = 0.0
        rows = zip(job.durations, job.started_at, job.ended, strict=True)
        for duration, started_at, ended in rows:
            if ended == FINISHED:
                total += duration
                until += min(duration, last_start_at - started_at)
                end = max(end, started_at + duration)
                longest_s = max(longest_s, duration)
        busy += needs.get("cpus", 0.0) * until
        for resource, amount in needs.items():
            work[resource] = work.get(resource, 0.0) + amount * total
    return work, longest_s, end, busy


def _needs(request: Request, smallest: dict[str, float]) -> dict[str, float]:
    """Units by resource; a multi-node task has whole workers."""
    if request.nodes:
        return {"cpus": request.nodes * smallest["cpus"]}
    return {
        need.resource: smallest[need.resource] if need.policy is Policy.ALL else need.amount / UNIT
        for need in request.needs
    }


def _sizes(config: WorkerConfig) -> dict[str, float]:
    return {pool.resource: pool.size / UNIT for pool in config.descriptor.pools}


def _smallest(capacity: list[tuple[float, int, WorkerConfig]]) -> dict[str, float]:
    smallest: dict[str, float] = {}
    for _, _, config in capacity:
        for resource, size in _sizes(config).items():
            smallest[resource] = min(size, smallest.get(resource, size))
    return smallest


def _steps(cluster: Cluster, resource: str) -> list[tuple[float, float]]:
    """When the total of a resource changes, and to what."""
    steps, total = [(0.0, 0.0)], 0.0
    for at, sign, config in cluster.capacity:
        total += sign * _sizes(config).get(resource, 0.0)
        steps.append((at, total))
    return steps


def _area_s(cluster: Cluster, resource: str, work: float) -> float:
    """When all of the resource, used without a gap from the start, has done the work."""
    steps = _steps(cluster, resource)
    for (at, total), (until, _) in pairwise(steps):
        done = total * (until - at)
        if done >= work:
            return at + work / total
        work -= done
    at, total = steps[-1]
    return at + work / total


def _capacity(cluster: Cluster, resource: str, until: float) -> float:
    steps = [(min(at, until), total) for at, total in _steps(cluster, resource)]
    steps.append((until, 0.0))
    return sum(total * (end - at) for (at, total), (end, _) in pairwise(steps))


def _waves_s(cluster: Cluster) -> float:
    """Equal tasks that need one cpu run in waves; 0 if there is no telling."""
    kinds, scenario = cluster.scenario.kinds, cluster.scenario
    durations = set(cluster.jobs[1].durations)
    if len(kinds) > 1 or len(durations) > 1 or scenario.departures:
        return 0.0
    cpus = _needs(kinds[0].variants[0], {}).get("cpus")
    slots = sum(_sizes(a.config)["cpus"] for a in scenario.arrivals)
    if cpus != 1.0 or any(arrival.at for arrival in scenario.arrivals):
        return 0.0
    return -(-kinds[0].tasks // int(slots)) * durations.pop()
