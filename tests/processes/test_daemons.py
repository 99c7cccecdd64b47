"""`server start --daemon`: a server that goes on without its terminal, and after crashes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import poisoned_program
import pytest
from process_cluster import PATIENCE_S, Cluster, lives, processes_with, wait_until

WAIT = "echo $HQ_INSTANCE_ID >> runs; while [ ! -e go ]; do sleep 0.05; done"


class Daemons(Cluster):
    """Daemons of one server directory; none of them outlives the test."""

    def daemon(self, *args: str, check: int = 0) -> subprocess.CompletedProcess[str]:
        return self.run("server", "start", "--daemon", *args, check=check)

    @property
    def log(self) -> str:  # type: ignore[override]
        return (self.server_dir / "001/server.log").read_text()

    @property
    def keeper(self) -> int:
        return int((self.server_dir / "hq-current/server.pid").read_text())

    @property
    def server(self) -> int:
        return self.json("server", "info")["pid"]

    def wait_gone(self, *pids: int) -> None:
        wait_until(lambda: not any(lives(pid) for pid in pids))

    def wait_back(self, dead: int) -> None:
        """Another server answers."""
        wait_until(lambda: not lives(dead))
        self.run("server", "wait")
        assert self.server != dead

    def stop(self) -> None:
        super().stop()
        for _ in range(2):  # first who would start others
            for pid in sorted(processes_with(f"HOME={self.home}")):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def daemons(tmp_path: Path):
    made = Daemons(tmp_path)
    yield made
    made.stop()


def test_a_daemon_goes_on_and_logs_to_its_directory(daemons):
    done = daemons.daemon("--host", "localhost")
    assert "Server UID" in done.stdout
    keeper, server = daemons.keeper, daemons.server
    instance = daemons.server_dir / "001"
    assert f"process {keeper} keeps it alive; `{instance}/server.log` is its log" in done.stderr
    assert os.getsid(server) == os.getsid(keeper) == keeper
    for name in ("server.log", "server.pid", "server.keeper"):
        assert stat.S_IMODE((instance / name).stat().st_mode) == 0o600
    daemons.run("server", "stop")
    daemons.wait_gone(keeper, server)
    assert "server stopped" in daemons.log
    assert not (instance / "server.pid").exists()
    assert not (daemons.server_dir / "hq-current").is_symlink()


def test_a_daemon_that_cannot_start_says_why_in_one_line(daemons):
    daemons.start_server()
    done = daemons.daemon(check=1)
    assert done.stderr.splitlines()[-1] == (
        f"Server in `{daemons.server_dir}` is already online, please stop it first "
        "(hqtrio server stop)"
    )
    done = daemons.run("--output-mode=json", "server", "start", "--daemon", check=1)
    assert "is already online" in json.loads(done.stdout)["error"]
    assert sorted(os.listdir(daemons.server_dir)) == ["001", "hq-current"]


def test_a_daemon_survives_the_end_of_its_terminal(daemons):
    """As after a logout: the terminal is gone, and everything on it has got a SIGHUP."""
    master, slave = pty.openpty()

    def log_in():
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup may run the tests
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    words = " ".join(daemons.command("server", "start", "--daemon", "--host", "localhost"))
    shell = subprocess.Popen(
        ["sh", "-c", f"{words}; echo up; read more"],
        stdin=slave, stdout=slave, stderr=slave, cwd=daemons.work, env=daemons.env,
        preexec_fn=log_in,
    )  # fmt: skip
    os.close(slave)
    printed = b""
    while b"\nup" not in printed:
        printed += os.read(master, 1 << 16)
    keeper, server = daemons.keeper, daemons.server
    os.close(master)
    assert shell.wait(PATIENCE_S) == -signal.SIGHUP
    for pid in (keeper, server):
        assert os.getsid(pid) == keeper
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        opened = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        assert not [path for path in opened if "/pts/" in path or "/tty" in path]
        ignored = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                   if line.startswith("SigIgn")]  # fmt: skip
        assert int(ignored[0].split()[1], 16) & 1 << (signal.SIGHUP - 1)
        os.kill(pid, signal.SIGHUP)
    assert daemons.server == server
    daemons.run("server", "stop")
    daemons.wait_gone(keeper, server)


def test_a_killed_server_is_back_with_its_jobs_and_workers_keep_their_tasks(daemons):
    daemons.daemon("--host", "localhost", "--journal", "kept")
    keeper, before = daemons.keeper, daemons.json("server", "info")
    daemons.start_worker("--cpus", "1")
    job = daemons.submit("--array", "1-2", "sh", "-c", WAIT)
    daemons.wait_counts(job, running=1, waiting=1)
    os.kill(before["pid"], signal.SIGKILL)
    daemons.wait_back(before["pid"])
    after = daemons.json("server", "info")
    same = {"server_uid", "client_port", "worker_port", "client_host", "journal_path"}
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert after["journal_path"] == str(daemons.work / "kept")
    assert daemons.keeper == keeper
    (daemons.work / "go").touch()
    daemons.wait_counts(job, finished=2)
    assert (daemons.work / "runs").read_text() == "0\n" * 2
    (worker,) = daemons.json("worker", "list")
    assert worker["id"] == 1
    daemons.run("server", "stop")
    daemons.wait_gone(keeper, after["pid"])
    assert "the server was killed by SIGKILL; it is started again in 1 s" in daemons.log
    assert f"the server is back: process {after['pid']}" in daemons.log
    assert (daemons.server_dir / "002/server.log").read_text() == daemons.log


def test_sigterm_to_the_daemon_leaves_work_for_the_next_start(daemons):
    daemons.daemon()
    job = daemons.submit("true")
    keeper, server = daemons.keeper, daemons.server
    os.kill(keeper, signal.SIGTERM)
    daemons.wait_gone(keeper, server)
    assert (daemons.server_dir / "hq-current").is_symlink()
    daemons.daemon("--journal", str(daemons.server_dir / "001/journal"))
    assert daemons.counts(job) == {"waiting": 1}


def test_while_a_crashed_server_is_awaited_no_other_starts_and_it_can_be_stopped(daemons):
    daemons.daemon()
    keeper, server = daemons.keeper, daemons.server
    os.kill(keeper, signal.SIGSTOP)
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: not lives(server))
    refused = daemons.run("server", "start", check=1)
    assert "is already online, please stop it first" in refused.stderr
    assert f"process {keeper} keeps it alive" in refused.stderr
    daemons.run("server", "stop")
    os.kill(keeper, signal.SIGCONT)
    daemons.wait_gone(keeper)
    daemons.start_server()


def test_a_server_whose_keeper_was_killed_serves_on(daemons):
    daemons.daemon()
    keeper, server = daemons.keeper, daemons.server
    os.kill(keeper, signal.SIGKILL)
    daemons.wait_gone(keeper)
    assert daemons.server == server
    daemons.submit("true")
    assert "is already online" in daemons.daemon(check=1).stderr
    daemons.run("server", "stop")
    daemons.wait_gone(server)
    assert "server stopped" in daemons.log
    daemons.run("server", "stop", check=1)


def test_a_unit_of_systemd_is_up_when_its_server_listens(daemons):
    path = daemons.root / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(PATIENCE_S)
        daemons.start("server", "start", name="server", NOTIFY_SOCKET=str(path))
        assert manager.recv(100) == b"READY=1"
    daemons.run("server", "info")


class PoisonedDaemons(Daemons):
    """Their servers crash over poison."""

    def command(self, *args: str) -> list[str]:
        if args[:2] == ("server", "start"):
            return [sys.executable, "-P", poisoned_program.__file__, *args]
        return super().command(*args)


@pytest.fixture
def poisoned(tmp_path: Path):
    made = PoisonedDaemons(tmp_path)
    yield made
    made.stop()


def test_a_daemon_survives_poison_which_the_third_server_sets_aside(poisoned):
    poisoned.daemon("--host", "localhost")
    keeper, first = poisoned.keeper, poisoned.server
    poisoned.start_worker("--cpus", "2")
    other = poisoned.submit("sh", "-c", WAIT)
    poisoned.wait_counts(other, running=1)
    poison = poisoned.run("--output-mode=quiet", "submit", "--name", "poison", "true").stdout
    wait_until(lambda: poisoned.log.count("the server is back") == 2)
    poisoned.wait_counts(int(poison), failed=1)
    (poisoned.work / "go").touch()
    poisoned.wait_counts(other, finished=1)
    assert (poisoned.work / "runs").read_text() == "0\n"
    assert poisoned.keeper == keeper
    assert poisoned.log.count("ended with exit code 1") == 2
    assert poisoned.log.count("ZeroDivisionError") >= 2
    crashes = sorted(poisoned.server_dir.glob("*/crash-*.json"))
    assert [path.parent.name for path in crashes] == ["001", "002"]
    assert poisoned.server != first
    poisoned.run("server", "stop")
    poisoned.wait_gone(keeper)
