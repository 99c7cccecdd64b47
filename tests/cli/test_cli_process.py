"""The program as a process of its own: start-up, pipes, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from hqtrio import __version__

HQ = [sys.executable, "-m", "hqtrio"]


@pytest.mark.parametrize(
    "module", ["job", "task", "worker", "server", "submit", "job_wait", "job_cat"]
)
def test_a_client_command_does_not_load_what_it_does_not_need(module):
    program = f"""
import sys
from hqtrio.cli.main import run
from hqtrio.cli.session import Session
import hqtrio.cli.{module}, hqtrio.client, hqtrio.cli.render.tables
heavy = "cryptography yaml psutil actors tomllib asyncio".split()
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_reading_the_command_line_loads_neither_trio_nor_the_client():
    program = """
import sys
from hqtrio.cli.main import run
from hqtrio.cli.session import Session
code = run(["job", "--foo"], Session())
print(code, [name for name in ("trio", "msgspec", "ssl", "hqtrio.client") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout == "2 []\n"


@pytest.mark.parametrize("module", ["click", "hqtrio.cli.parsing", "trio", "hqtrio.cli.job"])
def test_ctrl_c_while_the_program_loads_ends_it_without_a_word(module, tmp_path):
    program = f"""
import os, runpy, signal, sys

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
sys.argv = ["hqtrio", "job", "list"]
runpy.run_module("hqtrio", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HQ_SERVER_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_reader_that_is_gone_ends_the_program_silently():
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([*HQ, "--help"], stdout=write, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(write)

    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_a_lost_reader_is_told_apart_however_deep_the_nursery(hq, server, monkeypatch):
    async def gone(*_):
        raise ExceptionGroup("nursery", [ExceptionGroup("nursery", [BrokenPipeError()])])

    monkeypatch.setattr("hqtrio.client.Client.jobs", gone)

    with pytest.raises(BrokenPipeError):
        hq("job", "list")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--version"], 0, ""),
        (["job"], 2, "Usage: hqtrio job"),
        (["job", "--foo"], 2, "error: unexpected argument '--foo' found"),
        (["job", "list", "--server-dir", "/nowhere"], 1, "No running instance of"),
        (["job", "list", "--server-dir", "/etc/passwd"], 1, "Invalid server directory"),
    ],
)
def test_exit_codes(words, code, text):
    done = subprocess.run([*HQ, *words], capture_output=True, text=True, check=False)

    assert done.returncode == code
    assert text in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_obstacle(closed):
    program = [sys.executable, "-m", "hqtrio", "worker", "hwdetect"]
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *program], capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert ("cpus" in done.stdout) == (">&-" not in closed.replace("2>&-", ""))


@pytest.mark.parametrize(
    "words", [["--server-dir=here", "job", "list"], ["run", "--", "true"], ["run", "job.yaml"]]
)
def test_a_current_directory_that_is_gone_is_named(tmp_path, words):
    done = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *HQ, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "change into another one" in done.stderr or "Cannot read job.yaml" in done.stderr


@pytest.mark.parametrize("mode", ["cli", "json"])
def test_an_output_that_cannot_be_written_is_named(mode):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*HQ, f"--output-mode={mode}", "worker", "hwdetect"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )

    assert done.returncode == 1
    assert done.stderr.startswith("Cannot write the output: No space left on device\n")


def test_a_server_without_keys_is_warned_about_and_one_that_is_away_is_named(tmp_path):
    endpoint = {"host": "127.0.0.1", "port": 1, "secret_key": None}
    access = {"version": __version__, "server_uid": "abc123", "client": endpoint}
    (tmp_path / "access.json").write_text(json.dumps(access))

    words = ["job", "list", "--server-dir", str(tmp_path)]
    done = subprocess.run([*HQ, *words], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    warning, error = done.stderr.splitlines()[:2]
    assert warning.endswith(
        "WARN No client key: Unauthenticated and unencrypted connection to server"
    )
    assert error.startswith("Access token found but 127.0.0.1:1 is unreachable")
