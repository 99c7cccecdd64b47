"""What a command written in Python on trio cannot go below."""

from __future__ import annotations

import sys
from statistics import median

from benchmarks.peers.peer import Figures, Peer, nothing_missing
from benchmarks.sandbox import Sandbox
from benchmarks.workloads import Workload

BARE_PYTHON = "python -c pass"
COMMAND = (sys.executable, "-c", "import trio_websocket")


def measure(workload: Workload, sandbox: Sandbox) -> Figures:
    runs = [sandbox.run([sys.executable, "-c", "pass"]).seconds for _ in range(workload.tasks)]
    return {BARE_PYTHON: 1e3 * median(runs)}


PEER = Peer(BARE_PYTHON, nothing_missing, {"cli": measure})
