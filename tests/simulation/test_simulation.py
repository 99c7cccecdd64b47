"""The whole cluster in virtual time: safety at every event, liveness at the end.

Longer runs by hand: `python tests/simulation/run.py --seeds 1-1000`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from simulation import simulate
from simulation_scenarios import SCENARIOS

RUN = Path(__file__).parent / "run.py"

RUNS = {
    "crowd": (1,),
    "zero_cost": (1,),
    "chaos": (1, 2, 3, 4),
    "graphs": (1,),
    "cancel_storm": (1, 2),
    "short_lived_workers": (1, 2),
    "another_server": (1, 2),
    "lost_connections": (1,),
    "killed_server": (1,),
    "killed_server_in_chaos": (1, 2, 3),
}


@pytest.mark.parametrize(
    ("name", "seed"), [(name, seed) for name, seeds in RUNS.items() for seed in seeds]
)
def test_everything_ends_and_nothing_is_left(name: str, seed: int) -> None:
    _, figures = simulate(SCENARIOS[name], seed)
    assert figures.tasks or figures.starts
    if name in ("lost_connections", "killed_server"):
        assert figures.faults
        assert not figures.losses and figures.starts == figures.tasks, "it costs nothing"
    elif SCENARIOS[name].faults.until_s:
        assert figures.faults and figures.losses
    else:
        assert figures.states == {"FINISHED": figures.tasks}
        assert figures.starts in (0, figures.tasks)


def test_every_scenario_is_run() -> None:
    assert RUNS.keys() == SCENARIOS.keys()


def test_the_same_seed_gives_the_same_history_and_another_one_does_not() -> None:
    first, again, other = (simulate(SCENARIOS["chaos"], seed)[0] for seed in (5, 5, 6))
    assert first == again != other


def test_the_history_does_not_depend_on_the_order_of_hashes() -> None:
    digests = []
    for hash_seed in ("1", "2"):
        command = [sys.executable, str(RUN), "--quiet", "--seeds", "7", "chaos", "cancel_storm"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        digests.append(done.stdout.split())
    assert len(digests[0]) == 2
    assert digests[0] == digests[1]
