"""What the simulations are measured against, and the worker that they pretend, are right."""

from random import Random

import pytest

from benchmarks.scheduling import scenarios
from benchmarks.scheduling.cluster import Arrival, Cluster, Departure, Scenario, Tally
from benchmarks.scheduling.outcome import outcome
from benchmarks.scheduling.tasks import Job, Kind, Ledger, steady
from benchmarks.scheduling.worker import Worker
from hqtrio.messages.columns import read_u32, read_u64, u32, u64
from hqtrio.messages.worker import (
    Ack,
    Cancel,
    Closed,
    DefineBody,
    DefineClass,
    Drain,
    Ended,
    Enqueue,
    Grant,
    Registered,
    Retract,
    Retracted,
    Started,
    Undrain,
)
from hqtrio.model.resources import CPUS, UNIT, Claim, Share

ONE_CPU = scenarios.request(1)
TASK = 1 << 32


def run(kinds, arrivals, departures=()):
    cluster = Cluster(Scenario("", tuple(kinds), tuple(arrivals), tuple(departures)))
    cluster.run()
    return outcome(cluster)


# --- bounds


def test_the_bound_is_the_work_over_the_capacity():
    result = run(
        [Kind(ONE_CPU, 256, steady(3.0)), Kind(ONE_CPU, 64, steady(6.0))], scenarios.nodes(2)
    )
    assert (result.bound_by, result.bound_s) == ("cpus", (256 * 3 + 64 * 6) / 128)


def test_capacity_that_comes_late_counts_from_then_on():
    late = Arrival(4.0, scenarios.node(1))
    result = run([Kind(scenarios.request(2), 320, steady(1.0))], [*scenarios.nodes(1), late])
    # 256 cpu seconds are done when the second worker comes, and 384 are left for 128 cpus.
    assert result.bound_s == 4.0 + 384 / 128


def test_one_long_task_bounds_the_whole():
    kinds = [Kind(ONE_CPU, 1, steady(50.0)), Kind(ONE_CPU, 64, steady(1.0))]
    result = run(kinds, scenarios.nodes(1))
    assert (result.bound_by, result.bound_s) == ("longest task", 50.0)


def test_a_scarce_resource_bounds_the_whole():
    result = run([Kind(scenarios.request(1, 1), 40, steady(2.0))], scenarios.nodes(4, gpus=True))
    assert (result.bound_by, result.bound_s) == (scenarios.GPUS, 40 * 2.0 / 4)


def test_work_that_died_with_its_worker_is_done_again_and_told_apart():
    kinds = [Kind(scenarios.request(64), 2, steady(10.0))]
    result = run(kinds, scenarios.nodes(2), [Departure(5.0, 1, dies=True)])
    assert result.lost_share == pytest.approx(0.25, abs=0.01)
    assert result.makespan_s == pytest.approx(20.0, abs=0.1)
    # After the death one worker has the rest of the work to do.
    assert result.bound_s == pytest.approx(15.0, abs=0.1)


# --- the pretended worker


class Rig:
    """One worker with two cpus' worth of slots, and 20 tasks of 5 s."""

    def __init__(self):
        self.ledger = Ledger({1: Job(1, Kind(ONE_CPU, 20, steady(5.0)), Random(1))})
        self.tally = Tally()
        self.worker = Worker(1, scenarios.node(0), self.ledger, self.tally)
        self.now = 0.0
        self.obey(Registered(7, "uid", b"", 1), DefineClass(1, ONE_CPU), DefineBody(1, 1, None))

    def obey(self, *messages):
        self.worker.obey(messages, self.now)

    def grant(self, slots, tasks, priority=0):
        one = Claim((Share(CPUS, UNIT, ("0",)),))
        grants = [Grant(slot, 1, 0, one) for slot in slots]
        first, count = tasks
        column = Enqueue(1, 1, priority, u64([TASK + first]), u32([count]), u32([0]))
        self.obey(*grants, column)

    def at(self, now):
        self.now = now
        self.worker.wake(now)

    def facts(self):
        report = self.worker.report(self.now)
        return {type(fact): fact for fact in report.facts} if report else {}


def numbers(column):
    return [task - TASK for task in read_u64(column)]


def test_a_slot_takes_the_next_task_and_an_end_with_successor_waits_for_company():
    rig = Rig()
    rig.grant([1, 2], (0, 3))
    assert rig.facts() == {}
    assert rig.worker.wake_at == 0.02
    rig.at(0.02)
    assert numbers(rig.facts()[Started].tasks) == [0, 1]
    rig.at(5.0)
    facts = rig.facts()  # the second slot is without successor: that is told at once
    assert numbers(facts[Ended].tasks) == [0, 1]
    assert numbers(facts[Started].tasks) == [2]
    assert list(read_u32(facts[Closed].slots)) == [2]


def test_everything_waits_while_the_window_is_full():
    rig = Rig()
    for slot in range(1, 5):
        rig.grant([slot], (slot, 1))
        rig.at(rig.now + 1.0)
        assert rig.facts()
    rig.at(10.0)
    assert rig.facts() == {}
    rig.obey(Ack(4, 4))
    assert len(read_u32(rig.facts()[Closed].slots)) == 4


def test_a_retract_gets_what_has_not_started():
    rig = Rig()
    rig.grant([1], (0, 4))
    rig.obey(Retract(9, u64([TASK, TASK + 2, TASK + 3, TASK + 17])))
    fact = rig.facts()[Retracted]
    assert (fact.seq, numbers(fact.released)) == (9, [2, 3])
    assert rig.tally.released == 2


def test_a_drained_slot_closes_when_its_task_ends():
    rig = Rig()
    rig.grant([1, 2], (0, 6))
    rig.obey(Drain(u32([1])))
    rig.at(5.0)
    assert list(read_u32(rig.facts()[Closed].slots)) == [1]
    assert list(rig.worker.slots) == [2]


def test_of_slots_drained_by_need_the_first_ones_close_and_the_others_go_on():
    rig = Rig()
    rig.grant([1], (0, 9))
    rig.now = 1.0
    rig.grant([2, 3], (9, 9))
    rig.obey(Drain(u32([1, 2, 3]), count=2))
    for now in (5.0, 6.0, 10.0, 11.0):
        rig.at(now)
    assert sorted(rig.worker.slots) == [3]


def test_a_drain_can_be_withdrawn():
    rig = Rig()
    rig.grant([1, 2], (0, 6))
    rig.obey(Drain(u32([1, 2])))
    rig.obey(Undrain(u32([2])))
    rig.at(5.0)
    assert list(rig.worker.slots) == [2]


def test_cancelled_tasks_end_as_such_wherever_they_are():
    rig = Rig()
    rig.grant([1], (0, 3))
    rig.obey(Cancel(u64([TASK, TASK + 1])))
    rig.at(0.02)
    facts = rig.facts()
    assert sorted(numbers(facts[Ended].tasks)) == [0, 1]
    assert numbers(facts[Started].tasks) == [2]
    assert [one.task - TASK for one in rig.ledger.lost] == [0]


def test_backlog_without_a_slot_comes_back_after_a_while():
    rig = Rig()
    rig.obey(Enqueue(1, 1, 0, u64([TASK]), u32([2]), u32([0])))
    assert rig.worker.wake_at == 0.25
    rig.at(0.25)
    [fact] = rig.facts().values()
    assert (fact.reason, numbers(fact.tasks)) == ("no_slot", [0, 1])


def test_an_execution_that_must_not_be_fails_the_run():
    rig = Rig()
    rig.grant([1], (0, 1))
    with pytest.raises(AssertionError, match="twice"):
        rig.grant([2], (0, 1))
