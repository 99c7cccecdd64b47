"""The streamer's loop: take pipes from launchers, write what comes out of them, tell when all is.

A launcher's frame is a tuple, and its answers are pairs of a number and a text:

    (number, directory, server UID, worker, task, instance, mask)   with a pipe for each channel
    (number,)                  cut: write what has been received, drop what is still in the pipes
    (number, "")               every channel has ended, and all of it is with the operating system
    (number, why)              nothing more of this execution will be written

While a write takes its time, nothing is read: the pipes fill, and the tasks wait.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import time
from collections import deque

from actors.launcher.frames import Frames, frame
from actors.streamer.files import IDLE_S, StreamFailed, StreamFile
from hqtrio.streams.format import BEGIN, CHANNELS, DATA, END

READ_BYTES = 1 << 20
_PIPE_BYTES = 1 << 16  # as the system makes them
_WIDE_BYTES = 1 << 20  # for a task that fills its pipe
_F_SETPIPE_SZ, _F_GETPIPE_SZ = 1031, 1032
_FDS_MAX = 16
_LAST_S = 5.0  # launchers that kill what is left get so long when the worker is gone
_IN = select.POLLIN


class Execution:
    """One execution's stream, until all of it is written. `open` are the channels to come."""

    __slots__ = ("file", "instance", "launcher", "number", "open", "task")

    def __init__(
        self, launcher: Launcher, number: int, file: StreamFile, task: int, instance: int
    ) -> None:
        self.launcher, self.number, self.file = launcher, number, file
        self.task, self.instance = task, instance
        self.open: dict[int, int] = {}  # channel -> fd


class Launcher:
    """One launcher's connection."""

    __slots__ = ("executions", "fds", "received", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = Frames()
        self.fds: deque[int] = deque()
        self.executions: dict[int, Execution] = {}


class Streamer:
    """Everything that one streamer knows."""

    def __init__(self, listener: socket.socket, lifeline: int) -> None:
        self._listener, self._lifeline = listener, lifeline
        self._poller = select.epoll() if hasattr(select, "epoll") else select.poll()
        self._launchers: dict[int, Launcher] = {}
        self._pipes: dict[int, tuple[Execution, int]] = {}
        self._files: dict[tuple[bytes, str], StreamFile] = {}
        self._awake: dict[StreamFile, None] = {}  # open, or about to be
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._ends_at = float("inf")

    def serve(self) -> None:
        """Until the worker and its launchers are gone."""
        self._listener.setblocking(False)
        self._poller.register(self._listener.fileno(), _IN)
        self._poller.register(self._lifeline, _IN)
        while self._ends_at == float("inf") or (
            self._launchers and time.monotonic() < self._ends_at
        ):
            for fd, events in self._wait():
                if fd in self._pipes:
                    self._read(fd, ends=bool(events & select.POLLHUP))
                elif fd in self._launchers:
                    self._hear(self._launchers[fd])
                elif fd == self._listener.fileno():
                    self._accept()
                elif fd == self._lifeline:
                    self._poller.unregister(fd)
                    self._ends_at = time.monotonic() + _LAST_S
            self._do_what_is_due(time.monotonic())
        for launcher in list(self._launchers.values()):
            self._lose(launcher)
        self._do_what_is_due(float("inf"))

    def _wait(self) -> list[tuple[int, int]]:
        due = min((min(f.flush_at, f.idle_at) for f in self._awake), default=float("inf"))
        due = min(due, self._ends_at)
        if due == float("inf"):
            return self._poller.poll()
        wait_s = max(0.0, due - time.monotonic())
        return self._poller.poll(wait_s if hasattr(select, "epoll") else wait_s * 1000)

    def _do_what_is_due(self, now: float) -> None:
        for file in list(self._awake):
            if file.flush_at <= now:
                self._flush(file)
            if file.idle_at <= now:
                file.close()
                del self._awake[file]

    # --- launchers

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # gone again
        self._launchers[sock.fileno()] = Launcher(sock)
        self._poller.register(sock.fileno(), _IN)

    def _hear(self, launcher: Launcher) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(launcher.sock, 1 << 16, _FDS_MAX, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        launcher.fds.extend(fds)
        if not data:
            self._lose(launcher)
            return
        for number, *rest in launcher.received.feed(data):
            if rest:
                self._begin(launcher, number, *rest)
            elif execution := launcher.executions.get(number):
                self._cut(execution)

    def _begin(
        self,
        launcher: Launcher,
        number: int,
        directory: bytes,
        server_uid: str,
        worker: int,
        task: int,
        instance: int,
        mask: int,
    ) -> None:
        channels = [channel for channel in CHANNELS if mask >> channel & 1]
        if len(launcher.fds) < len(channels):  # the system has kept those that have no room here
            self._drop_strays(launcher)
            self._say(launcher, number, "the streamer has too many open files")
            return
        fds = [launcher.fds.popleft() for _ in channels]
        file = self._files.get((directory, server_uid))
        if file is None:
            file = self._files[directory, server_uid] = StreamFile(directory, server_uid, worker)
        execution = Execution(launcher, number, file, task, instance)
        launcher.executions[number] = execution
        file.users += 1
        file.idle_at = float("inf")
        self._awake[file] = None
        for channel, fd in zip(channels, fds, strict=True):
            execution.open[channel] = fd
            self._pipes[fd] = execution, channel
            self._poller.register(fd, _IN)
        try:
            file.open()
            file.add(BEGIN, mask, instance, task)
        except StreamFailed as failure:
            self._fail(file, failure)

    def _lose(self, launcher: Launcher) -> None:
        """Its tasks are dead, or are about to be: nobody waits for the ends of their streams."""
        for execution in list(launcher.executions.values()):
            for channel, fd in list(execution.open.items()):
                if channel in execution.open:  # a failure to write closes the others as well
                    os.set_blocking(fd, False)
                    self._read(fd)
                if channel in execution.open:
                    self._forget_pipe(execution, channel)
            self._leave(execution)
        fd = launcher.sock.fileno()
        self._poller.unregister(fd)
        del self._launchers[fd]
        launcher.sock.close()
        self._drop_strays(launcher)

    def _drop_strays(self, launcher: Launcher) -> None:
        while launcher.fds:
            os.close(launcher.fds.popleft())

    def _answer(self, execution: Execution, words: str) -> None:
        self._say(execution.launcher, execution.number, words)

    def _say(self, launcher: Launcher, number: int, words: str) -> None:
        try:
            launcher.sock.sendall(frame((number, words)))
        except OSError:
            pass  # the launcher is gone, which is seen when its socket is read

    # --- executions

    def _read(self, fd: int, *, ends: bool = False) -> None:
        """There is something in the pipe, or nothing will ever be; `ends`: nobody writes to it any
        more, so that its end follows what is in it, and both are written at once."""
        execution, channel = self._pipes[fd]
        file = execution.file
        try:
            while True:
                try:
                    size = os.readv(fd, [self._buffer])
                except BlockingIOError:
                    return
                if not size:
                    break
                data = self._buffer[:size]
                file.add(DATA, channel, execution.instance, execution.task, data, more=ends)
                if not ends:
                    if size == _PIPE_BYTES:
                        _widen(fd)
                    return
            self._forget_pipe(execution, channel)
            file.add(END, channel, execution.instance, execution.task)
            if not execution.open:
                file.flush()
        except StreamFailed as failure:
            self._fail(file, failure)
            return
        if not execution.open:
            self._answer(execution, "")
            self._leave(execution)

    def _cut(self, execution: Execution) -> None:
        file = execution.file
        try:
            for channel in list(execution.open):
                self._forget_pipe(execution, channel)
                file.add(END, channel, execution.instance, execution.task)
            file.flush()
        except StreamFailed as failure:
            self._fail(file, failure)
            return
        self._leave(execution)

    def _flush(self, file: StreamFile) -> None:
        try:
            file.flush()
        except StreamFailed as failure:
            self._fail(file, failure)

    def _fail(self, file: StreamFile, failure: StreamFailed) -> None:
        """Something of what these tasks have printed may be lost, so that none of them succeeds."""
        for launcher in self._launchers.values():
            for execution in list(launcher.executions.values()):
                if execution.file is file:
                    for channel in list(execution.open):
                        self._forget_pipe(execution, channel)
                    self._answer(execution, str(failure))
                    self._leave(execution)

    def _forget_pipe(self, execution: Execution, channel: int) -> None:
        fd = execution.open.pop(channel)
        self._poller.unregister(fd)
        del self._pipes[fd]
        os.close(fd)

    def _leave(self, execution: Execution) -> None:
        if execution.launcher.executions.pop(execution.number, None) is not None:
            execution.file.users -= 1
            if not execution.file.users:
                execution.file.idle_at = time.monotonic() + IDLE_S


def _widen(fd: int) -> None:
    """The task fills its pipe: a larger one wakes it less often."""
    try:
        if fcntl.fcntl(fd, _F_GETPIPE_SZ) < _WIDE_BYTES:
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _WIDE_BYTES)
    except OSError:
        pass  # this user has as many large pipes as are allowed
