"""Holds: workers kept for waiting tasks, no more of them than needed and no longer."""

from __future__ import annotations

import pytest
from scheduling_cluster import Cluster, gang, needs

from hqtrio.messages.worker import Drain
from hqtrio.model.resources import Policy


def busy(*workers):
    """Workers of (cpus, cpus in use by one-cpu tasks)."""
    cluster = Cluster()
    joined = cluster.join_all(*(cpus for cpus, _ in workers))
    for worker, (_, used) in zip(joined, workers, strict=True):
        if used:
            cluster.occupy(worker, 1, count=used)
    return cluster, joined


def test_s50_one_worker_is_held_and_the_other_takes_the_small_ones():
    cluster, workers = busy((3, 1), (3, 1))
    big, *small = cluster.submit_all((3, 3), (2, 1), (2, 1))
    cluster.settle()
    assert cluster.started(big, *small) == [0, 1, 1]
    assert sorted(cluster.held()) == [False, True]
    assert sorted(worker.cpus for worker in workers) == [1, 3]
    assert [worker.cpus == 1 for worker in workers] == cluster.held()


def test_s51_the_worker_that_is_not_held_is_filled():
    cluster, workers = busy((3, 2), (3, 1))
    used = [worker.cpus for worker in workers]
    big, small = cluster.submit_all((3, 3), (2, 1, 2))
    cluster.settle()
    assert cluster.started(big) == [0]
    assert sorted(cluster.held()) == [False, True]
    held = cluster.held().index(True)
    assert workers[held].cpus == used[held]
    assert workers[1 - held].cpus == 3
    assert cluster.started(small)[0] == 3 - used[1 - held]


def test_s52_two_waiting_tasks_hold_two_workers():
    cluster, workers = busy((4, 1), (3, 2), (3, 2), (3, 1))
    top, big, small = cluster.submit_all((4, 3), (3, 3, 2), (2, 1, 2))
    cluster.settle()
    assert cluster.here(workers[0], top) == [1]
    assert cluster.started(big) == [0]
    held = cluster.held()
    assert held.count(True) == 2
    assert not any(cluster.here(w, small)[0] for w in workers if cluster.is_held(w))
    free = [4 - workers[0].cpus, *(3 - worker.cpus for worker in workers[1:])]
    left = 2 - cluster.started(small)[0]
    assert left == 0 or not any(f for f, kept in zip(free, held, strict=True) if not kept)


def test_s53_small_tasks_start_in_a_gap_or_on_a_worker_that_is_not_held():
    cluster, workers = busy((3, 2), (3, 2), (3, 1), (4, 0))
    top, big, small = cluster.submit_all((4, 3), (3, 3, 2), (2, 1, 2))
    cluster.settle()
    assert cluster.here(workers[3], top) == [1]
    assert cluster.started(big, small) == [0, 2]


def test_s54_a_task_for_the_whole_worker_keeps_all_others_out():
    cluster, [worker] = busy((4, 1))
    [running] = worker.running
    top, middle, low = cluster.submit_all((100, 4), (50, 2, 5), (1, 4, 5))
    cluster.settle()
    assert cluster.started(top, middle, low) == [0, 0, 0]
    cluster.end([running])
    assert cluster.started(top, middle, low) == [1, 0, 0]
    cluster.end(top)
    assert cluster.started(middle, low) == [2, 0]
    assert cluster.finish_all() == 10


@pytest.mark.parametrize("cpus", [64, (32, 32)])
def test_s57_drain_by_need(cpus):
    cluster = Cluster()
    worker = cluster.join(cpus)
    low = cluster.submit(1, count=500)
    cluster.settle()
    assert (len(worker.running), worker.waiting > 0) == (64, True)
    big = cluster.submit(8, priority=1)
    cluster.settle()
    for ended in range(1, 9):
        cluster.end([min(worker.running)])
        assert cluster.started(big) == [ended == 8]
        assert worker.cpus >= 56  # quality
    assert cluster.started(big, low) == [1, 56]
    for _ in range(100):
        cluster.end([max(worker.running.keys() & set(low))])
        assert cluster.started(big, low) == [1, 56]
    assert not any(cluster.held())


def test_s57_a_second_waiting_task_drains_as_much_again():
    cluster = Cluster()
    worker = cluster.join(64)
    cluster.submit(1, count=500)
    cluster.settle()
    big = cluster.submit(8, priority=1, count=2)
    cluster.settle()
    for _ in range(16):
        cluster.end([min(task for task in worker.running if task not in big)])
        assert worker.cpus >= 64 - 2 * 8
    assert cluster.started(big) == [2]
    assert worker.cpus == 64


def test_a_strict_task_gets_the_group_that_is_nearest_to_empty():
    """By amount four ends are enough, but they have to be those of one socket."""
    cluster = Cluster()
    worker = cluster.join((4, 4))
    cluster.submit(1, count=100)
    cluster.settle()
    big = cluster.submit(needs(4, policy=Policy.FORCE_COMPACT), priority=1)
    cluster.settle()
    ends = 0
    while not cluster.started(big)[0]:
        # Whichever ends next: one of the upper socket and one of the lower in turn.
        by_label = {
            claim.shares[0].labels[0]: task
            for _, claim, task in worker.slots.values()
            if task is not None
        }
        pick = max if ends % 2 else min
        cluster.end([by_label[pick(by_label)]])
        ends += 1
        assert ends <= 8
        assert worker.cpus >= 4


def test_s58_the_hold_goes_with_the_worker_that_leaves():
    cluster, [first, second] = busy((3, 1), (2, 1))
    big, low = cluster.submit_all((1, 3), (0, 1, 4))
    cluster.settle()
    assert cluster.started(big, low) == [0, 1]
    assert cluster.held() == [True, False]
    cluster.lose(first)
    cluster.settle()
    assert cluster.held() == [False]
    assert second.cpus == 2


def test_s58_a_stopping_worker_is_held_for_nobody():
    cluster, workers = busy((3, 1), (3, 1))
    big, low = cluster.submit_all((1, 3), (0, 1, 4))
    cluster.settle()
    assert cluster.started(low) == [2]
    assert cluster.held().count(True) == 1
    held = cluster.held().index(True)
    cluster.stop(workers[held])
    cluster.settle()
    assert cluster.held()[held] is False
    assert cluster.held()[1 - held] is True
    cluster.end(list(workers[1 - held].running))
    assert cluster.here(workers[1 - held], big) == [1]


def test_s58_the_hold_goes_when_a_lifetime_becomes_too_short():
    cluster = Cluster()
    worker = cluster.join(3, remaining_s=100.0)
    cluster.occupy(worker, 1)
    start = cluster.time
    big, low = cluster.submit_all((1, needs(3, time_s=50.0)), (0, 1, 2))
    cluster.settle()
    assert cluster.held() == [True]
    cluster.advance(start + 51)
    assert cluster.held() == [False]
    assert cluster.started(big, low) == [0, 2]


def test_s58_the_hold_goes_when_another_worker_can_start_the_task_at_once():
    cluster, [first] = busy((3, 1))
    big, low = cluster.submit_all((1, 3), (0, 1, 2))
    cluster.settle()
    assert cluster.held() == [True]
    second = cluster.join(3)
    cluster.settle()
    assert cluster.here(second, big) == [1]
    assert cluster.held() == [False, False]
    assert cluster.here(first, low) == [2]


def test_s59_a_higher_task_takes_the_worker_over():
    cluster = Cluster()
    worker = cluster.join(4)
    [running] = cluster.occupy(worker, 2)
    low, least = cluster.submit_all((1, 4), (0, 1, 5))
    cluster.settle()
    assert cluster.held() == [True]
    high = cluster.submit(3, priority=2)
    cluster.settle()
    assert cluster.held() == [True]
    cluster.end([running])
    assert cluster.started(high, low, least) == [1, 0, 0]
    assert cluster.held() == [True]
    cluster.end(high)
    assert cluster.started(low, least) == [1, 0]
    assert cluster.held() == [False]
    cluster.end(low)
    assert cluster.started(least) == [4]


def test_holds_stay_where_they_are_while_others_come_and_go():
    """Sticky: a worker that looks better for a moment does not take the hold away."""
    cluster, workers = busy((4, 2), (4, 3))
    big = cluster.submit(4, priority=1)
    low = cluster.submit(1, count=200)
    cluster.settle()
    held = cluster.held().index(True)
    other = workers[1 - held]
    for _ in range(20):
        # For a round it lacks only one cpu. Tasks this long are not sent ahead.
        cluster.end(sorted(other.running)[:3], took=60.0)
        assert cluster.held().index(True) == held
        assert other.cpus == 4
    cluster.end(list(workers[held].running))
    assert cluster.here(workers[held], big) == [1]
    assert cluster.started(low)[0] == 4


def test_g13_no_more_workers_are_held_than_tasks_wait():
    cluster, workers = busy(*[(4, 4)] * 6)
    cluster.submit(4, priority=1, count=2)
    low = cluster.submit(1, count=300)
    cluster.settle()
    assert cluster.held().count(True) == 2
    cluster.end([task for worker in workers for task in list(worker.running)[:1]])
    # Every worker that is not held goes on with the small ones at once.
    assert [worker.cpus for worker in workers] == [3 if held else 4 for held in cluster.held()]
    assert cluster.started(low) == [4]


def test_more_waiting_tasks_than_workers_hold_all_of_them():
    cluster, _ = busy(*[(4, 2)] * 3)
    top, low = cluster.submit_all((1, 3, 10), (0, 2, 10))
    cluster.settle()
    assert cluster.held() == [True] * 3
    assert cluster.started(top, low) == [0, 0]


def test_on_a_held_worker_only_the_slots_that_are_needed_lose_their_backlog():
    cluster = Cluster()
    worker = cluster.join(8)
    low = cluster.submit(1, count=500)
    cluster.settle()
    cluster.end([low[0]])
    assert worker.waiting > 100
    big = cluster.submit(2, priority=1)
    cluster.settle()
    # Three tasks end before the server hears of it: two slots close, the third goes on.
    for task in sorted(worker.running)[:3]:
        worker.end(task)
    assert len(worker.running) == 6
    cluster.settle()
    assert cluster.started(big, low) == [1, 6]


def test_s58_the_drain_of_a_cancelled_task_is_withdrawn():
    cluster = Cluster()
    worker = cluster.join(8)
    low = cluster.submit(1, count=500)
    cluster.settle()
    cluster.end([low[0]])
    big = cluster.submit(4, priority=1)
    cluster.settle()
    cluster.end(sorted(worker.running)[:2])
    assert len(worker.running) == 6
    cluster.cancel(big)
    cluster.settle()
    assert len(worker.running) == 8
    # The worker goes on by itself again, in every slot.
    for task in sorted(worker.running):
        worker.end(task)
    assert len(worker.running) == 8


def test_no_drain_without_a_waiting_task_of_a_higher_level():
    cluster = Cluster()
    worker = cluster.join(4)
    cluster.submit(1, count=100)
    cluster.settle()
    cluster.submit(4, priority=-1)
    cluster.submit(9, priority=5)
    cluster.submit(gang(2), priority=5)
    cluster.settle()
    assert not worker.orders_of(Drain)
    assert len(worker.running) == 4
    assert worker.waiting > 0
