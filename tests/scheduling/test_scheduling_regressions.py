"""What went wrong once, each named after its effect."""

from __future__ import annotations

from scheduling_cluster import Cluster, gang, needs
from watched_cluster import LivelyCluster

from hqtrio.model.resources import Policy
from hqtrio.model.worker import LossReason
from hqtrio.scheduling.events import LinkFree, LinkStuck


def test_an_idle_worker_is_not_kept_for_tasks_that_lie_elsewhere() -> None:
    """Held for tasks in another worker's backlog, which nobody asked back, it idled for ever."""
    cluster = Cluster()
    cluster.join(6)
    cluster.submit(1, priority=3, count=8)
    cluster.submit(1)
    cluster.round()
    cluster.join(1)
    cluster.submit(4)
    cluster.settle()
    cluster.advance(cluster.time + 2.0)
    assert cluster.loads() == [6, 1]


def test_a_gang_does_not_take_the_worker_of_a_higher_task_that_must_use_it_enough() -> None:
    """The higher task was placed only tentatively when the gang found the worker empty."""
    cluster = Cluster()
    worker = cluster.join(1, min_utilization=0.5)
    high = cluster.submit(1, priority=1)
    cluster.submit(gang(1))
    cluster.settle()
    assert list(worker.running) == high


def test_a_hold_ends_in_the_round_that_grants_what_it_was_for() -> None:
    """Kept for a task that was running by then, the worker's free cpus idled for ever."""
    cluster = Cluster()
    cluster.join(6)
    big = cluster.submit(4, count=2)
    cluster.settle()
    high = cluster.submit(2, priority=1, count=2)
    cluster.settle()
    low = cluster.submit(1, count=2)
    cluster.end(big[:1])
    assert cluster.started(big, high, low) == [0, 2, 2]


def test_a_worker_that_wants_to_be_full_is_held_for_what_fills_it() -> None:
    """Lower tasks followed each other in its slots, and nothing was drained for the higher one."""
    cluster = Cluster()
    worker = cluster.join(2, min_utilization=1.0)
    cluster.submit(1, count=4)
    cluster.settle()
    high = cluster.submit("all", priority=1)
    cluster.settle()
    for _ in range(2):
        cluster.end([min(worker.running)])
    assert list(worker.running) == high


def test_a_gang_does_not_overtake_an_equal_task_that_has_waited_for_long() -> None:
    """The hold of the aged task kept nobody of its own level from taking the whole worker."""
    cluster = Cluster()
    worker = cluster.join(1)
    gangs = cluster.submit(gang(1), count=4)
    cluster.settle()
    plain = cluster.submit(1)
    cluster.settle()
    cluster.advance(cluster.time + 70.0)
    cluster.end(gangs[:1])
    assert list(worker.running) == plain


def test_free_cpus_serve_the_backlog_that_lies_beside_them() -> None:
    """Tasks went on waiting for the slots that were there, though another one had room."""
    cluster = Cluster()
    worker = cluster.join(4)
    big = cluster.submit(3)
    cluster.settle()
    small = cluster.submit(1, count=3)
    cluster.settle()
    cluster.end(big)
    assert sorted(worker.running) == small


def test_backlog_that_was_topped_up_does_not_keep_a_higher_task_waiting() -> None:
    """No hold was placed and no slot drained: the whole backlog went first."""
    cluster = Cluster()
    worker = cluster.join(2)
    low = cluster.submit(1, priority=-1, count=19)
    cluster.settle()
    cluster.advance(cluster.time + 2.5)
    cluster.end(low[:1])
    high = cluster.submit(2)
    cluster.settle()
    for _ in range(2):
        cluster.end([min(worker.running)])
    assert list(worker.running) == high


def test_rounds_end_when_gangs_and_workers_that_want_to_be_full_meet() -> None:
    """Every round made the next one necessary, for ever."""
    cluster = Cluster()
    cluster.submit(1)
    cluster.join(2, min_utilization=1.0)
    cluster.submit(gang(1), priority=-1)
    cluster.submit(1, priority=1)
    cluster.submit(gang(1), priority=-1)
    cluster.join(2, min_utilization=1.0)
    cluster.settle()
    cluster.submit(1, priority=1)
    cluster.submit(gang(1), priority=1)
    cluster.settle()
    assert cluster.machine.next_deadline() > cluster.time


def test_what_was_placed_tentatively_leaves_no_hold_behind() -> None:
    """The hold stayed when the placement became final, and kept a lower task from a free cpu."""
    cluster = Cluster()
    cluster.join(3, min_utilization=0.5)
    high = cluster.submit(1, count=2)
    low = cluster.submit(1, priority=-1)
    cluster.settle()
    assert cluster.started(high, low) == [2, 1]


def test_a_hold_ends_when_a_tentative_placement_becomes_final() -> None:
    """The worker stayed held for a task that ran there."""
    cluster = Cluster()
    cluster.join(4, min_utilization=0.5)
    high = cluster.submit(3)
    low = cluster.submit(2, priority=-1)
    cluster.settle()
    assert cluster.started(high, low) == [1, 0]
    assert cluster.held() == [False]


def test_a_worker_that_wants_to_be_full_gets_backlog_of_others() -> None:
    """It idled beside a worker on which tasks waited for a slot."""
    cluster = Cluster()
    cluster.join(2)
    for _ in range(3):
        cluster.submit(1)
    cluster.settle()
    cluster.join(1, min_utilization=0.5)
    cluster.settle()
    cluster.advance(cluster.time + 2.5)
    assert cluster.loads() == [2, 1]


def test_a_held_node_does_not_go_on_with_lower_backlog() -> None:
    """The gang became possible when a second worker joined, and the first kept its backlog."""
    cluster = Cluster()
    gangs = cluster.submit(gang(2))
    cluster.join(1)
    low = cluster.submit(1, priority=-1, count=2)
    cluster.settle()
    cluster.advance(cluster.time + 2.5)
    cluster.join(1)
    cluster.settle()
    cluster.end(low[:1])
    assert cluster.started(gangs) == [1]


def test_age_does_not_keep_a_task_from_a_worker_that_wants_to_be_full() -> None:
    """The worker was held for the aged task, and so it was given nothing, this task included."""
    cluster = Cluster()
    cluster.submit(gang(2))
    plain = cluster.submit(1)
    cluster.settle()
    cluster.join(1, min_utilization=1.0)
    cluster.time += 70.0
    cluster.settle()
    assert cluster.started(plain) == [1]


def test_tasks_that_cross_the_closing_of_a_slot_get_another_one() -> None:
    """They waited for the slot of another task beside a free cpu, for ever."""
    cluster = Cluster()
    worker = cluster.join(2)
    first = cluster.submit(1)
    cluster.settle()
    worker.end(first[0])
    others = [*cluster.submit(1), *cluster.submit(1)]
    cluster.settle()
    cluster.advance(cluster.time + 2.5)
    assert sorted(worker.running) == others


def test_a_gang_that_cannot_be_does_not_end_tentative_placement_early() -> None:
    """The worker stayed held for tasks that ran there, and two of its cpus idled for ever."""
    cluster = Cluster()
    cluster.join(6, min_utilization=0.5)
    high = cluster.submit(2, count=2)
    cluster.submit(gang(2), priority=-1)
    low = cluster.submit(2, priority=-2)
    cluster.settle()
    cluster.advance(cluster.time + 2.5)
    assert cluster.started(high, low) == [2, 1]


def test_a_worker_that_reads_again_gets_what_waits_elsewhere() -> None:
    """A cpu was kept for a task in another worker's backlog, which nobody asked back."""
    cluster = Cluster()
    slow = cluster.join(2)
    cluster.handle(LinkStuck(slow.link))
    cluster.submit(1, count=5)
    cluster.submit(1, priority=-1, count=2)
    cluster.join(4)
    cluster.submit(1)
    cluster.round()
    cluster.submit(2, priority=-1)
    cluster.handle(LinkFree(slow.link))
    cluster.settle()
    cluster.advance(cluster.time + 2.5)
    assert cluster.loads() == [2, 4]


def test_a_worker_that_wants_to_be_full_starts_its_own_backlog_beside_what_runs() -> None:
    """One more slot would have filled it, but its backlog waited for the slots it had."""
    cluster = Cluster()
    worker = cluster.join(3, foo=0.5, min_utilization=1.0)
    plain = cluster.submit(1, count=2)
    heavy = cluster.submit(needs(1, foo=0.25, weight=2.0), count=2)
    cluster.settle()
    assert cluster.started(plain, heavy) == [1, 2]
    cluster.end(heavy[:1])
    cluster.advance(cluster.time + 2.5)
    assert set(plain) <= worker.running.keys()


def test_a_worker_that_wants_to_be_full_takes_the_smaller_variant_as_well() -> None:
    """Two tasks took the first variant, and the third did not get the second one."""
    cluster = Cluster()
    variants = (needs((1.5, Policy.FORCE_COMPACT), gpus=1), needs(1))
    tasks = cluster.submit(*variants, priority=-1, count=3)
    cluster.join((2, 2, 2), gpus=(2, 2), min_utilization=0.5)
    plain = cluster.submit(1)
    cluster.settle()
    assert cluster.started(tasks, plain) == [3, 1]


def test_higher_tasks_that_cross_the_closing_of_slots_get_others() -> None:
    """They waited for the slot of a lower task beside free cpus, for ever."""
    cluster = Cluster()
    low = [task for _ in range(4) for task in cluster.submit(1)]
    worker = cluster.join(3)
    cluster.settle()
    for task in low[:3]:
        worker.end(task, took=1.0)
    high = cluster.submit(1, priority=1, count=2)
    cluster.settle()
    cluster.advance(cluster.time + 2.5)
    assert cluster.started(low[3:], high) == [1, 2]


def test_backlog_gets_slots_although_tasks_between_it_and_what_runs_are_ready() -> None:
    """The worker was kept for its own backlog, which waited for those tasks to be placed."""
    cluster = Cluster()
    cluster.submit(1, priority=1, count=3)
    worker = cluster.join(3)
    low = cluster.submit(1, count=3)
    cluster.settle()
    cluster.advance(cluster.time + 2.5)
    cluster.submit(needs("all", foo=1), priority=2)
    worker.end(min(worker.running), took=0.1)
    for task in sorted(worker.running):
        worker.end(task, took=1.0)
    urgent = cluster.submit(1, priority=4, count=3)
    between = cluster.submit(1, priority=2, count=5)
    cluster.settle()
    assert len(worker.running) == 3, cluster.started(low, urgent, between)


def test_a_worker_is_not_kept_for_what_a_stopping_worker_has() -> None:
    """It idled as long as the other took to end, while a task of the same class was ready."""
    cluster = Cluster()
    low = cluster.submit(1)
    cluster.submit(1, priority=1, count=5)
    stopping = cluster.join(3)
    cluster.round()
    cluster.stop(stopping)
    cluster.join(1)
    cluster.settle()
    assert cluster.started(low) == [1]


def test_a_worker_that_wants_to_be_full_is_not_kept_for_what_a_stopping_worker_has() -> None:
    """It stayed empty while a task that would have been enough for it was ready."""
    cluster = Cluster()
    cluster.submit(1, priority=3, count=3)
    stopping = cluster.join(1)
    cluster.round()
    cluster.stop(stopping)
    low = cluster.submit(1, priority=2)
    cluster.join(2, min_utilization=0.5)
    cluster.settle()
    assert cluster.started(low) == [1]


def test_room_is_used_when_it_was_kept_for_a_higher_task_of_a_class_that_still_waits() -> None:
    """Every worker was kept for its lower tasks, so nobody looked at the one kept for that."""
    cluster = Cluster()
    cluster.join(4)
    cluster.join(4)
    cluster.submit(4, priority=5)
    cluster.submit(2, priority=5)
    cluster.settle()
    high = cluster.submit(4, priority=2)
    cluster.submit(4, count=3)
    between = cluster.submit(1, priority=1, count=4)
    cluster.settle()
    assert cluster.started(high, between) == [0, 0]
    cluster.cancel(high)
    cluster.settle()
    assert cluster.started(between) == [2]


def test_rounds_end_when_a_worker_is_kept_for_tasks_too_short_to_be_stolen() -> None:
    """Every round made the next one necessary, for ever."""
    cluster = LivelyCluster()
    cluster.submit(gang(2), count=2)
    cluster.submit(needs("all", gpus=1, time_s=50.0, weight=2.0), priority=-2, count=3)
    cluster.submit(1, priority=-2, count=3)
    first = cluster.join(1)
    other = cluster.join(4, group="h", gpus=(2,))
    cluster.settle()
    cluster.advance(cluster.time + 2.5)
    cluster.lose(other, LossReason.IDLE_TIMEOUT)
    cluster.submit(1, priority=-1, count=5)
    cluster.submit(1, priority=-1, count=4)
    second = cluster.join(1)
    first.end(min(first.running))
    cluster.join(6, gpus=(1, 1))
    cluster.join(4)
    cluster.settle()
    cluster.advance(cluster.time + 2.5)
    for worker in (first, second):
        for task in sorted(worker.running):
            worker.end(task, took=2.0)
    cluster.lose(second, LossReason.STOPPED)
    cluster.finish_all()
    assert not any(worker.running for worker in cluster.workers.values())


def test_a_slot_goes_on_with_what_came_for_a_worker_that_is_full_meanwhile() -> None:
    """What could have filled a worker of minimal utilization was kept back after it was full."""
    cluster = Cluster()
    cluster.submit(4, priority=-2, count=16)
    first = cluster.join(4)
    cluster.settle()
    cluster.advance(cluster.time + 2.5)
    high = cluster.submit(4, priority=2, count=27)
    cluster.join(8, min_utilization=0.5)
    cluster.submit(3, priority=1, count=15)
    cluster.settle()
    first.end(min(first.running), took=1.0)
    assert first.running.keys() <= set(high)
