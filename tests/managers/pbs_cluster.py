"""The stand-in for PBS as tests hold it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pbs_stand_in
from process_cluster import PATIENCE_S, wait_until

PROGRAMS = ("qsub", "qstat", "qselect", "qdel", "pbsdsh")


class Pbs:
    """`environment` puts its programs on the path."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.state.mkdir(parents=True)
        programs = directory / "bin"
        programs.mkdir()
        for name in PROGRAMS:
            path = programs / name
            words = f"{sys.executable} -P {pbs_stand_in.__file__} {name} {self.state}"
            path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            path.chmod(0o755)
        user = os.environ.get("LOGNAME") or "user"
        self.environment = {"PATH": f"{programs}:{os.environ['PATH']}", "LOGNAME": user}

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            words,
            env={**os.environ, **self.environment},
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert not check or done.returncode == 0, (words, done)
        return done

    def jobs(self) -> dict[str, str]:
        """State by id, of jobs that have not ended."""
        try:
            rows = json.loads((self.state / "jobs.json").read_text())
        except FileNotFoundError:
            return {}
        return {
            f"{number}.{pbs_stand_in.SERVER}": row["state"]
            for number, row in rows.items()
            if row["state"] != "F"
        }

    def break_down(self, fault: str) -> None:
        (self.state / fault).touch()

    def mend(self, fault: str) -> None:
        (self.state / fault).unlink()

    def end(self, job: str, what: str) -> None:
        """`node`: its node dies; `walltime`: its time is over."""
        words = [sys.executable, pbs_stand_in.__file__, "end", str(self.state)]
        self.run(*words, job.partition(".")[0], what)

    def clear(self) -> None:
        for fault in ("down", "hang", "garbage", "lost_qsub", "no_start"):
            (self.state / fault).unlink(missing_ok=True)
        if jobs := self.jobs():
            self.run("qdel", *jobs, check=False)
        wait_until(lambda: not self.jobs(), lambda: str(self.jobs()))
        wait_until(lambda: not self._runners())

    def _runners(self) -> list[str]:
        """Processes that see to jobs."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with suppress(OSError):
                    words = Path("/proc", entry, "cmdline").read_bytes()
                    if f"run\0{self.state}".encode() in words:
                        found.append(entry)
        return found

    # --- as tests of several managers need it

    nodes = 3
    whole_nodes: tuple[str, ...] = ()
    wrong_queue = ("-q", "nosuch")
    wrong_queue_words = "Unknown queue"
    manager = "pbs"
    shown = "PBS"

    def cancel(self, job: str) -> None:
        self.run("qdel", job)

    def stop(self) -> None:
        """Its commands fail at once."""
        self.break_down("down")

    def start(self) -> None:
        self.mend("down")

    def lose_answers(self) -> None:
        """Submissions are made, and nobody hears of it."""
        self.break_down("lost_qsub")

    def answer_again(self) -> None:
        self.mend("lost_qsub")


@contextmanager
def pbs_running(directory: Path) -> Iterator[Pbs]:
    """For the block; nothing of it goes on afterwards."""
    pbs = Pbs(directory)
    try:
        yield pbs
    finally:
        pbs.clear()
