"""The thread that writes: appends what it is given, in order, and syncs it in groups.

One sync covers everything that was written before it. Between two syncs it leaves as much time as
the last one took, so that writes, which effects wait for, get in between.

After a failed sync nobody knows what the kernel still has: what was not synced is kept here until
it is, and goes with a copy of what was into a new file.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from actors.server.disk import FULL, Disk, copy_start, write_all
from actors.server.journal_opening import Opened

RESERVE_BYTES: Final = 4 << 20
LINGER_S: Final = (0.001, 0.05)  # least and most time between two syncs
RETRY_S: Final = (0.1, 5.0)  # first and longest pause after a failure


class Superseded(Exception):
    """Another server has taken the journal over; this one may not acknowledge anything more."""


class JournalThread:
    """Everything here but `put`, `splice` and `finish` happens in the thread.

    `on_progress` is called from the thread when `written`, `durable`, `trouble`, `fault` or
    `ended` have changed; they may be read from anywhere.
    """

    def __init__(self, opened: Opened, disk: Disk, on_progress: Callable[[], None]) -> None:
        self._path, self._disk, self._on_progress = str(opened.path), disk, on_progress
        self._fd, self._size, self._lock = opened.fd, opened.size, opened.lock
        self._place = threading.Lock()  # over which file it is and how long
        self._synced = opened.size  # this much of the file is on the disk
        self._tail: list[bytes] = []  # what follows it
        self._must_rewrite = False
        self._must_cut = False
        self._linger_s = LINGER_S[0]
        self._retry_s = RETRY_S[0]
        self._sync_at = 0.0
        self._retry_at = 0.0  # for writes and syncs
        self._recover_at = 0.0  # for the reserve, whose trouble must not slow down the writes
        self._has_reserve = False
        self._condition = threading.Condition()
        self._queue: deque[tuple[int, bytes]] = deque()
        self._splices: deque[Callable[[], None]] = deque()
        self._finishing = False
        self.written = 0
        self.durable = 0
        self.trouble = ""
        self.fault: BaseException | None = None
        self.ended = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def size(self) -> int:
        """How long the file is."""
        return self._size

    def open_past(self) -> tuple[int, int]:
        """A descriptor of the file as it is now, which is the caller's to close, and its length.

        A prune may put another file in its place at any moment; this one stays readable.
        """
        with self._place:
            return os.dup(self._fd), self._size

    def put(self, group: int, data: bytes) -> None:
        """`data` will be written behind everything put before."""
        with self._condition:
            self._queue.append((group, data))
            self._condition.notify()

    def splice(self, temporary: str, prefix: int, done: Callable[[OSError | None], None]) -> None:
        """The file's first `prefix` bytes will be those of `temporary`; then `done` is called."""
        with self._condition:
            self._splices.append(lambda: self._splice(temporary, prefix, done))
            self._condition.notify()

    def finish(self) -> None:
        """What was put is written and synced, then the thread ends."""
        with self._condition:
            self._finishing = True
            self._condition.notify()

    def join(self) -> None:
        self._thread.join()

    # --- in the thread

    def _run(self) -> None:
        try:
            self._make_reserve()
            while self._turn():
                pass
            self._disk.close(self._fd)
            self._lock.wrote_all()
            if self._has_reserve:
                self._disk.unlink(self._reserve)
        except BaseException as error:
            self.fault = error
        self.ended = True
        self._on_progress()

    def _turn(self) -> bool:
        """One round of writing and syncing; False at the end."""
        with self._condition:
            self._condition.wait_for(self._has_work, self._patience())
            batch = list(self._queue)
            splices, self._splices = self._splices, deque()
            finishing = self._finishing
        now = time.monotonic()
        can_try = now >= self._retry_at or finishing
        if batch and can_try:
            self._try(lambda: self._write(batch))
        is_due = now >= self._sync_at or finishing
        if self.durable < self.written and can_try and is_due and (not batch or not self.trouble):
            self._try(self._commit)
        for splice in splices:
            splice()
        if self.trouble and time.monotonic() >= max(self._recover_at, self._retry_at):
            self._recover()
        if finishing and self.durable == self.written and not self._queue:
            return False
        if finishing and self.trouble:
            raise OSError(f"journal `{self._path}`: {self.trouble}")
        return True

    def _has_work(self) -> bool:
        if self._finishing or self._splices:
            return True
        return bool(self._queue) and time.monotonic() >= self._retry_at

    def _patience(self) -> float | None:
        moments = []
        if self._queue:
            moments.append(self._retry_at)
        if self.durable < self.written:
            moments.append(max(self._sync_at, self._retry_at))
        if self.trouble:
            moments.append(max(self._recover_at, self._retry_at))
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _try(self, action: Callable[[], None]) -> None:
        """Do it; if the disk fails, say so, make room if that can help, and try again later."""
        try:
            action()
        except OSError as error:
            self._set_trouble(error.strerror or str(error))
            if error.errno in FULL and self._has_reserve:
                self._disk.unlink(self._reserve)
                self._has_reserve = False
                return
            self._retry_at = time.monotonic() + self._retry_s
            self._retry_s = min(2 * self._retry_s, RETRY_S[1])

    def _set_trouble(self, trouble: str) -> None:
        if self.trouble != trouble:
            self.trouble = trouble
            self._on_progress()

    def _write(self, batch: list[tuple[int, bytes]]) -> None:
        if self._must_cut:
            self._disk.ftruncate(self._fd, self._size)
            self._must_cut = False
        data = b"".join(data for _, data in batch)
        try:
            write_all(self._disk, self._fd, data, self._size)
        except OSError:
            self._must_cut = True  # never torn: the file ends with a whole frame
            self._disk.ftruncate(self._fd, self._size)
            self._must_cut = False
            raise
        self._size += len(data)
        self._tail.append(data)
        if self.durable == self.written:
            self._sync_at = time.monotonic() + self._linger_s
        with self._condition:
            for _ in batch:
                self._queue.popleft()
        self.written = batch[-1][0]
        self._on_progress()

    def _commit(self) -> None:
        """What is written is on the disk, in the file that the next server will find."""
        began = time.monotonic()
        if not self._must_rewrite:
            self._must_rewrite = True
            self._disk.fdatasync(self._fd)
            self._must_rewrite = False
        else:
            self._rewrite()
        found = self._disk.identity(self._path)
        if found is None:  # removed by hand, for no other server would leave nothing there
            self._rewrite()
        elif found != self._disk.identity_of(self._fd):
            raise Superseded(f"another server has taken over journal `{self._path}`")
        ended = time.monotonic()
        self._linger_s = min(max(ended - began, LINGER_S[0]), LINGER_S[1])
        self._sync_at = ended + self._linger_s
        self._tail.clear()
        self._synced = self._size
        self.durable = self.written
        self._on_progress()

    def _rewrite(self) -> None:
        """A new file with the same bytes stands in the journal's place."""
        temporary = f"{self._path}.new"
        fd = self._disk.create(temporary)
        try:
            copy_start(self._disk, self._fd, fd, self._synced)
            write_all(self._disk, fd, b"".join(self._tail), self._synced)
            self._replace(temporary, fd, self._size)
        except BaseException:
            if fd != self._fd:
                self._disk.close(fd)
                self._disk.unlink(temporary)
            raise
        self._must_rewrite = self._must_cut = False

    def _replace(self, temporary: str, fd: int, size: int) -> None:
        """`fd` is synced, stands at the path and is what is written to from now on."""
        self._disk.fsync(fd)
        found = self._disk.identity(self._path)
        if found is not None and found != self._disk.identity_of(self._fd):
            raise Superseded(f"another server has taken over journal `{self._path}`")
        self._disk.rename(temporary, self._path)
        with self._place:
            old, self._fd = self._fd, fd
            self._size = size
        self._disk.close(old)
        self._disk.sync_directory(self._path)

    def _splice(self, temporary: str, prefix: int, done: Callable[[OSError | None], None]) -> None:
        fault: OSError | None = None
        try:
            if self._must_rewrite or self._must_cut:
                raise OSError(f"the journal has trouble: {self.trouble}")
            self._replace_start(temporary, prefix)
        except OSError as error:
            fault = error
            self._disk.unlink(temporary)
        done(fault)

    def _replace_start(self, temporary: str, prefix: int) -> None:
        fd = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
        try:
            size = start = self._disk.size(fd)
            while chunk := self._disk.read(self._fd, 1 << 20, prefix + size - start):
                write_all(self._disk, fd, chunk, size)
                size += len(chunk)
            self._replace(temporary, fd, size)
        except BaseException:
            if fd != self._fd:
                self._disk.close(fd)
            raise
        self._tail.clear()
        self._synced = size
        self.durable = self.written
        self._on_progress()

    # --- the reserve

    @property
    def _reserve(self) -> str:
        return f"{self._path}.reserve"

    def _make_reserve(self) -> None:
        """Room for the ends and shipments of running work, given back when the disk is full."""
        try:
            self._allocate()
        except OSError as error:
            self._set_trouble(error.strerror or str(error))

    def _allocate(self) -> None:
        fd = self._disk.create(self._reserve)
        try:
            self._disk.allocate(fd, RESERVE_BYTES)
        except OSError:
            self._disk.unlink(self._reserve)
            raise
        finally:
            self._disk.close(fd)
        self._has_reserve = True

    def _recover(self) -> None:
        """All is well again once there is a reserve and all that was written is synced."""
        if not self._has_reserve:
            self._make_reserve()
        if self._has_reserve and self.durable == self.written and not self._queue:
            self._retry_s = RETRY_S[0]
            self._set_trouble("")
        else:
            self._recover_at = time.monotonic() + RETRY_S[0]
