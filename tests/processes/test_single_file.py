"""The program as one file, carried to a place where there is nothing but Python."""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
import zipfile
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


@pytest.fixture(scope="module")
def unpacked(built, tmp_path_factory):
    directory = tmp_path_factory.mktemp("unpacked")
    more = {"HQ_UNPACK_DIR": str(directory)}
    subprocess.run([built, "--version"], env=environment(built, **more), check=True)
    return directory


@pytest.fixture
def copy(place, unpacked):
    """The copy in the cache of a place where the file was started before."""
    cache = place.parent / "home/.cache/hqtrio"
    shutil.copytree(unpacked, cache)
    [copy] = cache.iterdir()
    return copy


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


def test_a_job_runs_and_its_tasks_find_the_file(place, copy):
    result = run(place, "run", "--", "sh", "-c", "echo $HQ; $HQ --version")
    assert result.returncode == 0, result.stderr
    file, version = (place / "job-1/0.stdout").read_text().splitlines()
    assert file == str(place / "hqtrio")
    assert version.startswith("hqtrio ")


def test_server_worker_and_commands_work_from_it(place, copy):
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
        pruned = run(place, "journal", "prune")
        assert pruned.returncode == 0, pruned.stderr
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


def another_build(place, name):
    """The same file as if it were made of other code; the name of its copy."""
    made = place / name
    with zipfile.ZipFile(place / "hqtrio") as source, made.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w") as target:
            for entry in source.infolist():
                data = source.read(entry)
                if entry.filename == "__main__.py":
                    data = re.sub(rb'BUILD = ".*"', b'BUILD = "%b"' % name.encode(), data)
                target.writestr(entry, data)
    made.chmod(0o755)
    return name


def last_used(copy, *, days_ago):
    at = time.time() - days_ago * 24 * 3600
    os.utime(copy / ".in-use", (at, at))


def test_two_builds_lie_side_by_side(place, copy):
    other = another_build(place, "other")
    done = subprocess.run([f"./{other}", "--version"], cwd=place, env=environment(place))
    assert done.returncode == 0
    assert sorted(copy.parent.iterdir()) == sorted([copy, copy.parent / other])


def test_copies_that_nobody_has_used_for_long_go_and_one_in_use_stays(place, copy):
    cache = copy.parent
    for number in range(6):
        shutil.copytree(
            copy, cache / f"copy{number}", ignore=shutil.ignore_patterns("site-*", "trio*")
        )
        last_used(cache / f"copy{number}", days_ago=100 + number)
    last_used(copy, days_ago=200)
    (cache / "new-died").mkdir()
    os.utime(cache / "new-died", (0, 0))
    (cache / "new-busy").mkdir()
    (cache / "mine").write_text("of somebody else")
    holder = subprocess.Popen(
        ["./hqtrio", "server", "start"], cwd=place, env=environment(place), stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline()
        last_used(copy, days_ago=200)  # its start has told that it is in use
        with (cache / "copy5/.in-use").open() as held:
            fcntl.flock(held, fcntl.LOCK_SH)
            other = another_build(place, "other")
            done = subprocess.run([f"./{other}", "--version"], cwd=place, env=environment(place))
            assert done.returncode == 0
        left = sorted(path.name for path in cache.iterdir())
        kept = ["copy0", "copy1", "copy2", "copy5", copy.name, "mine", "new-busy", "other"]
        assert left == sorted(kept)
    finally:
        holder.terminate()
        holder.communicate(timeout=60)


def test_a_start_says_that_its_copy_is_still_of_use(place, copy):
    last_used(copy, days_ago=20)
    assert run(place, "--version").returncode == 0
    assert (copy / ".in-use").stat().st_mtime > time.time() - 3600


@pytest.mark.parametrize("home", ["", "relative"])
def test_a_home_that_is_none_is_asked_of_the_system(place, home):
    """Nothing is made in the current directory, or at the root of the file system."""
    known = Path(pwd.getpwuid(os.getuid()).pw_dir)
    program = "import runpy, sys; start = runpy.run_path(sys.argv[1]); print(start['cache']())"
    said = subprocess.run(
        [sys.executable, "-c", program, str(ROOT / "tools/start.py")],
        env=environment(place, HOME=home),
        capture_output=True,
        text=True,
    )
    assert said.stdout.strip() == str(known / ".cache/hqtrio")


def test_closed_standard_streams_stay_closed_numbers(place, copy):
    done = subprocess.run(
        ["sh", "-c", "./hqtrio run --no-progress -- sh -c 'cat; echo done' <&- >&-"],
        cwd=place,
        env=environment(place),
        stderr=subprocess.PIPE,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (place / "job-1/0.stdout").read_text() == "done\n"


def limited(place, blocks):
    """`--version` where no file may grow beyond so many blocks."""
    return subprocess.run(
        ["sh", "-c", f"ulimit -f {blocks} && exec ./hqtrio --version"],
        cwd=place,
        env=environment(place),
        capture_output=True,
        text=True,
    )


def test_a_copy_serves_where_nothing_can_be_written_any_more(place, copy):
    done = limited(place, 0)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_disk_that_is_full_in_the_middle_keeps_nothing_of_the_copy(place):
    done = limited(place, 50)
    assert done.returncode != 0
    assert "File too large; set HQ_UNPACK_DIR" in done.stderr
    assert list((place.parent / "home/.cache/hqtrio").iterdir()) == []
