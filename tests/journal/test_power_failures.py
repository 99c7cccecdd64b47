"""Processes and machines that die at any system call: what was acknowledged is there afterwards."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random

import pytest
from crashing_machine import Machine
from journal_story import HISTORY, NOW, records_of

from actors.server import journal_lock
from actors.server.disk import Disk
from actors.server.endpoints import earlier_access, publish_to_earlier
from actors.server.journal_compactor import compact_file
from actors.server.journal_opening import open_journal, read_header
from actors.server.journal_thread import JournalThread
from actors.server.unfinished import name_unfinished
from hqtrio.journal.format import encode_frames
from hqtrio.messages.records import InstancesRaised, JobOpened
from hqtrio.model.job import JobHead
from hqtrio.net.access import AccessFile, make_access, read_access, write_access
from hqtrio.net.directory import ACCESS_FILE, create_instance, publish_instance

IS_LONG = os.environ.get("HQTRIO_LONG") == "1"
MARK = HISTORY[:4]
HEAD = JobHead("x" * 700, is_open=True)  # longer than a sector


class Server:
    """One that has opened the journal at `path`, and whose thread's turns are the test's."""

    def __init__(self, path: Path, acknowledge=lambda job: None) -> None:
        self.path, self.acknowledge = path, acknowledge
        self.group = self.unsynced = 0

    def __enter__(self) -> Server:
        self._opening = open_journal(self.path, "uid001", now=NOW, make_history=lambda: HISTORY)
        self.opened = self._opening.__enter__()
        self.thread = JournalThread(self.opened, Disk(), lambda: None)
        return self

    def __exit__(self, *failure) -> None:
        os.close(self.thread._fd)
        self._opening.__exit__(*failure)

    def write(self, *jobs: int) -> None:
        """The records of these jobs are written."""
        for job in jobs:
            self.group += 1
            record = JobOpened(job, HEAD, NOW)
            frame = encode_frames([record], mark=MARK, unsynced=self.unsynced)
            self.unsynced += len(frame)
            self.thread.put(self.group, frame)
        self.thread._write(list(self.thread._queue))
        self._jobs = jobs

    def commit(self) -> None:
        self.thread._commit()
        self.unsynced = 0
        for job in self._jobs:
            self.acknowledge(job)

    def record(self, *jobs: int) -> None:
        self.write(*jobs)
        self.commit()

    def prune(self) -> None:
        faults: list[OSError | None] = []
        temporary = f"{self.path}.tmp"
        compact_file(str(self.path), self.thread.size, temporary)
        self.thread._splice(temporary, self.thread.size, faults.append)
        assert faults == [None]


def jobs_in(path: Path) -> list[int]:
    return [record.job for record in records_of(path) if isinstance(record, JobOpened)]


def check_left(path: Path, acknowledged: list, offered: list[int]) -> None:
    """The next server starts with all that was acknowledged and nothing that was not offered."""
    with Server(path) as server:
        server.record(999)
    found = jobs_in(path)
    assert found[-1] == 999 and read_header(path).history == HISTORY
    assert found[: len(acknowledged)] == acknowledged
    assert found[:-1] == offered[: len(found) - 1]


def every_crash(machine: Machine, monkeypatch, check) -> int:
    """`check(moment, place)` holds after every crash; how many there were."""
    count = 0
    boot = journal_lock._boot_id()
    for moment, machine_died, place in machine.crashes(Random(1)):
        monkeypatch.setattr(
            journal_lock, "_boot_id", lambda d=machine_died: f"{boot}{d:d}" if d else boot
        )
        try:
            check(moment, place)
        except BaseException as error:
            error.add_note(
                f"moment {moment} of {len(machine.states)}, machine died: {machine_died}"
            )
            raise
        count += 1
    return count


def lives(machine: Machine, path: Path, *, prune: bool = False) -> None:
    with Server(path, machine.acknowledge) as server:
        server.record(1)
        server.record(2, 3)
        server.write(4)
        server.write(5)  # one sync for both
        server._jobs = (4, 5)
        server.commit()
        if prune:
            server.prune()
            server.record(6)
    with Server(path, machine.acknowledge) as server:
        server.record(7)
        if not prune:
            # As after a failed sync: all of it goes into another file.
            server.thread._must_rewrite = True
            server.record(8)
        server.write(9)


@pytest.mark.parametrize("prune", [False, True])
def test_b2_a_journal_keeps_what_was_durable(tmp_path, monkeypatch, prune) -> None:
    root = tmp_path / "root"
    root.mkdir()
    machine = Machine(root)
    with machine.noting():
        lives(machine, root / "journal", prune=prune)
    offered = [1, 2, 3, 4, 5, 6, 7, 9] if prune else [1, 2, 3, 4, 5, 7, 8, 9]
    assert jobs_in(root / "journal") == offered

    def check(moment: int, place: Path) -> None:
        check_left(place / "journal", machine.acknowledged(moment), offered)

    assert every_crash(machine, monkeypatch, check) > 200


@pytest.mark.parametrize("prune", [False, True])
def test_a_write_may_end_after_any_byte(tmp_path, monkeypatch, prune) -> None:
    """Of the journal, its lock, its copies and its compaction."""
    monkeypatch.setattr("test_power_failures.HEAD", JobHead("x", is_open=True))
    root = tmp_path / "root"
    root.mkdir()
    machine = Machine(root)
    with machine.noting():
        lives(machine, root / "journal", prune=prune)
    offered = [1, 2, 3, 4, 5, 6, 7, 9] if prune else [1, 2, 3, 4, 5, 7, 8, 9]
    assert sum(len(data.rstrip()) for *_, data in machine.writes) > 1000
    for moment, place in machine.interrupted():
        check_left(place / "journal", machine.acknowledged(moment), offered)
        shutil.rmtree(place)


def test_a_server_directory_is_found_again_with_its_journal_and_its_credentials(
    tmp_path, monkeypatch
) -> None:
    root = tmp_path / "root"
    access = make_access("uid001", client_host="h", client_port=1, worker_host="h", worker_port=2)
    moved = make_access("uid001", client_host="i", client_port=3, worker_host="i", worker_port=4)
    machine = Machine(root)
    with machine.noting():
        first = start_in(root, access)
        machine.acknowledge("first")
        with Server(first / "journal", machine.acknowledge) as server:
            server.record(1)
            server.record(2)
        start_in(root, moved)
        machine.acknowledge("second")
        with Server(first / "journal", machine.acknowledge) as server:
            server.record(3)
    offered = [1, 2, 3]

    def check(moment: int, place: Path) -> None:
        told = machine.acknowledged(moment)
        name_unfinished(place, None)
        known = earlier_access(place, "uid001")
        if "first" in told:
            assert known in (access, moved)
        if "second" in told:
            assert read_access(place, "full") == moved
            assert read_access(place / "001", "full") == moved  # who knows only that finds it, too
        elif (place / "hq-current" / ACCESS_FILE).exists():
            assert read_access(place, "full") in (access, moved)
        # Another one starts, and goes on with the journal.
        again = start_in(place, moved)
        assert read_access(place, "full") == moved
        jobs = [fact for fact in told if isinstance(fact, int)]
        journal = place / "001" / "journal"
        if not journal.exists():
            assert not jobs
            journal = again / "journal"
        check_left(journal, jobs, offered)

    assert every_crash(machine, monkeypatch, check) > 200
    for moment, place in machine.interrupted(1 if IS_LONG else 29):
        check(moment, place)
        shutil.rmtree(place)


def start_in(root: Path, access: AccessFile) -> Path:
    """What a starting server does in its directory."""
    instance = create_instance(root)
    write_access(instance / ACCESS_FILE, access)
    publish_instance(instance)
    publish_to_earlier(instance, access)
    return instance


def test_after_the_machine_died_no_instance_is_used_again(tmp_path, monkeypatch) -> None:
    root = tmp_path / "root"
    root.mkdir()
    machine = Machine(root)
    with machine.noting(), Server(root / "journal") as server:
        server.record(1)
        server.write(2)
    boot, missed = journal_lock._boot_id(), []

    def check(moment: int, place: Path) -> None:
        path = place / "journal"
        if not path.exists():
            return
        with Server(path):
            pass
        # Of what only the server had not written yet, nobody knows.
        machine_died = journal_lock._boot_id() != boot
        has_raised = InstancesRaised(NOW, workers_keep=True) in records_of(path)
        if machine_died or jobs_in(path):
            assert has_raised == machine_died
        missed.append(machine_died and 2 not in jobs_in(path))

    every_crash(machine, monkeypatch, check)
    assert any(missed) and not all(missed)
