from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from net_ports import Log


@pytest.fixture
def log() -> Iterator[Log]:
    """What hqtrio logs from now on."""
    handler = Log()
    logger = logging.getLogger("hqtrio")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
