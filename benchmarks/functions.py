"""Python functions as tasks, through `hqtrio.Executor` and `hqtrio.Client`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Final

from benchmarks.callee import nothing
from benchmarks.cluster import open_cluster
from benchmarks.peers.peer import Figures, in_child
from benchmarks.sandbox import Sandbox, resident_bytes
from benchmarks.workloads import EXECUTOR, HQTRIO, JOB_OF_FUNCTIONS, Workload

MODULE: Final = "benchmarks.functions"
CPUS: Final = 2
WARM_UP: Final = 50
WAITS: Final = 20


def main(workload: str, count: int) -> Figures:
    """Run in an interpreter of its own."""
    if workload == "functions_wait":
        return wait()
    if workload == "functions_memory":
        return memory(count)
    from hqtrio import Executor, Job, LocalCluster, WorkerConfig

    figures = {}
    with Executor(cores=CPUS) as executor:
        list(executor.map(nothing, range(WARM_UP)))
        begin = time.perf_counter()
        found = list(executor.map(nothing, range(count)))
        figures[EXECUTOR] = count / (time.perf_counter() - begin)
        assert found == list(range(count))
    with LocalCluster(worker_config=WorkerConfig(cores=CPUS)) as cluster:
        client = cluster.client()
        job = Job()
        for number in range(count):
            job.function(nothing, args=(number,), stdout=None, stderr=None)
        begin = time.perf_counter()
        found = client.results(client.submit(job))
        figures[JOB_OF_FUNCTIONS] = count / (time.perf_counter() - begin)
        assert found == list(range(count))
    return figures


def wait() -> Figures:
    """Milliseconds from a task's last action to the return of `wait_for_jobs`."""
    from hqtrio import Job, LocalCluster, WorkerConfig

    late = []
    with LocalCluster(worker_config=WorkerConfig(cores=CPUS)) as cluster:
        client = cluster.client()
        for _ in range(WAITS):
            job = Job()
            last = job.function(time.time, stdout=None, stderr=None)
            submitted = client.submit(job)
            client.wait_for_jobs(submitted)
            now = time.time()
            late.append(1e3 * (now - submitted.result(last)))
    return {HQTRIO: median(late)}


def memory(count: int) -> Figures:
    """Of the server, in MiB, while an executor has its calls carried out, at its peak."""
    from hqtrio import Executor

    peaks = []
    server, place = int(sys.argv[3]), sys.argv[4]
    with Executor(place) as executor:
        results = executor.map(nothing, range(count))
        for number, result in enumerate(results):
            assert result == number
            if number % 1000 == 0:
                peaks.append(resident_bytes(server) / (1 << 20))
    return {HQTRIO: max(peaks)}


def measure_memory(workload: Workload, sandbox: Sandbox) -> Figures:
    """A server and a worker of their own processes, and an executor in a third."""
    with open_cluster(sandbox) as cluster:
        cluster.start_workers(1, "--cpus", str(CPUS))
        words = [workload.name, str(workload.tasks), str(cluster.server.pid)]
        command = [sys.executable, "-m", MODULE, *words, str(cluster.server_dir)]
        said = sandbox.run(command).stdout
    return {str(k): float(v) for k, v in json.loads(said.strip().splitlines()[-1]).items()}


MEASURES: Final[dict[str, Callable[[Workload, Sandbox], Figures]]] = {
    "functions": in_child(MODULE),
    "functions_wait": in_child(MODULE),
    "functions_memory": measure_memory,
}

if __name__ == "__main__":
    from benchmarks import functions

    print(json.dumps(functions.main(sys.argv[1], int(sys.argv[2]))))
