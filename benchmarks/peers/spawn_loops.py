"""No runtime at all: two processes, each starting tasks one after another."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.peers.peer import Figures, Peer, nothing_missing
from benchmarks.sandbox import Failed, Sandbox, expect_files
from benchmarks.workloads import BARE_LOOPS, BARE_LOOPS_WITH_FILES, Workload

CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
COMMAND: Final = ("/bin/true",)
ENVIRONMENT: Final = {"PATH": os.defpath}


def bare(count: int, lane: int, directory: Path) -> None:
    for _ in range(count):
        os.waitpid(os.posix_spawn(COMMAND[0], COMMAND, ENVIRONMENT), 0)


def with_files(count: int, lane: int, directory: Path) -> None:
    """What a task runtime cannot do without: a session and two new files for each task."""
    for number in range(lane, 2 * count, 2):
        files = [
            os.open(directory / f"{number}.{end}", CREATE, 0o666) for end in ("stdout", "stderr")
        ]
        actions = [(os.POSIX_SPAWN_DUP2, fd, to) for to, fd in enumerate(files, 1)]
        pid = os.posix_spawn(COMMAND[0], COMMAND, ENVIRONMENT, file_actions=actions, setsid=True)
        for fd in files:
            os.close(fd)
        os.waitpid(pid, 0)


def two_loops(count: int, directory: Path, loop: Callable[[int, int, Path], None]) -> float:
    """Tasks per second of two loops that share the tasks."""
    begin, pids = time.perf_counter(), []
    for lane in range(2):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                loop(count // 2, lane, directory)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    if any(statuses):
        raise Failed("a loop failed")
    return count / (time.perf_counter() - begin)


def measure_bare(workload: Workload, sandbox: Sandbox) -> Figures:
    return {BARE_LOOPS: two_loops(workload.tasks, sandbox.work, bare)}


def measure_both(workload: Workload, sandbox: Sandbox) -> Figures:
    rate = two_loops(workload.tasks, sandbox.work, with_files)
    expect_files(sandbox.work, 2 * workload.tasks)
    return {BARE_LOOPS_WITH_FILES: rate, **measure_bare(workload, sandbox)}


PEER = Peer(
    "spawn loops",
    nothing_missing,
    {
        "real_files": measure_both,
        "real_files_disk": measure_both,
        "real_no_files": measure_bare,
    },
)
