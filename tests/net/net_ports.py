"""Ports of a server for tests, peers that use them, and a log that can be waited for."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio

from hqtrio.errors import Refused, RemoteFault
from hqtrio.messages.worker import Drain, FromWorker, Heartbeat, ToWorker
from hqtrio.net.access import AccessFile, Endpoint, Role, make_access
from hqtrio.net.connection import Connection
from hqtrio.net.connector import connect
from hqtrio.net.listener import listening_port, open_listeners, serve

log = logging.getLogger("hqtrio.edge")

ACCESS = make_access(
    "aB3xyZ", client_host="127.0.0.1", client_port=1, worker_host="127.0.0.1", worker_port=1
)
OTHER = make_access(
    "aB3xyZ", client_host="127.0.0.1", client_port=1, worker_host="127.0.0.1", worker_port=1
)


async def echo(nursery: trio.Nursery, connection: Connection[Any]) -> None:
    """Answers every frame with a Drain of its length; a fault of the peer ends it alone."""
    try:
        while True:
            messages = await connection.receive()
            await connection.send([Drain(bytes(len(messages)))])
    except RemoteFault as fault:
        log.warning("%s: %s", connection.peer, fault)


@asynccontextmanager
async def open_port(
    handler: Any = echo,
    *,
    role: Role = "worker",
    access: AccessFile = ACCESS,
    is_open: bool = False,
    **options: Any,
) -> AsyncIterator[int]:
    """The port of a server for one role."""
    listeners = open_listeners(loopback=True)
    key = None if is_open else access.endpoint(role).secret_key
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: serve(
                handler,
                listeners=listeners,
                role=role,
                secret_key=key,
                expects=FromWorker,
                task_status=task_status,
                **options,
            )
        )
        yield listening_port(listeners)
        nursery.cancel_scope.cancel()


def at(port: int, access: AccessFile = ACCESS, role: Role = "worker", **changes: Any) -> Endpoint:
    part = access.worker_part() if role == "worker" else access.client_part()
    return msgspec.structs.replace(part.endpoint(role), port=port, **changes)


async def talk(endpoint: Endpoint, role: Role = "worker") -> None:
    """Succeeds if an honest peer is served."""
    async with connect(endpoint, role, ToWorker) as connection:
        await connection.send([Heartbeat(), Heartbeat()])
        assert await connection.receive() == [Drain(bytes(2))]


async def refusal(endpoint: Endpoint, role: Role = "worker") -> str:
    """Why the peer is refused, which it has to learn before its own patience ends."""
    with trio.fail_after(10), pytest.raises(Refused) as refused:
        await talk(endpoint, role)
    return str(refused.value)


class Log(logging.Handler):
    """The lines that hqtrio logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._more = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self._more.set()

    async def wait_for(self, text: str, count: int = 1) -> None:
        """There are so many lines with this text, each with a peer's address."""
        with trio.fail_after(30):
            while sum(text in line and "127.0.0.1:" in line for line in self.lines) < count:
                self._more = trio.Event()
                await self._more.wait()
