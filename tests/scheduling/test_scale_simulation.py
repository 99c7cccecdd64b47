"""The benchmarks' simulated clusters, small: how close to the best possible end work comes.

All times are virtual. That no task runs twice at a time, or again after its end, and that no
worker is over-allocated, the simulation asserts at every start and grant.
"""

import pytest

from benchmarks.scheduling import scenarios
from benchmarks.scheduling.cluster import Arrival, Cluster, Scenario
from benchmarks.scheduling.outcome import outcome
from benchmarks.scheduling.tasks import CANCELLED, FINISHED, Kind, steady


def ran(scenario, *, check_every=0):
    cluster = Cluster(scenario, check_every=check_every)
    cluster.run()
    assert not cluster.ledger.running
    cluster.machine.check()
    return cluster


def endings(cluster):
    return [ended for job in cluster.jobs.values() for ended in job.ended]


def test_equal_tasks_run_in_waves_without_a_gap():
    cluster = ran(scenarios.uniform(50, 20_000), check_every=20)
    assert set(endings(cluster)) == {FINISHED}
    result = outcome(cluster)
    assert (result.bound_by, result.bound_s) == ("waves", 7 * 30.0)
    assert result.ratio <= 1.03
    assert not cluster.ledger.lost


def test_short_tasks_end_on_all_workers_together():
    cluster = ran(scenarios.uniform_short(5, 20_000), check_every=500)
    assert set(endings(cluster)) == {FINISHED}
    result = outcome(cluster)
    assert result.bound_by == "cpus"
    assert result.ratio <= 1.03
    assert result.idle_while_waiting <= 0.01


def test_heavy_tails_in_mixed_shapes_are_packed_well():
    cluster = ran(scenarios.heavy_tails(4, 10_000), check_every=2000)
    assert set(endings(cluster)) == {FINISHED}
    result = outcome(cluster)
    assert result.ratio <= 1.10
    assert result.idle_while_waiting <= 0.03


def test_workers_come_and_go_and_every_task_runs_once():
    scenario = scenarios.churn(30, 12_000)
    cluster = ran(scenario, check_every=2000)
    _, cancelled = scenario.cancels[0]
    for number, job in enumerate(cluster.jobs.values()):
        wanted = {FINISHED, CANCELLED} if number == cancelled else {FINISHED}
        assert set(job.ended) == wanted
    assert cluster.ledger.lost
    assert outcome(cluster).ratio_of_done <= 1.10


def test_multi_node_tasks_have_their_workers_to_themselves():
    cluster = ran(scenarios.churn(20, 2_000, gangs=10), check_every=200)
    assert cluster.tally.gangs >= 10  # one that lost its root runs again
    assert set(cluster.jobs[21].ended) == {FINISHED}


def test_a_worker_that_joins_late_is_given_backlog_of_others():
    # One worker has all tasks as running or backlog; the second one finds none of them ready.
    kind = Kind(scenarios.request(32), 4, steady(5.0))
    scenario = Scenario("late", (kind,), (*scenarios.nodes(1), Arrival(1.0, scenarios.node(1))))
    result = outcome(ran(scenario, check_every=1))
    assert result.stolen == 2
    assert result.makespan_s == pytest.approx(6.0, abs=0.1)


def test_the_same_seed_gives_the_same_run():
    first, second = (ran(scenarios.churn(5, 1_000)) for _ in range(2))
    assert [job.started_at for job in first.jobs.values()] == [
        job.started_at for job in second.jobs.values()
    ]
    assert first.tally.frames_down == second.tally.frames_down
