"""Several levels at once: the higher ones get what they can use, the others what is left."""

from __future__ import annotations

import pytest
from scheduling_cluster import Cluster, needs

FOO = needs(1, foo=1)


def test_s15_each_task_goes_where_it_fits_beside_what_runs():
    cluster = Cluster()
    first, second, third = cluster.join_all(3, 3, 3)
    cluster.occupy(first, 1)
    cluster.occupy(second, 2)
    cluster.occupy(third, 2)
    cluster.occupy(third, 1)
    two, one, three = cluster.submit(2), cluster.submit(1), cluster.submit(3)
    cluster.settle()
    assert cluster.here(first, two, one, three) == [1, 0, 0]
    assert cluster.here(second, two, one, three) == [0, 1, 0]
    assert cluster.here(third, two, one, three) == [0, 0, 0]


def test_s24_levels_that_fit_together_all_run():
    cluster = Cluster()
    cluster.join_all(4, 4)
    groups = cluster.submit_all((0, 2), (4, 2), (2, 4))
    cluster.settle()
    assert cluster.started(*groups) == [1, 1, 1]


@pytest.mark.parametrize(
    ("cpus", "plain", "foo"),
    [
        (1, 2, 0),
        (2, 3, 1),
        (3, 4, 2),
        (4, 6, 2),
        (5, 7, 3),
        (6, 8, 4),
        (7, 10, 4),
        (8, 12, 4),
        (9, 12, 5),
        (10, 12, 5),
    ],
)
def test_s29_two_classes_take_turns_through_the_levels(cpus, plain, foo):
    cluster = Cluster()
    for _ in range(2):
        cluster.join(cpus, foo=100)
    rows = [(10, 1, 3), (9, FOO, 2), (8, 1), (7, 1, 3), (6, FOO), (5, FOO), (4, 1, 5), (3, FOO)]
    groups = cluster.submit_all(*rows)
    cluster.settle()
    started = cluster.started(*groups)
    assert sum(n for n, row in zip(started, rows, strict=True) if row[1] == 1) == plain
    assert sum(n for n, row in zip(started, rows, strict=True) if row[1] is FOO) == foo


def test_s31_what_foo_tasks_cannot_use_goes_to_the_highest_plain_ones():
    cluster = Cluster()
    cluster.join(12, foo=6)
    foo = cluster.submit_all(*((p, needs(1, foo=2)) for p in range(10, 100, 10)))
    plain = cluster.submit_all(*((p, 1, 3) for p in (-5, -4, -3, -2)))
    cluster.settle()
    assert cluster.started(*foo) == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert cluster.started(*plain) == [0, 3, 3, 3]


@pytest.mark.parametrize("one_by_one", [True, False])
def test_s32_a_lower_job_runs_beside_jobs_that_lack_another_resource(one_by_one):
    cluster = Cluster()
    jobs = []
    if one_by_one:
        cluster.join(8, foo=4)
    for priority, request in [(0, needs(1, foo=2))] * 4 + [(-1, needs(2))]:
        jobs.append(cluster.submit(request, priority=priority))
        if one_by_one:
            cluster.settle()
    if not one_by_one:
        cluster.join(8, foo=4)
        cluster.settle()
    assert cluster.started(*jobs) == [1, 1, 0, 0, 1]


def test_s33_waiting_gpu_tasks_leave_the_cpus_they_can_never_use():
    cluster = Cluster()
    worker = cluster.join(64, gpus=4)
    cluster.occupy(worker, needs(1, gpus=1), count=4)
    gpu = cluster.submit_all((0, needs(1, gpus=1), 8), (-1, needs(1, gpus=1), 8))
    big = cluster.submit(16, priority=-3, count=12)
    cluster.settle()
    assert cluster.started(*gpu, big) == [0, 0, 3]


@pytest.mark.parametrize("nodes", [(2,), (3,), (2, 2), (3, 3)])
@pytest.mark.parametrize("time_s", [0.0, 3600.0])
def test_s38_s39_multi_node_tasks_that_can_never_run_block_nobody(nodes, time_s):
    cluster = Cluster()
    cluster.join(1, group="left")
    cluster.join(1, group="right")
    for count in nodes:
        cluster.submit(needs(0, nodes=count, time_s=time_s), priority=10)
    small = cluster.submit(1, count=5)
    cluster.settle()
    assert cluster.loads() == [1, 1]
    assert cluster.held() == [False, False]
    assert cluster.finish_all() == 5
    assert {task for task, _ in cluster.ended} == set(small)


def test_s40_higher_plain_task_runs_beside_waiting_foo_tasks():
    cluster = Cluster()
    worker = cluster.join(8, foo=4)
    cluster.occupy(worker, needs(1, foo=2), count=2)
    foo, plain = cluster.submit_all((0, needs(1, foo=2), 2), (1, 2))
    cluster.settle()
    assert cluster.started(foo, plain) == [0, 1]


def test_s41_levels_with_different_extras_share_the_workers():
    cluster = Cluster()
    goo = {"cpus": 3, "foo": 1, "goo": 1}
    cluster.join_all(goo, goo, {"cpus": 3, "foo": 1, "bar": 1})
    groups = cluster.submit_all(
        (10, needs(2, goo=1), 5), (9, needs(1, foo=1), 2), (8, needs(3, foo=1, bar=1), 10)
    )
    cluster.settle()
    assert cluster.started(*groups) == [2, 2, 1]


def test_g4_within_a_class_a_lower_level_never_goes_before_a_higher_one():
    cluster = Cluster()
    cluster.join_all(3, 2)
    low, high, middle = cluster.submit_all((0, 1, 6), (7, 1, 6), (3, 1, 6))
    cluster.settle()
    while len(cluster.ended) < 18:
        worker = max(cluster.workers.values(), key=lambda w: len(w.running))
        cluster.end([min(worker.running)])
    assert cluster.starts == high + middle + low


def test_g14_interleaved_jobs_of_one_class_run_oldest_first():
    cluster = Cluster()
    first = cluster.submit(1)
    second = cluster.submit(1)
    for _ in range(4):
        first += cluster.submit(1, job=1)
        second += cluster.submit(1, job=2)
    cluster.join(1)
    cluster.finish_all()
    assert cluster.starts == first + second


def test_a_high_level_nobody_can_run_changes_nothing_when_its_worker_has_left():
    cluster = Cluster()
    cluster.join(2)
    big_worker = cluster.join(8)
    cluster.occupy(big_worker, 5)
    big, small = cluster.submit_all((5, 6), (0, 1, 20))
    cluster.settle()
    assert cluster.started(big) == [0]
    assert cluster.loads()[0] == 2
    cluster.lose(big_worker)
    cluster.settle()
    assert cluster.started(big) == [0]
    assert cluster.finish_all() == 20
    assert {task for task, _ in cluster.ended} >= set(small)
