"""`server`: start, stop, info, wait."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any, Final

import msgspec

from hqtrio import __version__
from hqtrio.cli import values
from hqtrio.cli.parsing import argument, client_command, command, flag, option
from hqtrio.cli.session import Session, absolute
from hqtrio.client import Client
from hqtrio.errors import HqError, InputError, Unreachable
from hqtrio.messages.client import DebugDump, Done, ServerDetails, ServerInfo, StopServer
from hqtrio.units import format_duration, parse_duration

log = getLogger(__name__)

WAIT_S: Final = 300.0
RETRY_S: Final = 1.0


@command("start")
@option("--host", help="Name that clients and workers use (default: this machine's name).")
@option("--client-port", read=values.port, help="Port for clients (default: any free one).")
@option("--worker-port", read=values.port, help="Port for workers (default: any free one).")
@option(
    "--idle-timeout",
    "idle_timeout_s",
    read=parse_duration,
    metavar="IDLE_TIMEOUT",
    help="Workers without work for this long stop, unless they say otherwise.",
)
@option(
    "--patience",
    "patience_s",
    read=parse_duration,
    default="60s",
    metavar="DURATION",
    help="How long others of equal priority may overtake a task that needs more; 0s: for ever.",
)
@option(
    "--worker-grace",
    "worker_grace_s",
    read=parse_duration,
    metavar="DURATION",
    help="How long a worker without connection keeps its tasks (default: 3s after a break, 2m "
    "after silence); 0s: not at all.",
)
@option(
    "--journal",
    metavar="PATH",
    help="Keep the journal there, and go on from it if it exists (default: a new one in the "
    "instance's directory); none: a server that ends takes its jobs along.",
)
@option(
    "--journal-flush-period",
    read=parse_duration,
    metavar="DURATION",
    help="Accepted for compatibility: what is acknowledged is always on the disk.",
)
@option("--access-file", help="Use hosts, ports and keys of a file of `generate-access`.")
@flag(
    "--disable-client-authentication-and-encryption",
    "open_client_port",
    help="Dangerous: anybody who reaches the client port may do anything.",
)
@flag(
    "--disable-worker-authentication-and-encryption",
    "open_worker_port",
    help="Dangerous: anybody who reaches the worker port may join.",
)
@flag("--daemon", help="Return as soon as the server listens; it goes on in the background.")
def start(session: Session, daemon: bool, **parameters: Any) -> None:
    """Start a server; it runs until `server stop` or Ctrl-C."""
    if daemon:
        from actors.daemon.detach import start_detached

        words = [word for word in session.arguments if word != "--daemon"]
        session.render.server(_details(start_detached(words)), started=True)
        return
    from actors.daemon.detach import Detached

    detached = Detached.from_environment()
    log.info("hqtrio %s", __version__)

    import trio

    from actors.server.main import ServerSettings, run_server

    access_file, journal = parameters.pop("access_file"), parameters.pop("journal")
    parameters.pop("journal_flush_period")
    if journal == "none":
        log.warning("without a journal, jobs and results are gone when the server ends")
    settings = ServerSettings(
        server_dir=Path(session.server_dir),
        access_file=Path(absolute(access_file)) if access_file else None,
        journal=Path(absolute(journal)) if journal and journal != "none" else None,
        has_own_journal=journal is None,
        **parameters,
    )

    def on_ready(details: ServerDetails) -> None:
        shown = msgspec.structs.replace(details, server_dir=session.server_dir)
        # A reader that left, as in `server start | head -1`, is no reason to stop serving.
        with suppress(BrokenPipeError):
            session.render.server(shown, started=True)
            session.out.flush()
        if detached is not None:
            detached.ready(Path(details.server_dir), msgspec.structs.asdict(shown))

    trio.run(partial(run_server, settings, on_ready=on_ready))


def _details(said: Mapping[str, Any]) -> ServerDetails:
    known = ServerDetails.__struct_fields__
    return ServerDetails(**{name: value for name, value in said.items() if name in known})


@client_command("stop")
async def stop(session: Session, client: Client) -> None:
    """Ask the server to end; running tasks are killed."""
    await client.ask(StopServer(), Done)
    log.info("Stopping server")


@client_command("info")
async def info(session: Session, client: Client) -> None:
    """Show the server's addresses and identity."""
    session.render.server(await client.ask(ServerInfo(), ServerDetails), started=False)


@client_command("debug-dump")
@argument("path", read=str, metavar="PATH")
async def debug_dump(session: Session, client: Client, path: str) -> None:
    """Have the server write what it knows into a file, as JSON."""
    log.info("Dumping server state ...")
    await client.ask(DebugDump(absolute(path)), Done)
    log.info("Dump finished")


@command("wait")
@option("--timeout", "timeout_s", read=parse_duration, default=WAIT_S, metavar="TIMEOUT",
        help="Give up after this time (default: 5m).")  # fmt: skip
def wait(session: Session, timeout_s: float) -> None:
    """Wait until a server answers."""
    import trio

    log.info("Waiting for server to become available (timeout: %s)...", format_duration(timeout_s))
    trio.run(_wait, session, timeout_s)
    log.info("Successfully connected to server")


async def _wait(session: Session, timeout_s: float) -> None:
    import trio

    reason: HqError | None = None
    with trio.move_on_after(timeout_s):
        while True:
            try:
                async with session.connect(session.server_dir):
                    return
            except (Unreachable, InputError) as error:
                reason = error
            # A server that does not exist yet can only be looked for again.
            await trio.sleep(RETRY_S)
    raise Unreachable(
        f"Timeout after {format_duration(timeout_s)}: Could not connect to server at "
        f"`{session.server_dir}`"
    ) from reason
