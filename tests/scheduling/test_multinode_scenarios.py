"""Multi-node tasks as users meet them: which workers make up a task, and who has to wait."""

from __future__ import annotations

from scheduling_cluster import Cluster, gang, needs


def join(cluster: Cluster, *groups: str, cpus: int = 1, **more: object) -> dict[int, str]:
    """A worker for each name of a group; the group of each worker."""
    workers = [cluster.join(cpus, group=group, **more) for group in groups]
    return {worker.id: worker.config.group for worker in workers}


def test_s7_06_three_nodes_of_one_group_have_to_come_together():
    cluster = Cluster()
    groups = join(cluster, "g1", "g1", "g2", "g2")
    three = cluster.submit(gang(3))
    cluster.settle()
    assert cluster.started(three) == [0]
    groups |= join(cluster, "g2")
    cluster.settle()
    assert [groups[worker] for worker in cluster.gangs[three[0]]] == ["g2"] * 3
    assert cluster.finish_all() == 1


def test_s7_07_what_no_group_can_run_holds_up_nobody():
    cluster = Cluster()
    join(cluster, "A", "B")
    pair = cluster.submit(gang(2, time_s=3600.0), priority=10)
    small = cluster.submit(needs(1), count=5)
    cluster.settle()
    assert cluster.started(pair, small) == [0, 2]
    assert cluster.finish_all() == 5
    assert cluster.starts == small


def test_s7_08_a_worker_that_leaves_too_soon_is_no_node():
    cluster = Cluster()
    join(cluster, "g", "g")
    join(cluster, "g", remaining_s=1.0)
    three = cluster.submit(gang(3, time_s=2.0))
    cluster.settle()
    assert cluster.started(three) == [0]
    cluster.join(1, group="g", remaining_s=3.0)
    cluster.settle()
    assert cluster.started(three) == [1]
    assert cluster.finish_all() == 1


def test_s7_11_tasks_of_many_sizes_start_at_once_if_all_fit():
    cluster = Cluster()
    groups = join(cluster, *["g"] * 11)
    submits = [cluster.submit(gang(size)) for size in (3, 5, 1, 2)]
    cluster.settle()
    assert cluster.started(*submits) == [1, 1, 1, 1]
    taken = [worker for [task] in submits for worker in cluster.gangs[task]]
    assert sorted(taken) == sorted(groups)


def test_s7_12_b38_each_of_two_tasks_has_its_nodes_in_one_group():
    cluster = Cluster()
    groups = join(cluster, "g1", "g2", "g1", "g2")
    pairs = cluster.submit(gang(2), count=2)
    cluster.settle()
    assert cluster.started(pairs) == [2]
    used = [{groups[worker] for worker in cluster.gangs[task]} for task in pairs]
    assert sorted(map(sorted, used)) == [["g1"], ["g2"]]
