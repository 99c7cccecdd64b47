"""Who keeps a server alive; the server only pretends."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pretended_server
import pytest

from actors.daemon.detached import READY_FD

PATIENCE_S = 60.0
RUN = """
import os, sys
from actors.daemon.supervisor import Supervisor
from actors.daemon.restarts import Patience
caller = int(os.environ.pop("HQTRIO_READY_FD"))
os.set_inheritable(caller, False)
patience = Patience(first_s=float(sys.argv[1]), longest_s=60, crashes_max=5, healthy_s=60)
sys.exit(Supervisor(sys.argv[2:], caller, patience=patience).run())
"""


class Kept:
    """A daemon with a plan for its servers."""

    def __init__(
        self,
        place: Path,
        plan: list[str],
        *,
        first_s: float = 0.001,
        words: tuple[str, ...] = (),
        python: str = sys.executable,
    ) -> None:
        self.place = place
        (place / "plan").write_text("\n".join(plan))
        read, write = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", RUN, str(first_s),
             python, "-P", pretended_server.__file__, str(place), *words],
            env={**os.environ, READY_FD: str(write)},
            cwd=place, pass_fds=[write], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        os.close(write)
        with open(read) as answers:
            self.answer = json.loads(answers.read() or "null")

    @property
    def lives(self) -> list[dict]:
        return [json.loads(line) for line in (self.place / "lives").read_text().splitlines()]

    @property
    def log(self) -> list[str]:
        """Lines without their times, and without what the servers print."""
        lines = (self.place / "001/server.log").read_text().splitlines()
        return [line.partition("Z ")[2] for line in lines if "Z " in line]

    def wait(self) -> int:
        _, said = self.process.communicate(timeout=PATIENCE_S)
        assert said == ""
        return self.process.returncode

    def wait_for(self, name: str) -> None:
        give_up_at = time.monotonic() + PATIENCE_S
        while not (self.place / name).exists():
            assert time.monotonic() < give_up_at, name
            time.sleep(0.01)


@pytest.fixture
def keep(tmp_path):
    made = []

    def start(*plan: str, **more) -> Kept:
        made.append(Kept(tmp_path, list(plan), **more))
        return made[-1]

    yield start
    for kept in made:
        kept.process.kill()
        for life in kept.lives:
            if Path(f"/proc/{life['pid']}/cwd").exists():
                os.kill(life["pid"], signal.SIGKILL)
        with kept.process:
            pass  # it is buried, and its pipe closed


def test_a_server_that_ends_on_purpose_is_not_started_again(keep):
    kept = keep("ready=/j exit=0")
    assert kept.answer["details"] == {"journal_path": "/j"}
    assert kept.wait() == 0
    assert kept.log == []
    assert os.listdir(kept.place / "001") == ["server.log"]


def test_a_crashed_server_goes_on_with_its_journal_and_log_as_often_as_that_makes_sense(keep):
    plan = ("ready=/j exit=3", "ready=/j kill", "exit=1", "full exit=1", "ready=/j kill")
    kept = keep(*plan, words=("--host", "here"))
    assert kept.wait() == 1
    first, *others = kept.lives
    assert (first["words"], first["log"]) == (["--host", "here"], None)
    log = kept.place / "001/server.log"
    for life in others:
        assert life["words"] == ["--host", "here", "--journal=/j"]
        assert life["log"] == str(log)
    last_words = (
        "ERROR giving up: the server was killed by SIGKILL; that was crash 5 without 60 s of "
        "uptime between; `hqtrio server start --daemon --journal /j` goes on with its jobs"
    )
    assert kept.log == [
        "WARN the server ended with exit code 3; it is started again in 0.001 s",
        f"INFO the server is back: process {others[0]['pid']}",
        "WARN the server was killed by SIGKILL; it is started again in 0.002 s",
        "WARN the server ended with exit code 1; it is started again in 0.004 s",
        "WARN the server could not start: disk full; it is started again in 0.008 s",
        f"INFO the server is back: process {others[3]['pid']}",
        last_words,
    ]
    assert sorted(os.listdir(kept.place / "001")) == ["server.log"]
    assert (kept.place / "005/server.log").resolve() == log


def test_a_journal_that_was_asked_for_is_asked_for_once(keep):
    kept = keep("ready=/j kill", "ready=/j exit=0", words=("--journal=/j",))
    assert kept.wait() == 0
    assert [life["words"] for life in kept.lives] == [["--journal=/j"]] * 2


def test_a_start_that_is_refused_for_good_is_the_last_one(keep):
    kept = keep("ready=/j kill", "refuse=in_use exit=1")
    assert kept.wait() == 1
    assert len(kept.lives) == 2
    assert kept.log[-1].startswith("ERROR giving up: the server could not start: in_use; `hqtrio")


def test_a_system_that_starts_no_processes_is_asked_again_and_again(keep, tmp_path):
    """There may be too many of them, for a while; here the program is gone."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    kept = keep("ready=/j stay", python=str(python))
    kept.wait_for("stays-0")
    python.unlink()
    os.kill(kept.lives[0]["pid"], signal.SIGKILL)
    assert kept.wait() == 1
    why = "WARN the server could not start: no process for it: No such file or directory; it is"
    assert sum(line.startswith(why) for line in kept.log) == 3
    assert kept.log[-1].startswith(f"ERROR giving up: {why[5:-7]}; that was crash 5 without")


def test_without_a_journal_there_is_nothing_to_go_on_with(keep):
    kept = keep("ready kill")
    assert kept.wait() == 1
    assert kept.log[-1] == (
        "ERROR giving up: the server was killed by SIGKILL; without a journal there is nothing to "
        "go on with"
    )


def test_a_first_start_that_fails_is_told_and_leaves_nothing(keep):
    kept = keep("refuse=port_taken exit=1")
    assert kept.answer == {"refused": "port_taken", "code": 1}
    assert kept.wait() == 1
    assert sorted(os.listdir(kept.place)) == ["lives", "plan"]


def test_a_first_start_that_crashes_is_told_with_its_code(keep):
    kept = keep("kill")
    assert kept.answer == {"refused": "", "code": -signal.SIGKILL}
    assert kept.wait() == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_first(keep, number):
    kept = keep("ready=/j stay")
    kept.wait_for("stays-0")
    kept.process.send_signal(number)
    assert kept.wait() == 0
    assert kept.log == []


@pytest.mark.parametrize(("number", "has_link"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_a_signal_ends_a_pause_and_only_a_deliberate_one_takes_the_link(keep, number, has_link):
    kept = keep("ready=/j stay", first_s=1000.0)
    link = kept.place / "hq-current"
    link.symlink_to("001")
    kept.wait_for("stays-0")
    os.kill(kept.lives[0]["pid"], signal.SIGKILL)
    give_up_at = time.monotonic() + PATIENCE_S
    while not kept.log:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    kept.process.send_signal(number)
    assert kept.wait() == 0
    assert link.is_symlink() == has_link
    assert os.listdir(kept.place / "001") == ["server.log"]


def test_a_logout_reaches_neither_it_nor_its_server(keep):
    kept = keep("ready=/j stay")
    kept.wait_for("stays-0")
    (life,) = kept.lives
    assert life["ignores_hangup"]
    for pid in (kept.process.pid, life["pid"]):
        os.kill(pid, signal.SIGHUP)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
    kept.process.send_signal(signal.SIGTERM)
    assert kept.wait() == 0


def test_it_leaves_its_number_and_who_it_is_for_the_owner_only(keep):
    kept = keep("ready=/j stay")
    instance = kept.place / "001"
    assert (instance / "server.pid").read_text() == f"{kept.process.pid}\n"
    assert sorted(os.listdir(instance)) == ["server.keeper", "server.log", "server.pid"]
    for path in instance.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_server_survives_who_kept_it_alive(keep):
    kept = keep("ready=/j stay")
    kept.wait_for("stays-0")
    kept.process.kill()
    kept.process.wait()
    (life,) = kept.lives
    os.kill(life["pid"], 0)


def test_it_is_small():
    """It stays for as long as its server; trio alone would take twice its memory."""
    code = (
        "import sys, actors.daemon.supervisor; print({'trio', 'msgspec', 'click'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n"
