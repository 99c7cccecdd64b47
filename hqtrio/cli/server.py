"""`server`: start, stop, info, wait."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any, Final

import click
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
EXIT_FAILED: Final = 1
NO_JOURNAL: Final = "none"
PLACES: Final = ("--server-dir", "--journal", "--access-file")  # options whose values are paths


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
@flag(
    "--daemon",
    help="Return when the server listens; it goes on, and comes back after crashes.",
)
def start(session: Session, daemon: bool, **parameters: Any) -> None:
    """Start a server; it runs until `server stop` or Ctrl-C."""
    if daemon:
        _start_daemon(session)
        return
    from actors.daemon.detached import Detached

    detached = Detached.from_environment()
    log.info("hqtrio %s", __version__)

    import trio

    from actors.daemon.systemd import tell_ready
    from actors.server.main import ServerSettings, run_server

    access_file, journal = parameters.pop("access_file"), parameters.pop("journal")
    parameters.pop("journal_flush_period")
    if journal == NO_JOURNAL:
        log.warning("without a journal, jobs and results are gone when the server ends")
    settings = ServerSettings(
        server_dir=Path(session.server_dir),
        access_file=Path(absolute(access_file)) if access_file else None,
        journal=Path(absolute(journal)) if journal and journal != NO_JOURNAL else None,
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
            told = msgspec.structs.asdict(shown)
            del told["history"]  # bytes, which whoever waits for the start does not show
            detached.ready(Path(details.server_dir), told)
        tell_ready()

    try:
        trio.run(partial(run_server, settings, on_ready=on_ready))
    except BaseException as fault:
        if detached is not None and detached.failed(fault):
            raise click.exceptions.Exit(EXIT_FAILED) from None  # others say why
        raise


def _start_daemon(session: Session) -> None:
    from actors.daemon.detach import start_detached
    from actors.daemon.program import own_words

    started = start_detached([*own_words(), *_lasting(session)])
    session.render.server(_details(started.details), started=True)
    log.info("process %d keeps it alive; `%s` is its log", started.keeper, started.log)


def _lasting(session: Session) -> list[str]:
    """The words of this command that mean the same at any time and in any directory."""
    words = ["--server-dir", session.server_dir]
    is_next = ""
    for word in session.arguments:
        name, _, value = word.partition("=")
        if is_next:
            name, value, is_next = is_next, word, ""
        elif word in PLACES:
            is_next = word
            continue
        if name == "--server-dir" or word == "--daemon":
            continue
        if name in PLACES:
            word = f"{name}={value if value == NO_JOURNAL else absolute(value)}"
        words.append(word)
    return words


def _details(said: Mapping[str, Any]) -> ServerDetails:
    known = ServerDetails.__struct_fields__
    return ServerDetails(**{name: value for name, value in said.items() if name in known})


@command("stop")
def stop(session: Session) -> None:
    """Ask the server to end; running tasks are killed."""
    from actors.daemon.keeper import keeper_of, stop_keeper

    keeper = keeper_of(Path(session.server_dir))
    try:
        session.with_client(_stop)
    except (Unreachable, InputError):
        # It has crashed, and would come back.
        if keeper is None:
            raise
        stop_keeper(keeper)
    log.info("Stopping server")


async def _stop(client: Client) -> None:
    await client.ask(StopServer(), Done)


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
