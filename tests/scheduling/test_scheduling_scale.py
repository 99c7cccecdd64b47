"""Many tasks, many workers, many levels: counted in work, never in seconds."""

from __future__ import annotations

from collections import Counter

import pytest
from scheduling_cluster import CONTENT, Cluster, needs, work_of

from hqtrio.ids import task_id
from hqtrio.messages.columns import read_u32
from hqtrio.messages.scheduling import Body, TasksReady
from hqtrio.messages.worker import Enqueue
from hqtrio.scheduling.events import ToLink

ROUND_WORK_MAX = 3_000_000  # function calls: a fraction of a second


def work_until_quiet(cluster):
    """The work of all rounds until none is due; a long one may be cut into slices."""
    work = work_of(cluster.round)
    for _ in range(1_000):
        if cluster.machine.next_deadline() > cluster.time + 0.03:
            return work
        work += work_of(cluster.round)
    raise AssertionError("there is always another round due")


@pytest.mark.slow
def test_s34_3200_levels_fill_300_workers_from_the_top():
    cluster = Cluster(checks=False)
    ones = [cluster.submit(1, priority=priority)[0] for priority in range(3200)]
    twos = [cluster.submit(2, priority=priority)[0] for priority in range(3200)]
    cluster.join_all(*[8] * 300)
    visited, classes, workers = 800, 2, 300
    assert work_until_quiet(cluster) < visited * (classes + workers) * 60
    cluster.settle()
    cluster.machine.check()
    running = {task for tasks in cluster.running() for task in tasks}
    started_ones, started_twos = (
        [priority for priority in range(3200) if tasks[priority] in running]
        for tasks in (ones, twos)
    )
    assert started_ones == list(range(3200 - len(started_ones), 3200))
    assert started_twos == list(range(3200 - len(started_twos), 3200))
    assert len(started_ones) + 2 * len(started_twos) == 2400
    assert abs(len(started_ones) - len(started_twos)) < 10


def test_s107_sixty_shapes_on_twenty_workers_in_bounded_work():
    cluster = Cluster(checks=False)
    workers = [cluster.join(64, mem=1_000_000) for _ in range(20)]
    for cpus in range(1, 61):
        cluster.submit(needs(cpus, mem=cpus * 100), count=2)
    assert work_until_quiet(cluster) < ROUND_WORK_MAX
    cluster.settle()
    cluster.machine.check()
    assert [worker.cpus for worker in workers] == [64] * 20  # quality


@pytest.mark.parametrize("shapes", [10, 60])
def test_g12_work_of_a_round_grows_no_faster_than_shapes_and_workers(shapes):
    def first_round(workers):
        cluster = Cluster(checks=False)
        for _ in range(workers):
            cluster.join(16, mem=1_000)
        for cpus in range(1, shapes + 1):
            cluster.submit(needs(1 + cpus % 16, mem=cpus), count=workers)
        return work_until_quiet(cluster)

    few, many = first_round(10), first_round(80)
    assert many < 8 * few * 3


def crowd(count, workers=1_000):
    """So many one-cpu tasks of one announcement, in front of workers of two cpus."""
    cluster = Cluster(checks=False)
    for _ in range(workers):
        cluster.join(2)
    first = task_id(7, 0)
    ready = TasksReady((needs(1),), 0, Body(1, 7, CONTENT), ((first, count),))
    work = [work_of(lambda: cluster.machine.handle(ready, cluster.now()))]
    effects = []

    def one_round():
        cluster.time += 0.03
        effects.extend(cluster.machine.end_batch(cluster.now()))

    work.append(work_of(one_round))
    for _ in range(1_000):
        # A round may be cut into slices; all of them count.
        if cluster.machine.next_deadline() > cluster.time + 0.03:
            break
        work[-1] += work_of(one_round)
    sent = Counter()
    for effect in effects:
        if isinstance(effect, ToLink):
            for message in effect.messages:
                if isinstance(message, Enqueue):
                    sent[effect.link] += sum(read_u32(message.counts))
    return cluster, work, sent


def test_s109_a_round_costs_the_same_whether_ten_thousand_tasks_wait_or_a_million():
    _, (few_announced, few), few_sent = crowd(10_000)
    cluster, (many_announced, many), many_sent = crowd(1_000_000)
    assert few_sent == many_sent
    assert min(many_sent.values()) >= 2
    assert many_announced <= few_announced + 100
    assert many <= few * 1.05 + 100
    cluster.machine.check()
    assert cluster.machine.statistics().ready == 1_000_000 - sum(many_sent.values())


def test_s109_a_round_for_one_new_worker_looks_at_no_other():
    work = []
    for workers, count in ((100, 10_000), (1_000, 1_000_000)):
        cluster, _, _ = crowd(count, workers)
        newcomer = cluster.join(2)
        cluster.time += 0.03
        work.append(work_of(lambda c=cluster: c.machine.end_batch(c.now())))
        assert cluster.machine.runtime_info(newcomer.id).assigned >= 2
    assert work[1] <= 2 * work[0] + 200


def test_a_round_with_nothing_to_do_looks_at_nothing():
    work = []
    for workers in (10, 1_000):
        cluster, _, _ = crowd(10_000, workers)
        cluster.time += 0.03
        work.append(work_of(lambda c=cluster: c.machine.end_batch(c.now())))
    assert work[1] <= work[0] + 10


def test_g10_when_no_round_is_due_nothing_that_fits_waits():
    """Also where one round has more to do than it may take time for."""
    cluster = Cluster(checks=False)
    for _ in range(300):
        cluster.join(4)
    levels = [cluster.submit(1, priority=priority, count=2) for priority in range(900)]
    cluster.advance(cluster.time + 5)
    cluster.settle()
    cluster.machine.check()
    assert cluster.loads() == [4] * 300
    assert cluster.started(*levels) == [0] * 300 + [2] * 600
