"""The program as one file, carried to a place where there is nothing but Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("built") / "hqtrio"
    tool = [sys.executable, str(ROOT / "tools/single_file.py"), str(path)]
    subprocess.run(tool, cwd=ROOT, check=True, capture_output=True)
    return path


@pytest.fixture
def place(built, tmp_path):
    """An empty directory with the file alone, and an empty HOME."""
    (tmp_path / "home").mkdir()
    (tmp_path / "place").mkdir()
    shutil.copy(built, tmp_path / "place/hqtrio")
    return tmp_path / "place"


def environment(place, **more):
    python = Path(os.path.realpath(sys.executable)).parent
    return {"PATH": f"{python}:/usr/bin:/bin", "HOME": str(place.parent / "home"), **more}


def run(place, *words, **more):
    return subprocess.run(
        ["./hqtrio", *words],
        cwd=place,
        env=environment(place, **more),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_job_runs_and_its_tasks_find_the_file(place):
    result = run(place, "run", "--", "sh", "-c", "echo $HQ; $HQ --version")
    assert result.returncode == 0, result.stderr
    file, version = (place / "job-1/0.stdout").read_text().splitlines()
    assert file == str(place / "hqtrio")
    assert version.startswith("hqtrio ")


def test_server_worker_and_commands_work_from_it(place):
    try:
        started = run(place, "server", "start", "--daemon")
        assert started.returncode == 0, started.stderr
        worker = subprocess.Popen(
            ["./hqtrio", "worker", "start", "--cpus", "1"],
            cwd=place,
            env=environment(place),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert run(place, "worker", "wait", "1").returncode == 0
        said = run(place, "submit", "--wait", "--stdout", "out", "--", "/bin/echo", "carried")
        assert said.returncode == 0, said.stderr
        assert (place / "out").read_text() == "carried\n"
    finally:
        assert run(place, "server", "stop").returncode == 0
    worker.wait(60)


def test_first_starts_at_the_same_time_do_not_disturb_each_other(place):
    starts = [
        subprocess.Popen(
            ["./hqtrio", "--version"], cwd=place, env=environment(place), stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    said = {start.communicate(timeout=120)[0] for start in starts}
    assert len(said) == 1
    assert said.pop().startswith(b"hqtrio ")
    [unpacked] = (place.parent / "home/.cache/hqtrio").iterdir()
    assert unpacked.is_dir()


def test_where_nothing_can_be_unpacked_it_says_what_to_do(place):
    (place / "file").write_text("")
    home = str(place / "file/home")
    refused = run(place, "--version", HOME=home)
    assert refused.returncode != 0
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert "HQ_UNPACK_DIR" in refused.stderr
    allowed = run(place, "--version", HOME=home, HQ_UNPACK_DIR=str(place / "unpacked"))
    assert allowed.returncode == 0, allowed.stderr
