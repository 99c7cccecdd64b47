"""Which task starts where: the scenarios of one level, and the shape of the placement."""

from __future__ import annotations

import pytest
from scheduling_cluster import Cluster, needs

from hqtrio.messages.worker import Grant


def started(cluster, *groups):
    """How many tasks of each submitted group run."""
    running = {task for tasks in cluster.running() for task in tasks}
    return [sum(task in running for task in tasks) for tasks in groups]


def test_s01_no_task_no_message():
    cluster = Cluster()
    workers = [cluster.join(4), cluster.join(3)]
    cluster.settle()
    for worker in workers:
        assert (worker.ran, worker.classes, worker.slots) == ([], {}, {})


def test_s02_a_task_that_fills_the_worker_runs():
    cluster = Cluster()
    cluster.join(3)
    cluster.submit(3)
    cluster.settle()
    assert cluster.loads() == [1]


def test_s03_one_task_starts_once_on_the_oldest_worker():
    cluster = Cluster()
    cluster.join(4)
    cluster.join(4)
    cluster.submit(2)
    cluster.settle()
    assert cluster.loads() == [1, 0]


@pytest.mark.parametrize(
    ("workers", "requests", "loads"),
    [
        pytest.param((4, 4), (2, 2), [2, 0], id="s04"),
        pytest.param((4, 4), (2, 2, 2), [2, 1], id="s05"),
        pytest.param((4, 4), (2, 2, 2, 2), [2, 2], id="s06_four"),
        pytest.param((4, 4), (2, 2, 2, 2, 2), [2, 2], id="s06_five"),
        pytest.param((4, 4), (2, 3), [1, 1], id="s07_equal"),
        pytest.param((3, 4), (2, 3), [1, 1], id="s07_unequal"),
        pytest.param((4, 4), (5, 5, 1, 1, 1, 1, 1), [4, 1], id="s08"),
        pytest.param((4, 4), (4, 4, 2, 3), [1, 1], id="s10"),
        pytest.param((5, 5, 5), (1, 1, 1, 1), [4, 0, 0], id="s11"),
        pytest.param((1, 1, 1), (1, 1), [1, 1, 0], id="s16"),
        pytest.param((4, 4), (3, 2, 2), [1, 2], id="s17"),
    ],
)
def test_tasks_of_one_level_are_packed_onto_few_workers(workers, requests, loads):
    cluster = Cluster()
    for cpus in workers:
        cluster.join(cpus)
    for cpus in requests:
        cluster.submit(cpus)
    cluster.settle()
    assert cluster.loads() == loads


def test_s09_the_bigger_ones_go_first():
    cluster = Cluster()
    cluster.join(4)
    cluster.join(4)
    three, four, two = cluster.submit(3), cluster.submit(4), cluster.submit(2)
    cluster.settle()
    assert started(cluster, three, four, two) == [1, 1, 0]


def test_s12_tasks_that_arrive_one_by_one_fill_one_worker_after_another():
    cluster = Cluster()
    for _ in range(3):
        cluster.join(5)
    for round_ in range(1, 18):
        cluster.submit(1)
        cluster.settle()
        loads = sorted(cluster.loads())
        running = min(round_, 15)
        assert sum(loads) == running
        assert loads.count(5) == running // 5


def test_s13_running_tasks_leave_six_cpus():
    cluster = Cluster()
    cluster.join(14)
    cluster.submit(1, count=8)
    cluster.settle()
    ten = cluster.submit(1, count=10)
    cluster.settle()
    assert started(cluster, ten) == [6]


def test_s14_what_does_not_fit_beside_a_running_task_waits():
    cluster = Cluster()
    cluster.join(3)
    cluster.submit(1)
    cluster.settle()
    three = cluster.submit(3)
    cluster.settle()
    assert started(cluster, three) == [0]
    two = cluster.submit(2)
    cluster.settle()
    assert started(cluster, two) == [1]


def test_s18_two_waves_on_small_workers_one_on_larger():
    for cpus, first_wave in ((4, 3), (5, 4)):
        cluster = Cluster()
        cluster.join(cpus)
        cluster.join(cpus)
        for need in (3, 2, 2, 3):
            cluster.submit(need)
        cluster.settle()
        assert sum(cluster.loads()) <= first_wave
        assert cluster.finish_all() == 4


def test_s60_a_second_resource_limits():
    for gpus in (2, 1):
        cluster = Cluster()
        cluster.join(4, gpus=gpus)
        cluster.submit(needs(2, gpus=1), count=2)
        cluster.settle()
        assert cluster.loads() == [gpus]


def test_s64_a_worker_without_the_resource_stays_empty():
    cluster = Cluster()
    cluster.join(10, res=10)
    cluster.join(10)
    cluster.join(10, res=10, other=1)
    cluster.submit(needs(1, res=1), count=50)
    cluster.submit(needs(1, res=2), count=50)
    cluster.settle()
    assert cluster.loads()[1] == 0
    assert cluster.finish_all() == 100


@pytest.mark.parametrize(
    ("workers", "variants", "count", "loads"),
    [
        pytest.param([{"cpus": 4}, {"cpus": 4, "res": 2}], [2, (1, 1)], 4, [2, 2], id="s70"),
        pytest.param([{"cpus": 4}, {"cpus": 4, "res": 2}], [8, (1, 1)], 4, [0, 2], id="s71"),
        pytest.param([{"cpus": 2}, {"cpus": 5, "res": 1}], [3, (1, 1)], 4, [0, 2], id="s72"),
        pytest.param([{"cpus": 4}, {"cpus": 4, "res": 1}], [8, (1, 1)], 1, [0, 1], id="s73"),
    ],
)
def test_the_first_variant_that_fits_is_used(workers, variants, count, loads):
    cluster = Cluster()
    for worker in workers:
        sums = dict(worker)
        cluster.join(sums.pop("cpus"), **sums)
    requests = [needs(v[0], res=v[1]) if isinstance(v, tuple) else needs(v) for v in variants]
    cluster.submit(*requests, count=count)
    cluster.settle()
    assert cluster.loads() == loads


def test_s74_weight_decides_what_is_worth_more():
    for weight, winner in ((1.49, 0), (1.51, 1)):
        cluster = Cluster()
        cluster.join(4)
        groups = cluster.submit(3), cluster.submit(needs(2, weight=weight))
        cluster.settle()
        assert started(cluster, *groups)[winner] == 1


def test_s81_time_requests_need_a_worker_that_lives_long_enough():
    cluster = Cluster()
    cluster.join(10, remaining_s=100.0)
    groups = [cluster.submit(needs(1, time_s=t)) for t in (170.0, 0.0, 99.0)]
    cluster.settle()
    assert started(cluster, *groups) == [0, 1, 1]


def test_s84_a_lifetime_runs_down():
    cluster = Cluster()
    cluster.join(1, remaining_s=4.0)
    cluster.time += 2.2
    task = cluster.submit(needs(1, time_s=2.0))
    cluster.settle()
    assert started(cluster, task) == [0]


def test_s85_a_task_for_long_lived_workers_blocks_no_short_lived_one():
    cluster = Cluster()
    cluster.join(1, remaining_s=60.0)
    long, plain = cluster.submit(needs(1, time_s=3600.0), priority=10), cluster.submit(1)
    cluster.settle()
    assert started(cluster, long, plain) == [0, 1]
    cluster.join(1)
    cluster.settle()
    assert started(cluster, long, plain) == [1, 1]


def test_d15_lower_tasks_start_when_a_lifetime_becomes_too_short_for_the_higher_one():
    cluster = Cluster()
    worker = cluster.join(2, remaining_s=60.0)
    cluster.submit(1, priority=20)
    cluster.settle()
    cluster.submit(needs(2, time_s=50.0), priority=10)
    low = cluster.submit(1)
    cluster.settle()
    assert started(cluster, low) == [0]
    cluster.advance(to=109.9)
    assert started(cluster, low) == [0]
    cluster.advance(to=110.1)
    assert started(cluster, low) == [1]
    assert len(worker.running) == 2


def test_s88_a_resource_nobody_offers_is_waited_for():
    cluster = Cluster()
    cluster.join(4)
    task = cluster.submit(needs(1, foo=5))
    cluster.settle()
    cluster.join(4, foo=3)
    cluster.settle()
    assert started(cluster, task) == [0]
    cluster.join(4, foo=5)
    cluster.settle()
    assert cluster.loads() == [0, 0, 1]


def test_s104_older_job_of_the_same_class_goes_first():
    cluster = Cluster()
    worker = cluster.join(1)
    first, second = cluster.submit(1, count=5), cluster.submit(1, count=5)
    cluster.finish_all()
    assert [task for task, _ in worker.ran] == first + second


def test_s108_an_impossible_task_is_harmless():
    cluster = Cluster()
    cluster.join(4)
    cluster.submit(999, priority=5)
    cluster.submit(needs(1, nodes=2), priority=5)
    one = cluster.submit(1)
    cluster.settle()
    assert started(cluster, one) == [1]


def test_a_claim_names_ascending_labels_of_few_groups():
    cluster = Cluster()
    worker = cluster.join((4, 4))
    cluster.submit(4)
    cluster.submit(3)
    cluster.settle()
    labels = sorted(share.labels for _, claim, _ in worker.slots.values() for share in claim.shares)
    assert labels == [("0", "1", "2", "3"), ("4", "5", "6")]


def test_all_takes_the_whole_pool_and_waits_for_it():
    cluster = Cluster()
    worker = cluster.join(4)
    cluster.submit(1)
    cluster.settle()
    whole = cluster.submit(needs("all"), priority=1)
    cluster.settle()
    assert started(cluster, whole) == [0]
    worker.end(next(iter(worker.running)))
    cluster.settle()
    assert started(cluster, whole) == [1]


def test_n39_fractions_share_no_index_beyond_one():
    cluster = Cluster()
    cluster.join(2)
    cluster.submit(0.6, count=3)
    cluster.settle()
    assert cluster.loads() == [2]
    assert cluster.finish_all() == 3


def test_grant_and_first_task_travel_in_one_frame():
    cluster = Cluster()
    worker = cluster.join(1)
    cluster.round()
    worker.frames.clear()
    cluster.submit(1)
    cluster.round()
    [frame] = worker.frames
    kinds = [type(message).__name__ for message in frame]
    assert kinds == ["DefineClass", "DefineBody", "Grant", "Enqueue"]
    assert isinstance(frame[2], Grant)


def test_s4_25_single_tasks_are_packed_onto_few_of_many_workers():
    cluster = Cluster()
    for _ in range(8):
        cluster.join(4)
        cluster.submit(1)
        cluster.settle()
    assert sorted(cluster.loads()) == [0] * 6 + [4, 4]
