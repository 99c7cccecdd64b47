"""The journal in a file: its thread, as the cores see it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from actors.daemon.program import module_words
from actors.server.disk import Disk, chunks_of
from actors.server.events import Past
from actors.server.journal_opening import Opened
from actors.server.journal_thread import JournalThread
from hqtrio.errors import HqError
from hqtrio.journal.format import encode_frames
from hqtrio.journal.reading import Reading
from hqtrio.messages.records import Record

FINISH_S: Final = 10.0  # how long the last sync may take
PRUNE_BYTES: Final = 64 << 20  # smaller journals are left alone
PRUNE_FACTOR: Final = 4  # how much a journal has grown when it is looked through
_COMPACTOR: Final = "actors.server.journal_compactor"

log = logging.getLogger(__name__)


class JournalLost(HqError):
    """The journal can no longer be written; what is not durable is not acknowledged."""


class FileJournal:
    """Appends to one file. A cancelled append is written all the same, and whole."""

    def __init__(self, opened: Opened, disk: Disk) -> None:
        self.path = str(opened.path)
        self._mark = opened.header.history[:4]
        self._token = trio.lowlevel.current_trio_token()
        self._groups = 0
        self._appended = 0  # bytes
        self._durable = 0  # bytes
        # Groups that are not durable yet: number, and bytes up to its end.
        self._open: deque[tuple[int, int]] = deque()
        self._told: Callable[[int], None] | None = None
        self._progress = trio.lowlevel.ParkingLot()
        self._lost = trio.Event()
        self._pruning = trio.Lock()
        self._troubled_at = ""
        self._prune_at = max(PRUNE_BYTES, PRUNE_FACTOR * opened.size)
        self._thread = JournalThread(opened, disk, self._call_loop)

    @property
    def trouble(self) -> str:
        """Why not everything can be recorded, and since when; empty if all is well."""
        trouble = self._thread.trouble
        return (
            f"{trouble} (since {self._troubled_at})" if trouble and self._troubled_at else trouble
        )

    async def flush(self) -> None:
        """Everything appended before is durable when it returns."""
        group = self._groups
        while self._thread.durable < group:
            if self._thread.ended:
                raise JournalLost(f"journal `{self.path}` has ended")
            await self._progress.park()

    async def prune(self) -> None:
        """Only what live jobs need is left of all that is durable by now.

        OSError, and nothing is changed, if there is no room for both files or the disk fails.
        """
        async with self._pruning:
            await self.flush()
            size, temporary = self._thread.size, f"{self.path}.tmp"
            command = [*module_words(_COMPACTOR), self.path, str(size), temporary]
            done = await trio.run_process(command, check=False, capture_stderr=True)
            if done.returncode:
                words = done.stderr.decode(errors="replace").strip().splitlines() or ["killed"]
                raise OSError(f"journal `{self.path}` could not be compacted: {words[-1]}")
            faults: list[OSError | None] = []

            def spliced(fault: OSError | None) -> None:
                faults.append(fault)
                self._call_loop()

            self._thread.splice(temporary, size, spliced)
            while not faults:
                if self._thread.ended:
                    raise JournalLost(f"journal `{self.path}` has ended")
                await self._progress.park()
            if faults[0] is not None:
                raise faults[0]
            self._prune_at = max(PRUNE_BYTES, PRUNE_FACTOR * self._thread.size)

    async def keep_small(self) -> None:
        """Prune whenever it may be worth it."""
        while True:
            await self._progress.park()
            if self._thread.size > self._prune_at and not self.trouble:
                try:
                    await self.prune()
                except OSError as error:
                    log.warning("%s", error)
                    self._prune_at *= 2

    def past(self) -> Past:
        """Everything written so far, to be read from the file at leisure."""
        bodies = _bodies(*self._thread.open_past())
        next(bodies)  # from here on it closes its file, whether anybody reads it or not
        return Past(bodies, in_order=True, in_file=True)

    def put(self, records: Sequence[Record]) -> int:
        self._groups = group = self._groups + 1
        unsynced = self._appended - self._durable
        data = encode_frames(records, mark=self._mark, unsynced=unsynced)
        self._appended += len(data)
        self._open.append((group, self._appended))
        self._thread.put(group, data)
        return group

    async def written(self, group: int) -> None:
        while self._thread.written < group:
            if self._thread.ended:
                raise JournalLost(f"journal `{self.path}` has ended")
            await self._progress.park()

    async def append(self, records: Sequence[Record]) -> int:
        group = self.put(records)
        await self.written(group)
        return group

    def call_on_durable(self, told: Callable[[int], None]) -> None:
        self._told = told

    async def run(self) -> None:
        """Raise when the journal is lost."""
        await self._lost.wait()
        raise JournalLost(str(self._thread.fault)) from self._thread.fault

    def start(self) -> None:
        self._thread.start()

    async def finish(self) -> None:
        """Everything appended is durable, and the thread has ended; unless the disk hangs."""
        self._thread.finish()
        with trio.move_on_after(FINISH_S, shield=True):
            while not self._thread.ended:
                await self._progress.park()
            self._thread.join()

    def _call_loop(self) -> None:
        try:
            self._token.run_sync_soon(self._look, idempotent=True)
        except trio.RunFinishedError:
            pass  # the disk hung for longer than the server had patience

    def _look(self) -> None:
        self._progress.unpark_all()
        self._tell_trouble()
        if self._thread.fault is not None:
            self._lost.set()
            return
        durable, size = self._thread.durable, self._durable
        while self._open and self._open[0][0] <= durable:
            _, self._durable = self._open.popleft()
        if self._durable != size and self._told is not None:
            self._told(durable)

    def _tell_trouble(self) -> None:
        if self._thread.trouble and not self._troubled_at:
            self._troubled_at = time.strftime("%Y-%m-%d %H:%M:%S")
            log.error("journal `%s`: %s; tried again and again", self.path, self._thread.trouble)
        elif not self._thread.trouble and self._troubled_at:
            self._troubled_at = ""
            log.warning("journal `%s`: all is well again", self.path)


@asynccontextmanager
async def open_file_journal(opened: Opened, disk: Disk | None = None) -> AsyncIterator[FileJournal]:
    """A journal for the block; leaving it makes everything durable. JournalLost ends the block."""
    journal = FileJournal(opened, disk or Disk())
    journal.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        nursery.start_soon(journal.keep_small)
        try:
            yield journal
        finally:
            await journal.finish()
            nursery.cancel_scope.cancel()


def _bodies(fd: int, size: int) -> Iterator[bytes]:
    """After an empty one, the bodies of the file's frames; closes it at its own end."""
    disk = Disk()
    try:
        yield b""
        for frame in Reading(chunks_of(disk, fd, 0, size)).frames():
            yield frame.body
    finally:
        disk.close(fd)
