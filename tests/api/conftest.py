"""One server and one worker for all tests of a module, and a directory and a client for each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "processes"))

from process_cluster import Cluster

from hqtrio import Client


@pytest.fixture(scope="module")
def bare_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server; whoever needs workers starts them."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.start_server()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def cluster(bare_cluster: Cluster) -> Cluster:
    """A server and a worker with four CPUs."""
    bare_cluster.start_worker("--cpus", "4", "--no-detect-resources", name="shared-worker")
    return bare_cluster


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which the test works, empty."""
    directory = tmp_path / "place"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def client(cluster: Cluster, place: Path) -> Iterator[Client]:
    with Client(cluster.server_dir) as made:
        yield made
