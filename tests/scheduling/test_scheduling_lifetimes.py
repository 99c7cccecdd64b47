"""Minimal utilization, lifetimes, and workers that come and go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scheduling_cluster import Cluster, gang, needs

from hqtrio.messages.scheduling import WorkerGone
from hqtrio.model.worker import LossReason


@pytest.mark.parametrize(
    ("cpus", "utilization", "count", "started"),
    [
        pytest.param(9, 1.0, 2, 0, id="s78_two_of_three"),
        pytest.param(9, 1.0, 3, 3, id="s78_three_of_three"),
        pytest.param(12, 0.5, 2, 2, id="s79_half_is_half"),
        pytest.param(12, 0.51, 2, 0, id="s79_half_is_less"),
        pytest.param(12, 0.51, 3, 3, id="s79_three_quarters_are_more"),
        pytest.param(12, 0.75, 3, 3, id="s79_three_quarters"),
        pytest.param(12, 0.76, 3, 0, id="s79_three_quarters_are_less"),
    ],
)
def test_a_worker_is_used_enough_or_not_at_all(cpus, utilization, count, started):
    cluster = Cluster()
    cluster.join(cpus, min_utilization=utilization)
    tasks = cluster.submit(3, count=count)
    cluster.settle()
    assert cluster.started(tasks) == [started]


@pytest.mark.parametrize("one_by_one", [True, False])
def test_s78_running_tasks_count(one_by_one):
    cluster = Cluster()
    worker = cluster.join(9, min_utilization=1.0)
    first = cluster.submit(3, count=3)
    cluster.settle()
    cluster.end(first[1:])
    assert len(worker.running) == 1
    if one_by_one:
        one = cluster.submit(3)
        cluster.settle()
        assert cluster.started(one) == [0]
    cluster.submit(3, count=1 if one_by_one else 2)
    cluster.settle()
    assert len(worker.running) == 3


def test_s80_the_threshold_is_reached_by_all_levels_together():
    cluster = Cluster()
    cluster.join(12, min_utilization=1.0)
    high, low = cluster.submit_all((1, 3, 2), (0, 3, 2))
    cluster.settle()
    assert cluster.started(high, low) == [2, 2]


def test_s4_5_what_does_not_fill_one_worker_runs_on_another():
    cluster = Cluster()
    cluster.join(4, min_utilization=1.0)
    cluster.join(4)
    tasks = cluster.submit(3, count=2)
    cluster.settle()
    assert cluster.loads() == [0, 1]
    more = cluster.submit(1, count=2)
    cluster.settle()
    assert sum(cluster.started(tasks, more)) == 4


def test_s4_5_slots_go_on_below_the_threshold():
    """Backlog in an open slot is no new addition."""
    cluster = Cluster()
    worker = cluster.join(4, min_utilization=1.0)
    short, long = cluster.submit(1, count=2), cluster.submit(needs(1, weight=2), count=9)
    cluster.settle()
    assert len(worker.running) == 4
    running = sorted(worker.running)
    cluster.end(sorted(set(running) & set(long))[:1])
    assert len(worker.running) == 4
    assert cluster.finish_all() >= 8
    assert short


def test_s4_5_multi_node_tasks_are_exempt():
    cluster = Cluster()
    cluster.join(4, min_utilization=1.0)
    cluster.join(4, min_utilization=1.0)
    pair = cluster.submit(gang(2))
    cluster.settle()
    assert cluster.started(pair) == [1]


def test_s4_5_a_worker_that_nobody_fills_holds_nobody_up():
    cluster = Cluster()
    picky = cluster.join(4, min_utilization=1.0)
    cluster.join(2)
    high, low = cluster.submit_all((1, 3), (0, 1, 2))
    cluster.settle()
    assert picky.slots == {} or picky.cpus == 4
    assert cluster.started(low)[0] + cluster.started(high)[0] >= 2


def test_s82_long_requests_get_the_workers_that_live_long():
    cluster = Cluster()
    first, second, third = (cluster.join(1, remaining_s=t) for t in (50.0, 200.0, 100.0))
    longest, plain, long = (cluster.submit(needs(1, time_s=t)) for t in (170.0, 0.0, 99.0))
    cluster.settle()
    assert cluster.here(second, longest) == [1]
    assert cluster.here(third, long) == [1]
    assert cluster.here(first, plain) == [1]  # quality


def test_s83_short_lived_workers_are_not_used():
    cluster = Cluster()
    workers = [cluster.join(1, remaining_s=t) for t in (2.0, 4.0, 10.0, None)]
    cluster.submit(needs(1, time_s=5.0), count=20)
    assert cluster.finish_all() == 20
    assert [bool(worker.ran) for worker in workers] == [False, False, True, True]


def test_a_worker_that_lives_exactly_long_enough_is_used():
    cluster = Cluster()
    worker = cluster.join(1, remaining_s=50.0)
    cluster.time += 10.0
    task = cluster.submit(needs(1, time_s=39.97))  # a round comes 0.03 s later
    cluster.settle()
    assert cluster.here(worker, task) == [1]


def test_s86_nothing_is_left_at_a_worker_that_will_not_live_long_enough():
    cluster = Cluster()
    start = cluster.time
    worker = cluster.join(1, remaining_s=20.0, idle_timeout_s=1.5)
    tasks = cluster.submit(needs(1, time_s=18.5), count=50)
    cluster.settle()
    # They ask for much more time than they take: until 1.5 s are over, one follows another.
    cluster.end(list(worker.running), took=0.01)
    cluster.advance(start + 1.4)
    cluster.end(list(worker.running), took=0.01)
    assert list(worker.running) == [tasks[2]]
    cluster.advance(start + 1.6)
    assert worker.waiting == 0
    assert cluster.machine.statistics().ready == 47
    cluster.end(list(worker.running))
    assert worker.slots == {}
    cluster.advance(cluster.time + 1.6)
    assert worker.stopped is LossReason.IDLE_TIMEOUT
    assert cluster.time < start + 6
    assert [task for task, _ in worker.ran] == tasks[:3]


def test_s87_running_tasks_are_never_moved():
    cluster = Cluster()
    first = cluster.join(6, gpus=2)
    running = cluster.submit(5)
    cluster.settle()
    second = cluster.join(6)
    gpu = cluster.submit(needs(4, gpus=2))
    cluster.settle()
    assert cluster.here(first, running, gpu) == [1, 0]
    assert second.slots == {}
    cluster.end(running)
    assert cluster.here(first, gpu) == [1]


@pytest.mark.parametrize("reason", list(LossReason))
def test_s4_4_a_loss_tells_what_ran_from_what_had_not_started(reason):
    """Whether it counts as a crash is for the job book to say: it needs reason and instances."""
    cluster = Cluster()
    worker = cluster.join(1)
    running, waiting = cluster.submit(1, count=2)
    cluster.settle()
    cluster.lose(worker, reason)
    [gone] = [fact for fact in cluster.facts if isinstance(fact, WorkerGone)]
    assert replace(gone, worker=0) == WorkerGone(0, reason, ((running, 0),), ((waiting, 0),))
    other = cluster.join(2)
    cluster.settle()
    assert sorted(other.ran) == [(running, 1), (waiting, 1)]


def test_s4_4_and_b37_a_stopping_worker_gets_nothing_and_counts_for_nothing():
    cluster = Cluster()
    going, staying = cluster.join(2), cluster.join(2)
    cluster.occupy(going, 1)
    cluster.stop(going)
    pair, small = cluster.submit_all((5, gang(2)), (0, 1, 2))
    cluster.settle()
    assert cluster.started(pair) == [0]
    assert cluster.here(staying, small) == [2]
    assert cluster.held() == [False, False]
    cluster.lose(going)
    cluster.settle()
    assert cluster.gone == [(going.id, LossReason.STOPPED)]


def test_s4_4_a_new_worker_starts_the_held_task_but_moves_no_hold():
    cluster = Cluster()
    first = cluster.join(4)
    cluster.occupy(first, 1)
    big, small = cluster.submit_all((1, 4), (0, 1, 5))
    cluster.settle()
    assert cluster.held() == [True]
    second = cluster.join(2)
    cluster.settle()
    assert cluster.held() == [True, False]
    assert cluster.here(second, small) == [2]
    third = cluster.join(4)
    cluster.settle()
    assert cluster.here(third, big) == [1]
    assert cluster.held() == [False] * 3
    assert cluster.here(first, small) == [3]


def test_s4_3_gpu_workers_are_kept_for_those_who_need_them():
    cluster = Cluster()
    gpu_worker = cluster.join(4, gpus=1)
    plain_worker = cluster.join(4)
    plain, gpu = cluster.submit(4), cluster.submit(needs(1, gpus=1))
    cluster.settle()
    assert cluster.here(plain_worker, plain) == [1]
    assert cluster.here(gpu_worker, gpu) == [1]


def test_d09_classes_that_compete_for_no_worker_have_backlog_at_different_levels():
    cluster = Cluster()
    left, right = cluster.join(1, left=1), cluster.join(1, right=1)
    cluster.submit_all((5, needs(1, left=1), 10), (0, needs(1, right=1), 10))
    cluster.settle()
    assert left.waiting > 0
    assert right.waiting > 0


def test_d09_backlog_is_started_in_the_order_of_submission():
    cluster = Cluster()
    worker = cluster.join(1)
    tasks = cluster.submit(1, count=50)
    cluster.settle()
    while worker.running:
        cluster.end(list(worker.running))
    assert [task for task, _ in worker.ran] == tasks
