"""The fixture of the streamer's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamer_child import StreamerChild


@pytest.fixture
def streamer(tmp_path: Path) -> Iterator[StreamerChild]:
    child = StreamerChild(tmp_path)
    try:
        yield child
    finally:
        child.process.kill()
        child.end()
