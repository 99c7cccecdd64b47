"""`server generate-access`: access files before there is a server."""

from __future__ import annotations

import os
import socket
from logging import getLogger
from pathlib import Path

from hqtrio.cli import values
from hqtrio.cli.parsing import argument, command, option
from hqtrio.cli.session import Session, absolute
from hqtrio.errors import InputError

log = getLogger(__name__)


@command("generate-access")
@argument("access_file", read=str, metavar="ACCESS_FILE")
@option("--client-port", read=values.port, required=True, help="Port for clients.")
@option("--worker-port", read=values.port, required=True, help="Port for workers.")
@option("--client-file", help="Also write a file that is enough for clients.")
@option("--worker-file", help="Also write a file that is enough for workers.")
@option("--host", help="Host of both ports (default: this machine's name).")
@option("--client-host", help="Host of the client port.")
@option("--worker-host", help="Host of the worker port.")
def generate_access(
    session: Session,
    access_file: str,
    client_port: int,
    worker_port: int,
    client_file: str | None,
    worker_file: str | None,
    host: str | None,
    client_host: str | None,
    worker_host: str | None,
) -> None:
    """Make new keys and write them to access files; `server start --access-file` uses them."""
    from hqtrio.net.access import make_access, make_uid, write_access

    host = host or socket.gethostname()
    access = make_access(
        make_uid(),
        client_host=client_host or host,
        client_port=client_port,
        worker_host=worker_host or host,
        worker_port=worker_port,
    )
    files = [(access_file, access)]
    if client_file:
        files.append((client_file, access.client_part()))
    if worker_file:
        files.append((worker_file, access.worker_part()))
    targets = [absolute(path) for path, _ in files]
    if len(set(targets)) < len(targets):
        raise InputError("The access files must have different names")
    for path in targets:
        # Before anything is written: half of a set of files helps nobody.
        if os.path.lexists(path):
            raise InputError(
                f"Access file `{path}` already exists: remove it or choose another name"
            )
    for path, content in files:
        log.info("Storing access file as '%s'", path)
        write_access(Path(path), content)
