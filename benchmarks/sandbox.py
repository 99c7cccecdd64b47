"""A temporary home for one measurement; nothing that was started in it outlives it."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

CHECKOUT: Final = Path(__file__).resolve().parent.parent
MEMORY: Final = Path("/dev/shm")
PR_SET_CHILD_SUBREAPER: Final = 36
TIMEOUT_S: Final = 300.0


class Failed(Exception):
    """A measurement that came to nothing; the text says why."""


class Ran(NamedTuple):
    seconds: float
    stdout: str


@dataclass(slots=True)
class Sandbox:
    """`home` lies on disk, as a user's does; `work` where the workload wants its files."""

    home: Path
    work: Path
    notes: list[str] = field(default_factory=list)
    _logs: int = 0

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Nothing of the caller's but PATH and the language, so that no setting leaks in."""
        kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        kept["PATH"] = f"{Path(sys.executable).parent}:{kept.get('PATH', os.defpath)}"
        return {
            **kept,
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "PYTHONPATH": str(CHECKOUT),
            **(extra or {}),
        }

    def start(
        self, command: Sequence[str], *, extra: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """A process in the background with its own session; its output goes to a log."""
        self._logs += 1
        with (self.home / f"{self._logs}.log").open("wb") as log:
            return subprocess.Popen(
                command,
                env=self.environment(extra),
                cwd=self.work,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: Path | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Ran:
        """Time a command from its start to its end; Failed unless it exits with 0."""
        with (
            (self.home / "stdout").open("w+b") as stdout,
            (self.home / "stderr").open("w+b") as stderr,
            (stdin or Path(os.devnull)).open("rb") as fed,
        ):
            begin = time.perf_counter()
            process = subprocess.Popen(
                command,
                env=self.environment(),
                cwd=self.work,
                stdin=fed,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                raise Failed(f"{shown(command)}: no end after {timeout_s:g} s") from None
            seconds = time.perf_counter() - begin
            stdout.seek(0)
            if code:
                stderr.seek(0)
                said = stderr.read() + stdout.read()
                raise Failed(f"{shown(command)}: exit {code}: {tail(said)}")
            return Ran(seconds, stdout.read().decode())

    def last_words(self) -> str:
        """The end of every background process' log."""
        logs = sorted(self.home.glob("*.log"), key=lambda path: int(path.stem))
        return " | ".join(tail(log.read_bytes()) for log in logs[:4])


def shown(command: Sequence[str]) -> str:
    return " ".join(Path(command[0]).name if not at else word for at, word in enumerate(command))


def tail(output: bytes, lines: int = 6) -> str:
    """The last lines in one: a traceback's end, a command's complaint."""
    return " / ".join(output.decode(errors="replace").strip().splitlines()[-lines:])


@contextmanager
def open_sandbox(*, on_disk: bool) -> Iterator[Sandbox]:
    """A sandbox for the length of the block; leaving kills what runs in it and removes it."""
    home = Path(tempfile.mkdtemp(prefix="hqtrio-bench-"))
    work = Path(tempfile.mkdtemp(prefix="hqtrio-bench-", dir=home if on_disk else MEMORY))
    (home / "tmp").mkdir()
    try:
        yield Sandbox(home, work)
    finally:
        with without_interruption():
            kill_descendants()
            shutil.rmtree(work, ignore_errors=True)
            shutil.rmtree(home, ignore_errors=True)


@contextmanager
def without_interruption() -> Iterator[None]:
    """An impatient second Ctrl-C must not leave servers behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def become_subreaper() -> None:
    """From now on orphaned descendants become our children instead of init's."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children(parent: int) -> list[int]:
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            stat = Path("/proc", entry, "stat").read_text()
            if int(stat.rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry))
    return found


def kill_descendants(patience_s: float = 20.0) -> None:
    """Leave no process below this one.

    Only direct children are killed, so no reused pid can be hit; their orphans become direct
    children in turn.
    """
    give_up_at = time.monotonic() + patience_s
    while time.monotonic() < give_up_at:
        for pid in children(os.getpid()):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)
    raise Failed(f"processes {children(os.getpid())} would not die")


def expect_files(directory: Path, count: int) -> None:
    found = sum(len(files) for _, _, files in os.walk(directory))
    if found != count:
        raise Failed(f"{found} output files, expected {count}")


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise Failed(f"process {pid} has ended")


def cpu_seconds(pid: int) -> float:
    """User and system time of the process so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
