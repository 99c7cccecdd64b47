"""Backlog: who gets how much ahead, who gives back, and what happens on the way."""

from __future__ import annotations

import pytest
from scheduling_cluster import Cluster

from hqtrio.messages.columns import read_u32
from hqtrio.messages.scheduling import TasksBounced
from hqtrio.messages.worker import Enqueue, Report
from hqtrio.model.resources import ONE_CPU
from hqtrio.model.task import Ending
from hqtrio.scheduling.backlog import BACKLOG_MAX, backlog_target
from hqtrio.scheduling.mirror import RequestClass


def waiting(worker):
    return sum(len(tasks) for tasks in worker.backlog.values())


@pytest.mark.parametrize(
    ("mean_s", "per_slot"),
    [(-1.0, 1), (0.001, 290), (0.1, 3), (1.0, 1), (9.0, 1), (11.0, 0)],
)
def test_backlog_covers_a_quarter_second_and_two_round_trips(mean_s, per_slot):
    klass = RequestClass(1, ONE_CPU)
    klass.mean_s = mean_s
    assert backlog_target(klass, 1) == per_slot
    assert backlog_target(klass, 4) == 4 * per_slot
    klass.mean_s = 0.0
    assert backlog_target(klass, 64) == BACKLOG_MAX


def test_backlog_grows_once_the_duration_is_known():
    cluster = Cluster()
    worker = cluster.join(2)
    cluster.submit(1, count=1000)
    cluster.settle()
    assert waiting(worker) == 2
    worker.end(min(worker.running))
    cluster.settle()
    assert waiting(worker) > 500


def test_long_tasks_get_no_backlog():
    cluster = Cluster()
    worker = cluster.join(1)
    cluster.submit(1, count=10)
    cluster.settle()
    worker.end(min(worker.running), took=60.0)
    cluster.settle()
    worker.end(min(worker.running), took=60.0)
    cluster.settle()
    assert (len(worker.running), waiting(worker)) == (1, 0)


def test_tasks_that_go_alone_are_never_shipped_ahead_and_all_run():
    cluster = Cluster()
    worker = cluster.join(2)
    alone = cluster.submit(1, count=50, alone=True)
    cluster.settle()
    for left in range(50, 0, -1):
        assert (len(worker.running), waiting(worker)) == (min(left, 2), 0)
        worker.end(min(worker.running))
        cluster.settle()
    assert [task for task, _ in sorted(worker.ran)] == alone


def test_tasks_that_go_alone_stay_behind_when_others_of_their_kind_are_shipped_ahead():
    cluster = Cluster()
    worker = cluster.join(1)
    others = cluster.submit(1, count=3)
    alone = cluster.submit(1, count=20, alone=True)
    cluster.submit(1, count=20)
    cluster.settle()
    worker.end(others[0])
    cluster.settle()
    assert waiting(worker) == 1
    worker.end(others[1])
    worker.end(others[2])
    cluster.settle()
    assert list(worker.running) == alone[:1]


def test_workers_share_backlog_fairly():
    cluster = Cluster()
    workers = [cluster.join(10) for _ in range(3)]
    cluster.submit(1, count=30 + 12)
    cluster.settle()
    assert [len(worker.running) for worker in workers] == [10, 10, 10]
    assert [waiting(worker) for worker in workers] == [4, 4, 4]


def test_a_slot_goes_on_with_its_backlog_without_a_message():
    cluster = Cluster()
    worker = cluster.join(1)
    tasks = cluster.submit(1, count=2)
    cluster.settle()
    worker.end(tasks[0])
    assert list(worker.running) == [tasks[1]]


def test_s89_a_worker_that_joins_late_takes_over_backlog():
    cluster = Cluster()
    worker = cluster.join(1)
    cluster.submit(1, count=40)
    cluster.settle()
    worker.end(min(worker.running), took=0.01)
    cluster.settle()
    assert cluster.machine.statistics().ready < 20
    while cluster.machine.statistics().ready:
        worker.end(min(worker.running), took=0.01)
        cluster.settle()
    before = waiting(worker)
    other = cluster.join(2)
    cluster.settle()
    assert len(other.running) == 2
    assert waiting(worker) < before
    assert any(isinstance(fact, TasksBounced) for fact in cluster.facts)
    cluster.finish_all()
    assert len(cluster.ended) == 40


def test_backlog_of_a_worker_gets_more_slots_when_room_appears():
    cluster = Cluster()
    worker = cluster.join(2)
    blocker = cluster.submit(1, priority=9)
    cluster.settle()
    cluster.submit(1, count=2)
    cluster.settle()
    assert (len(worker.running), waiting(worker)) == (2, 1)
    worker.end(blocker[0])
    cluster.settle()
    assert (len(worker.running), waiting(worker)) == (2, 0)


def steal_in_flight():
    """A worker with one running task and backlog that is being asked back for another."""
    cluster = Cluster()
    worker = cluster.join(1)
    tasks = cluster.submit(1, count=2)
    cluster.settle()
    assert waiting(worker) == 1
    other = cluster.join(1)
    cluster.round()
    assert [type(message).__name__ for message in worker.frames[0]] == ["Retract"]
    return cluster, worker, other, tasks


def test_r01_a_task_that_started_before_the_retract_stays():
    cluster, worker, other, tasks = steal_in_flight()
    worker.end(tasks[0])
    cluster.settle()
    assert list(worker.running) == [tasks[1]]
    assert other.ran == []
    cluster.finish_all()
    assert len(cluster.ended) == 2


def test_r02_a_task_that_ended_before_the_retract_ends_once():
    cluster, worker, _, tasks = steal_in_flight()
    worker.end(tasks[0])
    worker.end(tasks[1])
    cluster.settle()
    assert [task for task, _ in cluster.ended] == tasks


def test_r03_a_task_that_failed_before_the_retract_fails_once():
    cluster, worker, _, tasks = steal_in_flight()
    worker.end(tasks[0])
    worker.end(tasks[1], Ending.EXITED)
    cluster.settle()
    assert cluster.ended[-1] == (tasks[1], Ending.EXITED)
    assert len(cluster.ended) == 2


def test_r04_a_task_cancelled_while_it_is_asked_back_runs_nowhere():
    cluster, worker, other, tasks = steal_in_flight()
    cluster.cancel(tasks[1:])
    cluster.settle()
    worker.end(tasks[0])
    cluster.settle()
    assert [task for task, _ in (*worker.ran, *other.ran)] == tasks[:1]
    assert cluster.machine.statistics().shipped == 0


def test_r05_a_task_asked_back_from_a_lost_worker_starts_again_with_a_higher_instance():
    cluster, worker, other, tasks = steal_in_flight()
    cluster.lose(worker)
    cluster.finish_all()
    assert sorted(other.ran) == [(tasks[0], 1), (tasks[1], 1)]


def test_r06_losing_the_thief_leaves_the_instance_alone():
    cluster, worker, other, tasks = steal_in_flight()
    cluster.lose(other)
    cluster.finish_all()
    assert worker.ran == [(task, 0) for task in tasks]


def test_r09_backlog_that_meets_a_closed_slot_comes_back():
    cluster = Cluster()
    worker = cluster.join(1)
    tasks = cluster.submit(1)
    cluster.settle()
    more = cluster.submit(1)
    cluster.round()
    assert isinstance(worker.frames[0][-1], Enqueue)
    worker.end(tasks[0])
    assert worker.slots == {}
    cluster.settle()
    assert list(worker.running) == more
    assert [fact.tasks for fact in cluster.facts if isinstance(fact, TasksBounced)] == [(more[0],)]


def test_r11_a_cancelled_backlog_task_never_starts():
    cluster = Cluster()
    worker = cluster.join(1)
    tasks = cluster.submit(1, count=2)
    cluster.settle()
    cluster.cancel(tasks[1:])
    cluster.settle()
    worker.end(tasks[0])
    cluster.settle()
    assert worker.ran == [(tasks[0], 0)]


def test_r12_a_cancelled_running_task_keeps_its_claim_until_the_worker_confirms():
    cluster = Cluster()
    worker = cluster.join(1)
    [task] = cluster.submit(1)
    cluster.settle()
    cluster.cancel([task])
    other = cluster.submit(1, count=1)
    cluster.round()
    assert cluster.machine.statistics().slots == 1
    cluster.settle()
    assert list(worker.running) == other


def test_r18_tasks_in_every_state_are_cancelled_at_once():
    cluster = Cluster()
    worker = cluster.join(2)
    tasks = cluster.submit(1, count=1_000)
    cluster.settle()
    cluster.cancel(tasks[:5])
    cluster.cancel(tasks[5:])
    cluster.settle()
    statistics = cluster.machine.statistics()
    assert (statistics.ready, statistics.shipped, statistics.slots) == (0, 0, 0)
    assert len(worker.ran) <= 5


def test_r13_a_grant_that_crosses_the_loss_is_void():
    cluster = Cluster()
    worker = cluster.join(1)
    tasks = cluster.submit(1)
    cluster.round()
    cluster.lose(worker)
    other = cluster.join(1)
    cluster.finish_all()
    assert other.ran == [(tasks[0], 1)]


def test_a_dependent_task_starts_in_the_round_after_its_end():
    cluster = Cluster()
    worker = cluster.join(1)
    [first] = cluster.submit(1)
    cluster.settle()
    worker.end(first)
    worker.report()
    cluster.hear(worker)
    second = cluster.submit(1)
    cluster.round()
    worker.read_frame()
    assert list(worker.running) == second


def test_a_report_with_a_number_seen_before_ends_the_link():
    cluster = Cluster()
    worker = cluster.join(1)
    cluster.say(worker, Report(1, ()))
    cluster.say(worker, Report(1, ()))
    assert worker.closed == "report 1 came after report 1"


def test_zero_cost_tasks_are_shipped_in_few_and_short_frames():
    cluster = Cluster()
    worker = cluster.join(4)
    cluster.submit(1, count=100_000)
    cluster.settle()
    worker.end(min(worker.running), took=0.0)
    worker.report()
    cluster.hear(worker)
    cluster.time += 1
    effects = cluster.machine.end_batch(cluster.now())
    [enqueue] = [m for e in effects for m in getattr(e, "messages", ()) if isinstance(m, Enqueue)]
    assert sum(read_u32(enqueue.counts)) == BACKLOG_MAX - 3
    assert len(enqueue.firsts) == 8
