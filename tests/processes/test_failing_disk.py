"""Servers whose disk fails at single system calls; no file system has to be made for that."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

import faulty_disk_program
import pytest
from process_cluster import PATIENCE_S, Cluster, wait_until

GATED = "while ! test -e gate; do sleep 0.05; done; echo $HQ_TASK_ID.$HQ_INSTANCE_ID >> ran"
TASKS = 20
WRITES, SYNCS = ("write", "allocate"), ("fdatasync", "fsync")


class FaultyCluster(Cluster):
    """Its servers have a disk that the test breaks and mends."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.faults = root / "faults"
        self.env["HQTRIO_TEST_DISK"] = str(self.faults)
        self.journal = root / "journal"

    def command(self, *args: str) -> list[str]:
        if args[:2] == ("server", "start"):
            return [sys.executable, "-P", faulty_disk_program.__file__, *args]
        return super().command(*args)

    def start_it(self, name: str = "server"):
        return self.start_server("--journal", str(self.journal), name=name)

    def break_disk(self, calls: tuple[str, ...], name: str) -> None:
        made = self.root / "faults.new"
        made.write_text(" ".join(f"{call}={name}" for call in calls))
        made.rename(self.faults)

    def mend_disk(self) -> None:
        self.faults.unlink()

    @property
    def trouble(self) -> str:
        return self.json("server", "info").get("trouble") or ""

    def failure(self, *args: str) -> str:
        return self.run(*args, check=1).stderr.splitlines()[-1]

    def check_all_ran_once(self) -> None:
        ran = (self.work / "ran").read_text().split()
        assert sorted(ran) == sorted(f"{number}.0" for number in range(1, TASKS + 1))


@pytest.fixture
def faulty(tmp_path: Path):
    cluster = FaultyCluster(tmp_path)
    yield cluster
    cluster.stop()


def broken(faulty: FaultyCluster, calls: tuple[str, ...], name: str):
    """A server whose disk is broken while it has a job, and everybody is told so."""
    server = faulty.start_it()
    faulty.start_worker("--cpus", "1")
    job = faulty.submit("--array", f"1-{TASKS}", "--", "sh", "-c", GATED)
    faulty.wait_counts(job, running=1, waiting=TASKS - 1)
    faulty.run("journal", "flush")
    faulty.break_disk(calls, name)
    why = os.strerror(getattr(errno, name))
    assert f"This is not recorded yet: {why} (since 2" in faulty.failure("submit", "--", "true")
    assert f"cannot record this now: journal `{faulty.journal}`: {why}" in faulty.failure(
        "job", "cancel", "all"
    )
    assert faulty.json("job", "list")[0]["id"] == job
    assert faulty.trouble.startswith(why)
    (faulty.work / "gate").touch()
    return server


@pytest.mark.parametrize(("calls", "name"), [(WRITES, "EROFS"), (SYNCS, "EIO")])
def test_b13_a_disk_that_fails_for_a_while_costs_nothing(faulty, calls, name) -> None:
    server = broken(faulty, calls, name)
    faulty.mend_disk()
    faulty.run("job", "wait", "all")
    assert faulty.counts(1) == {"finished": TASKS}
    assert faulty.counts(2) == {"finished": 1}
    wait_until(lambda: not faulty.trouble)
    assert faulty.submit("--", "true") == 3
    faulty.check_all_ran_once()
    server.kill()
    server.wait(PATIENCE_S)
    faulty.run("journal", "check", str(faulty.journal))


@pytest.mark.parametrize(("calls", "name"), [(WRITES, "EDQUOT"), (SYNCS, "EIO")])
def test_b13_a_server_that_dies_with_its_disk_has_lost_nothing_that_it_said(
    faulty, calls, name
) -> None:
    server = broken(faulty, calls, name)
    server.send_signal(signal.SIGKILL)
    server.wait(PATIENCE_S)
    faulty.run("journal", "check", str(faulty.journal))
    before = faulty.journal.read_bytes()
    said = faulty.failure("server", "start", "--journal", str(faulty.journal))
    assert f"journal `{faulty.journal}`: {os.strerror(getattr(errno, name))}" in said
    assert faulty.journal.read_bytes() == before
    assert not list(faulty.root.glob("journal.new"))
    faulty.mend_disk()
    faulty.start_it(name="second")
    faulty.run("job", "wait", "all")
    assert faulty.counts(1) == {"finished": TASKS}
    faulty.check_all_ran_once()
    # What was written without being synced outlives the server, and only that.
    ids = [row["id"] for row in faulty.json("job", "list", "--all")]
    assert ids == ([1] if calls == WRITES else [1, 2])
