"""Where a server listens and what it publishes of that."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from hqtrio.errors import InputError, Refused, Unreachable
from hqtrio.messages.client import Said
from hqtrio.net.access import AccessFile, Endpoint, make_access, make_uid, read_access
from hqtrio.net.connector import connect
from hqtrio.scheduling.machine import PATIENCE_S


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What `server start` was asked for. `loopback`: listen on 127.0.0.1 only.

    The first job's id is the one after `jobs_before`. `patience_s` is for how long tasks let others
    of their priority overtake them; 0: for ever.
    """

    server_dir: Path
    host: str | None = None
    client_port: int | None = None
    worker_port: int | None = None
    idle_timeout_s: float | None = None
    access_file: Path | None = None
    open_client_port: bool = False
    open_worker_port: bool = False
    loopback: bool = False
    jobs_before: int = 0
    patience_s: float = PATIENCE_S


async def refuse_second(server_dir: Path) -> None:
    """InputError if a server of this directory answers."""
    try:
        access = read_access(server_dir, "client")
    except InputError:
        return  # nobody, or nobody that could be asked
    try:
        async with connect(access.endpoint("client"), "client", Said, deadline_s=2.0):
            pass
    except (Unreachable, Refused):
        return  # gone without taking its link along, or its port is another program's now
    raise InputError(
        f"Server in `{server_dir}` is already online, please stop it first (hqtrio server stop)"
    )


def plan_access(settings: ServerSettings) -> AccessFile:
    """Hosts, ports and secrets; port 0 where any free one will do."""
    if settings.access_file is not None:
        given = read_access(settings.access_file, "full")
        return replace(
            given,
            client=_override(given.endpoint("client"), settings.host, settings.client_port),
            worker=_override(given.endpoint("worker"), settings.host, settings.worker_port),
        )
    host = settings.host or socket.gethostname()
    return make_access(
        make_uid(),
        client_host=host,
        client_port=settings.client_port or 0,
        worker_host=host,
        worker_port=settings.worker_port or 0,
        client_open=settings.open_client_port,
        worker_open=settings.open_worker_port,
    )


def _override(endpoint: Endpoint, host: str | None, port: int | None) -> Endpoint:
    return replace(
        endpoint, host=host or endpoint.host, port=endpoint.port if port is None else port
    )


def with_ports(access: AccessFile, *, client: int, worker: int) -> AccessFile:
    """The same with the ports that are really listened on."""
    return replace(
        access,
        client=replace(access.endpoint("client"), port=client),
        worker=replace(access.endpoint("worker"), port=worker),
    )
