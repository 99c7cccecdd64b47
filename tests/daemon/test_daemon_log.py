"""The log of a server that nobody watches."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from actors.daemon.log_file import append_line

# In a process of its own, since it turns standard output and error to the log.
HEAD = """
import errno, logging, os, resource, signal, sys
from pathlib import Path
from actors.daemon.log_file import LogFile
from hqtrio.cli import logs
os.umask(0)
path = Path(sys.argv[1])
LogFile(path, bytes_max=1000, kept=3).take_over()
"""


def run(path: Path, code: str) -> str:
    """What it had to say elsewhere."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code, str(path)], check=True, capture_output=True, text=True
    )
    return done.stdout + done.stderr


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


def test_everything_printed_goes_to_the_log_and_only_its_owner_reads_it(log):
    code = (
        "logs.set_up(debug=False); logging.getLogger('hqtrio').info('logged'); print('printed')\n"
        "os.write(1, b'written\\n'); os.system('echo by a child >&2')\n"
        "sys.excepthook(ValueError, ValueError('raised'), None)"
    )
    assert run(log, code) == ""
    lines = log.read_text().splitlines()
    assert lines[0].endswith("INFO logged")
    assert lines[1:] == ["printed", "written", "by a child", "ValueError: raised"]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_long_logs_are_put_aside_and_no_line_is_lost_or_cut(log):
    assert run(log, "for n in range(400): print(f'line {n:3}')") == ""
    files = [log.with_name(f"server.log.{n}") for n in (3, 2, 1)] + [log]
    assert sorted(log.parent.iterdir()) == sorted(files)
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert lines == [f"line {n:3}" for n in range(400 - len(lines), 400)]
    assert len(lines) > 300
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.stat().st_size < 1010


def test_a_text_written_in_pieces_stays_in_one_file(log):
    code = "print('x' * 2000); sys.stderr.write('one '); sys.stderr.write('y' * 2000)\n"
    code += "sys.stderr.write(' line'); print(); print('next')"
    run(log, code)
    assert log.read_text() == "next\n"
    assert log.with_name("server.log.1").read_text() == f"one {'y' * 2000} line\n"
    assert log.with_name("server.log.2").read_text() == "x" * 2000 + "\n"


def test_what_others_append_meanwhile_counts_and_stays(log):
    code = (
        "from actors.daemon.log_file import append_line\n"
        "print('first'); append_line(path, 'INFO', 'z' * 1000); print('second')"
    )
    run(log, code)
    assert log.read_text() == "second\n"
    first, other = log.with_name("server.log.1").read_text().splitlines()
    assert first == "first"
    assert other.endswith("z" * 1000)


def test_a_full_disk_delays_lines_and_what_is_too_much_is_counted(log):
    """The limit for the size of files stands in for the disk."""
    code = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))\n"
        "for n in range(2000): print(f'{n:98}')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))\n"
        "print('room again')"
    )
    assert run(log, code) == ""
    files = [log.with_name("server.log.1"), log]
    lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
    numbers = [int(line) for line in lines if line.strip().isdigit()]
    assert numbers == list(range(len(numbers)))
    assert lines[len(numbers) + 1 :] == ["room again"]
    missing = lines[len(numbers)]
    assert f"WARN {2000 - len(numbers)} lines are missing: no room" in missing


def test_a_log_that_cannot_be_put_aside_grows(log):
    log.with_name("server.log.new").mkdir()
    assert run(log, "for n in range(200): print(f'line {n:3}')") == ""
    assert len(log.read_text().splitlines()) == 200
    assert not log.with_name("server.log.1").exists()


def test_after_a_rotation_that_was_cut_short_nothing_older_is_given_up_too_early(log):
    """Somebody died between two of its steps: there is no server.log.1 then."""
    log.write_text("x" * 2000 + "\n")
    for number in (2, 3):
        log.with_name(f"server.log.{number}").write_text(f"older {number}\n")
    run(log, "print('on')")
    assert log.read_text() == "on\n"
    assert log.with_name("server.log.1").read_text() == "x" * 2000 + "\n"
    assert log.with_name("server.log.3").read_text() == "older 3\n"


def test_who_cannot_write_a_line_goes_on(tmp_path):
    append_line(tmp_path / "missing" / "server.log", "INFO", "lost")
    assert os.listdir(tmp_path) == []
