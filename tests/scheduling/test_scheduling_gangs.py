"""Multi-node tasks: whole workers of one group, taken together and freed together."""

from __future__ import annotations

import pytest
from scheduling_cluster import Cluster, gang, needs

from hqtrio.messages.scheduling import NodeLost
from hqtrio.messages.worker import Cancel, Enqueue, Grant
from hqtrio.model.task import Ending
from hqtrio.model.worker import LossReason


def members(cluster, *groups):
    """Ids of the workers of each running multi-node task, in order of the submits."""
    return [cluster.gangs[task] for tasks in groups for task in tasks if task in cluster.gangs]


def grants(workers):
    return [len(worker.orders_of(Grant)) for worker in workers]


def test_s90_two_pairs_run_and_the_third_follows():
    cluster = Cluster()
    workers = cluster.join_all(5, 5, 5, 5, 5)
    one, two, three, four = cluster.submit_all(*((p, gang(2)) for p in (1, 2, 3, 4)))
    cluster.settle()
    assert cluster.started(one, two, three, four) == [0, 0, 1, 1]
    pairs = members(cluster, three, four)
    assert [len(pair) for pair in pairs] == [2, 2]
    assert len({worker for pair in pairs for worker in pair}) == 4
    roots = {pair[0] for pair in pairs}
    assert grants(workers) == [int(worker.id in roots) for worker in workers]
    assert [len(w.orders_of(Enqueue)) for w in workers] == grants(workers)
    cluster.end(three)
    assert cluster.started(one, two, four) == [0, 1, 1]
    cluster.end(four)
    assert cluster.started(one, two) == [1, 1]
    assert cluster.finish_all() == 2


def test_s90_the_root_learns_the_names_of_all_its_nodes():
    cluster = Cluster()
    workers = cluster.join_all(1, 1, 1)
    [task] = cluster.submit(gang(3))
    cluster.settle()
    by_id = {worker.id: worker for worker in workers}
    root, *others = cluster.gangs[task]
    [grant] = by_id[root].orders_of(Grant)
    assert grant.nodes == tuple(by_id[i].config.hostname for i in (root, *others))
    assert grant.claim.shares == ()


def test_s91_whole_cluster_tasks_follow_one_another_by_priority():
    cluster = Cluster()
    cluster.join_all(1, 1, 1)
    top, middle, low = cluster.submit_all((10, gang(3)), (5, gang(2)), (0, gang(3)))
    for tasks in (top, middle, low):
        cluster.settle()
        assert cluster.started(top, middle, low).count(1) == 1
        cluster.end(tasks)
    assert cluster.starts == top + middle + low


def test_s92_all_workers_are_used_when_the_sizes_add_up():
    cluster = Cluster()
    workers = cluster.join_all(*range(1, 12))
    groups = cluster.submit_all(*((0, gang(n)) for n in (3, 5, 1, 2)))
    cluster.settle()
    assert cluster.started(*groups) == [1, 1, 1, 1]
    used = sorted(worker for gang in members(cluster, *groups) for worker in gang)
    assert used == [worker.id for worker in workers]
    assert cluster.finish_all() == 4


def test_s93_tasks_for_more_nodes_than_there_are_wait_without_a_trace():
    cluster = Cluster()
    cluster.join(4)
    groups = cluster.submit_all(*((0, gang(n)) for n in (3, 5, 11, 2)))
    cluster.settle()
    assert cluster.started(*groups) == [0, 0, 0, 0]
    assert cluster.held() == [False]


@pytest.mark.parametrize("together", [True, False])
def test_s94_a_task_that_is_too_large_for_now_blocks_no_smaller_one(together):
    cluster = Cluster()
    cluster.join_all(4, 1)
    large = cluster.submit(gang(4), priority=10)
    if not together:
        cluster.settle()
    pair = cluster.submit(gang(2), priority=1)
    cluster.settle()
    assert cluster.started(large, pair) == [0, 1]
    cluster.join_all(4, 4)
    cluster.settle()
    assert cluster.started(large, pair) == [0, 1]
    cluster.end(pair)
    assert cluster.started(large) == [1]


def test_s95_groups_never_mix():
    cluster = Cluster()
    cluster.join(1, group="one")
    cluster.join(1, group="two")
    pair = cluster.submit(gang(2))
    cluster.settle()
    assert cluster.started(pair) == [0]


@pytest.mark.parametrize("grows", ["one", "two"])
def test_s95_a_group_has_to_grow_first(grows):
    cluster = Cluster()
    workers = [cluster.join(1, group=group) for group in ("one", "one", "two", "two")]
    three = cluster.submit(gang(3))
    cluster.settle()
    assert cluster.started(three) == [0]
    workers.append(cluster.join(1, group=grows))
    cluster.settle()
    [nodes] = members(cluster, three)
    assert {w.config.group for w in workers if w.id in nodes} == {grows}


def test_s96_only_workers_that_live_long_enough_count():
    cluster = Cluster()
    first, _, third = (cluster.join(1, remaining_s=t) for t in (None, 29_999.0, 30_001.0))
    three, two = cluster.submit(gang(3, time_s=30_000.0)), cluster.submit(gang(2, time_s=30_000.0))
    cluster.settle()
    assert cluster.started(three, two) == [0, 1]
    assert sorted(cluster.gangs[two[0]]) == [first.id, third.id]


def test_s96_three_lifetimes_that_suffice():
    cluster = Cluster()
    for remaining_s in (59_999.0, 29_999.0, 30_001.0):
        cluster.join(1, remaining_s=remaining_s)
    three = cluster.submit(gang(3, time_s=23_998.0))
    cluster.settle()
    assert cluster.started(three) == [1]


@pytest.mark.parametrize(("nodes_priority", "small_priority"), [(2, 1), (1, 2)])
def test_s97_priority_decides_between_nodes_and_cpus(nodes_priority, small_priority):
    cluster = Cluster()
    cluster.join_all(4, 4)
    pair, small = cluster.submit_all((nodes_priority, gang(2)), (small_priority, 4))
    cluster.settle()
    wins = nodes_priority > small_priority
    assert cluster.started(pair, small) == [wins, not wins]
    assert cluster.finish_all() == 2
    assert cluster.starts == (pair + small if wins else small + pair)


def test_s98_nodes_first_at_one_level():
    cluster = Cluster()
    cluster.join_all(4, 4)
    small, pair = cluster.submit_all((0, 4), (0, gang(2)))
    cluster.settle()
    assert cluster.started(pair, small) == [1, 0]  # quality
    assert cluster.finish_all() == 2


@pytest.mark.parametrize("cpus", [(4, 3, 4), (4, 4, 3), (3, 4, 4)])
def test_s99_nodes_take_what_others_cannot_use(cpus):
    cluster = Cluster()
    workers = cluster.join_all(*cpus)
    small, pair = cluster.submit_all((0, 4), (0, gang(2)))
    cluster.settle()
    assert cluster.started(pair, small) == [1, 1]
    assert workers[cpus.index(3)].id in cluster.gangs[pair[0]]  # quality


def test_other_entries_of_a_multi_node_request_say_nothing():
    cluster = Cluster()
    cluster.join_all(1, 1)
    pair = cluster.submit(needs(99, nodes=2, foo=3))
    cluster.settle()
    assert cluster.started(pair) == [1]


def test_the_first_variant_with_enough_nodes_is_used():
    cluster = Cluster()
    cluster.join_all(1, 1)
    task = cluster.submit(gang(3), gang(2))
    cluster.settle()
    assert cluster.chosen(task) == [1]
    assert len(cluster.gangs[task[0]]) == 2


def test_s100_only_as_many_workers_as_needed_are_drained():
    cluster = Cluster()
    workers = [cluster.join(2) for _ in range(8)]
    low = cluster.submit(1, count=300)
    cluster.settle()
    assert cluster.loads() == [2] * 8
    three = cluster.submit(gang(3), priority=10)
    cluster.settle()
    assert cluster.held().count(True) == 3
    drained = [worker for worker in workers if cluster.is_held(worker)]
    rest = [worker for worker in workers if worker not in drained]
    for step in (1, 0):
        cluster.end([min(worker.running) for worker in workers])
        assert [len(worker.running) for worker in rest] == [2] * 5
        if step:
            assert [len(worker.running) for worker in drained] == [step] * 3
            assert [worker for worker in workers if cluster.is_held(worker)] == drained
    assert sorted(cluster.gangs[three[0]]) == [worker.id for worker in drained]
    assert not any(cluster.held())
    assert cluster.started(low) == [10]
    cluster.end(three)
    assert cluster.loads() == [2] * 8


def test_a_smaller_multi_node_task_keeps_off_the_workers_of_a_larger_one():
    cluster = Cluster()
    workers = cluster.join_all(1, 1, 1)
    [running] = cluster.occupy(workers[0], 1)
    three, two, small = cluster.submit_all((2, gang(3)), (1, gang(2)), (0, 1))
    cluster.settle()
    assert cluster.started(three, two, small) == [0, 0, 0]
    cluster.end([running])
    assert cluster.started(three, two, small) == [1, 0, 0]
    cluster.end(three)
    assert cluster.started(two, small) == [1, 1]


def test_s100_the_workers_stay_the_same_while_others_come_to_rest():
    cluster = Cluster()
    workers = [cluster.join(2) for _ in range(4)]
    cluster.submit(1, count=300)
    cluster.settle()
    pair = cluster.submit(gang(2), priority=10)
    cluster.settle()
    held = [worker for worker in workers if cluster.is_held(worker)]
    others = [worker for worker in workers if worker not in held]
    for turn in range(6):
        # For a round it has nothing to do. Tasks this long are not sent ahead.
        cluster.end(list(others[turn % 2].running), took=60.0)
        assert [worker for worker in workers if cluster.is_held(worker)] == held
        assert [len(worker.running) for worker in others] == [2, 2]
    cluster.end([task for worker in held for task in worker.running])
    assert sorted(cluster.gangs[pair[0]]) == [worker.id for worker in held]


def test_s100_workers_with_the_fewest_running_tasks_are_taken():
    cluster = Cluster()
    workers = [cluster.join(4) for _ in range(4)]
    for worker, count in zip(workers, (4, 1, 3, 2), strict=True):
        cluster.occupy(worker, 1, count=count)
    pair, small = cluster.submit_all((1, gang(2)), (0, 1, 5))
    cluster.settle()
    assert cluster.held() == [False, True, False, True]  # quality
    assert cluster.here(workers[2], small) == [1]
    cluster.end([*workers[1].running, *workers[3].running])
    assert cluster.started(pair) == [1]


def test_s101_workers_of_a_running_task_do_not_rest():
    cluster = Cluster()
    workers = [cluster.join(1, idle_timeout_s=1.0) for _ in range(3)]
    three = cluster.submit(gang(3))
    cluster.settle()
    cluster.advance(cluster.time + 3)
    assert [worker.stopped for worker in workers] == [None] * 3
    cluster.end(three)
    cluster.advance(cluster.time + 0.8)
    assert [worker.stopped for worker in workers] == [None] * 3
    cluster.advance(cluster.time + 0.4)
    assert [worker.stopped for worker in workers] == [LossReason.IDLE_TIMEOUT] * 3


def test_s4_4_workers_kept_for_a_multi_node_task_do_not_rest_until_it_becomes_impossible():
    cluster = Cluster()
    workers = [cluster.join(1, idle_timeout_s=5.0) for _ in range(3)]
    cluster.occupy(workers[0], 1)
    three = cluster.submit(gang(3), priority=1)
    cluster.settle()
    cluster.advance(cluster.time + 30)
    assert [worker.stopped for worker in workers] == [None] * 3
    assert cluster.held() == [True] * 3
    cluster.stop(workers[0])
    cluster.lose(workers[0])
    cluster.cancel([task for task in cluster.live if task not in three])
    cluster.settle()
    assert cluster.held() == [False, False]
    cluster.advance(cluster.time + 6)
    assert [worker.stopped for worker in workers[1:]] == [LossReason.IDLE_TIMEOUT] * 2


def test_s102_cancelled_while_it_waits():
    cluster = Cluster()
    workers = cluster.join_all(1, 1, 1)
    cluster.occupy(workers[0], 1)
    three, low = cluster.submit_all((1, gang(3)), (0, 1, 2))
    cluster.settle()
    assert cluster.started(three, low) == [0, 0]
    cluster.cancel(three)
    cluster.settle()
    assert cluster.held() == [False] * 3
    assert cluster.started(low) == [2]


@pytest.mark.parametrize("how", ["cancelled", "failed", "not started"])
def test_s102_the_nodes_of_a_task_that_ended_badly_serve_the_next_one(how):
    cluster = Cluster()
    cluster.join_all(1, 1, 1)
    three, following = cluster.submit_all((1, gang(3)), (0, gang(3)))
    cluster.settle()
    if how == "cancelled":
        cluster.cancel(three)
        cluster.settle()
    else:
        cluster.end(three, Ending.EXITED if how == "failed" else Ending.NOT_STARTED)
    assert cluster.started(following) == [1]
    assert cluster.finish_all() == 1
    assert cluster.machine.statistics().slots == 0


def test_d03_the_nodes_of_a_cancelled_task_stay_taken_until_its_root_confirms():
    cluster = Cluster()
    workers = cluster.join_all(2, 2)
    [pair] = cluster.submit(gang(2))
    cluster.settle()
    [root] = [worker for worker in workers if worker.id == cluster.gangs[pair][0]]
    root.dies_at_once = False
    cluster.cancel([pair])
    small = cluster.submit(1, priority=1)
    cluster.settle()
    assert cluster.started(small) == [0]
    assert [len(worker.orders_of(Cancel)) for worker in workers] == [
        int(worker is root) for worker in workers
    ]
    root.end(pair, Ending.CANCELLED)
    cluster.settle()
    assert cluster.started(small) == [1]


@pytest.mark.parametrize("reason", [LossReason.CONNECTION_LOST, LossReason.STOPPED])
def test_s103_a_lost_root_restarts_the_task(reason):
    cluster = Cluster()
    workers = [cluster.join(1) for _ in range(3)]
    [three] = cluster.submit(gang(3))
    cluster.settle()
    [root] = [worker for worker in workers if worker.id == cluster.gangs[three][0]]
    cluster.lose(root, reason)
    cluster.settle()
    assert cluster.started([three]) == [0]
    assert cluster.gone == [(root.id, reason)]
    cluster.join(1)
    cluster.settle()
    assert cluster.started([three]) == [1]
    [again] = [worker for worker in cluster.workers.values() if three in worker.running]
    assert again.ran[-1] == (three, 1)
    assert cluster.finish_all() == 1


def test_s103_a_lost_node_leaves_the_task_running():
    cluster = Cluster()
    workers = [cluster.join(1, group="g") for _ in range(3)]
    [three] = cluster.submit(gang(3))
    cluster.settle()
    root, lost, stays = cluster.gangs[three]
    cluster.lose(next(worker for worker in workers if worker.id == lost))
    cluster.settle()
    assert [fact for fact in cluster.facts if isinstance(fact, NodeLost)] == [
        NodeLost(three, 0, lost)
    ]
    assert cluster.gangs[three] == (root, stays)
    assert cluster.started([three]) == [1]
    small = cluster.submit(1)
    cluster.settle()
    assert cluster.started(small) == [0]
    cluster.end([three])
    assert cluster.ended == [(three, Ending.FINISHED)]
    assert cluster.started(small) == [1]
    pair = cluster.submit(gang(2))
    cluster.end(small)
    assert cluster.started(pair) == [1]
