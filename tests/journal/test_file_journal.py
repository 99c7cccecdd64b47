"""The journal in its file: the two barriers, its end, failing disks, other servers."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from journal_story import HISTORY, NOW, FailingDisk, closed, records_of

from actors.server import file_journal
from actors.server.disk import Disk
from actors.server.file_journal import JournalLost, open_file_journal
from actors.server.journal_lock import journal_lock
from actors.server.journal_opening import open_journal, read_header
from hqtrio.errors import InputError
from hqtrio.journal.format import encode_frames
from hqtrio.messages.records import IdsUsed, InstancesRaised, JobClosed, JobCompleted, JobOpened
from hqtrio.model.job import JobHead


class Durability:
    """What the journal has told to be durable."""

    def __init__(self, journal) -> None:
        self.group = 0
        self._changed = trio.Event()
        journal.call_on_durable(self._told)

    def _told(self, group: int) -> None:
        self.group = group
        self._changed.set()
        self._changed = trio.Event()

    async def reach(self, group: int) -> None:
        while self.group < group:
            await self._changed.wait()


@asynccontextmanager
async def a_journal(path, disk=None):
    with open_journal(path, "uid001", now=NOW, disk=disk) as opened:
        async with open_file_journal(opened, disk) as journal:
            yield journal


async def healthy(journal) -> None:
    with trio.fail_after(30):
        while journal.trouble:
            await trio.sleep(0.01)


async def test_what_append_returned_from_is_in_the_file_and_soon_durable(tmp_path) -> None:
    path = tmp_path / "journal"
    async with a_journal(path) as journal:
        durability = Durability(journal)
        assert await journal.append([closed(1)]) == 1
        assert records_of(path) == [closed(1)]
        assert await journal.append([closed(2), closed(3)]) == 2
        assert records_of(path) == [closed(1), closed(2), closed(3)]
        await durability.reach(2)
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["journal", "journal.lock"]


async def test_a_journal_costs_one_thread(tmp_path) -> None:
    before = threading.active_count()
    async with a_journal(tmp_path / "journal") as journal:
        await journal.append([closed(1)])
        await journal.flush()
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


async def test_two_writers_keep_their_order_and_a_cancelled_append_is_whole(tmp_path) -> None:
    path = tmp_path / "journal"

    async def write(journal, jobs) -> None:
        for job in jobs:
            await journal.append([closed(job)])

    async with a_journal(path) as journal:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, journal, range(0, 40, 2))
            nursery.start_soon(write, journal, range(1, 40, 2))
        with trio.CancelScope() as scope:
            scope.cancel()
            await journal.append([closed(99)])
        assert scope.cancelled_caught
    jobs = [record.job for record in records_of(path)]
    assert [job for job in jobs if job % 2 == 0] == list(range(0, 40, 2))
    assert [job for job in jobs if job % 2] == [*range(1, 40, 2), 99]


async def test_the_next_server_goes_on_in_a_file_of_its_own_with_the_same_history(tmp_path) -> None:
    path = tmp_path / "journal"
    async with a_journal(path) as journal:
        await journal.append([closed(1)])
    first, header = path.stat().st_ino, read_header(path)
    with path.open("rb"):  # so that the number of the old file is not used again
        async with a_journal(path) as journal:
            await journal.append([closed(2)])
        assert path.stat().st_ino != first
    assert read_header(path) == header
    assert records_of(path) == [closed(1), closed(2)]


@pytest.mark.parametrize("same_boot", [True, False])
async def test_s4_13_a_torn_tail_is_cut_with_a_warning(tmp_path, caplog, same_boot) -> None:
    path = tmp_path / "journal"
    async with a_journal(path) as journal:
        await journal.append([closed(1)])
        await journal.append([closed(2)])
    os.truncate(path, path.stat().st_size - 1)
    if not same_boot:
        (tmp_path / "journal.lock").unlink()
    async with a_journal(path) as journal:
        await journal.append([closed(3)])
    assert "bytes were not written to their end" in caplog.text
    # Only if the machine may have died can somebody know of what is lost.
    gap = [] if same_boot else [InstancesRaised(NOW, workers_keep=True)]
    assert records_of(path) == [closed(1), *gap, closed(3)]


async def test_a_journal_that_was_closed_has_all_wherever_it_is_opened_next(
    tmp_path, monkeypatch
) -> None:
    path = tmp_path / "journal"
    async with a_journal(path) as journal:
        await journal.append([closed(1)])
    monkeypatch.setattr("actors.server.journal_lock._boot_id", lambda: "another")
    async with a_journal(path) as journal:
        await journal.append([closed(2)])
    assert records_of(path) == [closed(1), closed(2)]


async def test_b15_an_empty_file_becomes_a_new_journal(tmp_path) -> None:
    path = tmp_path / "journal"
    path.touch()
    async with a_journal(path) as journal:
        await journal.append([closed(1)])
    assert records_of(path) == [closed(1)]


@pytest.mark.parametrize("damage", ["magic", "middle"])
def test_what_cannot_be_used_is_refused_and_left_as_it_is(tmp_path, damage) -> None:
    path = tmp_path / "journal"
    with open_journal(path, "uid001", now=NOW, make_history=lambda: HISTORY):
        pass
    data = bytearray(path.read_bytes())
    place = len(data) + 8 if damage == "middle" else 0
    data += b"".join(encode_frames([closed(job)], mark=HISTORY[:4]) for job in (1, 2))
    data[place] ^= 0xFF
    path.write_bytes(data)
    refused = pytest.raises(InputError, match=r"not a journal|journal repair")
    with refused, open_journal(path, "uid001", now=NOW):
        pass
    assert path.read_bytes() == data


async def test_a_full_disk_is_told_and_costs_nothing_that_was_written(tmp_path) -> None:
    path, full = tmp_path / "journal", False
    disk = FailingDisk(
        lambda call: errno.ENOSPC if full and call in ("write", "allocate") else None
    )
    async with a_journal(path, disk) as journal:
        durability = Durability(journal)
        await journal.append([closed(1)])
        full = True
        with trio.move_on_after(0.3) as waiting:
            await journal.append([closed(2)])
        assert waiting.cancelled_caught
        assert "ENOSPC" in journal.trouble
        assert records_of(path) == [closed(1)]  # and not half of the second
        full = False
        await healthy(journal)
        await journal.append([closed(3)])
        await durability.reach(3)
    assert records_of(path) == [closed(1), closed(2), closed(3)]


async def test_the_reserve_takes_what_a_full_disk_does_not(tmp_path) -> None:
    path, reserve = tmp_path / "journal", tmp_path / "journal.reserve"
    full = False

    def rule(call: str) -> int | None:
        fails = full and (call == "allocate" or (call == "write" and reserve.exists()))
        return errno.EDQUOT if fails else None

    async with a_journal(path, FailingDisk(rule)) as journal:
        await journal.append([closed(1)])
        full = True
        await journal.append([closed(2)])
        assert "EDQUOT" in journal.trouble
        await journal.append([closed(3)])
        assert records_of(path) == [closed(1), closed(2), closed(3)]
        full = False
        await healthy(journal)
        assert reserve.exists()


async def test_after_a_failed_sync_all_of_it_goes_into_a_new_file(tmp_path) -> None:
    path, failures = tmp_path / "journal", 0

    def rule(call: str) -> int | None:
        nonlocal failures
        if call == "fdatasync" and failures == 0:
            failures += 1
            return errno.EIO
        return None

    async with a_journal(path, FailingDisk(rule)) as journal:
        durability = Durability(journal)
        with path.open("rb") as found:
            await journal.append([closed(1)])
            await durability.reach(1)
            await healthy(journal)
            assert path.stat().st_ino != os.fstat(found.fileno()).st_ino
        await journal.append([closed(2)])
        await durability.reach(2)
    assert failures == 1
    assert records_of(path) == [closed(1), closed(2)]


async def test_a_journal_that_was_removed_is_written_once_more(tmp_path) -> None:
    path = tmp_path / "journal"
    async with a_journal(path) as journal:
        await journal.append([closed(1)])
        await journal.flush()
        path.unlink()
        await journal.append([closed(2)])
        await journal.flush()
        assert records_of(path) == [closed(1), closed(2)]


async def test_a_server_whose_journal_was_taken_over_acknowledges_nothing_more(tmp_path) -> None:
    path = tmp_path / "journal"
    with pytest.RaisesGroup(pytest.RaisesExc(JournalLost, match="another server has taken over")):
        async with a_journal(path) as journal:
            await journal.append([closed(1)])
            await journal.flush()
            other = tmp_path / "other"
            other.write_bytes(path.read_bytes())
            other.rename(path)
            durability = Durability(journal)
            await journal.append([closed(2)])
            await durability.reach(2)
    assert records_of(path) == [closed(1)]


OWN = """
import sys, time
from pathlib import Path
from actors.server import file_journal
from actors.server.disk import Disk
from actors.server.journal_lock import journal_lock
class NoLocks(Disk):
    def flock(self, fd): raise OSError(95, "no locks here")
with journal_lock(Path(sys.argv[1]), NoLocks() if sys.argv[2] == "no" else Disk()):
    print("mine", flush=True)
    sys.stdin.read()
"""


class NoLocks(Disk):
    def flock(self, fd: int) -> bool:
        raise OSError(errno.EOPNOTSUPP, "no locks here")


@pytest.mark.parametrize("locks", ["yes", "no"])
def test_b14_a_second_server_is_refused_until_the_first_is_gone(tmp_path, locks) -> None:
    path, disk = tmp_path / "journal", Disk() if locks == "yes" else NoLocks()
    with subprocess.Popen(
        [sys.executable, "-P", "-c", OWN, str(path), locks],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as first:  # fmt: skip
        assert first.stdout.readline() == "mine\n"
        refused = pytest.raises(InputError, match=rf"in use by .* \(process {first.pid} ")
        with refused, journal_lock(path, disk):
            pass
        first.kill()  # it has no time to say goodbye
        first.wait()
        with journal_lock(path, disk):
            pass


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("moment", ["create", "rename"])
async def test_of_two_that_open_at_once_without_a_lock_one_does(tmp_path, moment, is_new) -> None:
    """The first one's lock was removed by hand; the second comes in between, and acknowledges."""
    path = tmp_path / "journal"
    before = [] if is_new else [closed(1)]
    if not is_new:
        async with a_journal(path) as journal:
            await journal.append(before)
    seconds = []

    class Disturbed(Disk):
        def disturb(self, call: str) -> None:
            if call == moment and not seconds:
                (tmp_path / "journal.lock").unlink()
                second = open_journal(path, "uid002", now=NOW)
                seconds.append((second, second.__enter__()))

        def create(self, target: str) -> int:
            fd = super().create(target)
            self.disturb("create")
            return fd

        def fsync(self, fd: int) -> None:
            super().fsync(fd)
            self.disturb("rename")

    with pytest.raises(InputError), open_journal(path, "uid001", now=NOW, disk=Disturbed()):
        pass
    [(second, opened)] = seconds
    async with open_file_journal(opened) as journal:
        await journal.append([closed(2)])
        await journal.flush()
    second.__exit__(None, None, None)
    assert [r for r in records_of(path) if isinstance(r, JobClosed)] == [*before, closed(2)]


async def test_pruning_leaves_what_is_appended_meanwhile_behind_what_is_kept(tmp_path) -> None:
    path = tmp_path / "journal"
    head = JobHead("x" * 10_000, is_open=True)
    async with a_journal(path) as journal:
        await journal.append([JobOpened(1, head, NOW), JobOpened(2, head, NOW)])
        await journal.append([JobCompleted(1, NOW)])
        await journal.flush()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.prune)
            await trio.testing.wait_all_tasks_blocked()
            await journal.append([JobOpened(3, head, NOW)])
        await journal.append([closed(2)])
        await journal.flush()
    assert records_of(path) == [
        IdsUsed(2, 0, 0), JobOpened(2, head, NOW), JobOpened(3, head, NOW), closed(2)
    ]  # fmt: skip
    assert sorted(os.listdir(tmp_path)) == ["journal", "journal.lock"]


async def test_what_was_written_before_is_read_whole_although_a_prune_comes_between(tmp_path):
    path = tmp_path / "journal"
    head = JobHead("x" * 10_000, is_open=True)
    async with a_journal(path) as journal:
        await journal.append([JobOpened(1, head, NOW), JobOpened(2, head, NOW)])
        await journal.append([JobCompleted(1, NOW)])
        past = journal.past()
        await journal.prune()
        await journal.append([closed(2)])
        before = len(b"".join(past.parts))
        after = len(b"".join(journal.past().parts))
    assert before > 20_000 > after > 10_000


async def test_a_journal_that_has_grown_is_pruned_by_itself(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(file_journal, "PRUNE_BYTES", 50_000)
    path = tmp_path / "journal"
    head = JobHead("x" * 10_000, is_open=True)
    async with a_journal(path) as journal:
        with trio.fail_after(60):
            for job in range(1, 20):
                await journal.append([JobOpened(job, head, NOW), JobCompleted(job, NOW)])
                await journal.flush()
            await journal.append([JobOpened(20, head, NOW)])
            while isinstance(records_of(path)[0], JobOpened):
                await trio.sleep(0.01)  # a child of the journal's is at work
            await journal.append([closed(20)])
            await journal.flush()
    left = records_of(path)
    assert isinstance(left[0], IdsUsed)
    assert left[-1] == closed(20)
    assert path.stat().st_size < 20 * len(head.name)
    assert sorted(os.listdir(tmp_path)) == ["journal", "journal.lock"]
