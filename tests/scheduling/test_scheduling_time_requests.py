"""Tasks that start only where the worker lives long enough, and not a moment too late."""

from __future__ import annotations

from scheduling_cluster import Cluster, needs


def test_s1_21_tasks_use_only_workers_that_live_long_enough():
    cluster = Cluster()
    workers = [cluster.join(1, remaining_s=limit_s) for limit_s in (2.0, 4.0, 10.0, None)]
    tasks = cluster.submit(needs(1, time_s=5.0), count=20)
    cluster.settle()
    assert [cluster.here(worker, tasks) for worker in workers] == [[0], [0], [1], [1]]
    assert cluster.finish_all() == 20
    assert [bool(worker.ran) for worker in workers] == [False, False, True, True]


def test_s1_22_a_task_waits_for_ever_when_the_only_worker_has_grown_too_old():
    cluster = Cluster()
    start = cluster.time
    worker = cluster.join(1, remaining_s=4.0)
    early = cluster.submit(needs(1, time_s=2.0))
    cluster.settle()
    assert cluster.here(worker, early) == [1]
    cluster.end(early)
    cluster.advance(start + 2.2)
    late = cluster.submit(needs(1, time_s=2.0))
    cluster.settle()
    assert cluster.started(late) == [0]
    cluster.advance(start + 3.9)
    assert cluster.started(late) == [0]
    assert cluster.machine.statistics().ready == 1
    longer = cluster.join(1, remaining_s=4.0)
    cluster.settle()
    assert cluster.here(longer, late) == [1]


def test_s1_23_what_an_old_worker_cannot_start_any_more_goes_to_a_new_one():
    cluster = Cluster()
    start = cluster.time
    first = cluster.join(4, remaining_s=80.0)
    tasks = cluster.submit(needs(1, time_s=78.0), count=350)
    cluster.settle()
    assert list(first.running) == tasks[:4]
    cluster.advance(start + 6.0)
    assert first.waiting == 0, "too late for all that was parked there"
    second = cluster.join(4, remaining_s=80.0)
    cluster.settle()
    assert list(second.running) == tasks[4:8]
    assert list(first.running) == tasks[:4]
