"""The unit for systemd starts what there is."""

from __future__ import annotations

import configparser
import shlex
import socket
from pathlib import Path

import pytest

from actors.daemon.systemd import tell_ready
from hqtrio.cli.main import run
from hqtrio.cli.server import start
from hqtrio.cli.session import Session

UNIT = Path(__file__).parents[2] / "configs/systemd/hqtrio-server.service"


@pytest.fixture
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(UNIT.read_text())
    return parser


def test_its_command_is_one_that_hqtrio_takes(unit, monkeypatch, tmp_path):
    program, *words = shlex.split(unit["Service"]["ExecStart"].replace("%h", str(tmp_path)))
    assert program == f"{tmp_path}/.local/bin/hqtrio"
    given: dict = {}
    monkeypatch.setattr(start, "callback", lambda **parameters: given.update(parameters))
    assert run(words, Session()) == 0
    assert not given["daemon"]
    # A restart, and the next boot, must find the same jobs again.
    assert given["journal"] == f"{tmp_path}/.hqtrio-server/journal"


def test_systemd_is_told_when_the_server_is_up(unit, monkeypatch, tmp_path):
    assert unit["Service"]["Type"] == "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        tell_ready()
        assert manager.recv(100) == b"READY=1"
        tell_ready()
        with pytest.raises(BlockingIOError):
            manager.recv(100)


def test_a_manager_that_is_gone_is_no_trouble(monkeypatch, tmp_path):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    tell_ready()


def test_a_manager_without_a_file_is_told_too(monkeypatch, tmp_path):
    name = f"hqtrio-test-{tmp_path.name}-{id(tmp_path)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        tell_ready()
        assert manager.recv(100) == b"READY=1"


def test_it_is_started_again_after_a_crash_but_not_after_a_wish_or_a_mistake(unit):
    assert unit["Service"]["Restart"] == "on-failure"
    assert unit["Service"]["RestartPreventExitStatus"] == "2"
