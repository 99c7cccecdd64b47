"""A real Slurm of our own: controller and four nodes on this host, all in one directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from process_cluster import PATIENCE_S, wait_until

HERE = Path(__file__).parent
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
NODES = 4


class Slurm:
    """The cluster; `environment` makes the commands of Slurm speak to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {
            "SLURM_CONF": str(directory / "etc/slurm.conf"),
            "PATH": PATH,
        }

    # --- as tests of several managers need it

    nodes = NODES
    whole_nodes = ("--exclusive",)
    wrong_queue = ("--partition=nosuch",)
    wrong_queue_words = "Invalid partition name specified"
    manager = "slurm"
    shown = "Slurm"

    def cancel(self, job: str) -> None:
        self.run("scancel", job)

    def stop(self) -> None:
        """Its commands fail at once."""
        self.fault("stop-ctld")

    def start(self) -> None:
        self.fault("start-ctld")
        wait_until(lambda: bool(self.run("sinfo", "-h", check=False).strip()))

    def lose_answers(self) -> None:
        """Submissions are made, and nobody hears of it."""
        self.fault("hang-ctld")

    def answer_again(self) -> None:
        self.fault("cont-ctld")

    # --- Slurm

    def run(self, *words: str, check: bool = True) -> str:
        """What a command of Slurm prints."""
        env = {**os.environ, **self.environment}
        done = subprocess.run(
            words,
            env=env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            stdin=subprocess.DEVNULL,
        )
        assert not check or done.returncode == 0, (words, done)
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """State by id, of jobs that have not ended."""
        lines = self.run("squeue", "-h", "-a", "-o", "%i|%T").splitlines()
        return dict(line.split("|") for line in lines)

    def nodes_of(self, job: str) -> list[str]:
        names = self.run("squeue", "-h", "-j", job, "-o", "%N").strip()
        return self.run("scontrol", "show", "hostnames", names).split()

    def states(self) -> list[str]:
        return self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split()

    def fault(self, what: str, node: str = "") -> None:
        """kill-node, start-node, stop-ctld, start-ctld, hang-ctld, cont-ctld."""
        words = [str(HERE / "slurm_fault.sh"), str(self.directory), what, *([node] if node else [])]
        self._script(words)

    def _script(self, words: list[str]) -> None:
        done = subprocess.run(
            words,
            env={**os.environ, "PATH": PATH},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S * 2,
        )
        assert done.returncode == 0, (words, done.stdout)

    def up(self) -> None:
        # SlurmdTimeout is short so that a dead node is soon noticed.
        self._script(
            [str(HERE / "slurm_up.sh"), "-q", "-n", str(NODES), "-t", "6", str(self.directory)]
        )

    def down(self) -> None:
        self._script([str(HERE / "slurm_down.sh"), "-r", str(self.directory)])

    def clear(self) -> None:
        """No jobs, and all nodes idle."""
        self.run("scancel", "--me", check=False)
        wait_until(lambda: not self.jobs(), lambda: str(self.jobs()))
        wait_until(lambda: set(self.states()) == {"idle"}, lambda: str(self.states()))


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


@contextmanager
def slurm_running() -> Iterator[Slurm]:
    """For the block; nothing of it is left afterwards. Skips where Slurm is not installed."""
    if missing := missing_programs():
        pytest.skip(f"Slurm is not installed: no {', '.join(missing)}")
    # Sockets have short paths, and nodes must not depend on a directory that a test removes.
    directory = Path(tempfile.mkdtemp(prefix="hq-slurm-", dir="/tmp"))
    directory.chmod(0o755)
    slurm = Slurm(directory)
    try:
        slurm.up()
        yield slurm
    finally:
        if (directory / "pids").exists():
            slurm.down()
        shutil.rmtree(directory, ignore_errors=True)
