"""Dask `distributed`: a local cluster of two worker processes with one thread each."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Final

from benchmarks.peers.peer import Peer, in_child, needs_package
from benchmarks.workloads import DASK

SHARE: Final = 5  # functions that do nothing take so long that a part gives the figure as well
CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


def spawn(number: int, files: bool, after: object = None) -> int:
    """One task: the process, in a session of its own, with two new files if asked for."""
    opened = []
    if files:
        opened = [os.open(f"{number}.{end}", CREATE, 0o666) for end in ("stdout", "stderr")]
    actions = [(os.POSIX_SPAWN_DUP2, fd, to) for to, fd in enumerate(opened, 1)]
    pid = os.posix_spawn("/bin/true", ["/bin/true"], os.environ, file_actions=actions, setsid=True)
    for fd in opened:
        os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def nothing(number: int) -> int:
    return 0


def main(workload: str, count: int) -> dict[str, float]:
    if workload.startswith("zero"):
        count //= SHARE
    from distributed import Client, LocalCluster

    start_cluster: Any = LocalCluster
    connect: Any = Client
    with (
        start_cluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        connect(cluster) as client,
    ):
        client.gather(client.map(nothing, range(-20, 0), pure=False))
        begin = time.perf_counter()
        if workload == "chain":
            link = client.submit(spawn, 0, True, pure=False)
            futures = [link]
            for number in range(1, count):
                link = client.submit(spawn, number, True, link, pure=False)
                futures.append(link)
        elif workload.startswith("zero") or workload == "functions":
            futures = client.map(nothing, range(count), pure=False)
        else:
            files = workload != "real_no_files"
            futures = client.map(spawn, range(count), files=files, pure=False)
        codes = client.gather(futures)
        seconds = time.perf_counter() - begin
        assert codes == [0] * count
    if workload == "chain":
        return {DASK: 1e3 * seconds / count}
    if workload.startswith("zero"):
        return {f"{DASK} (functions)": 1e6 * seconds / count}
    return {DASK: count / seconds}


PEER = Peer(
    DASK,
    needs_package("distributed", "pip install distributed"),
    {
        name: in_child("benchmarks.peers.dask")
        for name in (
            *("real_files", "real_files_disk", "real_no_files", "chain"),
            *("zero_array_10k", "functions"),
        )
    },
)

if __name__ == "__main__":
    # Named by its module, so that the workers, which have another __main__, can load the tasks.
    from benchmarks.peers import dask

    print(json.dumps(dask.main(sys.argv[1], int(sys.argv[2]))))
