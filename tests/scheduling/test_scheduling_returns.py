"""Workers that lose their connection and come back: nothing is lost, and nothing runs twice."""

from __future__ import annotations

import msgspec
import pytest
from returning_cluster import ReturningCluster
from scheduling_cluster import gang, needs

from hqtrio.messages.columns import read_u64, u32, u64
from hqtrio.messages.scheduling import (
    ExpectGang,
    ExpectWorker,
    TasksDropped,
    WorkerArrived,
    WorkerGone,
)
from hqtrio.messages.worker import Drain, HeldSlot, Register, Registered
from hqtrio.model.resources import Claim, Share
from hqtrio.model.task import Ending
from hqtrio.model.worker import LossReason, OnServerLost
from hqtrio.scheduling.absence import Grace
from hqtrio.scheduling.events import LinkOpened


@pytest.fixture
def cluster():
    return ReturningCluster()


def busy(cluster, cpus=2, count=4, **more):
    """A worker with as many running tasks as cpus, and the rest in its backlog."""
    worker = cluster.join(cpus, **more)
    tasks = cluster.submit(1, count=count)
    cluster.settle()
    return worker, tasks


def dropped(cluster):
    return [row for fact in cluster.facts if isinstance(fact, TasksDropped) for row in fact.tasks]


def instances(worker):
    return {instance for _, instance in worker.ran}


def welcome(worker):
    """The last one."""
    return worker.orders_of(Registered)[-1]


# --- the grace


def test_a_worker_without_connection_is_lost_to_sight_at_once_and_its_tasks_stay_its_own(cluster):
    worker, tasks = busy(cluster)
    other = cluster.join(4)
    cluster.settle()
    cluster.cut(worker)
    assert cluster.away == {worker.id: LossReason.CONNECTION_LOST}
    cluster.advance(cluster.time + 2.9)
    assert cluster.gone == []
    assert not set(tasks[:2]) & other.running.keys()


@pytest.mark.parametrize(
    ("reason", "grace_s"),
    [(LossReason.CONNECTION_LOST, 3.0), (LossReason.HEARTBEAT_LOST, 120.0)],
)
def test_when_the_grace_is_over_the_worker_is_gone_and_its_tasks_run_elsewhere(
    cluster, reason, grace_s
):
    worker, tasks = busy(cluster)
    cluster.cut(worker, reason)
    cluster.advance(cluster.time + grace_s - 0.1)
    assert cluster.gone == []
    cluster.advance(cluster.time + 0.2)
    assert cluster.gone == [(worker.id, reason)]
    [gone] = [fact for fact in cluster.facts if isinstance(fact, WorkerGone)]
    assert [task for task, _ in gone.running] == tasks[:2]
    other = cluster.join(4)
    assert cluster.finish_all() == 4
    assert instances(other) == {1}


def test_without_grace_a_lost_connection_is_a_lost_worker():
    cluster = ReturningCluster(grace=Grace(0.0, 0.0))
    worker, _ = busy(cluster)
    cluster.cut(worker)
    assert cluster.gone == [(worker.id, LossReason.CONNECTION_LOST)]


def test_a_worker_that_ends_with_its_connection_has_no_grace(cluster):
    worker, _ = busy(cluster, on_server_lost=OnServerLost.STOP)
    cluster.cut(worker)
    assert cluster.gone == [(worker.id, LossReason.CONNECTION_LOST)]


def test_a_worker_that_was_told_to_stop_has_no_grace(cluster):
    worker, _ = busy(cluster)
    cluster.stop(worker)
    cluster.cut(worker)
    assert cluster.gone == [(worker.id, LossReason.STOPPED)]


def test_whoever_stops_an_absent_worker_gives_its_tasks_back_at_once(cluster):
    worker, tasks = busy(cluster)
    cluster.cut(worker)
    cluster.stop(worker)
    assert cluster.gone == [(worker.id, LossReason.STOPPED)]
    other = cluster.join(4)
    cluster.settle()
    assert sorted(other.running) == tasks


# --- coming back


def test_a_worker_that_is_back_goes_on_under_its_id_and_nothing_runs_again(cluster):
    worker, tasks = busy(cluster, count=6)
    number, ran = worker.id, list(worker.ran)
    cluster.cut(worker)
    cluster.advance(cluster.time + 2)
    cluster.back(worker)
    cluster.settle()
    assert (worker.id, worker.attachment) == (number, 2)
    assert worker.killed == [] and dropped(cluster) == []
    assert sorted(worker.running) == tasks[:2] and worker.ran == ran
    assert cluster.finish_all() == 6
    assert instances(worker) == {0} and cluster.gone == []
    cluster.advance(cluster.time + 300)
    assert cluster.gone == []


def test_what_ended_meanwhile_is_told_once_and_receipted(cluster):
    worker, tasks = busy(cluster, count=3)
    cluster.cut(worker)
    worker.end(tasks[0])
    cluster.back(worker)
    assert cluster.ended == [(tasks[0], Ending.FINISHED)]
    cluster.settle()
    cluster.advance(cluster.time + 1)
    assert worker.kept_reports == []
    assert sorted(worker.running) == tasks[1:]


def test_reports_that_were_handled_before_the_cut_count_once(cluster):
    worker, tasks = busy(cluster)
    worker.end(tasks[0])
    worker.report()
    cluster.hear(worker)  # the receipt does not arrive
    worker.frames.clear()
    cluster.inbox.clear()
    cluster.cut(worker)
    cluster.back(worker)
    [arrived] = [f for f in cluster.facts if isinstance(f, WorkerArrived)][1:]
    assert arrived.seen == arrived.hello.held.reports[-1].seq
    cluster.settle()
    assert [task for task, _ in cluster.ended] == [tasks[0]]


def test_what_was_under_way_to_the_worker_is_given_back_as_a_new_instance(cluster):
    worker = cluster.join(2)
    cluster.settle()
    tasks = cluster.submit(1, count=2)
    cluster.round()  # the frames leave, and never arrive
    cluster.cut(worker)
    cluster.back(worker)
    assert sorted(dropped(cluster)) == [(task, 0) for task in tasks]
    cluster.settle()
    assert sorted(worker.ran) == [(task, 1) for task in tasks]


def test_a_cancel_that_was_lost_in_the_cut_is_carried_out_on_return(cluster):
    worker, tasks = busy(cluster)
    cluster.cancel([tasks[0], tasks[3]])
    cluster.round()
    cluster.cut(worker)
    cluster.back(worker)
    cluster.settle()
    assert worker.killed == [tasks[0]]
    assert cluster.finish_all() == 2
    assert [task for task, _ in worker.ran] == tasks[:3]


def test_a_cancel_while_the_worker_is_away_is_carried_out_on_return(cluster):
    worker, tasks = busy(cluster)
    cluster.cut(worker)
    cluster.cancel(tasks)
    cluster.back(worker)
    cluster.settle()
    assert sorted(worker.killed) == tasks[:2] and not worker.running and not worker.waiting
    assert cluster.machine.statistics().shipped == 0
    assert cluster.machine.statistics().slots == 0


def test_nothing_new_comes_before_the_end_of_what_must_not_go_on(cluster):
    worker, tasks = busy(cluster, count=2)
    worker.dies_at_once = False
    cluster.cut(worker)
    cluster.cancel(tasks[:1])
    cluster.back(worker)
    more = cluster.submit(1)
    cluster.end(tasks[1:])
    assert not set(more) & worker.running.keys()
    cluster.end(tasks[:1], Ending.CANCELLED)
    assert set(more) == worker.running.keys()


def test_a_drain_that_was_lost_in_the_cut_is_sent_again(cluster):
    worker, _ = busy(cluster, cpus=4, count=40)
    cluster.submit(4, priority=5)
    cluster.round()
    assert worker.orders_of(Drain)
    cluster.cut(worker)
    worker.orders.clear()
    cluster.back(worker)
    cluster.settle()
    assert worker.orders_of(Drain)
    for _ in range(4):
        cluster.end(list(worker.running)[:4])
    assert [task for task, _ in worker.ran if task >> 32 == 2]


def test_a_retract_under_way_does_not_outlive_the_connection(cluster):
    worker = cluster.join(2)
    tasks = cluster.submit(1, count=30)
    cluster.settle()
    thief = cluster.join(8)
    cluster.round()  # it asks the first one for some
    cluster.cut(worker)
    cluster.settle()
    assert not set(tasks[:2]) & thief.running.keys()
    cluster.back(worker)
    assert cluster.finish_all() == 30
    assert instances(worker) | instances(thief) == {0}


def test_a_release_that_was_lost_in_the_cut_is_a_new_instance_elsewhere(cluster):
    worker = cluster.join(2)
    cluster.submit(1, count=30)
    cluster.settle()
    cluster.join(8)
    cluster.round()
    while worker.frames:
        worker.read_frame()  # it gives some back, and the answer does not arrive
    cluster.cut(worker)
    cluster.back(worker)
    assert cluster.finish_all() == 30


def test_what_is_left_of_the_lifetime_counts_from_the_return(cluster):
    worker = cluster.join(4, remaining_s=1000.0)
    cluster.settle()
    cluster.cut(worker)
    hello = msgspec.structs.replace(worker.hello(worker.key), remaining_s=10.0)
    worker.link = 77
    cluster.workers[77] = worker
    cluster.handle(LinkOpened(77, hello))
    tasks = cluster.submit(needs(1, time_s=100.0))
    cluster.settle()
    assert not worker.running
    cluster.join(4)
    cluster.settle()
    assert cluster.started(tasks) == [1]


def test_r22_a_worker_that_finishes_what_runs_gets_nothing_new(cluster):
    worker, tasks = busy(cluster, on_server_lost=OnServerLost.FINISH_RUNNING)
    cluster.cut(worker)
    worker.backlog.clear()
    cluster.back(worker)
    other = cluster.join(4)
    cluster.settle()
    assert sorted(worker.running) == tasks[:2]
    assert sorted(other.running) == tasks[2:]
    assert worker.killed == []
    assert cluster.finish_all() == 4


def test_a_worker_that_never_learnt_its_id_comes_back_with_nothing(cluster):
    worker = cluster.join(2)
    tasks = cluster.submit(1, count=2)
    cluster.round()
    worker.frames.clear()
    number, worker.id = worker.id, 0
    cluster.cut(worker)
    cluster.back(worker)
    cluster.settle()
    assert worker.id == number
    assert sorted(worker.ran) == [(task, 1) for task in tasks]


# --- too late, or not to be believed


def test_after_its_grace_a_worker_is_a_new_one_and_forgets_what_it_had(cluster):
    worker, tasks = busy(cluster)
    cluster.cut(worker)
    cluster.advance(cluster.time + 4)
    other = cluster.join(4)
    cluster.settle()
    before = worker.id
    cluster.back(worker)
    cluster.settle()
    assert worker.id > before and welcome(worker).keep == b""
    assert sorted(worker.killed) == tasks[:2]
    assert sorted(other.running) == tasks


def test_another_history_makes_a_new_worker_of_it_and_ends_the_old_one(cluster):
    worker, tasks = busy(cluster)
    cluster.cut(worker)
    cluster.back(worker, history=b"another")
    assert cluster.gone == [(worker.id, LossReason.CONNECTION_LOST)]
    cluster.join(4)
    cluster.settle()
    assert sorted(worker.killed) == tasks[:2]
    assert welcome(worker).attachment == 1


def forged(hello, **changes):
    return msgspec.structs.replace(hello, held=msgspec.structs.replace(hello.held, **changes))


def too_many_cpus(hello):
    slot = hello.held.slots[0]
    return forged(hello, slots=(*hello.held.slots, replace_slot(slot, slot=99)))


def no_such_label(hello):
    claim = Claim((Share("cpus", 10_000, ("x",)),))
    return forged(hello, slots=(replace_slot(hello.held.slots[0], claim=claim),))


def no_such_slot(hello):
    return forged(hello, slots=hello.held.slots[:1])


def same_task_twice(hello):
    tasks = read_u64(hello.held.tasks)
    return forged(hello, tasks=u64([tasks[0]] * len(tasks)))


def uneven(hello):
    return forged(hello, instances=u32([0]))


def replace_slot(held, **changes):
    fields = {name: getattr(held, name) for name in HeldSlot.__struct_fields__}
    return HeldSlot(**{**fields, **changes})


@pytest.mark.parametrize(
    "forge", [too_many_cpus, no_such_label, no_such_slot, same_task_twice, uneven]
)
def test_a_statement_that_cannot_be_true_makes_a_new_worker_of_it(cluster, forge):
    worker, _ = busy(cluster)
    before = worker.id
    cluster.cut(worker)
    hello = forge(worker.hello(worker.key))
    worker.link = 77
    cluster.workers[77] = worker
    cluster.handle(LinkOpened(77, hello))
    cluster.settle()
    assert (before, LossReason.CONNECTION_LOST) in cluster.gone
    assert worker.id == before + 1
    assert cluster.finish_all() == 4


def test_a_task_that_was_never_its_own_is_not_kept(cluster):
    worker, tasks = busy(cluster, count=2)
    other = cluster.join(2)
    [theirs] = cluster.submit(1)
    cluster.settle()
    assert theirs in other.running
    cluster.cut(worker)
    hello = worker.hello(worker.key)
    held = hello.held
    hello = forged(
        hello,
        tasks=held.tasks + u64([theirs]),
        instances=held.instances + u32([0]),
        task_slots=held.task_slots + u32([0]),
        running=held.running + b"\0",
    )
    worker.link = 77
    cluster.workers[77] = worker
    cluster.handle(LinkOpened(77, hello))
    cluster._catch_up()
    cluster.round()
    assert sorted(read_u64(worker.frames[0][0].keep)) == tasks


# --- two connections of one worker


def test_of_two_connections_the_later_one_is_the_workers(cluster):
    worker, tasks = busy(cluster)
    old = cluster.back(worker)
    cluster.settle()
    assert worker.attachment == 2 and worker.killed == []
    cluster.gone_link(old)
    cluster.settle()
    assert cluster.gone == [] and cluster.away == {}
    assert cluster.finish_all() == len(tasks)
    assert instances(worker) == {0}


def test_an_older_connection_that_is_heard_of_late_is_closed(cluster):
    worker, tasks = busy(cluster)
    worker.attempt = 4
    cluster.cut(worker)
    cluster.back(worker)
    cluster.settle()
    late = Register(worker.config, worker.key, worker.id, b"history", 1, attempt=4)
    cluster.handle(LinkOpened(99, late))
    assert cluster.refusals == ["the worker has a later connection"]
    assert cluster.finish_all() == len(tasks)
    assert cluster.gone == []


def test_a_connection_that_breaks_before_it_is_admitted_costs_nothing(cluster):
    worker, tasks = busy(cluster)
    cluster.cut(worker)
    cluster.back(worker, admit=False)
    cluster.cut(worker)
    cluster._catch_up()
    assert cluster.away.keys() == {worker.id}
    cluster.back(worker)
    cluster.settle()
    assert sorted(worker.running) == tasks[:2] and instances(worker) == {0}


def test_two_tries_at_once_are_one_worker(cluster):
    worker, tasks = busy(cluster)
    cluster.cut(worker)
    old = cluster.back(worker, admit=False)
    cluster.back(worker, admit=False)
    cluster._catch_up()
    cluster.gone_link(old)
    cluster.settle()
    assert cluster.gone == [] and cluster.away == {}
    assert worker.attachment == 3
    assert cluster.finish_all() == len(tasks)


# --- gangs


def running_gang(cluster, nodes=3):
    workers = [cluster.join(2) for _ in range(nodes)]
    [task] = cluster.submit(gang(nodes))
    cluster.settle()
    [root] = [worker for worker in workers if task in worker.running]
    return task, root, [worker for worker in workers if worker is not root]


def test_the_other_nodes_wait_for_a_root_that_is_away(cluster):
    task, root, others = running_gang(cluster)
    cluster.cut(root)
    more = cluster.submit(1, count=4)
    cluster.settle()
    assert cluster.started(more) == [0]
    cluster.back(root)
    cluster.settle()
    assert root.killed == [] and cluster.started(more) == [0]
    cluster.end([task])
    assert cluster.started(more) == [4]
    assert not any(worker.stopped for worker in others)


def test_without_its_root_a_gang_is_dissolved_when_the_grace_is_over(cluster):
    task, root, _ = running_gang(cluster)
    cluster.cut(root)
    cluster.advance(cluster.time + 4)
    more = cluster.submit(1, count=4)
    cluster.settle()
    assert cluster.gone == [(root.id, LossReason.CONNECTION_LOST)]
    assert cluster.started(more, [task]) == [4, 0]


def test_a_node_that_is_back_in_time_is_in_its_gang_again(cluster):
    task, root, [node, _] = running_gang(cluster)
    cluster.cut(node)
    cluster.back(node)
    more = cluster.submit(1)
    cluster.settle()
    assert cluster.started(more, [task]) == [0, 1]
    assert len(cluster.gangs[task]) == 3
    cluster.end([task])
    assert cluster.started(more) == [1]
    assert root.killed == []


def test_a_node_that_stays_away_is_lost_to_its_gang_when_the_grace_is_over(cluster):
    task, _, [node, _] = running_gang(cluster)
    cluster.cut(node)
    cluster.advance(cluster.time + 2)
    assert len(cluster.gangs[task]) == 3
    cluster.advance(cluster.time + 2)
    assert len(cluster.gangs[task]) == 2
    cluster.end([task])
    assert cluster.ended == [(task, Ending.FINISHED)]


def test_root_and_nodes_return_in_any_order(cluster):
    task, root, others = running_gang(cluster)
    for worker in (root, *others):
        cluster.cut(worker)
    for worker in (others[0], root, others[1]):
        cluster.back(worker)
        cluster.settle()
    more = cluster.submit(1)
    cluster.settle()
    assert cluster.started(more, [task]) == [0, 1]
    cluster.end([task])
    assert cluster.started(more) == [1]


def test_a_gang_that_ended_meanwhile_sets_its_nodes_free_on_return(cluster):
    task, root, _ = running_gang(cluster)
    cluster.cut(root)
    root.end(task)
    more = cluster.submit(1, count=6)
    cluster.settle()
    assert cluster.started(more) == [0]
    cluster.back(root)
    cluster.settle()
    assert cluster.ended == [(task, Ending.FINISHED)]
    assert cluster.started(more) == [6]


# --- after a restart


def expect(cluster, worker, grace_s=120.0):
    """What the journal of the server before tells of this worker."""
    held = worker.hello(worker.key).held
    return ExpectWorker(
        worker.id,
        worker.key,
        worker.attachment,
        worker.config,
        grace_s,
        held.tasks,
        held.instances,
        held.running,
    )


def restarted(before, *workers, gangs=()):
    """Another scheduler and job book with the same tasks; its workers are not there yet."""
    after = ReturningCluster()
    after.live, after.instance = before.live, before.instance
    after._worker_ids, after._next_job = before._worker_ids, before._next_job
    after._bodies = before._bodies
    shipped = {
        t for w in workers for t in (*w.running, *(t for b in w.backlog.values() for t in b))
    }
    for task in after.live.keys() - shipped:
        after.handle(after._again(task))
    for worker in workers:
        worker.hang_up()
        after.known[worker.key] = [worker.id, worker.attachment, False]
        after.handle(expect(after, worker))
    for one in gangs:
        after.handle(one)
    return after


def test_after_a_restart_every_task_goes_on_whatever_order_workers_come_back_in(cluster):
    first, _ = busy(cluster, count=4)
    second, _ = busy(cluster, count=4)
    after = restarted(cluster, first, second)
    assert after.away.keys() == {first.id, second.id}
    third = after.join(8)
    after.settle()
    theirs = {*first.running, *second.running}
    assert not theirs & third.running.keys()
    for worker in (second, first):
        after.back(worker)
        after.settle()
    assert first.killed == second.killed == []
    assert after.finish_all() == 8
    assert instances(first) | instances(second) | instances(third) == {0}


def test_what_is_expected_and_does_not_come_back_is_gone_after_the_grace(cluster):
    worker, tasks = busy(cluster)
    after = restarted(cluster, worker)
    third = after.join(8)
    after.advance(after.time + 119)
    assert not third.running
    after.advance(after.time + 2)
    assert after.gone == [(worker.id, LossReason.CONNECTION_LOST)]
    assert sorted(third.ran) == [(task, 1) for task in tasks]


def test_new_slots_after_a_restart_have_numbers_of_their_own(cluster):
    worker, tasks = busy(cluster, cpus=4, count=2)
    after = restarted(cluster, worker)
    after.back(worker)
    more = after.submit(1, count=2, job=9)
    after.settle()
    assert worker.running.keys() == {*tasks, *more}
    assert len(worker.slots) == 4


def test_nodes_of_a_gang_are_kept_for_a_root_that_is_expected(cluster):
    task, root, others = running_gang(cluster)
    members = cluster.gangs[task]
    after = restarted(cluster, root, *others, gangs=[ExpectGang(task, 0, members)])
    more = after.submit(1, job=9)
    for worker in others:
        after.back(worker)
        after.settle()
    assert after.started(more) == [0]
    after.back(root)
    after.settle()
    assert after.started(more) == [0] and root.killed == []
    after.end([task])
    assert after.started(more) == [1]


def test_a_gang_of_which_the_journal_does_not_know_goes_on_at_its_root(cluster):
    task, root, others = running_gang(cluster)
    after = restarted(cluster, root, *others)
    for worker in (root, *others):
        after.back(worker)
        after.settle()
    more = after.submit(1, job=9)
    after.settle()
    assert root.killed == [] and task in root.running
    assert set(more) & (others[0].running.keys() | others[1].running.keys())
    after.end([task])
    assert after.ended == [(task, Ending.FINISHED)]
