"""HyperQueue through the Python API of its wheel: server and worker live in one process."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.peers.peer import Figures, Peer, in_child, needs_package
from benchmarks.sandbox import Failed, Sandbox, resident_bytes
from benchmarks.workloads import HYPERQUEUE, Workload

MODULE: Final = "benchmarks.peers.hyperqueue"
SERVE: Final = "serve"
SUBMIT: Final = "submit"
FUNCTIONS_SHARE: Final = 100  # each call takes as long as some hundred of the others'
JOB_MAX: Final = 100_000  # a job of a million tasks exceeds its frame limit


def main(workload: str, count: int) -> dict[str, float]:
    """Run in an interpreter of its own, in the directory for the output files."""
    from hyperqueue import Job  # type: ignore[import-untyped, import-not-found, unused-ignore]
    from hyperqueue.client import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        Client,
    )
    from hyperqueue.cluster import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        LocalCluster,
        WorkerConfig,
    )

    servers = Path.home() / "hq-server"
    if workload == SERVE:
        with LocalCluster(server_dir=str(servers)):
            (servers / "ready").touch()
            time.sleep(3600)
    if workload == SUBMIT:
        client = Client(str(servers))
        for first in range(0, count, JOB_MAX):
            job = Job(default_workdir=Path.cwd(), max_fails=0)
            for _ in range(first, min(first + JOB_MAX, count)):
                job.program(["/bin/true"])
            client.submit(job)
        return {}
    if workload == "functions":
        return {HYPERQUEUE: functions(count // FUNCTIONS_SHARE, servers)}
    job = Job(default_workdir=Path.cwd(), max_fails=0)
    # Waiting through the API looks once a second, so the end is dated by the files of the last
    # tasks; where tasks have no files, the last one of each slot gets them all the same.
    before: list[object] = []
    for number in range(count):
        silent = workload == "real_no_files" and number < count - 2
        streams = {"stdout": None, "stderr": None} if silent else {}
        task = job.program(["/bin/true"], deps=before, **streams)
        before = [task] if workload == "chain" else []
    with LocalCluster(server_dir=str(servers)) as cluster:
        cluster.start_worker(WorkerConfig(cores=2))
        client = cluster.client()
        time.sleep(0.5)  # for the worker to register: the API cannot be asked
        begin = time.time()
        assert client.wait_for_jobs([client.submit(job)])
    made = [
        Path(folder, name).stat().st_mtime for folder, _, names in os.walk(".") for name in names
    ]
    assert len(made) == 2 * (2 if workload == "real_no_files" else count), len(made)
    seconds = max(made) - begin
    return {HYPERQUEUE: 1e3 * seconds / count if workload == "chain" else count / seconds}


def note(number: int) -> None:
    """What it returns would be lost: the file dates the end, as waiting looks once a second."""
    Path(f"{number}.done").touch()


def functions(count: int, servers: Path) -> float:
    """Calls per second; each of them starts an interpreter."""
    from hyperqueue import Job
    from hyperqueue.cluster import LocalCluster, WorkerConfig

    job = Job(default_workdir=Path.cwd(), max_fails=0)
    for number in range(count):
        job.function(note, args=(number,), stdout=None, stderr=None)
    with LocalCluster(server_dir=str(servers)) as cluster:
        cluster.start_worker(WorkerConfig(cores=2))
        client = cluster.client()
        time.sleep(0.5)
        begin = time.time()
        assert client.wait_for_jobs([client.submit(job)])
    ends = [path.stat().st_mtime for path in Path().glob("*.done")]
    assert len(ends) == count, len(ends)
    return count / (max(ends) - begin)


def memory_waiting(workload: Workload, sandbox: Sandbox) -> Figures:
    """The server alone in one process, a client in another; graph tasks, as the API makes them."""
    server = sandbox.start([sys.executable, "-m", MODULE, SERVE, "0"])
    ready = sandbox.home / "hq-server" / "ready"
    give_up_at = time.monotonic() + 30
    while not ready.exists():
        if server.poll() is not None or time.monotonic() > give_up_at:
            raise Failed(f"its server did not start: {sandbox.last_words()}")
        time.sleep(0.05)
    submit = [sys.executable, "-m", MODULE, SUBMIT]
    sandbox.run([*submit, "10"])
    before = resident_bytes(server.pid)
    sandbox.run([*submit, str(workload.tasks)])
    return {HYPERQUEUE: (resident_bytes(server.pid) - before) / workload.tasks}


PEER = Peer(
    HYPERQUEUE,
    needs_package("hyperqueue", "pip install hyperqueue"),
    {
        "real_files": in_child(MODULE),
        "real_files_disk": in_child(MODULE),
        "real_no_files": in_child(MODULE),
        "chain": in_child(MODULE),
        "functions": in_child(MODULE),
        "memory_waiting": memory_waiting,
    },
)

if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
