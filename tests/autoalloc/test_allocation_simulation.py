"""Whole histories of queues in virtual time."""

from __future__ import annotations

import os

import pytest
from allocation_simulation import SCENARIOS, Scenario, Simulation

from hqtrio.model.allocation import Manager

SEEDS = range(200 if os.environ.get("HQTRIO_LONG") == "1" else 6)
# Node seconds against perfect packing without any start-up, wait or fault.
WORST = 3.0
QUIET = [one for one in SCENARIOS if not (one.refusals or one.preemptions or one.outages)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_everything_gets_done_within_all_limits(scenario: Scenario, seed: int) -> None:
    manager = Manager.PBS if seed % 2 else Manager.SLURM
    simulation = Simulation(scenario, seed, manager)
    cost = simulation.run()
    assert simulation.left == 0
    assert cost.held_s <= WORST * cost.ideal_s, cost
    books = simulation.desk.machine.books
    assert not [one for one in books.active() if one.id], "the manager has nothing any more"
    spent = sum(
        queue.spent_node_hours(simulation.desk.now().wall) for queue in books.queues.values()
    )
    # What the books say was used is what was held, but for the seconds in which nodes were freed.
    assert spent * 3600 == pytest.approx(cost.held_s, rel=0.1, abs=200.0)


@pytest.mark.parametrize("scenario", QUIET, ids=lambda scenario: scenario.name)
def test_without_faults_hardly_any_allocation_is_of_no_use(scenario: Scenario) -> None:
    costs = [Simulation(scenario, seed).run() for seed in SEEDS]
    jobs, useless = sum(cost.jobs for cost in costs), sum(cost.useless for cost in costs)
    # Those that waited for nodes while others did their work.
    assert useless <= jobs * 0.2, (useless, jobs)
