"""Within one level the most valuable work runs: several resources, variants, weights."""

from __future__ import annotations

import pytest
from scheduling_cluster import Cluster, needs

PLAIN = needs(2)
GPU = needs(2, gpus=1)


def per_worker(cluster, *groups):
    return [tuple(cluster.here(worker, *groups)) for worker in cluster.workers.values()]


@pytest.mark.parametrize(
    ("workers", "placed"),
    [
        pytest.param([6], [(3, 0)], id="s61_no_gpus"),
        pytest.param([{"cpus": 6, "gpus": 10}], [(0, 3)], id="s61_many_gpus"),
        pytest.param([{"cpus": 6, "gpus": 2}], [(1, 2)], id="s61_two_gpus"),
        pytest.param([{"cpus": 6, "gpus": 2}, 6], [(1, 2), (3, 0)], id="s62"),
    ],
)
def test_gpus_are_used_before_plain_tasks_take_their_cpus(workers, placed):
    cluster = Cluster()
    cluster.join_all(*workers)
    groups = cluster.submit(PLAIN, count=10), cluster.submit(GPU, count=10)
    cluster.settle()
    assert sum(cluster.loads()) == 3 * len(workers)
    assert per_worker(cluster, *groups) == placed  # quality
    assert cluster.finish_all() == (20 if len(workers) > 1 or workers != [6] else 10)


def test_s63_three_unequal_workers_and_three_classes():
    cluster = Cluster()
    cluster.join_all(6, {"cpus": 3, "gpus": 2}, {"cpus": 5, "gpus": 20, "foo": 4})
    groups = (
        cluster.submit(needs(2, gpus=1)),
        cluster.submit(needs(1, gpus=1, foo=2), count=3),
        cluster.submit(4, count=2),
    )
    cluster.settle()
    assert per_worker(cluster, *groups) == [(0, 0, 1), (1, 0, 0), (0, 2, 0)]  # quality
    assert cluster.finish_all() == 6


RES = [{"cpus": 10, "res": 10}, 10, {"cpus": 10, "res": 10, "other": 1_000_000}]


def test_s64_the_class_that_uses_more_of_the_worker_fills_it():
    cluster = Cluster()
    cluster.join_all(*RES)
    one, two = cluster.submit(needs(1, res=1), count=50), cluster.submit(needs(1, res=2), count=50)
    cluster.settle()
    assert cluster.loads()[1] == 0
    assert per_worker(cluster, one, two) == [(10, 0), (0, 0), (10, 0)]  # quality


def test_s65_half_a_resource_each():
    cluster = Cluster()
    cluster.join_all(*RES)
    cluster.submit(needs(1, res=5), count=4)
    cluster.settle()
    assert cluster.loads() == [2, 0, 2]


def test_s66_plain_tasks_leave_the_scarce_worker_to_those_who_need_it():
    cluster = Cluster()
    cluster.join_all(*RES)
    plain = cluster.submit(needs(1, res=5), count=2)
    scarce = cluster.submit(needs(1, res=5, other=500_000), count=2)
    cluster.settle()
    assert per_worker(cluster, plain, scarce) == [(2, 0), (0, 0), (0, 2)]  # quality


@pytest.mark.parametrize(
    ("cpus", "count", "variants"),
    [(11, 2, [0, 0]), (11, 3, [0] * 3), (8, 10, [0] * 4), (8, 3, [0] * 3)],
)
def test_s67_d08_the_first_variant_is_used_while_there_is_room_for_all(cpus, count, variants):
    cluster = Cluster()
    cluster.join(cpus)
    tasks = cluster.submit(2, 5, count=count)
    cluster.settle()
    assert cluster.chosen(tasks) == variants


@pytest.mark.parametrize(
    ("worker", "variants"),
    [
        pytest.param(12, [0, 0], id="no_gpus"),
        pytest.param({"cpus": 12, "gpus": 4}, [0, 1, 1], id="four_gpus"),
        pytest.param({"cpus": 12, "gpus": 20}, [1] * 6, id="many_gpus"),
    ],
)
def test_s68_a_mix_of_variants_fills_the_worker(worker, variants):
    cluster = Cluster()
    cluster.join_all(worker)
    tasks = cluster.submit(needs(6), needs(2, gpus=2), count=10)
    cluster.settle()
    assert cluster.chosen(tasks) == variants  # quality
    assert cluster.finish_all() == 10


def test_s69_tasks_start_in_another_variant_rather_than_wait():
    cluster = Cluster()
    cluster.join(16, x=2)
    tasks = cluster.submit(needs(1, x=1), needs(4), count=5)
    cluster.settle()
    assert cluster.chosen(tasks) == [0, 0, 1, 1, 1]


def test_many_tasks_use_gpus_and_the_cpus_beside_them():
    cluster = Cluster()
    cluster.join(16, gpus=4)
    tasks = cluster.submit(needs(1, gpus=1), needs(4), count=20)
    cluster.settle()
    assert cluster.chosen(tasks) == [0] * 4 + [1] * 3


def test_a_variant_that_needs_too_much_time_is_passed_over():
    cluster = Cluster()
    cluster.join(8, remaining_s=100.0)
    tasks = cluster.submit(needs(1, time_s=200.0), needs(4, time_s=50.0), count=1)
    cluster.settle()
    assert cluster.chosen(tasks) == [1]


def test_tasks_that_follow_in_a_slot_run_in_its_variant():
    cluster = Cluster()
    worker = cluster.join(16, gpus=4)
    tasks = cluster.submit(needs(1, gpus=1), needs(4), count=100)
    cluster.settle()
    for _ in range(5):
        cluster.end(list(worker.running))
        assert cluster.chosen(tasks) == [0] * 4 + [1] * 3


@pytest.mark.parametrize(
    ("small", "whole", "started"), [(1.1, 1.0, [4, 0]), (1.0, 1.1, [0, 1])], ids=["small", "whole"]
)
def test_s75_weight_decides_between_many_small_tasks_and_the_whole_worker(small, whole, started):
    cluster = Cluster()
    cluster.join(12)
    groups = (
        cluster.submit(needs(3, weight=small), count=5),
        cluster.submit(needs("all", weight=whole)),
    )
    cluster.settle()
    assert cluster.started(*groups) == started


@pytest.mark.parametrize(("count", "started"), [(3, [0, 1]), (4, [4, 0])])
def test_s76_a_worker_that_must_be_full_takes_what_fills_it(count, started):
    cluster = Cluster()
    cluster.join(12, min_utilization=1.0)
    groups = cluster.submit(needs(3, weight=2), count=count), cluster.submit(needs("all"))
    cluster.settle()
    assert cluster.started(*groups) == started


def test_s77_a_worker_that_must_be_full_takes_the_best_exact_filling():
    cluster = Cluster()
    cluster.join(12, min_utilization=1.0)
    groups = cluster.submit(needs(3, weight=2), count=3), cluster.submit(6, count=3)
    cluster.settle()
    assert cluster.started(*groups) == [2, 1]


def test_weights_never_reserve_anything():
    cluster = Cluster()
    worker = cluster.join(4)
    cluster.occupy(worker, 2)
    heavy, light = cluster.submit(needs(4, weight=100.0)), cluster.submit(1, count=2)
    cluster.settle()
    assert cluster.started(heavy, light) == [0, 2]
    assert cluster.held() == [False]


def test_d06_a_grant_is_never_refused_for_what_only_the_sum_would_allow():
    """Two cpus, a quarter of each free: half a cpu in sum, but in no cpu."""
    cluster = Cluster()
    worker = cluster.join(2)
    first = cluster.submit(0.75, count=2)
    cluster.settle()
    half = cluster.submit(0.5)
    cluster.settle()
    assert cluster.started(first, half) == [2, 0]
    assert len(worker.slots) == 2
    cluster.end(first[:1])
    assert cluster.started(half) == [1]
