"""A search through all orders of events in small worlds, on the machines of servers and workers.

HQTRIO_LONG=1 searches until there is nothing left, which takes hours for the larger ones.
"""

from __future__ import annotations

import os

import pytest
from search import search, stroll
from small_world import Budget, World

from hqtrio.jobs.job import Job
from hqtrio.worker import lanes

IS_LONG = os.environ.get("HQTRIO_LONG") == "1"
STATES_MAX = 10**9 if IS_LONG else 500

WORLDS = {
    "nothing goes wrong": (1, 1, {}),
    "a server is killed": (1, 1, {"server_kills": 1}),
    "a server is killed, two tasks": (1, 2, {"server_kills": 1}),
    "the power fails": (1, 1, {"power_cuts": 1}),
    "the power fails, two workers": (2, 1, {"power_cuts": 1, "graces": 1}),
    "a connection breaks": (2, 1, {"cuts": 1, "graces": 1}),
    "a server and a worker are killed": (2, 1, {"server_kills": 1, "worker_kills": 1, "graces": 1}),
    "a server is killed twice": (1, 1, {"server_kills": 2}),
    "a server is killed amid a cut": (2, 2, {"server_kills": 1, "cuts": 1, "graces": 1}),
}


@pytest.mark.parametrize("name", WORLDS)
def test_nothing_is_lost_or_done_twice_or_waits_for_ever(name: str) -> None:
    workers, tasks, budget = WORLDS[name]
    found = search(lambda: World(workers, tasks, Budget(**budget)), states_max=STATES_MAX, every=20)
    print(f"{name}: {found.states} states, {found.steps} steps, all of them: {found.is_complete}")
    assert not found.violation, found.story()
    assert found.is_complete or found.states == STATES_MAX


@pytest.mark.parametrize(("workers", "tasks"), [(1, 3), (2, 2), (3, 4)])
def test_nothing_is_lost_on_random_ways_through_larger_worlds(workers: int, tasks: int) -> None:
    budget = {"server_kills": 2, "power_cuts": 1, "worker_kills": 1, "cuts": 2, "graces": 2}
    ways = range(20_000 if IS_LONG else 300)
    found = stroll(lambda: World(workers, tasks, Budget(**budget)), ways)
    assert not found.violation, found.story()


# --- what is planted is found


class ReceiptsTooEarly(World):
    def _is_durable(self, group: int) -> bool:
        return True


class UnrecordedShipments(World):
    def _shipments(self, effects):
        return iter(())


class NothingRaised(World):
    def _after_power_cut(self):
        return []


def first_violation(world: type[World], workers: int, tasks: int, **budget: int) -> str:
    return stroll(lambda: world(workers, tasks, Budget(**budget)), range(3000)).violation


def test_receipts_before_their_time_are_found() -> None:
    assert "not on the disk" in first_violation(ReceiptsTooEarly, 1, 1)


def test_shipments_that_nobody_recorded_are_found() -> None:
    assert "is begun twice" in first_violation(UnrecordedShipments, 2, 1, server_kills=1)


def test_a_power_cut_that_raises_nothing_is_found() -> None:
    assert "is begun twice" in first_violation(NothingRaised, 2, 1, power_cuts=1)


def test_a_loss_that_raises_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    requeue = Job.requeue

    def lower(job: Job, position: int) -> int:
        job.instances[position] = requeue(job, position) - 1
        return job.instances[position]

    monkeypatch.setattr(Job, "requeue", lower)
    assert first_violation(World, 2, 1, cuts=1, graces=1)


def test_a_statement_without_backlog_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lanes.state

    def without_backlog(classes, *others):
        return whole((), *others)

    monkeypatch.setattr(lanes, "state", without_backlog)
    assert "for no reason" in first_violation(World, 1, 3, cuts=1)
