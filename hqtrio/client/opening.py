"""From a server directory to a connected client."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from hqtrio.client.client import Client, Connection


@asynccontextmanager
async def over(connection: Connection, *, server_dir: str = "") -> AsyncIterator[Client]:
    """A client that speaks over `connection` for the length of the block.

    With a server directory it finds the server again to repeat what was lost.
    """
    another = (lambda: open_client(server_dir)) if server_dir else None
    client = Client(connection, another)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            yield client
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # Only the block can fail: the caller wants its error as it was raised.
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from error.__cause__


@asynccontextmanager
async def open_client(server_dir: str | os.PathLike[str]) -> AsyncIterator[Client]:
    """A client of the server that `server_dir` names, connected for the length of the block."""
    raise NotImplementedError(Path(server_dir))
    yield
