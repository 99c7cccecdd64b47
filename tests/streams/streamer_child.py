"""A streamer process and a launcher's way to it, without a worker."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

from actors.launcher.streams import Streams
from actors.launcher.waiting import Waiter
from hqtrio.cli.stream_files import StreamFiles

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0


class StreamerChild:
    """Listens in `home`; what is streamed to `log` there can be read."""

    def __init__(self, home: Path, *, flush_after_s: float = 1e6, idle_s: float = 1e6) -> None:
        self.log, self._path = home / "log", str(home / "socket")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._path)
        listener.listen()
        ends, self.lifeline = os.pipe()
        code = (
            f"import sys; sys.path.append({str(ROOT)!r}); "
            "from actors.streamer import files, main, streamer; "
            f"files.FLUSH_AFTER_S, streamer.IDLE_S = {flush_after_s}, {idle_s}; "
            f"main.main({listener.fileno()}, {ends})"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code], pass_fds=(listener.fileno(), ends)
        )
        os.close(ends)
        listener.close()
        self.waiter, self.streams = Waiter(), Streams()
        self.streams.watch(self.waiter)

    def open(self, task: int, instance: int = 0, *, mask: int = 3, log: Path | None = None):
        """Number and writing ends of an execution of job 1."""
        stream = (self._path, str(log or self.log), "uid", 1, mask)
        return self.streams.open(stream, 1 << 32 | task, instance)

    def hear(self) -> list[tuple[int, str]]:
        """The next answers."""
        assert self.waiter.wait(PATIENCE_S), "the streamer says nothing"
        return list(self.streams.hear())

    def say(self, task: int, text: bytes, instance: int = 0) -> None:
        """An execution prints that and ends; everything is written then."""
        number, pipes = self.open(task, instance, mask=1)
        os.write(pipes[0], text)
        os.close(pipes[0])
        assert self.hear() == [(number, "")]

    def files(self) -> StreamFiles:
        files = StreamFiles(str(self.log), None)
        files.refresh()
        return files

    def end(self) -> int:
        """The worker is gone, and its launchers; the streamer's exit code."""
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1
        if self.streams._sock is not None:
            self.streams._disconnect()
        return self.process.wait(PATIENCE_S)


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask again and again what only the child knows."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def wait_drained(fd: int) -> None:
    """Nothing that was written into the pipe is left in it."""

    def is_empty() -> bool:
        return not int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4), sys.byteorder)

    wait_until(is_empty)
