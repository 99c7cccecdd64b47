"""What it costs to stream outputs, beside writing each into a file of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from statistics import median
from typing import Final

from benchmarks.cluster import hqtrio, open_cluster
from benchmarks.peers.peer import Figures
from benchmarks.sandbox import Failed, Sandbox
from benchmarks.workloads import PLAIN_FILES, STREAMED, Workload

RUNS: Final = 3
SMALL_BYTES: Final = 10_000
MEBIBYTE: Final = 1 << 20


def small(workload: Workload, sandbox: Sandbox) -> Figures:
    """Tasks per second that print 10 KB each, after one command's start-up."""
    (sandbox.home / "text").write_bytes(b"x" * SMALL_BYTES)
    array = ["--array", f"1-{workload.tasks}", "/bin/cat", str(sandbox.home / "text")]
    seconds = _in_turn(sandbox, array, workload.tasks * SMALL_BYTES)
    return {name: workload.tasks / took for name, took in seconds.items()}


def large(workload: Workload, sandbox: Sandbox) -> Figures:
    """MiB per second of a single task."""
    task = ["/usr/bin/head", "-c", str(workload.tasks * MEBIBYTE), "/dev/zero"]
    seconds = _in_turn(sandbox, task, workload.tasks * MEBIBYTE)
    return {name: workload.tasks / took for name, took in seconds.items()}


def _in_turn(sandbox: Sandbox, words: list[str], expected: int) -> dict[str, float]:
    """Median seconds of the task words with a stream and with files, start-up taken off."""
    seconds: dict[str, list[float]] = {}
    with open_cluster(sandbox) as cluster:
        cluster.start_workers(1, "--cpus", "2")
        for run in range(RUNS):
            where = sandbox.home / f"run-{run}"
            where.mkdir()
            for name, options in (
                (STREAMED, ("--stream", str(where / "stream"), "--stderr=none")),
                (PLAIN_FILES, ("--stdout", f"{where}/%{{TASK_ID}}.out", "--stderr=none")),
            ):
                submit = ("submit", "--wait", *options)
                start_up_s = cluster.command(*submit, "/bin/true")
                took = cluster.command(*submit, *words)
                if took <= start_up_s:
                    raise Failed("the work took no longer than a command's start-up")
                seconds.setdefault(name, []).append(took - start_up_s)
            _check(sandbox, f"{where}/stream", expected)
            for path in where.rglob("*"):
                if path.is_file():
                    path.unlink()
    return {name: median(values) for name, values in seconds.items()}


def _check(sandbox: Sandbox, directory: str, expected: int) -> None:
    said = sandbox.run(hqtrio("--output-mode=json", "output-log", directory, "summary")).stdout
    found = json.loads(said)["summary"]["stdout_size"]
    if found != expected:
        raise Failed(f"{found} bytes were streamed instead of {expected}")


MEASURES: Final[dict[str, Callable[[Workload, Sandbox], Figures]]] = {
    "stream_small": small,
    "stream_large": large,
}
