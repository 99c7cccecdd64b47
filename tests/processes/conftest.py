"""The fixture of the process tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from process_cluster import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.stop()
