"""A journal as tests like it: small records, and a disk that fails when told to."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from actors.server.disk import Disk
from actors.server.journal_opening import read_records
from hqtrio.messages.records import JobClosed, Record

NOW = 1_700_000_000.0
HISTORY = bytes(range(16))


def closed(job: int) -> JobClosed:
    return JobClosed(job, NOW)


def records_of(path: Path) -> list[Record]:
    return [record for _, record in read_records(path)]


class FailingDisk(Disk):
    """Fails as `rule(call, path or descriptor)` says: an errno, or None. Reserves cost no room."""

    def __init__(self, rule: Callable[[str], int | None]) -> None:
        self.rule = rule

    def _ask(self, call: str) -> None:
        if number := self.rule(call):
            raise OSError(number, errno.errorcode[number])

    def write(self, fd, data, offset):
        if self.rule("write"):
            if len(data) > 1:  # half of it goes in before it fails
                return super().write(fd, data[: len(data) // 2], offset)
            self._ask("write")
        return super().write(fd, data, offset)

    def fdatasync(self, fd):
        self._ask("fdatasync")
        super().fdatasync(fd)

    def fsync(self, fd):
        self._ask("fsync")
        super().fsync(fd)

    def allocate(self, fd, size):
        self._ask("allocate")
