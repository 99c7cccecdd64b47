"""A Slurm for all tests of a session, and a cluster of ours for each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "processes"))

from alloc_site import Site
from pbs_cluster import Pbs, pbs_running
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
def pbs(tmp_path: Path) -> Iterator[Pbs]:
    with pbs_running(tmp_path / "pbs") as running:
        yield running


@pytest.fixture(params=["slurm", "pbs"])
def outside(request: pytest.FixtureRequest) -> Slurm | Pbs:
    """Either manager, from outside of hqtrio."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def site(cluster: Cluster, outside: Slurm | Pbs) -> Iterator[Site]:
    """A server that knows this manager."""
    one = Site(cluster, outside.manager, outside.environment)
    one.start()
    yield one
    if one.server.poll() is None:
        one.stop()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.stop()
