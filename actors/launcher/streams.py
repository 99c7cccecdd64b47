"""A launcher's way to the worker's streamer: it hands over the reading ends of tasks' pipes.

What the two say to each other is in `actors.streamer.streamer`. Nothing here waits.

The launcher, and not the worker above it, joins the end of a process with the end of its stream: a
lane goes on only when both have come, so that one task's output is written before the next one's
begins, and the worker hears of one end as of any other task.
"""

from __future__ import annotations

import errno
import os

from actors.launcher.bodies import encode
from actors.launcher.frames import READ_BYTES, Frames, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    from actors.launcher.bodies import Stream
    from actors.launcher.waiting import Waiter

_CHANNELS = (0, 1)
DIED = "the streamer process has died"


class Streams:
    """The connection to the streamer, made when the first task needs it."""

    __slots__ = ("_last", "_open", "_received", "_sock", "_waiter")

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        self._received = Frames()
        self._waiter: Waiter | None = None
        self._open: set[int] = set()
        self._last = 0

    def watch(self, waiter: Waiter) -> None:
        """Where to register what `hear` has to be called for."""
        self._waiter = waiter

    def open(self, stream: Stream, task: int, instance: int) -> tuple[int, dict[int, int]]:
        """A number for the execution, and the writing ends of its channels, which are the
        caller's. OSError if there is no streamer."""
        path, directory, server_uid, worker, mask = stream
        sock = self._connected(path)
        readable, writable = [], {}
        self._last += 1
        try:
            for channel in _CHANNELS:
                if mask >> channel & 1:
                    read, writable[channel] = os.pipe()  # both close on exec
                    readable.append(read)
            order = (self._last, encode(directory), server_uid, worker, task, instance, mask)
            self._send(sock, order, readable)
        except OSError:
            for fd in writable.values():
                os.close(fd)
            raise
        finally:
            for fd in readable:
                os.close(fd)
        self._open.add(self._last)
        return self._last, writable

    def cut(self, number: int) -> None:
        """What the streamer has read of this is written, the rest is dropped; nothing is heard of
        it any more."""
        self._open.discard(number)
        if self._sock is not None:
            try:
                self._send(self._sock, (number,), ())
            except OSError:
                pass  # it reads nothing now; the pipes end with those who are being killed

    def hear(self) -> Sequence[tuple[int, str]]:
        """What has become of streams: number, and why it failed, or nothing."""
        sock = self._sock
        if sock is None:
            return ()
        try:
            data = sock.recv(READ_BYTES)
        except BlockingIOError:
            return ()
        except OSError:
            data = b""
        answers: list[tuple[int, str]] = list(self._received.feed(data))
        self._open.difference_update(number for number, _ in answers)
        if not data:
            answers += [(number, DIED) for number in sorted(self._open)]
            self._disconnect()
        return answers

    def _connected(self, path: str) -> socket.socket:
        if self._sock is not None:
            return self._sock
        import socket  # here, as it takes memory that most launchers never need

        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        place, name = os.path.split(path)
        fd = -1
        try:
            if hasattr(os, "O_PATH"):
                # The kernel takes short names only: the socket's own, below its open directory.
                fd = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                path = f"/proc/self/fd/{fd}/{name}"
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        finally:
            if fd >= 0:
                os.close(fd)
        self._sock, self._received = sock, Frames()
        assert self._waiter is not None
        self._waiter.add(sock.fileno())
        return sock

    def _disconnect(self) -> None:
        assert self._sock is not None
        assert self._waiter is not None
        self._waiter.drop(self._sock.fileno())
        self._sock.close()
        self._sock = None
        self._open.clear()

    def _send(self, sock: socket.socket, order: tuple[Any, ...], fds: Sequence[int]) -> None:
        import socket

        data = frame(order)
        sent = socket.send_fds(sock, [data], fds) if fds else sock.send(data)
        if sent < len(data):
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
