"""Two servers on one journal: never do both acknowledge anything."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import lockless_program
import pytest
from process_cluster import PATIENCE_S, Cluster, lives, processes_with, wait_until


class Rivals(Cluster):
    """Servers with a directory each, on one journal; `locks` is what asking for one gives."""

    locks = ""

    @property
    def journal(self) -> Path:
        return self.work / "journal"

    def command(self, *args: str) -> list[str]:
        if self.locks and "start" in args:
            return [sys.executable, "-P", lockless_program.__file__, *args]
        return super().command(*args)

    def of(self, name: str, *args: str) -> tuple[str, ...]:
        return ("--server-dir", str(self.home / name), *args)

    def words(self, name: str, *more: str) -> tuple[str, ...]:
        return self.of(
            name, "server", "start", "--host", "localhost", "--journal", "journal", *more
        )

    def rival(self, name: str, host: str = "") -> subprocess.Popen[str]:
        """A server that listens."""
        host_is = {"HQTRIO_TEST_HOST": host} if host else {}
        server = self.start(*self.words(name), name=name, HQTRIO_TEST_LOCKS=self.locks, **host_is)
        out = self.root / f"{name}.out"
        wait_until(lambda: "Start date" in out.read_text() or server.poll() is not None)
        assert server.poll() is None, self.log(name)
        return server

    def refused(self, name: str, host: str = "") -> str:
        """Why there can be no such server."""
        host_is = {"HQTRIO_TEST_HOST": host} if host else {}
        done = self.run(*self.words(name), check=1, HQTRIO_TEST_LOCKS=self.locks, **host_is)
        return done.stderr.splitlines()[-1]

    def jobs(self, name: str) -> list[int]:
        return [row["id"] for row in self.json(*self.of(name, "job", "list", "--all"))]

    def stop(self) -> None:
        super().stop()
        for pid in sorted(processes_with(f"HOME={self.home}")):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def rivals(tmp_path: Path):
    made = Rivals(tmp_path)
    yield made
    made.stop()


@pytest.mark.parametrize("locks", ["", "EOPNOTSUPP"])
def test_b14_a_second_server_is_refused_until_the_first_is_dead(rivals, locks):
    rivals.locks = locks
    first = rivals.rival("first")
    rivals.run(*rivals.of("first", "submit", "true"))
    said = rivals.refused("second")
    assert f"in use by another server (process {first.pid} on " in said
    assert said.endswith(": stop it first")
    assert rivals.jobs("first") == [1]
    first.kill()
    first.wait()
    rivals.rival("second")
    assert rivals.jobs("second") == [1]


@pytest.mark.parametrize("locks", ["", "ENOSYS"])
def test_of_servers_that_start_at_once_on_one_journal_one_runs(rivals, locks):
    rivals.locks = locks
    dead = rivals.rival("dead")
    rivals.run(*rivals.of("dead", "submit", "true"))
    dead.kill()
    dead.wait()
    names = [f"rival{number}" for number in range(3)]
    servers = [
        rivals.start(*rivals.words(name), name=name, HQTRIO_TEST_LOCKS=locks) for name in names
    ]
    wait_until(lambda: sum(server.poll() is None for server in servers) == 1)
    (winner,) = (n for n, server in zip(names, servers, strict=True) if server.poll() is None)
    for name in names:
        if name != winner:
            assert "in use by another server" in rivals.log(name)
    rivals.run(*rivals.of(winner, "server", "wait"))
    assert rivals.jobs(winner) == [1]


def test_a_server_that_was_frozen_while_another_took_over_acknowledges_nothing(rivals):
    """Nobody can tell from here whether a process of another machine lives; the user said so."""
    rivals.locks = "ENOLCK"
    first = rivals.rival("first", host="one")
    rivals.run(*rivals.of("first", "submit", "true"))
    said = rivals.refused("second", host="two")
    assert f"(process {first.pid} on one): stop it first; if it is gone, remove" in said
    first.send_signal(signal.SIGSTOP)
    for path in rivals.work.glob("journal.lock*"):
        assert f"`{rivals.journal}.lock`" in said
        path.unlink()

    second = rivals.rival("second", host="two")
    assert rivals.jobs("second") == [1]
    rivals.run(*rivals.of("second", "submit", "true"))
    late = rivals.start(*rivals.of("first", "submit", "true"), name="late")
    first.send_signal(signal.SIGCONT)
    assert late.wait(PATIENCE_S) == 1
    assert first.wait(PATIENCE_S) == 1
    assert f"another server has taken over journal `{rivals.journal}`" in rivals.log("first")

    rivals.run(*rivals.of("second", "submit", "true"))
    # Who finds no lock cannot know whether a power cut has hidden a job that workers have.
    assert rivals.jobs("second") == [1, 102, 103]
    said = rivals.refused("third", host="one")
    assert f"(process {second.pid} on two)" in said
    second.kill()
    second.wait()
    rivals.rival("third", host="two")
    assert rivals.jobs("third") == [1, 102, 103]


def test_a_daemon_whose_journal_was_taken_over_gives_up(rivals):
    rivals.locks = "ENOLCK"
    place = rivals.home / "first"
    env = {"HQTRIO_TEST_LOCKS": "ENOLCK", "HQTRIO_TEST_HOST": "one"}
    rivals.run(*rivals.words("first", "--daemon"), **env)
    keeper = int((place / "hq-current/server.pid").read_text())
    for path in rivals.work.glob("journal.lock*"):
        path.unlink()
    shutil.copy(place / "hq-current/access.json", rivals.root / "access.json")
    second = rivals.rival("second", host="two")
    rivals.run(*rivals.of("first", "submit", "true"), check=1)
    wait_until(lambda: not lives(keeper))
    log = (place / "001/server.log").read_text().splitlines()
    assert f"another server has taken over journal `{rivals.journal}`" in "\n".join(log)
    assert "ERROR giving up: the server could not start: Journal" in log[-1]
    assert f"in use by another server (process {second.pid} on two)" in log[-1]
    assert rivals.jobs("second") == []
