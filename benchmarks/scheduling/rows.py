"""The rows of this room as measures of the peer hqtrio; all but one run in a child process."""

from __future__ import annotations

import json
import sys
from typing import Final

from benchmarks.peers.peer import Figures, Measure
from benchmarks.sandbox import Sandbox
from benchmarks.scheduling.envelope import envelope
from benchmarks.workloads import Workload

TIMEOUT_S: Final = 3600.0
IN_CHILD: Final = (
    "sim_uniform",
    "sim_uniform_short",
    "sim_heavy_tails",
    "sim_churn",
    "round_steady",
    "round_fill",
    "round_idle",
    "task_cost",
    "queue_memory",
)


def in_child(workload: Workload, sandbox: Sandbox) -> Figures:
    """Measure in an interpreter of its own."""
    command = [sys.executable, "-m", "benchmarks.scheduling", workload.name, str(workload.tasks)]
    said = json.loads(sandbox.run(command, timeout_s=TIMEOUT_S).stdout.splitlines()[-1])
    sandbox.notes += map(str, said["notes"])
    return {str(series): float(value) for series, value in said["figures"].items()}


MEASURES: Final[dict[str, Measure]] = {
    **dict.fromkeys(IN_CHILD, in_child),
    "envelope": envelope,
}
