"""Requests, reports and records that make a server crash: it comes back, and others are served."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import poisoned_program
import pytest
from process_cluster import Cluster

from actors.server.journal_opening import read_header
from hqtrio.journal.format import encode_frames
from hqtrio.messages.records import JobClosed

WAIT = "echo $HQ_INSTANCE_ID >> runs; while [ ! -e go ]; do sleep 0.05; done"


class PoisonedCluster(Cluster):
    """Its servers crash over poison, and are started again by the test."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.lives = 0

    def command(self, *args: str) -> list[str]:
        if args[:2] == ("server", "start"):
            return [sys.executable, "-P", poisoned_program.__file__, *args]
        return super().command(*args)

    @property
    def journal(self) -> Path:
        return self.server_dir / "001" / "journal"

    def live(self):
        """A server that goes on with the journal of the first one."""
        self.lives += 1
        resumed = ("--journal", str(self.journal)) if self.lives > 1 else ()
        return self.start_server(*resumed, name=f"server{self.lives}")

    def crashes(self, server) -> dict:
        """What the server leaves behind when it has crashed."""
        assert server.wait(60) not in (0, None)
        path = self.server_dir / f"{self.lives:03}" / "crash-1.json"
        assert f"see `{path}`" in self.log(f"server{self.lives}")
        assert path.stat().st_mode & 0o777 == 0o600
        return json.loads(path.read_text())


@pytest.fixture
def poisoned(tmp_path: Path):
    cluster = PoisonedCluster(tmp_path)
    yield cluster
    cluster.stop()


def test_a_poisoned_request_crashes_two_servers_and_is_refused_by_the_third(poisoned) -> None:
    server = poisoned.live()
    poisoned.start_worker()
    job = poisoned.submit("sh", "-c", WAIT)
    poisoned.wait_counts(job, running=1)
    for _ in range(2):
        poisoned.run("job", "open", "--name", "poison", check=1)
        crash = poisoned.crashes(server)
        assert crash["error"] == "ZeroDivisionError: over a request"
        assert "OpenJob of client" in crash["origin"]
        assert any("in responds" in line for line in crash["traceback"])
        server = poisoned.live()
    refused = poisoned.run("job", "open", "--name", "poison", check=1)
    assert "Internal error: the server has crashed twice over this request" in refused.stderr
    poisoned.run("job", "open", "--name", "other")
    (poisoned.work / "go").touch()
    poisoned.wait_counts(job, finished=1)
    assert (poisoned.work / "runs").read_text() == "0\n"
    assert server.poll() is None


def test_a_poisoned_report_crashes_two_servers_and_costs_the_third_one_task(poisoned) -> None:
    server = poisoned.live()
    poisoned.start_worker("--cpus", "3")
    other = poisoned.submit("--array", "1-2", "sh", "-c", WAIT)
    poisoned.wait_counts(other, running=2)
    poison = poisoned.submit("--name", "poison", "true")
    for _ in range(2):
        crash = poisoned.crashes(server)
        assert crash["marks"] == [f"end of {poison}@0"]
        server = poisoned.live()
    poisoned.wait_counts(poison, failed=1)
    (task,) = poisoned.json("task", "info", str(poison), "0")
    assert task["error"].startswith("Internal error: the server has crashed twice over the end")
    (poisoned.work / "go").touch()
    poisoned.wait_counts(other, finished=2)
    assert (poisoned.work / "runs").read_text() == "0\n" * 2
    last = poisoned.submit("true")
    poisoned.wait_counts(last, finished=1)
    assert server.poll() is None
    assert "Journal is fine" in poisoned.run("journal", "check", str(poisoned.journal)).stderr


def test_a_poisoned_record_ends_every_start_at_once_and_says_how_to_go_on(cluster) -> None:
    server = cluster.start_server()
    journal, saved = cluster.server_dir / "001" / "journal", cluster.root / "saved"
    cluster.submit("--name", "first", "true")
    server.kill()
    server.wait()
    header = read_header(journal)
    with journal.open("ab") as file:
        offset = file.tell()
        file.write(encode_frames([JobClosed(77, 0.0)], mark=header.history[:4]))
    before = journal.read_bytes()

    for words in ((), ("--daemon",)):
        refused = cluster.run("server", "start", *words, "--journal", str(journal), check=1)
        assert f"JobClosed at byte {offset}" in refused.stderr
        assert f"`hqtrio journal repair {journal} NEW`" in refused.stderr
    assert journal.read_bytes() == before

    repaired = cluster.run("journal", "repair", str(journal), str(saved))
    assert f"JobClosed cannot be used: job 77 does not exist at this point, at byte {offset}" in (
        repaired.stderr
    )
    cluster.start_server("--journal", str(saved), name="repaired")
    assert [row["name"] for row in cluster.json("job", "list")] == ["first"]
