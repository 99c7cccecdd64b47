"""`python -m benchmarks.scheduling ROW SIZE`: one row, as a line of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Final

from benchmarks.scheduling import scenarios, speed
from benchmarks.scheduling.cluster import Cluster, Scenario
from benchmarks.scheduling.outcome import outcome
from benchmarks.workloads import HQTRIO, LOST_WORK_ORDERED

# Few tasks for each slot, and no scheduler comes close to the bound; so the workers follow.
SIMULATIONS: Final[dict[str, tuple[Callable[[int, int], Scenario], int]]] = {
    "sim_uniform": (scenarios.uniform, 1000),
    "sim_uniform_short": (scenarios.uniform_short, 4000),
    "sim_heavy_tails": (scenarios.heavy_tails, 2500),
    "sim_churn": (scenarios.churn, 1000),
}
BY_THE_CLOCK: Final[dict[str, Callable[[int], dict[str, float]]]] = {
    "round_steady": speed.steady_rounds,
    "round_fill": speed.initial_fill,
    "round_idle": speed.idle_rounds,
    "task_cost": speed.cost_per_task,
    "queue_memory": speed.queue_memory,
}


def simulate(row: str, tasks: int) -> tuple[dict[str, float], list[str]]:
    build, tasks_per_worker = SIMULATIONS[row]
    workers = max(5, tasks // tasks_per_worker)
    with speed.server_collector() as collect:
        cluster = Cluster(build(workers, tasks), collect=collect)
        cluster.run()
    result = outcome(cluster)
    figures = {HQTRIO: result.ratio}
    if result.lost_share:
        figures[LOST_WORK_ORDERED] = result.ratio_of_done
    return figures, [f"{workers:,} workers", *result.lines()]


def main() -> None:
    row, size = sys.argv[1], int(sys.argv[2])
    notes: list[str] = []
    if row in SIMULATIONS:
        figures, notes = simulate(row, size)
    else:
        figures = BY_THE_CLOCK[row](size)
    print(json.dumps({"figures": figures, "notes": notes}))


if __name__ == "__main__":
    main()
