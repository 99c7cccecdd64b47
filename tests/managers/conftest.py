"""A Slurm for all tests of a session, and a cluster of ours for each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "processes"))

from process_cluster import Cluster
from slurm_cluster import Slurm, slurm_running


@pytest.fixture(scope="session")
def running_slurm() -> Iterator[Slurm]:
    with slurm_running() as slurm:
        yield slurm


@pytest.fixture
def slurm(running_slurm: Slurm) -> Iterator[Slurm]:
    """Without jobs, all nodes idle."""
    running_slurm.clear()
    yield running_slurm
    running_slurm.clear()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.stop()
