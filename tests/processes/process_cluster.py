"""Real processes over real TLS, in a home of their own, driven as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PATIENCE_S = 60.0  # how long a condition may take on a busy machine before the test gives up


class Cluster:
    """A server, workers and the command line, in one temporary directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.work = root / "work"
        self.home.mkdir()
        self.work.mkdir()
        self.server_dir = self.home / ".hqtrio-server"
        self.processes: list[subprocess.Popen[str]] = []
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HQ_", "SLURM", "PBS"))},
            "HOME": str(self.home),
            "TMPDIR": str(root),
            "PYTHONWARNINGS": "error",
        }

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-P", "-m", "hqtrio", *args]

    def run(self, *args: str, check: int | None = 0, stdin: str | None = None, **env: str):
        """One command to its end; its exit code must be `check` (None: any)."""
        done = subprocess.run(
            self.command(*args),
            cwd=self.work,
            env={**self.env, **env},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S * 2,
        )
        if check is not None:
            assert done.returncode == check, (args, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *args: str):
        """The JSON value that a command prints."""
        return json.loads(self.run("--output-mode=json", *args).stdout)

    def start(self, *args: str, name: str, **env: str) -> subprocess.Popen[str]:
        """A process that goes on; its output lies in files named after it."""
        with (
            (self.root / f"{name}.out").open("w") as out,
            (self.root / f"{name}.err").open("w") as err,
        ):
            process = subprocess.Popen(
                self.command(*args),
                cwd=self.work,
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                text=True,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_server(self, *args: str, name: str = "server", **env: str) -> subprocess.Popen[str]:
        process = self.start("server", "start", *args, name=name, **env)
        out = self.root / f"{name}.out"
        wait_until(lambda: "Start date" in out.read_text() or process.poll() is not None)
        assert process.poll() is None, self.log(name)
        return process

    def start_worker(self, *args: str, name: str = "worker", **env: str) -> subprocess.Popen[str]:
        """A worker that is registered."""
        process = self.start("worker", "start", *args, name=name, **env)
        out = self.root / f"{name}.out"
        wait_until(lambda: "Working directory" in out.read_text() or process.poll() is not None)
        assert process.poll() is None, self.log(name)
        return process

    def log(self, name: str) -> str:
        return (self.root / f"{name}.err").read_text()

    def submit(self, *args: str) -> int:
        return int(self.run("--output-mode=quiet", "submit", *args).stdout)

    def states(self, job: int) -> dict[int, str]:
        """State of each task."""
        rows = self.json("task", "list", str(job))[str(job)]
        return {row["id"]: row["state"] for row in rows}

    def counts(self, job: int) -> dict[str, int]:
        (detail,) = self.json("job", "info", str(job))
        stats = detail["info"]["task_stats"]
        return {state: count for state, count in stats.items() if count}

    def wait_counts(self, job: int, **counts: int) -> None:
        wait_until(lambda: self.counts(job) == counts, lambda: str(self.counts(job)))

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
        for process in self.processes:
            process.wait(PATIENCE_S)


def wait_until(condition, explain=lambda: "") -> None:
    """Ask again and again; for what only another process can know."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, f"did not happen: {explain()}"
        time.sleep(0.03)


def processes_with(marker: str) -> list[int]:
    """Processes whose environment holds the marker (zombies have none)."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                environment = Path("/proc", entry, "environ").read_bytes()
            except OSError:
                continue
            if marker.encode() in environment and int(entry) != os.getpid():
                found.append(int(entry))
    return found


def lives(pid: int) -> bool:
    """Whether the process goes on; a zombie that nobody has buried yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
