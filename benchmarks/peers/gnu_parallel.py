"""GNU parallel with two jobs."""

from __future__ import annotations

import shutil

from benchmarks.peers.peer import Figures, Peer
from benchmarks.sandbox import Sandbox, expect_files
from benchmarks.workloads import Workload

NAME = "GNU parallel"
SHARE = 4  # it is so slow that a part of the tasks gives its rate as well, and a run ends
COMMAND = ("parallel", "--no-run-if-empty", "-j2")


def missing() -> str:
    return "" if shutil.which("parallel") else "no program parallel: apt-get install parallel"


def rate(tasks: int, sandbox: Sandbox, command: str) -> float:
    (sandbox.home / ".parallel").mkdir(exist_ok=True)
    (sandbox.home / ".parallel" / "will-cite").touch()
    numbers = sandbox.home / "numbers"
    numbers.write_text("".join(f"{number}\n" for number in range(tasks)))
    ran = sandbox.run([*COMMAND, command], stdin=numbers)
    return tasks / ran.seconds


def with_files(workload: Workload, sandbox: Sandbox) -> Figures:
    tasks = workload.tasks // SHARE
    figures = {NAME: rate(tasks, sandbox, "/bin/true >{}.stdout 2>{}.stderr")}
    expect_files(sandbox.work, 2 * tasks)
    return figures


def without_files(workload: Workload, sandbox: Sandbox) -> Figures:
    """Its argument has to appear, or it would be handed to the program."""
    return {NAME: rate(workload.tasks // SHARE, sandbox, "/bin/true {}")}


PEER = Peer(
    NAME,
    missing,
    {
        "real_files": with_files,
        "real_files_disk": with_files,
        "real_no_files": without_files,
    },
)
