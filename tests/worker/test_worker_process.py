"""What a worker process does with its surroundings."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from actors.worker.leftovers import kill_leftovers
from actors.worker.manager import Manager, find_manager
from actors.worker.places import WORK_DIR_VARIABLE, open_places
from hqtrio.errors import InputError

PBS = {"PBS_ENVIRONMENT": "PBS_BATCH", "PBS_JOBID": "12.srv"}
SLURM = {"SLURM_JOB_ID": "34"}


@pytest.mark.parametrize(
    ("choice", "environment", "manager"),
    [
        ("detect", {**PBS, **SLURM}, Manager("PBS", "12.srv")),
        ("detect", SLURM, Manager("SLURM", "34")),
        ("detect", {"SLURM_JOBID": "35"}, Manager("SLURM", "35")),
        ("detect", {"PBS_ENVIRONMENT": "x"}, Manager()),
        ("none", {**PBS, **SLURM}, Manager()),
        ("slurm", {**PBS, **SLURM}, Manager("SLURM", "34")),
    ],
)
def test_s3_13_manager_by_environment(choice, environment, manager):
    assert find_manager(choice, environment) == manager


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("pbs", "PBS_ENVIRONMENT not found"),
        ("slurm", "SLURM_JOB_ID/SLURM_JOBID not found"),
        ("lsf", "none of detect, none, pbs, slurm"),
    ],
)
def test_s3_14_a_manager_by_name_must_be_there(choice, words):
    with pytest.raises(InputError, match=words):
        find_manager(choice, {})


def test_a_private_work_directory_comes_and_goes():
    with open_places(None) as places:
        assert stat.S_IMODE(places.work_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE(places.work_dir.parent.stat().st_mode) == 0o700
        assert places.work_dir.name == "work" and " " not in places.program
        assert os.access(places.program, os.X_OK)
    assert not places.work_dir.parent.exists()


def test_a_given_work_directory_stays_and_belongs_to_one_worker(tmp_path: Path):
    directory = tmp_path / "a" / "b"
    with (
        open_places(directory),
        pytest.raises(InputError, match="used by another worker"),
        open_places(directory),
    ):
        pass
    assert list(directory.iterdir()) == []
    with open_places(directory):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--work-dir"), open_places(tmp_path / "file"):
        pass


def test_leftovers_of_a_dead_worker_in_the_same_directory_are_killed(tmp_path: Path):
    def sleeper(work_dir: str, **more: str) -> subprocess.Popen[bytes]:
        variables = {WORK_DIR_VARIABLE.decode(): work_dir, **more}
        code = "import sys, time; print(flush=True); time.sleep(600)"
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        return child

    ours = sleeper(str(tmp_path), HQ_JOB_ID="1")
    others = [sleeper(str(tmp_path / "x"), HQ_JOB_ID="1"), sleeper(str(tmp_path))]
    try:
        assert kill_leftovers(tmp_path) == 1
        assert ours.wait() == -9
        assert [child.poll() for child in others] == [None, None]
    finally:
        for child in [ours, *others]:
            child.kill()
            child.communicate()
