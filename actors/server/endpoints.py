"""Where a server listens and what it publishes of that."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from actors.daemon.keeper import keeper_of
from hqtrio.errors import InputError, Refused, Unreachable
from hqtrio.messages.client import Said
from hqtrio.net.access import AccessFile, Endpoint, make_access, read_access, write_access
from hqtrio.net.connector import connect
from hqtrio.net.directory import ACCESS_FILE, instances
from hqtrio.scheduling.absence import DEFAULT_GRACE, Grace
from hqtrio.scheduling.machine import PATIENCE_S


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What `server start` was asked for. `loopback`: listen on 127.0.0.1 only.

    The first job's id is the one after `jobs_before`. `patience_s` is for how long tasks let others
    of their priority overtake them; 0: for ever. A worker whose connection is gone has
    `worker_grace_s` to come back (None: 3 s after it broke, 120 s after it was silent). The
    `journal` is resumed if it exists; with `has_own_journal` there is a new one in the instance
    directory; with neither nothing is kept.
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
    worker_grace_s: float | None = None
    journal: Path | None = None
    has_own_journal: bool = False

    @property
    def grace(self) -> Grace:
        if self.worker_grace_s is None:
            return DEFAULT_GRACE
        return Grace(self.worker_grace_s, self.worker_grace_s)


async def refuse_second(server_dir: Path) -> None:
    """InputError if a server of this directory answers, or is about to come back."""
    keeper = keeper_of(server_dir)
    if not await _answers(server_dir) and (keeper is None or keeper.pid == os.getppid()):
        return
    raise InputError(
        f"Server in `{server_dir}` is already online, please stop it first (hqtrio server stop)"
        + (f"; process {keeper.pid} keeps it alive" if keeper is not None else "")
    )


async def _answers(server_dir: Path) -> bool:
    try:
        access = read_access(server_dir, "client")
    except InputError:
        return False  # nobody, or nobody that could be asked
    try:
        async with connect(access.endpoint("client"), "client", Said, deadline_s=2.0):
            return True
    except (Unreachable, Refused):
        return False  # gone without taking its link along, or its port is another program's now


def earlier_access(server_dir: Path, uid: str) -> AccessFile | None:
    """What the last server of this identity published, as far as it can still be read."""
    for instance in reversed(instances(server_dir)):
        try:
            access = read_access(instance / ACCESS_FILE, "full")
        except InputError:
            continue
        if access.server_uid == uid:
            return access
    return None


def publish_to_earlier(instance: Path, access: AccessFile) -> None:
    """Whoever knows an earlier instance of this server, and only that, finds this one too."""
    for earlier in instances(instance.parent):
        path = earlier / ACCESS_FILE
        if earlier == instance:
            continue
        try:
            known = read_access(path, "full")
        except InputError:
            continue
        if known.server_uid == access.server_uid and known != access:
            write_access(path, access, replace=True)


def plan_access(settings: ServerSettings, earlier: AccessFile | None, uid: str) -> AccessFile:
    """Hosts, ports and secrets; port 0 where any free one will do.

    Secrets and ports are those of `earlier`, unless something else is asked for: workers and
    clients may have copies of them.
    """
    if settings.access_file is not None:
        given = given_access(settings.access_file)
        return replace(
            given,
            client=_override(given.endpoint("client"), settings.host, settings.client_port),
            worker=_override(given.endpoint("worker"), settings.host, settings.worker_port),
        )
    host = settings.host or socket.gethostname()
    if earlier is not None and _open_ports(earlier) == (
        settings.open_client_port,
        settings.open_worker_port,
    ):
        return replace(
            earlier,
            client=_override(earlier.endpoint("client"), host, settings.client_port),
            worker=_override(earlier.endpoint("worker"), host, settings.worker_port),
        )
    return make_access(
        uid,
        client_host=host,
        client_port=settings.client_port or 0,
        worker_host=host,
        worker_port=settings.worker_port or 0,
        client_open=settings.open_client_port,
        worker_open=settings.open_worker_port,
    )


def given_access(path: Path) -> AccessFile:
    """The access file that the user has given."""
    return read_access(path, "full")


def _open_ports(access: AccessFile) -> tuple[bool, bool]:
    return (
        access.endpoint("client").secret_key is None,
        access.endpoint("worker").secret_key is None,
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
