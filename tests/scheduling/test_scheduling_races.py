"""Orders and reports that cross each other on their way."""

from __future__ import annotations

import pytest
from scheduling_cluster import Cluster, ended_fact, gang, needs

from hqtrio.messages.columns import read_u32, read_u64
from hqtrio.messages.scheduling import WorkerGone
from hqtrio.messages.worker import Cancel, Enqueue, Goodbye, Grant, Report, Retract
from hqtrio.model.task import Ending
from hqtrio.model.worker import LossReason


def shipped_to(worker):
    """Every task that was ever on its way to the worker, once for each time."""
    return [
        task
        for order in worker.orders_of(Enqueue)
        for first, count in zip(read_u64(order.firsts), read_u32(order.counts), strict=True)
        for task in range(first, first + count)
    ]


def steal_in_flight(request=1, **more):
    """A worker with one running task and backlog that is being asked back for another."""
    cluster = Cluster()
    worker = cluster.join(1, **more)
    tasks = cluster.submit(request, count=2)
    cluster.settle()
    assert worker.waiting == 1
    other = cluster.join(1)
    cluster.round()
    assert worker.orders_of(Retract)
    return cluster, worker, other, tasks


def test_r07_a_task_bounced_while_it_is_asked_back_was_released():
    """By its own clock the worker has no time left for the task, before it reads the retract."""
    cluster, worker, other, tasks = steal_in_flight(needs(1, time_s=50.0))
    worker.ends_at = cluster.time + 49.0
    worker.pump()
    assert worker.waiting == 0
    cluster.settle()
    assert cluster.running() == [tasks[:1], tasks[1:]]
    assert other.ran == [(tasks[1], 0)]
    assert cluster.finish_all() == 2
    assert cluster.machine.statistics().slots == 0


def test_r08_the_source_has_room_itself_before_the_answer_comes():
    cluster = Cluster()
    worker = cluster.join(2)
    [blocker] = cluster.submit(1, priority=9)
    cluster.settle()
    tasks = cluster.submit(1, count=2)
    cluster.settle()
    assert (len(worker.running), worker.waiting) == (2, 1)
    other = cluster.join(1)
    cluster.round()
    assert worker.orders_of(Retract)
    worker.end(blocker)
    worker.report()
    cluster.hear(worker)
    cluster.round()
    cluster.settle()
    assert len(cluster.starts) == 3
    assert cluster.finish_all() == 2
    assert len(worker.ran) + len(other.ran) == 3
    assert sorted(cluster.starts) == sorted([blocker, *tasks])
    assert cluster.machine.statistics().slots == 0


def test_r10_each_slot_may_start_one_more_task_before_it_hears_of_the_drain():
    cluster = Cluster()
    worker = cluster.join(2)
    low = cluster.submit(1, count=100)
    cluster.settle()
    cluster.end(low[:1])
    assert worker.waiting > 2
    big = cluster.submit(2, priority=1)
    cluster.round()  # drain and retract are on their way
    before = len(worker.ran)
    for task in list(worker.running):
        worker.end(task)
    assert len(worker.ran) == before + 2
    cluster.settle()
    for task in sorted(worker.running):
        assert cluster.started(big) == [0]
        cluster.end([task])
    assert cluster.started(big, low) == [1, 0]
    assert len(worker.ran) == before + 2 + 1


def test_r14_a_higher_task_that_comes_after_the_plan_is_served_by_the_next_round():
    cluster = Cluster()
    worker = cluster.join(1)
    low = cluster.submit(1, count=50)
    cluster.round()  # grant and backlog are on their way
    high = cluster.submit(1, priority=1)
    cluster.settle()
    assert list(worker.running) == low[:1]
    cluster.end(low[:1])
    assert list(worker.running) == high
    cluster.end(high)
    assert list(worker.running) == low[1:2]


def test_r15_a_task_goes_back_to_the_same_worker_only_after_the_answer():
    cluster, worker, other, tasks = steal_in_flight()
    cluster.lose(other)
    cluster.round()
    assert shipped_to(worker).count(tasks[1]) == 1
    while worker.frames:
        worker.read_frame()
    cluster.round()
    assert shipped_to(worker).count(tasks[1]) == 1  # the answer is not yet heard
    cluster.settle()
    worker.end(tasks[0])
    cluster.settle()
    assert worker.ran == [(tasks[0], 0), (tasks[1], 0)]


def test_r16_a_class_that_came_too_late_stays_away_and_its_slot_serves_others():
    cluster = Cluster()
    worker = cluster.join(1)
    [first, *_] = late = cluster.submit(needs(1, time_s=50.0), count=20, priority=1)
    cluster.settle()
    cluster.end([first], took=0.01)
    low = cluster.submit(1, count=3)
    cluster.settle()
    assert worker.waiting > 0
    worker.ends_at = cluster.time + 49.0  # only the worker's own clock says so
    worker.pump()
    cluster.settle()
    assert worker.waiting == 0
    cluster.end(list(worker.running))
    assert cluster.started(late, low) == [0, 1]
    assert len(worker.ran) == 3
    other = cluster.join(1)
    cluster.settle()
    assert cluster.here(other, late) == [1]


def test_r17_a_task_cancelled_in_the_batch_that_made_it_ready_never_leaves():
    cluster = Cluster()
    worker = cluster.join(2)
    [first] = cluster.submit(1)
    cluster.settle()
    worker.end(first)
    worker.report()
    cluster.hear(worker)
    consumer = cluster.submit(1, count=3)
    cluster.cancel(consumer)
    cluster.settle()
    assert shipped_to(worker) == [first]
    assert cluster.machine.statistics().ready == 0


def test_r17_a_task_cancelled_after_it_was_shipped_never_starts():
    cluster = Cluster()
    worker = cluster.join(2)
    tasks = cluster.submit(1, count=3)
    cluster.round()
    cluster.cancel(tasks)
    cluster.round()
    cluster.settle()
    # Both frames were under way together; what started before its cancel was read is killed.
    assert worker.running == {}
    assert worker.waiting == 0
    assert cluster.machine.statistics().slots == 0


def test_r18_tasks_on_their_way_back_and_multi_node_tasks_are_cancelled_too():
    cluster, worker, other, tasks = steal_in_flight()
    cluster.join(1, group="far")
    cluster.join(1, group="far")
    pair = cluster.submit(gang(2), priority=1)
    waiting = cluster.submit(1, count=100)
    cluster.round()
    cluster.cancel([*tasks, *pair, *waiting])
    cluster.settle()
    assert cluster.loads() == [0] * 4
    statistics = cluster.machine.statistics()
    assert (statistics.ready, statistics.shipped, statistics.slots) == (0, 0, 0)
    assert tasks[1] not in [task for task, _ in other.ran]
    assert tasks[1] not in [task for task, _ in worker.ran]


def test_r20_a_worker_that_was_given_up_is_not_heard_any_more():
    cluster = Cluster()
    worker = cluster.join(1)
    [task] = cluster.submit(1)
    cluster.settle()
    cluster.lose(worker, LossReason.HEARTBEAT_LOST)
    worker.end(task)
    worker.report()
    cluster.hear(worker)
    cluster.settle()
    assert cluster.ended == []
    again = cluster.join(1)
    cluster.settle()
    assert again.id != worker.id
    assert again.ran == [(task, 1)]
    assert cluster.finish_all() == 1


def test_r21_tasks_of_one_grant_start_in_order_however_the_frames_are_cut():
    cluster = Cluster()
    worker = cluster.join(64)
    low = cluster.submit(1, priority=1, entries=[b"x" * 10_000] * 60)
    high = cluster.submit(1, priority=2, entries=[b"y" * 10_000] * 60)
    cluster.round()
    assert len(worker.frames) > 2
    while worker.frames:
        worker.read_frame()
        assert cluster.starts == (high + low)[: len(cluster.starts)]
    assert len(worker.running) == 64
    cluster.settle()
    assert cluster.finish_all() == 120
    assert len(cluster.starts) == 120


def test_r22_a_worker_that_finishes_only_what_runs_is_shipped_nothing_more():
    cluster = Cluster()
    worker = cluster.join(2)
    tasks = cluster.submit(1, count=20)
    cluster.settle()
    running = sorted(worker.running)
    sent = len(shipped_to(worker))
    cluster.say(worker, Goodbye(LossReason.STOPPED))
    cluster.settle()
    assert len(shipped_to(worker)) == sent
    for waiting in worker.backlog.values():
        waiting.clear()
    worker.end(running[0])
    worker.report()
    cluster.hear(worker)
    cluster.lose(worker)
    [gone] = [fact for fact in cluster.facts if isinstance(fact, WorkerGone)]
    assert gone.running == ((running[1], 0),)
    assert {task for task, _ in gone.shipped} == set(tasks[2:4])
    other = cluster.join(20)
    cluster.settle()
    assert cluster.finish_all() == 19
    assert running[0] not in [task for task, _ in other.ran]


@pytest.mark.parametrize("ending", [Ending.NOT_PREPARED, Ending.NOT_STARTED])
def test_s110_a_task_that_cannot_be_launched_leaves_its_slot_to_the_next(ending):
    cluster = Cluster()
    worker = cluster.join(1)
    tasks = cluster.submit(1, count=2)
    cluster.settle()
    assert worker.waiting == 1
    [slot] = worker.slots
    cluster.end(tasks[:1], ending)
    assert cluster.ended == [(tasks[0], ending)]
    assert list(worker.running) == tasks[1:]
    assert list(worker.slots) == [slot]
    assert len(worker.orders_of(Grant)) == 1


def test_s110_a_failure_to_launch_reported_without_a_start():
    cluster = Cluster()
    worker = cluster.join(1)
    [task] = cluster.submit(1)
    cluster.round()
    for message in worker.frames.popleft():
        worker._obey(message)
    [slot] = worker.slots
    klass, claim, _ = worker.slots[slot]
    worker.backlog[klass].clear()
    assert claim.shares
    failed = ended_fact([(task, 0, slot)], Ending.NOT_PREPARED, started=-1.0)
    cluster.say(worker, Report(1, (failed,)))
    worker.seq = 1
    worker.pump()
    cluster.settle()
    assert cluster.ended == [(task, Ending.NOT_PREPARED)]
    assert cluster.machine.statistics().slots == 0


def test_r12_d03_nothing_is_granted_on_cpus_where_a_process_is_still_dying():
    cluster = Cluster()
    worker = cluster.join(2)
    worker.dies_at_once = False
    tasks = cluster.submit(1, count=2)
    cluster.settle()
    cluster.cancel(tasks)
    following = cluster.submit(2)
    cluster.settle()
    assert worker.orders_of(Cancel)
    assert cluster.started(following) == [0]
    cluster.end(tasks[:1], Ending.CANCELLED)
    assert cluster.started(following) == [0]
    cluster.end(tasks[1:], Ending.FINISHED)
    assert cluster.started(following) == [1]


def test_r13_the_grant_of_a_multi_node_task_crosses_the_loss_of_its_root():
    cluster = Cluster()
    workers = cluster.join_all(1, 1, 1)
    [pair] = cluster.submit(gang(2))
    cluster.round()
    [root] = [worker for worker in workers if worker.orders_of(Grant)]
    cluster.lose(root)
    cluster.settle()
    assert cluster.starts == [pair]
    assert [worker.ran for worker in cluster.workers.values() if worker.ran] == [[(pair, 1)]]
    assert cluster.finish_all() == 1


def test_a_node_lost_before_its_task_has_started_is_no_part_of_it():
    cluster = Cluster()
    workers = cluster.join_all(1, 1, 1)
    [three] = cluster.submit(gang(3))
    cluster.round()
    [root] = [worker for worker in workers if worker.orders_of(Grant)]
    other = next(worker for worker in workers if worker is not root)
    cluster.lose(other)
    cluster.settle()
    cluster.join(1)  # for the case that it starts over
    cluster.settle()
    assert cluster.started([three]) == [1]
    assert other.id not in cluster.gangs[three]
    assert cluster.finish_all() == 1
    assert cluster.machine.statistics().slots == 0
