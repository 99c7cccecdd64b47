"""From a server directory to a connected client."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from logging import getLogger
from pathlib import Path

import trio

from hqtrio.client.client import Client, Connection
from hqtrio.errors import InputError, Refused, Unreachable
from hqtrio.messages.client import Said
from hqtrio.net.access import Endpoint, read_access
from hqtrio.net.connector import connect

log = getLogger(__name__)


@asynccontextmanager
async def over(
    connection: Connection, server_dir: str | os.PathLike[str] | None = None
) -> AsyncIterator[Client]:
    """A client that speaks over `connection` for the length of the block.

    With a server directory it finds the server again to repeat what was lost.
    """
    another = None if server_dir is None else partial(open_client, server_dir)
    client = Client(connection, another)
    with ungrouped():  # only the block can fail
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            yield client
            nursery.cancel_scope.cancel()


@contextmanager
def ungrouped() -> Iterator[None]:
    """An error that is the only one of its group leaves the block as it was raised."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from error.__cause__


@asynccontextmanager
async def open_client(server_dir: str | os.PathLike[str]) -> AsyncIterator[Client]:
    """A client of the server that `server_dir` names, connected for the length of the block.

    InputError if no server is named there; Refused or Unreachable if it cannot be reached.
    """
    endpoint = _endpoint(Path(server_dir))
    if endpoint.secret_key is None:
        log.warning("No client key: Unauthenticated and unencrypted connection to server")
    async with _connected(endpoint) as connection, over(connection, server_dir) as client:
        yield client


def _endpoint(path: Path) -> Endpoint:
    if path.exists() and not path.is_dir() and path.suffix != ".json":
        raise InputError(f"Invalid server directory: `{path}` is not a directory")
    return read_access(path, "client").endpoint("client")


@asynccontextmanager
async def _connected(endpoint: Endpoint) -> AsyncIterator[Connection]:
    """As `connect`; an error while connecting says that the access file was there."""
    connecting = True
    try:
        async with connect(endpoint, "client", Said) as connection:
            connecting = False
            yield connection
    except (Refused, Unreachable) as fault:
        if not connecting:
            raise
        raise type(fault)(f"Access token found but {fault}") from None
