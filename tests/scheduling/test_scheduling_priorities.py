"""Higher priorities first, and nothing blocked by what can never run there."""

from __future__ import annotations

import pytest
from scheduling_cluster import Cluster, needs


def play(workers, tasks):
    """Submit (priority, cpus) tasks at once; the ones that run, in order of submission."""
    cluster = Cluster()
    for cpus in workers:
        cluster.join(cpus)
    ids = {cluster.submit(cpus, priority=priority)[0]: (priority, cpus) for priority, cpus in tasks}
    cluster.settle()
    running = {task for row in cluster.running() for task in row}
    return cluster, [ids[task] for task in ids if task in running]


@pytest.mark.parametrize(
    ("workers", "tasks", "running"),
    [
        pytest.param((4, 4), [(0, 4), (0, 4), (1, 2), (2, 3)], [(1, 2), (2, 3)], id="s20"),
        pytest.param((4, 4), [(0, 4), (0, 4), (1, 2), (1, 3)], [(1, 2), (1, 3)], id="s21"),
        pytest.param((4, 4), [(1, 5), (0, 4)], [(0, 4)], id="s23"),
        pytest.param((4,), [(9, 2), (7, 1), (6, 2)], [(9, 2), (7, 1)], id="s25"),
        pytest.param((4,), [(9, 2), (7, 1), (6, 2), (5, 1)], [(9, 2), (7, 1)], id="s26"),
        pytest.param(
            (10,),
            [(9, 2), (8, 1), (7, 2), (6, 1), (5, 2), (4, 1), (3, 2), (2, 1)],
            [(9, 2), (8, 1), (7, 2), (6, 1), (5, 2), (4, 1)],
            id="s27",
        ),
        pytest.param((4,), [(1, 3), (1, 3), (1, 3), (0, 1)], [(1, 3), (0, 1)], id="s28"),
        pytest.param((3,), [(10, 5), (0, 1)], [(0, 1)], id="s35"),
        pytest.param((3, 5), [(10, 5), (9, 5), (0, 1)], [(10, 5), (0, 1)], id="s36"),
        pytest.param(
            (5, 3), [(10, 3), (9, 2), (8, 5), (0, 1)], [(10, 3), (9, 2), (0, 1)], id="s37"
        ),
        pytest.param((12,), [(1, 8), (1, 8), (0, 4)], [(1, 8), (0, 4)], id="s43"),
        pytest.param((6,), [(1, 3), (1, 3), (1, 3), (0, 2)], [(1, 3), (1, 3)], id="s44"),
    ],
)
def test_levels_are_served_from_the_top(workers, tasks, running):
    cluster, ran = play(workers, tasks)
    assert ran == running
    able = [cpus for _, cpus in tasks if cpus <= max(workers)]
    assert cluster.finish_all() == len(able)


def test_s19_priority_order_within_one_worker():
    cluster, ran = play((4, 4), [(1, 2), (2, 2)])
    assert len(ran) == 2
    assert cluster.loads() == [2, 0]
    worker = next(iter(cluster.workers.values()))
    assert [task >> 32 for task, _ in worker.ran] == [2, 1]


def test_s22_the_three_highest_run():
    _, ran = play((4, 4), [(0, 2), (4, 2), (3, 1), (2, 3)])
    assert ran[-3:] == [(4, 2), (3, 1), (2, 3)]


def test_s30_one_cpu_runs_them_in_order_of_priority():
    cluster = Cluster()
    tasks = {p: cluster.submit(1, priority=p, count=n) for p, n in ((1, 1), (3, 2), (0, 1))}
    worker = cluster.join(1)
    cluster.finish_all()
    assert [task for task, _ in worker.ran] == tasks[3] + tasks[1] + tasks[0]


def test_s42_nothing_starts_beside_a_waiting_higher_task():
    cluster = Cluster()
    cluster.join(3)
    cluster.submit(1, priority=5)
    cluster.settle()
    cluster.submit(3, priority=1)
    cluster.submit(1)
    cluster.settle()
    assert cluster.loads() == [1]


def test_s49_one_worker_is_held_and_the_other_goes_on():
    cluster = Cluster()
    for _ in range(2):
        cluster.join(3)
    running = [cluster.submit(2, priority=9), cluster.submit(2, priority=9)]
    cluster.settle()
    assert cluster.loads() == [1, 1]
    assert all(running)
    cluster.submit(3, priority=3)
    cluster.submit(1, priority=2)
    cluster.settle()
    assert sorted(cluster.loads()) == [1, 2]
    held = [cluster.machine.runtime_info(w.id).reserved for w in cluster.workers.values()]
    assert sorted(held) == [False, True]


def test_s56_endless_small_tasks_do_not_starve_a_big_one():
    cluster = Cluster()
    workers = [cluster.join(3), cluster.join(3)]
    cluster.submit(1, count=500)
    cluster.settle()
    [big] = cluster.submit(3, priority=1)
    for _ in range(60):
        for worker in workers:
            for task in list(worker.running)[:1]:
                worker.end(task)
            cluster.settle()
        if any(task == big for worker in workers for task, _ in worker.ran):
            break
    assert any(task == big for worker in workers for task, _ in worker.ran)
    assert len(cluster.live) > 100


def test_s58_a_cancelled_holder_gives_the_worker_back():
    cluster = Cluster()
    cluster.join(3)
    cluster.submit(1, priority=5)
    cluster.settle()
    big = cluster.submit(3, priority=1)
    cluster.submit(1, count=2)
    cluster.settle()
    assert cluster.loads() == [1]
    cluster.cancel(big)
    cluster.settle()
    assert cluster.loads() == [3]


def test_s38_a_multi_node_request_blocks_nobody():
    cluster = Cluster()
    cluster.join(1, group="one")
    cluster.join(1, group="other")
    cluster.submit(needs(1, nodes=2), priority=10)
    cluster.submit(1, count=5)
    assert cluster.finish_all() == 5


def test_lower_backlog_is_asked_back_when_a_higher_task_arrives():
    cluster = Cluster()
    worker = cluster.join(2)
    low = cluster.submit(1, count=50)
    cluster.settle()
    assert sum(map(len, worker.backlog.values())) > 0
    cluster.submit(2, priority=1)
    cluster.settle()
    assert sum(map(len, worker.backlog.values())) == 0
    for task in list(worker.running):
        worker.end(task)
    cluster.settle()
    assert [task >> 32 for task in worker.running] == [2]
    assert cluster.finish_all() == 49
    assert len(low) + 1 == len(cluster.ended)


def test_a_task_on_its_way_to_a_closing_slot_is_not_overtaken_by_a_lower_one():
    """R09 with priorities: the enqueue of the middle task crosses the closing of the slot."""
    cluster = Cluster()
    worker = cluster.join(1)
    (top,) = cluster.submit(priority=9)
    cluster.settle()
    (middle,) = cluster.submit(priority=5)
    (low,) = cluster.submit(priority=1)
    cluster.round()  # the middle task is under way as backlog
    worker.end(top)  # the slot runs dry and closes before the backlog arrives
    worker.report()
    cluster.hear(worker)
    cluster.round()  # the cpu is free, and the middle task not yet known to be given back
    cluster.settle()
    worker.end(middle)
    cluster.settle()
    worker.end(low)
    cluster.settle()
    assert [task for task, _ in worker.ran] == [top, middle, low]
