"""The log of a server that nobody watches: a file that is put aside when it is long."""

from __future__ import annotations

import io
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["LogFile", "append_line", "open_log"]

LOG_BYTES: Final = 8 << 20
LOG_KEPT: Final = 3  # older files: server.log.1 is the youngest
UNWRITTEN_MAX: Final = 64 << 10
MODE: Final = 0o600


class LogFile(io.RawIOBase):
    """Standard output and error of this process, in one file that its owner only can read.

    Writing never fails: what a full disk does not take is written later, before anything else, and
    what would be too much to keep is counted. A line is never in two files.
    """

    def __init__(self, path: Path, *, bytes_max: int = LOG_BYTES, kept: int = LOG_KEPT) -> None:
        self._path, self._bytes_max, self._kept = path, bytes_max, kept
        self._unwritten = bytearray()
        self._lost = 0  # lines
        self._is_dropping = False  # until the line is over
        self._is_cut = False  # the file ends in the middle of a line
        self._turn_to(open_log(path))

    def take_over(self) -> None:
        """What this process prints goes here."""
        sys.stdout.flush()
        sys.stderr.flush()
        text = io.TextIOWrapper(self, errors="backslashreplace", write_through=True)  # type: ignore[type-var]
        sys.stdout = sys.stderr = text

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        data = bytes(data)
        self.flush()
        if not data:
            return 0
        if not self._is_dropping and (self._is_midline or len(self._unwritten) < UNWRITTEN_MAX):
            self._unwritten += data
            self.flush()
        else:
            self._lost += data.count(b"\n")
            self._is_dropping = not data.endswith(b"\n")
        return len(data)

    def flush(self) -> None:
        """As much is in the file as it takes."""
        with suppress(OSError):
            if not self._is_cut and os.fstat(2).st_size >= self._bytes_max:
                with suppress(OSError):  # then later
                    self._rotate()
            self._write_out()
            if self._lost:
                self._unwritten += _line("WARN", f"{self._lost} lines are missing: no room")
                self._lost = 0
                self._write_out()

    @property
    def _is_midline(self) -> bool:
        return not self._unwritten.endswith(b"\n") if self._unwritten else self._is_cut

    def _write_out(self) -> None:
        while self._unwritten:
            done = os.write(2, self._unwritten)
            self._is_cut = self._unwritten[done - 1 : done] != b"\n"
            del self._unwritten[:done]

    def _rotate(self) -> None:
        """A new file stands at the path; OSError, and nothing is lost, if that is impossible."""
        new = f"{self._path}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, MODE)
        try:
            names = [str(self._path), *(f"{self._path}.{n}" for n in range(1, self._kept + 1))]
            free = next(
                (n for n, name in enumerate(names) if not os.path.lexists(name)), self._kept
            )
            for number in range(free, 0, -1):
                os.rename(names[number - 1], names[number])
            os.rename(new, self._path)
        except BaseException:
            os.close(fd)
            raise
        self._turn_to(fd)

    @staticmethod
    def _turn_to(fd: int) -> None:
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.close(fd)


def open_log(path: Path) -> int:
    """A descriptor that appends to the log."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, MODE)


def append_line(path: Path, level: str, text: str) -> None:
    """A line of somebody else than the server, if there is room for it."""
    with suppress(OSError):
        fd = open_log(path)
        try:
            os.write(fd, _line(level, text))
        finally:
            os.close(fd)


def _line(level: str, text: str) -> bytes:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return f"{stamp} {level} {text}\n".encode(errors="backslashreplace")
