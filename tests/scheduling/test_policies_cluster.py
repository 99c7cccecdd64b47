"""Allocation policies under the scheduler: who waits for groups starts in the end."""

from scheduling_cluster import Cluster, needs

from hqtrio.model.resources import Policy


def strict(cpus):
    return needs(cpus, policy=Policy.FORCE_COMPACT)


def test_n39_three_fractions_on_two_cpus_do_not_stall():
    cluster = Cluster()
    worker = cluster.join(2)
    cluster.submit(0.6, count=3)
    cluster.settle()
    assert len(worker.running) == 2
    assert cluster.finish_all() == 3


def test_n40_three_strict_pairs_on_two_groups_do_not_stall():
    cluster = Cluster()
    worker = cluster.join((3, 3))
    cluster.submit(strict(2), count=3)
    cluster.settle()
    assert len(worker.running) == 2
    assert cluster.finish_all() == 3


def test_scattered_tasks_in_the_gap_do_not_starve_a_strict_task():
    """By amounts, three strict tasks leave three cpus: but not three of one group."""
    cluster = Cluster()
    worker = cluster.join((5, 5, 5))
    cluster.submit(strict(4), count=2, priority=1)
    cluster.settle()
    small = cluster.submit(needs(1, policy=Policy.SCATTER), count=200)
    cluster.settle()
    (big,) = cluster.submit(strict(4), priority=1)
    cluster.settle()
    for _ in range(30):
        if big in worker.running:
            break
        worker.end(max(task for task in worker.running if task in small))
        cluster.settle()
    assert big in worker.running
