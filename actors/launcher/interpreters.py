"""Interpreters that call one function after another.

An interpreter serves one job only, so that no call meets modules of an earlier state of the user's
files, and only calls whose environment differs in nothing but what names the task: so it belongs to
the resources of one slot as well. One that is idle is kept for a while, as slots come and go
between calls. What the two say to each other is in `actors.functions.runner`. Nothing here waits.
"""

from __future__ import annotations

import os
import socket
import struct

from actors.launcher.files import (
    ERROR_FILE,
    SealedInput,
    make_task_directory,
    read_error_text,
    remove_tree,
)
from actors.launcher.processes import kill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.launcher.waiting import Waiter

    # Job, command, environment but for what names the task.
    Kind = tuple[int, tuple[bytes, ...], frozenset[tuple[bytes, bytes]]]
    Files = tuple[int, int, int]  # stdin, stdout, stderr
    # Status, CPU seconds, peak in KiB, text of the error, result.
    CallEnded = tuple[int, float, int, str, bytes]

RUNNER = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "functions", "runner.py"
).encode()
CHILD_FD = 3  # where an interpreter finds its end of the socket
_HEAD = struct.Struct("<8sidIIII")
_NAME_BYTES = 8  # of a call
_TEXT_MAX = 1 << 14  # of an error or a result; longer ones are no answer of our runner
_MESSAGE_MAX = 1 << 16  # what a socket surely takes at once; larger calls lie in memory beside it
_READ_BYTES = 1 << 16
NO_ANSWER = "The interpreter has ended without an answer: the function did not return"
_IDLE_S = 10.0


class Interpreter:
    """One process, and what it can be used for (`kind`)."""

    __slots__ = (
        "buffer",
        "call",
        "calls",
        "directory",
        "goes_on",
        "idle_since",
        "kind",
        "link",
        "pid",
    )

    def __init__(self, kind: Kind, directory: bytes, link: socket.socket, pid: int) -> None:
        self.kind, self.directory, self.link, self.pid = kind, directory, link, pid
        self.calls = 0
        self.call = b""  # the name of the newest
        self.idle_since = 0.0
        self.goes_on = True  # it may serve another call
        self.buffer = bytearray()


class Interpreters:
    """All interpreters of a launcher."""

    __slots__ = ("_busy", "_by_fd", "_by_pid", "_idle", "_idle_max", "_waiter")

    def __init__(self) -> None:
        self._idle: dict[int, Interpreter] = {}  # by pid; the first has been idle for longest
        self._busy: set[int] = set()
        self._idle_max = 0
        self._by_fd: dict[int, Interpreter] = {}
        self._by_pid: dict[int, Interpreter] = {}
        self._waiter: Waiter | None = None

    def watch(self, waiter: Waiter) -> None:
        """Where to register what `hear` has to be called for."""
        self._waiter = waiter

    def owns(self, fd: int) -> bool:
        return fd in self._by_fd

    # --- calls

    def fitting(self, kind: Kind) -> Interpreter | None:
        """An idle interpreter of this kind."""
        for one in reversed(self._idle.values()):
            if one.kind == kind:
                return one
        return None

    def start(
        self, kind: Kind, directory_root: bytes, spawn: Callable[[list[bytes], int, bytes], int]
    ) -> Interpreter:
        """A new interpreter. `spawn` makes the process, with the command, the socket and the
        directory of its tasks; what it raises ends in nothing left behind."""
        ours, theirs = socket.socketpair()
        directory = b""
        try:
            directory = make_task_directory(directory_root)
            ours.setblocking(False)
            words = [*kind[1], RUNNER, b"--serve", b"%d" % CHILD_FD]
            pid = spawn(words, theirs.fileno(), directory)
        except BaseException:
            ours.close()
            if directory:
                remove_tree(directory)
            raise
        finally:
            theirs.close()
        one = Interpreter(kind, directory, ours, pid)
        self._by_fd[ours.fileno()] = self._by_pid[pid] = one
        assert self._waiter is not None
        self._waiter.add(ours.fileno())
        return one

    def call(
        self, one: Interpreter, cwd: bytes, changes: Iterable[tuple[bytes, bytes]], files: Files
    ) -> bool:
        """Order the call; False if the interpreter is dead, and has not heard of it."""
        fields = [cwd]
        for pair in changes:
            fields += pair
        one.call = os.urandom(_NAME_BYTES)  # nobody answers another call by mistake
        data = b"".join(len(field).to_bytes(4, "little") + field for field in fields)
        data = one.call + data
        fds = list(files)
        if len(data) > _MESSAGE_MAX:
            fds.append(SealedInput(data).open())
            message = bytes(4)
        else:
            message = len(data).to_bytes(4, "little") + data
        one.calls += 1
        try:
            sent = socket.send_fds(one.link, [message], fds)
        except OSError:
            sent = 0
        finally:
            for fd in fds[3:]:
                os.close(fd)
        if sent < len(message):
            one.goes_on = False
            self._let_go(one)
            return False
        self._idle.pop(one.pid, None)
        self._busy.add(one.pid)
        self._idle_max = max(self._idle_max, len(self._busy))
        return True

    def hear(self, fd: int) -> tuple[int, CallEnded] | None:
        """What an interpreter says, with its pid, if it is complete."""
        one = self._by_fd[fd]
        ended = self._read(one)
        return None if ended is None else (one.pid, ended)

    def spoil(self, pid: int) -> None:
        """A signal was sent to the process: it serves no further call."""
        one = self._by_pid.get(pid)
        if one is not None:
            one.goes_on = False
            if pid in self._idle:
                self._let_go(one)

    def rest(self, pid: int, calls_max: int, now: float) -> None:
        """The interpreter has ended a call; one that is to serve no other is let go."""
        one = self._by_pid[pid]
        self._busy.discard(pid)
        if not one.goes_on or one.calls >= calls_max:
            self._let_go(one)
            return
        one.idle_since = now
        self._idle[pid] = one
        if len(self._idle) > self._idle_max:
            self._let_go(next(iter(self._idle.values())))

    @property
    def due_at(self) -> float:
        """When `let_go_idle` has something to do."""
        for one in self._idle.values():
            return one.idle_since + _IDLE_S
        return float("inf")

    def let_go_idle(self, now: float) -> None:
        """Those that nobody has needed for a while end by themselves."""
        while self.due_at <= now:
            self._let_go(next(iter(self._idle.values())))

    # --- ends

    def reaped(self, pid: int, status: int, cpu_s: float, peak_kib: int) -> CallEnded | None:
        """None if the process that is gone was no interpreter; else how its last call ended: as it
        said before, or with the process."""
        one = self._by_pid.pop(pid, None)
        if one is None:
            return None
        ended = self._read(one)
        self._busy.discard(pid)
        self._let_go(one)
        if ended is None:
            error = read_error_text(one.directory + b"/" + ERROR_FILE)
            if not status:
                status, error = 1, error or NO_ANSWER
            # What it has used includes earlier calls.
            ended = status, cpu_s if one.calls == 1 else -1.0, peak_kib, error, b""
        remove_tree(one.directory)
        return ended

    def remove_directories(self) -> None:
        """Nothing is left on disk; the processes are gone."""
        for one in self._by_pid.values():
            remove_tree(one.directory)

    def _give_up(self, one: Interpreter) -> None:
        """It talks nonsense: it ends now, and its call with it."""
        one.goes_on = False
        one.buffer.clear()
        self._let_go(one)
        kill(one.pid)

    def _let_go(self, one: Interpreter) -> None:
        """Closed, its socket tells it to end; it is reaped as any child."""
        self._idle.pop(one.pid, None)
        fd = one.link.fileno()
        if fd in self._by_fd:
            del self._by_fd[fd]
            assert self._waiter is not None
            self._waiter.drop(fd)
            one.link.close()

    def _read(self, one: Interpreter) -> CallEnded | None:
        """The answer, if all of it has arrived."""
        buffer = one.buffer
        while one.link.fileno() >= 0:
            try:
                data = one.link.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                one.goes_on = False
                self._let_go(one)
                break
            buffer += data
        if len(buffer) < _HEAD.size:
            return None
        call, status, cpu_s, peak_kib, goes_on, errors, results = _HEAD.unpack_from(buffer)
        end = _HEAD.size + errors + results
        if (
            one.pid not in self._busy
            or call != one.call
            or max(errors, results) > _TEXT_MAX
            or len(buffer) > end
        ):
            self._give_up(one)  # the function has found our socket, and speaks for us
            return None
        if len(buffer) < end:
            return None
        error = bytes(buffer[_HEAD.size : _HEAD.size + errors]).decode("utf-8", "replace")
        result = bytes(buffer[_HEAD.size + errors : end])
        del buffer[:end]
        one.goes_on = one.goes_on and bool(goes_on)
        return status, cpu_s, peak_kib, error, result
