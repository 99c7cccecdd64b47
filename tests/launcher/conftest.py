from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from launcher_node import Node, open_node


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A node with one launcher; leaving asserts that no process is left."""
    async with open_node(tmp_path) as opened:
        yield opened
