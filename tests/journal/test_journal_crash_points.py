"""The machine or the server dies at any system call: what was acknowledged is there afterwards."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from journal_story import HISTORY, NOW, records_of

from actors.server.disk import Disk
from actors.server.journal_compactor import compact_file
from actors.server.journal_lock import this_process
from actors.server.journal_opening import open_journal, read_header
from actors.server.journal_thread import JournalThread
from hqtrio.journal.format import encode_frames
from hqtrio.messages.records import IdsUsed, InstancesRaised, JobOpened
from hqtrio.model.job import JobHead

MARK = HISTORY[:4]


class Killed(BaseException):
    """Nothing runs after it."""


class DyingDisk(Disk):
    """Dies at call number `at`; a write has then got `part` of its bytes in, in 1/4."""

    def __init__(self, at: int, part: int) -> None:
        self.at, self.part, self.calls = at, part, 0

    def _step(self) -> bool:
        self.calls += 1
        if self.calls > self.at:
            raise Killed
        return self.calls == self.at

    def write(self, fd, data, offset):
        if self._step():
            if keep := len(data) * self.part // 4:
                super().write(fd, data[:keep], offset)
            raise Killed
        return super().write(fd, data, offset)

    def clone(self, source, target):
        raise OSError("no clones")

    def copy(self, source, target, size, offset):
        if self._step():
            super().copy(source, target, max(1, size * self.part // 4), offset)
            raise Killed
        return super().copy(source, target, size, offset)

    def _around(self, name, *args):
        """Before or after it was done."""
        last = self._step()
        if last and self.part < 2:
            raise Killed
        done = getattr(Disk, name)(self, *args)
        if last:
            raise Killed
        return done

    def create(self, path):
        return self._around("create", path)

    def rename(self, old, new):
        return self._around("rename", old, new)

    def fsync(self, fd):
        return self._around("fsync", fd)

    def fdatasync(self, fd):
        return self._around("fdatasync", fd)

    def unlink(self, path):
        return self._around("unlink", path)


def life(path: Path, disk: Disk, jobs: list[int], acknowledged: list[int]) -> None:
    """A server that opens the journal and records these jobs, one sync each."""
    with open_journal(path, "uid001", now=NOW, disk=disk, make_history=lambda: HISTORY) as opened:
        thread = JournalThread(opened, disk, lambda: None)  # its turns are the test's
        for group, job in enumerate(jobs, 1):
            thread.put(group, encode_frames([JobOpened(job, HEAD, NOW)], mark=MARK))
            thread._write(list(thread._queue))
            thread._commit()
            acknowledged.append(job)


HEAD = JobHead("x" * 30, is_open=True)


def opened_jobs(path: Path) -> list[int]:
    return [record.job for record in records_of(path) if isinstance(record, JobOpened)]


def every_death(action) -> int:
    """Run `action(disk)` once for every system call, with every part of it done; how many."""
    for at in itertools.count(1):
        for part in range(5):
            disk = DyingDisk(at, part)
            try:
                action(disk)
            except Killed:
                continue
            return at
    raise AssertionError


@pytest.mark.parametrize("same_boot", [True, False])
def test_creation_appending_and_resuming_survive_death_at_every_call(tmp_path, same_boot) -> None:
    directories = itertools.count()

    def two_lives(disk: DyingDisk) -> None:
        path = tmp_path / str(next(directories)) / "journal"
        path.parent.mkdir()
        acknowledged: list[int] = []
        try:
            life(path, disk, [1, 2], acknowledged)
            life(path, disk, [3, 4], acknowledged)
        finally:
            if not same_boot:
                (path.parent / "journal.lock").unlink(missing_ok=True)
            life(path, Disk(), [9], [])
            found = opened_jobs(path)
            assert found[: len(acknowledged)] == acknowledged
            assert found[-1] == 9
            assert read_header(path).history == HISTORY

    assert every_death(two_lives) > 20


def test_compaction_survives_death_at_every_call(tmp_path) -> None:
    directories = itertools.count()

    def pruned(disk: DyingDisk) -> None:
        path = tmp_path / str(next(directories)) / "journal"
        path.parent.mkdir()
        life(path, Disk(), [1, 2, 3], [])
        faults = []
        try:
            with open_journal(path, "uid001", now=NOW) as opened:
                compact_file(str(path), opened.size, f"{path}.tmp", disk)
                thread = JournalThread(opened, disk, lambda: None)
                thread._splice(f"{path}.tmp", opened.size, faults.append)
        finally:
            life(path, Disk(), [9], [])
            assert opened_jobs(path) == [1, 2, 3, 9]
        assert faults == [None]
        assert isinstance(records_of(path)[0], IdsUsed)

    assert every_death(pruned) > 4


def test_who_reads_after_a_death_of_the_machine_is_told_of_the_gap(tmp_path) -> None:
    path = tmp_path / "journal"
    life(path, Disk(), [1, 2], [])
    os.truncate(path, path.stat().st_size - 3)
    lock = tmp_path / "journal.lock"
    lock.write_text(lock.read_text().replace(this_process().boot, "an earlier boot"))
    life(path, Disk(), [3], [])
    assert opened_jobs(path) == [1, 3]
    assert InstancesRaised(NOW, workers_keep=True) in records_of(path)
