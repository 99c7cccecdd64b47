"""What the scheduling machine costs by the clock, among pretended workers. CPU time throughout."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from statistics import median
from time import thread_time
from typing import Final
from unittest.mock import patch

from actors.server.stall import Collector
from benchmarks.scheduling import scenarios
from benchmarks.scheduling.cluster import Cluster, Scenario
from benchmarks.scheduling.tasks import PROGRAM, Job, Kind, steady
from benchmarks.workloads import (
    EVENTS,
    FEW,
    IN_PIECES,
    KINDS,
    LONGEST_BATCH,
    MANY,
    ONE_ARRAY,
    ROUNDS,
)
from hqtrio.ids import task_id
from hqtrio.messages.scheduling import Body, TasksReady
from hqtrio.model.resources import Policy
from hqtrio.now import Now
from hqtrio.scheduling import machine
from hqtrio.scheduling.machine import Scheduling

Figures = dict[str, float]
Run = tuple[int, int]  # first number, count
PIECE: Final = 5000
STEADY: Final = ((scenarios.steady_short, 6.0), (scenarios.steady_long, 40.0))  # warm-up, virtual
MEASURED_S: Final = 6.0
FILLED_S: Final = 5.0  # all slots of 1,000 workers are open then
REPEATS: Final = 200


@contextmanager
def server_collector() -> Iterator[Callable[[], None]]:
    """Inside, garbage is collected as the server does it: when the yielded call says so."""
    gc.collect()
    gc.freeze()
    gc.disable()
    collector = Collector()
    try:
        yield lambda: collector.before_io_wait(0.0)
    finally:
        gc.enable()
        gc.unfreeze()


def rounds_ms(scenario: Scenario, warm_up_s: float) -> list[float]:
    """How long the rounds of a cluster took once it was full and had settled."""
    with server_collector() as collect:
        cluster = Cluster(scenario, collect=collect)
        cluster.run(warm_up_s)
        before = len(cluster.tally.rounds_s)
        cluster.run(warm_up_s + MEASURED_S)
        assert cluster.machine.statistics().ready, "the queues ran dry"
        return [1e3 * seconds for seconds in cluster.tally.rounds_s[before:]]


def steady_rounds(workers: int) -> Figures:
    figures = {}
    for kind, (build, warm_up_s) in zip(KINDS, STEADY, strict=True):
        took = sorted(rounds_ms(build(workers), warm_up_s))
        figures[f"{kind}: {ROUNDS[0]}"] = median(took)
        figures[f"{kind}: 99 of 100 rounds"] = took[len(took) * 99 // 100]
        figures[f"{kind}: {ROUNDS[1]}"] = took[-1]
    return figures


def initial_fill(workers: int) -> Figures:
    """Milliseconds until every slot of an idle cluster is granted."""
    figures = {}
    for classes in (1, 20):
        with server_collector() as collect:
            cluster = Cluster(
                scenarios.fill(workers, classes=classes, submit_at=1.0), collect=collect
            )
            cluster.run(0.99)
            tally = cluster.tally
            tally.longest_s, before_s = 0.0, tally.machine_s
            slots = workers * scenarios.BIG_CPUS
            while cluster.machine.statistics().slots < slots:
                cluster.run(cluster.now + 0.004)
                assert cluster.now < 10.0, "the cluster is not filled"
            figures[f"{classes} {LONGEST_BATCH}"] = 1e3 * tally.longest_s
            figures[f"{classes} classes: in all"] = 1e3 * (tally.machine_s - before_s)
    return figures


def cost_per_task(workers: int) -> Figures:
    """Microseconds of the machine for each task that ends, in a full cluster."""
    figures = {}
    for kind, (build, warm_up_s) in zip(KINDS, STEADY, strict=True):
        for count, name in ((10, FEW), (workers, MANY)):
            with server_collector() as collect:
                cluster = Cluster(build(count), collect=collect)
                cluster.run(warm_up_s)
                tally, done = cluster.tally, cluster.book.finished
                before_s = tally.machine_s
                cluster.run(warm_up_s + MEASURED_S)
                done = cluster.book.finished - done
                spent_s = tally.machine_s - before_s
                figures[f"{kind}, {name}"] = 1e6 * spent_s / done
    return figures


# --- rounds with nothing to do


def idle_rounds(tasks: int) -> Figures:
    """Microseconds of a batch that has nothing to start, whatever works and waits."""
    figures = {}
    for workers in (10, 1000):
        for waiting in (1000, tasks):
            where = f"{workers:,} workers, {'many' if waiting == tasks else f'{waiting:,}'} waiting"
            # At the pace of a thousand workers there would be hardly a round to time.
            unpaced = patch.object(machine, "PACED_WORKERS", workers + 1)
            with unpaced, server_collector() as collect:
                cluster = Cluster(_all_but_one_busy(workers, waiting), collect=collect)
                cluster.run(FILLED_S + 1)
                before = len(cluster.tally.rounds_s)
                cluster.run(FILLED_S + 1 + MEASURED_S)
                nothing, announced, ended = EVENTS
                figures[f"{ended}: {where}"] = 1e6 * median(cluster.tally.rounds_s[before:])
                figures[f"{announced}: {where}"] = _batch_us(cluster, _announce_one)
                figures[f"{nothing}: {where}"] = _batch_us(cluster, _nothing)
    return figures


def _all_but_one_busy(workers: int, waiting: int) -> Scenario:
    """Every slot but one has a task for ever; one has short ones, and more of these wait."""
    slots = workers * scenarios.NODE_CPUS
    kinds = (
        Kind(scenarios.request(1), slots - 1, steady(1e6)),
        Kind(
            scenarios.request(1, policy=Policy.SCATTER), waiting, steady(0.05), submit_at=FILLED_S
        ),
    )
    return Scenario("all but one", kinds, scenarios.nodes(workers))


def _nothing(cluster: Cluster, number: int) -> None:
    pass


def _announce_one(cluster: Cluster, number: int) -> None:
    variants = cluster.jobs[2].kind.variants
    body = Body(3, 3, PROGRAM)
    ready = TasksReady(variants, 0, body, ((task_id(3, number), 1),))
    cluster.machine.handle(ready, Now(cluster.now, cluster.now))


def _batch_us(cluster: Cluster, happens: Callable[[Cluster, int], None]) -> float:
    """The median round after this, each long after the one before."""
    machine, took = cluster.machine, []
    for number in range(REPEATS):
        cluster.now += 0.03
        now = Now(cluster.now, cluster.now)
        machine.tick(now)  # whatever was due anyway
        happens(cluster, number)
        began = thread_time()
        machine.end_batch(now)
        took.append(thread_time() - began)
    return 1e6 * median(took)


# --- memory


def queue_memory(tasks: int) -> Figures:
    """Bytes per waiting task in the scheduler's tables."""
    whole, holes = [(0, tasks)], [(2 * at, 1) for at in range(tasks // 2)]
    return {
        ONE_ARRAY: _growth(tasks, [whole]),
        IN_PIECES: _growth(tasks, [[(at, PIECE)] for at in range(0, tasks, PIECE)]),
        "every second one of an array": _growth(tasks // 2, _pieces(holes)),
    }


def _pieces(runs: Sequence[Run]) -> list[Sequence[Run]]:
    return [runs[at : at + PIECE] for at in range(0, len(runs), PIECE)]


def _growth(tasks: int, announcements: Sequence[Sequence[Run]]) -> float:
    """Of an empty machine that is told of these tasks."""
    machine, now = Scheduling(), Now(0.0, 0.0)
    job = Job(1, Kind(scenarios.request(1), 0, steady(1.0)), Random(1))
    gc.collect()
    tracemalloc.start()
    try:
        for runs in announcements:
            machine.handle(job.ready([(task_id(1, first), count) for first, count in runs]), now)
        machine.end_batch(now)
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert machine.statistics().ready == tasks
    return size / tasks
