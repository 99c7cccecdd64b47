"""`xargs -P2`: the shortest line that keeps two cores busy."""

from __future__ import annotations

import shutil

from benchmarks.peers.peer import Figures, Peer
from benchmarks.sandbox import Sandbox, expect_files
from benchmarks.workloads import Workload

NAME = "xargs -P2"
TO_FILES = 'exec /bin/true >"$0.stdout" 2>"$0.stderr"'


def missing() -> str:
    return "" if shutil.which("xargs") else "no xargs: install findutils"


def rate(workload: Workload, sandbox: Sandbox, command: list[str]) -> float:
    numbers = sandbox.home / "numbers"
    numbers.write_text("".join(f"{number}\n" for number in range(workload.tasks)))
    ran = sandbox.run(["xargs", "-P2", "-n1", *command], stdin=numbers)
    return workload.tasks / ran.seconds


def with_files(workload: Workload, sandbox: Sandbox) -> Figures:
    """Only a shell for each task can give it files of its own."""
    figures = {NAME: rate(workload, sandbox, ["/bin/sh", "-c", TO_FILES])}
    expect_files(sandbox.work, 2 * workload.tasks)
    return figures


def without_files(workload: Workload, sandbox: Sandbox) -> Figures:
    return {NAME: rate(workload, sandbox, ["/bin/true"])}


PEER = Peer(
    NAME,
    missing,
    {
        "real_files": with_files,
        "real_files_disk": with_files,
        "real_no_files": without_files,
    },
)
