"""What a real server spends on a thousand workers: CPU for each end, and the longest stall."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.cluster import STOP_S, Cluster, open_cluster, stall_in
from benchmarks.sandbox import Failed, Sandbox, cpu_seconds
from benchmarks.scheduling.scenarios import BIG_CPUS
from benchmarks.workloads import HQTRIO, Workload

TASK_S: Final = 3.0
JOIN_S: Final = 180.0
FILL_S: Final = 60.0
SETTLE_S: Final = 3 * TASK_S
MEASURED_S: Final = 20.0
NO_FILES: Final = ("--stdout", "none", "--stderr", "none")
ADDITIONS: Final = 1_000_000
FULL: Final = 0.99

Line = dict[str, float]


class Driver:
    """The process that speaks as all workers; it leaves a line of figures every second."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log

    def last(self) -> Line:
        lines = self._log.read_text().splitlines()
        whole = [line for line in lines if line.startswith("{") and line.endswith("}")]
        return dict(json.loads(whole[-1])) if whole else {}

    def wait(self, enough: Callable[[Line], bool], patience_s: float, what: str) -> Line:
        """The first line that is enough; Failed after a while."""
        give_up_at = time.monotonic() + patience_s
        while True:
            line = self.last()
            if line and enough(line):
                return line
            if self._process.poll() is not None:
                raise Failed(f"the driver ended: {self._log.read_text()[-500:]}")
            if time.monotonic() > give_up_at:
                raise Failed(f"{what} within {patience_s:g} s: {line}")
            time.sleep(0.05)


@contextmanager
def open_driver(cluster: Cluster, workers: int) -> Iterator[Driver]:
    sandbox = cluster.sandbox
    path = sandbox.home / "driver.json"
    module = "benchmarks.scheduling.driver"
    options = ["--workers", str(workers), "--task-s", str(TASK_S)]
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(cluster.server_dir), *options],
            env=sandbox.environment(),
            cwd=sandbox.work,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Driver(process, path)
    finally:
        process.kill()
        process.wait()


def envelope(workload: Workload, sandbox: Sandbox) -> dict[str, float]:
    """Share of a core at the full rate, from the CPU for each end at the rate that was reached.

    Once without and once with the stall meter, which costs some CPU itself.
    """
    speed = additions_ns()
    with open_cluster(sandbox) as cluster:
        figures = at_work(cluster, workload.tasks, sandbox.notes)
    sandbox.notes.append(f"one addition in a loop of this Python took {speed:.0f} ns")
    log = sandbox.home / "stall.json"
    with open_cluster(sandbox, stall_log=log) as cluster:
        at_work(cluster, workload.tasks, [])
        cluster.command("server", "stop")
        with suppress(subprocess.TimeoutExpired):
            cluster.server.wait(STOP_S)
    longest_ms, handler = stall_in(log)
    sandbox.notes.append(f"longest stall, filling included: {longest_ms:.0f} ms in {handler}")
    return figures


def at_work(cluster: Cluster, workers: int, notes: list[str]) -> dict[str, float]:
    """Fill the workers and measure for a while."""
    slots = workers * BIG_CPUS
    wanted = slots / TASK_S
    tasks = round(wanted * (FILL_S + SETTLE_S + MEASURED_S)) + 2 * slots
    with open_driver(cluster, workers) as driver:
        driver.wait(lambda line: line["joined"] == workers, JOIN_S, "not all had joined")
        cluster.command("submit", *NO_FILES, "--array", f"1-{tasks}", "/bin/true")
        full = driver.wait(lambda line: line["running"] >= FULL * slots, FILL_S, "not full")
        begun = driver.wait(lambda line: line["at"] >= full["at"] + SETTLE_S, JOIN_S, "no word")
        used_s, at = cpu_seconds(cluster.server.pid), time.perf_counter()
        ended = driver.wait(lambda line: line["at"] >= begun["at"] + MEASURED_S, JOIN_S, "no word")
        used = (cpu_seconds(cluster.server.pid) - used_s) / (time.perf_counter() - at)
    passed_s = ended["at"] - begun["at"]
    rate = {key: (ended[key] - begun[key]) / passed_s for key in ended}
    notes.append(
        f"{rate['ended']:,.0f} of {wanted:,.0f} ends a second with {100 * used:.0f} % of a core"
        f" (the driver: {100 * rate['cpu_s']:.0f} %);"
        f" frames a second: {rate['frames_up']:,.0f} up, {rate['frames_down']:,.0f} down"
    )
    return {HQTRIO: 100 * used * wanted / rate["ended"]}


def additions_ns() -> float:
    """How fast this machine is at the moment: other figures of CPU time go with it."""
    took = []
    for _ in range(5):
        began, total = time.perf_counter(), 0
        for number in range(ADDITIONS):
            total += number
        took.append(time.perf_counter() - began)
    return 1e9 * median(took) / ADDITIONS
