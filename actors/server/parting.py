"""The last word to a peer whose edge has ended."""

from __future__ import annotations

from typing import Any, Final

from hqtrio.errors import RemoteFault
from hqtrio.net.connection import Connection, ConnectionEnded

OURS: Final = "internal error of the server"


async def say_why(connection: Connection[Any], fault: ExceptionGroup[Exception] | None) -> None:
    """The connection is closed, and a peer at fault was told why. Takes a second at most."""
    _, faults = (None, None) if fault is None else fault.split(ConnectionEnded)
    if faults is None:
        return  # it ended in good order, or the peer has left by itself
    theirs, ours = faults.split(RemoteFault)
    await connection.aclose(f"refused: {_first(theirs)}" if theirs and not ours else OURS)


def _first(fault: ExceptionGroup[Exception]) -> Exception:
    error: Exception = fault
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
