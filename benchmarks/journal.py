"""What the journal costs while tasks run, and what it costs to start from it."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.cluster import Cluster, open_cluster
from benchmarks.peers.peer import Figures
from benchmarks.sandbox import Failed, Sandbox
from benchmarks.workloads import (
    ARRAY_JOURNALED,
    ARRAY_UNJOURNALED,
    COMPACTION,
    GRAPH_JOURNALED,
    GRAPH_UNJOURNALED,
    HQTRIO,
    Workload,
)

NO_FILES: Final = ("--stdout", "none", "--stderr", "none")
RUNS: Final = 3
LAYERS: Final = 100
GRAPH_PART: Final = 10  # how many times more tasks the array has


def cost(workload: Workload, sandbox: Sandbox) -> Figures:
    """Microseconds per task of whole commands, with a journal and without, in turn."""
    seconds: dict[str, list[float]] = {}
    for _ in range(RUNS):
        for options, names in (
            ((), (ARRAY_JOURNALED, GRAPH_JOURNALED)),
            (("--journal", "none"), (ARRAY_UNJOURNALED, GRAPH_UNJOURNALED)),
        ):
            with open_cluster(sandbox, *options) as cluster:
                cluster.start_workers(1, "--cpus", "2", "--zero-worker")
                cluster.command("submit", "--wait", *NO_FILES, "/bin/true")
                for name, took in zip(names, _both(cluster, workload.tasks, sandbox), strict=True):
                    seconds.setdefault(name, []).append(1e6 * took)
    return {name: median(values) for name, values in seconds.items()}


def _both(cluster: Cluster, tasks: int, sandbox: Sandbox) -> tuple[float, float]:
    """Seconds per task of an array, and of a graph each of whose tasks ends on its own."""
    layer = tasks // GRAPH_PART // LAYERS
    path = sandbox.home / "graph.yaml"
    lines = ["defaults: {stdout: none, stderr: none}", "tasks:"]
    for number in range(LAYERS):
        needs = f"needs: layer{number - 1}, " if number else ""
        lines.append(f'  layer{number}: {{{needs}array: "1-{layer}", command: /bin/true}}')
    path.write_text("\n".join(lines) + "\n")
    array_s = cluster.command("submit", "--wait", *_array(tasks))
    graph_s = cluster.command("submit", "--wait", str(path))
    cluster.expect_finished(2, tasks)
    cluster.expect_finished(3, layer * LAYERS)
    return array_s / tasks, graph_s / (layer * LAYERS)


def _array(tasks: int) -> list[str]:
    return [*NO_FILES, "--array", f"1-{tasks}", "/bin/true"]


def replay(workload: Workload, sandbox: Sandbox) -> Figures:
    """Seconds until a server listens again that has finished so many tasks; an empty one's too."""
    with open_cluster(sandbox) as cluster:
        empty_s = cluster.restart_server(_journal(cluster))
        cluster.command("job", "open")  # what is over would be no part of the new server's
        cluster.start_workers(1, "--cpus", "2", "--zero-worker")
        cluster.command("submit", "--job", "1", *_array(workload.tasks))
        cluster.wait_finished(1, workload.tasks)
        journal = _journal(cluster)
        size = journal.stat().st_size
        seconds = cluster.restart_server(journal)
        cluster.expect_finished(1, workload.tasks)
        cluster.command("job", "close", "1")
        compaction_s = cluster.command("journal", "prune")
        left = journal.stat().st_size
        if left > size:
            raise Failed(f"the journal has grown from {size} to {left} bytes")
        sandbox.notes.append(
            f"journal of {size / 2**20:.1f} MiB; {left / 2**10:.1f} KiB once the job is over"
        )
    return {HQTRIO: seconds, "hqtrio (empty journal)": empty_s, COMPACTION: compaction_s}


def _journal(cluster: Cluster) -> Path:
    """The journal of the first server, which all of them go on with."""
    return cluster.server_dir / "001" / "journal"


MEASURES: Final = {"journal_cost": cost, "journal_replay": replay}
