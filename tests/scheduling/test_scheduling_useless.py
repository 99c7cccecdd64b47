"""Workers that can do nothing of what waits do not wait for it."""

from __future__ import annotations

import pytest
from scheduling_cluster import Cluster, gang, needs, pools, work_of

from hqtrio.model.resources import Request
from hqtrio.model.worker import LossReason
from hqtrio.scheduling.demand import WorkerType
from hqtrio.scheduling.machine import ASKED_ROUNDS
from hqtrio.scheduling.round import Round


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def ask(cluster, *waiting, workers=None):
    """All workers may go that can do nothing of this; each is a request, or a choice of some."""
    choices = tuple((one,) if isinstance(one, Request) else one for one in waiting)
    chosen = cluster.workers.values() if workers is None else workers
    cluster.machine.dismiss_useless([one.id for one in chosen], choices, cluster.now())
    cluster.machine.check()


def dismissed(cluster, *waiting, workers=None):
    """Who is told to stop when that is asked twice, by id."""
    before = list(cluster.workers.values())
    for _ in range(2):
        ask(cluster, *waiting, workers=workers)
        cluster.settle()
    told = [one for one in before if one.stopped is not None]
    assert all(one.stopped is LossReason.IDLE_TIMEOUT for one in told)
    return [one.id for one in told]


def test_a_worker_that_fits_nothing_of_what_waits_leaves(cluster):
    small, large = cluster.join_all(2, 8)
    cluster.submit(needs(16))
    cluster.settle()
    assert dismissed(cluster, needs(16), needs(4)) == [small.id]
    assert large.stopped is None


def test_nobody_leaves_where_nothing_waits(cluster):
    cluster.join_all(2, 8)
    cluster.settle()
    assert dismissed(cluster) == []


def test_a_worker_has_been_of_no_use_when_last_asked_too(cluster):
    (worker,) = cluster.join_all(2)
    cluster.settle()
    ask(cluster, needs(4))
    ask(cluster, needs(4), needs(1))
    ask(cluster, needs(4))
    ask(cluster)
    ask(cluster, needs(4))
    cluster.settle()
    assert worker.stopped is None
    ask(cluster, needs(4))
    cluster.settle()
    assert worker.stopped is LossReason.IDLE_TIMEOUT


def test_only_those_that_were_named_leave(cluster):
    one, other = cluster.join_all(2, 2)
    assert dismissed(cluster, needs(4), workers=[one]) == [one.id]
    cluster.lose(one, LossReason.IDLE_TIMEOUT)
    cluster.machine.dismiss_useless([one.id, 77], ((needs(4),),), cluster.now())
    cluster.settle()
    assert other.stopped is None
    assert cluster.gone == [(one.id, LossReason.IDLE_TIMEOUT)]


def test_what_a_worker_has_is_done_first(cluster):
    (worker,) = cluster.join_all(1)
    tasks = cluster.submit(count=3)
    cluster.settle()
    assert len(worker.running) == 1
    assert dismissed(cluster, needs(4)) == []
    cluster.finish_all()
    assert {task for task, _ in cluster.ended} == set(tasks)
    assert dismissed(cluster, needs(4)) == [worker.id]


def test_members_of_a_gang_are_not_idle(cluster):
    cluster.join_all(4, 4)
    cluster.submit(gang(2))
    cluster.settle()
    assert len(cluster.gangs) == 1
    assert dismissed(cluster, needs(8)) == []


@pytest.mark.parametrize(("time_s", "leaves"), [(50.0, False), (101.0, True)])
def test_a_worker_must_live_long_enough(cluster, time_s, leaves):
    worker = cluster.join(4, remaining_s=100.0)
    cluster.settle()
    assert dismissed(cluster, needs(1, time_s=time_s)) == [worker.id] * leaves


def test_one_variant_that_fits_is_enough(cluster):
    with_gpu = cluster.join(2, gpus=1)
    plain = cluster.join(4)
    short = cluster.join(4, gpus=1, remaining_s=10.0)
    choice = needs(8), needs(1, gpus=1, time_s=60.0)
    assert dismissed(cluster, choice) == [plain.id, short.id]
    assert with_gpu.stopped is None


def test_all_of_a_pool_needs_a_pool(cluster):
    with_gpu = cluster.join(2, gpus=2)
    without = cluster.join(2)
    assert dismissed(cluster, needs(1, gpus="all")) == [without.id]
    assert with_gpu.stopped is None


@pytest.mark.parametrize(("time_s", "leaves"), [(0.0, False), (50.0, False), (200.0, True)])
def test_a_node_of_a_larger_task_waits_for_the_others(cluster, time_s, leaves):
    worker = cluster.join(4, remaining_s=100.0)
    cluster.settle()
    assert dismissed(cluster, gang(5, time_s=time_s)) == [worker.id] * leaves


def test_who_leaves_gets_nothing_more(cluster):
    (worker,) = cluster.join_all(2)
    assert dismissed(cluster, needs(4)) == [worker.id]
    cluster.submit(needs(1))
    cluster.settle()
    assert not worker.running
    assert dismissed(cluster, needs(4), needs(1)) == [worker.id]


def test_what_the_scheduler_has_counts_though_the_question_is_older(cluster):
    """The variants were collected before these tasks were submitted."""
    busy, *others = cluster.join_all(4, 4, 4)
    cluster.occupy(busy, needs(4))
    ask(cluster, needs(8))
    cluster.submit(gang(3))
    cluster.settle()
    assert cluster.held() == [True] * 3
    ask(cluster, needs(8))
    cluster.settle()
    assert [one.stopped for one in others] == [None] * 2


def test_a_worker_leaves_although_others_are_always_busy(cluster):
    busy, useless = cluster.join_all(1, 4)
    cluster.occupy(busy, count=1)
    for _ in range(3):
        # Something happens before each question: no round has seen it when the question comes.
        cluster.submit(needs(16))
        ask(cluster, needs(16), workers=[useless])
    cluster.settle()
    assert useless.stopped is LossReason.IDLE_TIMEOUT


def test_what_could_start_has_started_before_anybody_leaves(cluster):
    (worker,) = cluster.join_all(4)
    cluster.settle()
    ask(cluster, needs(8))
    cluster.submit(needs(2))
    ask(cluster, needs(8))
    cluster.settle()
    assert worker.stopped is None
    assert len(worker.running) == 1


def test_many_workers_and_many_requests_cost_little():
    def cost(workers, requests):
        cluster = Cluster(checks=False)
        for _ in range(workers):
            cluster.join(2)
        cluster.settle()
        waiting = tuple((needs(4, time_s=float(i)),) for i in range(requests))
        ids = [one.id for one in cluster.workers.values()]
        return work_of(lambda: cluster.machine.dismiss_useless(ids, waiting, cluster.now()))

    few, many = cost(10, 100), cost(10, 200)
    assert cost(40, 100) - few < many - few
    assert few < 10 * 100 * 10


# --- what cannot be told


def test_demand_is_unknown_until_the_rounds_have_settled(cluster, monkeypatch):
    cluster.join_all(1)
    cluster.submit(count=3)
    run, left = Round.run, [ASKED_ROUNDS]

    def slow(self):
        if left[0]:
            left[0] -= 1
            return
        run(self)

    monkeypatch.setattr(Round, "run", slow)
    types = (WorkerType(pools(1), False, None, 5, 1, 0.0),)
    assert cluster.machine.demand(types, cluster.now()) is None
    demand = cluster.machine.demand(types, cluster.now())
    assert demand is not None
    assert demand.single_node == (2,)


def test_what_a_question_starts_is_sent_by_the_batch_that_it_is_part_of(cluster):
    (worker,) = cluster.join_all(1)
    cluster.settle()
    cluster.submit(count=1)
    types = (WorkerType(pools(1), False, None, 5, 1, 0.0),)
    demand = cluster.machine.demand(types, cluster.now())
    assert demand is not None
    assert demand.single_node == (0,)
    assert not worker.frames
    cluster.round()
    assert worker.frames
