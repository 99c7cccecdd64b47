"""Clusters of real processes, which are kept beside the tests of processes; clients of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "processes"))

from process_cluster import Cluster

from hqtrio import Client


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server and a worker with four CPUs, for all tests of the module."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.start_server()
        made.start_worker("--cpus", "4", "--no-detect-resources")
        yield made
    finally:
        made.stop()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which the test works, empty."""
    directory = tmp_path / "place"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def client(shared: Cluster, place: Path) -> Iterator[Client]:
    """A client of the shared cluster."""
    with Client(shared.server_dir) as made:
        yield made
