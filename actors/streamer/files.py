"""Stream files: one for each directory and server, appended to by whole frames."""

from __future__ import annotations

import errno
import os
import secrets
import string
import time

from actors.launcher.files import make_directories
from actors.launcher.programs import describe, text
from hqtrio.streams.format import DATA, SUFFIX, encode_head, encode_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Frames wait in memory until there are so many bytes of them, or until the oldest has waited so
# long: what tasks print in small pieces costs one write for many of them.
BUFFER_BYTES = 8192
_MORE_BYTES = 1 << 17  # ... if more follows at once
FLUSH_AFTER_S = 1.0
IDLE_S = 5.0  # a file that no task streams to is closed after this
_NAME_LETTERS = string.ascii_letters + string.digits
_NAME_LENGTH = 12
_PIECES_MAX = 512  # of one write; the system takes 1024


class StreamFailed(Exception):
    """The text tells the user what could not be written, and why."""


class StreamFile:
    """One worker's file in one directory; made when the first frame is written.

    `users` counts the executions that stream to it.
    """

    __slots__ = (
        "_directory",
        "_fd",
        "_pieces",
        "_server_uid",
        "_size",
        "_worker",
        "buffered",
        "flush_at",
        "idle_at",
        "path",
        "users",
    )

    def __init__(self, directory: bytes, server_uid: str, worker: int) -> None:
        self._directory, self._server_uid, self._worker = directory, server_uid, worker
        self.path = b""
        self._fd = -1
        self._size = 0  # of what is whole in the file
        self._pieces: list[bytes | memoryview] = []
        self.buffered = 0
        self.flush_at = self.idle_at = float("inf")
        self.users = 0

    def open(self) -> None:
        """The file can be written to. StreamFailed says why not."""
        if self._fd >= 0 and not os.fstat(self._fd).st_nlink:
            self.close()  # somebody has removed it: nobody could read what follows
            self.path = b""
        if self._fd < 0:
            if self.path and self._reopen():
                return
            self._create()

    def _reopen(self) -> bool:
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False  # somebody has removed it: what follows goes into another one
        if os.fstat(fd).st_size != self._size:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def _create(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        try:
            make_directories(self._directory)
            while self._fd < 0:
                name = "".join(secrets.choice(_NAME_LETTERS) for _ in range(_NAME_LENGTH))
                self.path = self._directory + b"/" + (name + SUFFIX).encode()
                try:
                    self._fd = os.open(self.path, flags, 0o600)
                except FileExistsError:
                    self.path = b""
        except OSError as error:
            self.path = b""
            where = text(self._directory)
            raise StreamFailed(
                f"Creating stream file failed: `{where}`: {describe(error)}"
            ) from None
        self._size = 0
        self._pieces.insert(0, header := encode_header(self._server_uid, self._worker))
        self.buffered += len(header)

    def add(
        self,
        kind: int,
        channel: int,
        instance: int,
        task: int,
        data: bytes | memoryview = b"",
        *,
        more: bool = False,
    ) -> None:
        """Put a frame behind the others. Written now if it is large, so `data` may change then; a
        larger one may wait if `more` follows at once.

        StreamFailed if it had to be written and could not.
        """
        head = encode_head(kind, channel, instance, task, time.time_ns() // 1_000_000, data)
        most = _MORE_BYTES if more else BUFFER_BYTES
        self._pieces.append(head)
        self.buffered += len(head)
        if kind == DATA:
            small = len(data) < most
            self._pieces.append(bytes(data) if small else data)
            self.buffered += len(data)
        if self.buffered >= most or len(self._pieces) >= _PIECES_MAX:
            self.flush()
        elif self.flush_at == float("inf"):
            self.flush_at = time.monotonic() + FLUSH_AFTER_S

    def flush(self) -> None:
        """Everything is with the operating system. StreamFailed if it cannot be.

        The frames in memory are dropped then, and half of one does not stay in the file: another
        file is begun, unless the rest can be cut off.
        """
        pieces, wanted = self._pieces, self.buffered
        self._pieces, self.buffered, self.flush_at = [], 0, float("inf")
        if not pieces:
            return
        try:
            if self._fd < 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            _write(self._fd, pieces)
        except OSError as error:
            self._cut_off()
            raise StreamFailed(f"writing `{text(self.path)}`: {describe(error)}") from None
        self._size += wanted

    def _cut_off(self) -> None:
        try:
            if self._size:
                os.ftruncate(self._fd, self._size)
                return
            os.unlink(self.path)
        except OSError:
            pass
        self.close()
        self.path = b""

    def close(self) -> None:
        """The descriptor is given back; a later frame opens the same file again."""
        if self._fd >= 0:
            try:
                os.close(self._fd)
            except OSError:
                pass  # a network file system may tell late; each flush has told what it could
            self._fd = -1
        self.idle_at = float("inf")


def _write(fd: int, pieces: Sequence[bytes | memoryview]) -> None:
    left = list(pieces)
    while left:
        written = os.writev(fd, left)
        at = 0
        while at < len(left) and written >= len(left[at]):
            written -= len(left[at])
            at += 1
        del left[:at]
        if written:
            left[0] = memoryview(left[0])[written:]
