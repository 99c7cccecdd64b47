"""A server and workers of this checkout, started through their commands."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.sandbox import TIMEOUT_S, Failed, Sandbox, cpu_seconds

START_S: Final = 60.0
STOP_S: Final = 15.0
STALL_VARIABLE: Final = "HQTRIO_STALL_LOG"


@dataclass(slots=True)
class Cluster:
    sandbox: Sandbox
    server: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]

    @property
    def server_dir(self) -> Path:
        return self.sandbox.home / ".hqtrio-server"

    def command(self, *words: str) -> float:
        """Seconds of one command from start to end."""
        return self.sandbox.run(hqtrio(*words)).seconds

    @property
    def instance(self) -> Path | None:
        """Where the server that listens keeps its files."""
        link = self.server_dir / "hq-current"
        return link.resolve() if (link / "access.json").exists() else None

    def wait_for_server(self, before: Path | None) -> None:
        """Return once another server listens than that of this directory."""
        give_up_at = time.monotonic() + START_S
        while self.instance in (before, None):
            if self.server.poll() is not None or time.monotonic() > give_up_at:
                raise Failed("the server did not start")
            time.sleep(0.005)

    def restart_server(self, journal: Path) -> float:
        """Kill it; seconds that another one takes to listen, with all that the journal tells."""
        before = self.instance
        self.server.kill()
        self.server.wait()
        begin = time.perf_counter()
        self.server = self.sandbox.start(hqtrio("server", "start", "--journal", str(journal)))
        self.wait_for_server(before)
        return time.perf_counter() - begin

    def start_workers(self, count: int, *options: str) -> None:
        """Return once they are connected."""
        for _ in range(count):
            self.workers.append(self.sandbox.start(hqtrio("worker", "start", *options)))
        connected = self.sandbox.start(hqtrio("worker", "wait", str(count)))
        give_up_at = time.monotonic() + START_S + count
        while connected.poll() is None:
            if any(worker.poll() is not None for worker in self.workers):
                raise Failed("a worker did not start")
            if time.monotonic() > give_up_at:
                raise Failed("the workers did not connect")
            time.sleep(0.02)
        if connected.returncode:
            raise Failed("waiting for the workers failed")

    @contextmanager
    def noting_cpu(self, tasks: int) -> Iterator[None]:
        """Note what server and worker spent per task; launchers and tasks do not count."""
        processes = {"server": self.server.pid, "worker": self.workers[0].pid}
        before = {name: cpu_seconds(pid) for name, pid in processes.items()}
        yield
        spent = [
            f"{name} {1e6 * (cpu_seconds(pid) - before[name]) / tasks:.1f} us"
            for name, pid in processes.items()
        ]
        self.sandbox.notes.append(f"CPU per task: {', '.join(spent)}")

    def expect_finished(self, job: int, count: int) -> None:
        if (found := self.finished(job)) != count:
            raise Failed(f"of job {job} {found} tasks have finished, expected {count}")

    def wait_finished(self, job: int, count: int) -> None:
        """Return once so many tasks have finished."""
        give_up_at = time.monotonic() + TIMEOUT_S
        while self.finished(job) != count:
            if time.monotonic() > give_up_at:
                raise Failed(f"the tasks of job {job} had not ended after {TIMEOUT_S:g} s")

    def finished(self, job: int) -> int:
        said = self.sandbox.run(hqtrio("job", "list", "--all", "--output-mode", "json")).stdout
        stats = next(row["task_stats"] for row in json.loads(said) if row["id"] == job)
        return int(stats["finished"])

    def stop(self) -> None:
        """Ask politely; the sandbox does the rest."""
        for process in (self.server, *self.workers):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
        give_up_at = time.monotonic() + STOP_S
        for process in (self.server, *self.workers):
            try:
                process.wait(max(0.1, give_up_at - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.sandbox.notes.append(
                    f"process {process.pid} was still there {STOP_S:g} s after SIGINT"
                )


def hqtrio(*words: str) -> list[str]:
    return [sys.executable, "-m", "hqtrio", *words]


@contextmanager
def open_cluster(
    sandbox: Sandbox, *options: str, stall_log: Path | None = None
) -> Iterator[Cluster]:
    """A server that listens; it and the workers started later end with the block."""
    extra = {STALL_VARIABLE: str(stall_log)} if stall_log else {}
    server = sandbox.start(hqtrio("server", "start", *options), extra=extra)
    cluster = Cluster(sandbox, server, [])
    try:
        cluster.wait_for_server(None)
        yield cluster
    except Failed as failed:
        raise Failed(f"{failed} | logs: {sandbox.last_words()}") from failed
    finally:
        cluster.stop()


def stall_in(log: Path) -> tuple[float, str]:
    """Milliseconds of the longest stall of a server that has ended, and where it was."""
    if not log.exists():
        raise Failed(f"the server wrote no {STALL_VARIABLE}")
    said = json.loads(log.read_text())
    return 1e3 * said["longest_stall_s"], str(said["handler"])
