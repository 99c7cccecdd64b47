"""`journal`: export, replay, stream; what happened, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, aclosing, contextmanager
from logging import getLogger
from pathlib import Path

from hqtrio.cli.parsing import argument, client_command, command
from hqtrio.cli.session import Session
from hqtrio.client import Client
from hqtrio.errors import InputError
from hqtrio.journal.events import Events
from hqtrio.journal.format import JournalError
from hqtrio.journal.lines import Lines
from hqtrio.journal.reading import CHUNK, JournalDamaged, Reading
from hqtrio.messages.records import Record

log = getLogger(__name__)


@command("export")
@argument("journal", read=str, metavar="FILE")
def export(session: Session, journal: str) -> None:
    """Print the events of a journal file, one JSON object a line; no server is needed."""
    session.render.raw()
    events = Events(Lines())
    printed = 0
    with opened(Path(journal)) as records:
        for record in records:
            for line in events.of(record):
                session.out.write(f"{line}\n")
                printed += 1
    session.out.flush()
    log.info("Outputted %d events", printed)


@client_command("replay")
async def replay(session: Session, client: Client) -> None:
    """Print the events of the server up to now, one JSON object a line."""
    await _print(session, client, live=False)


@client_command("stream")
async def stream(session: Session, client: Client) -> None:
    """Print the events of the server up to now, then new ones, until it ends."""
    await _print(session, client, live=True)


async def _print(session: Session, client: Client, *, live: bool) -> None:
    from hqtrio.client.events import events

    session.render.raw()
    async with aclosing(events(client, live=live)) as groups:
        async for lines, is_live in groups:
            for line in lines:
                session.out.write(f"{line}\n")
                if is_live:
                    session.out.flush()
            if is_live:
                session.out.flush()  # the first group may be empty: then history is complete
    session.out.flush()


@contextmanager
def opened(path: Path) -> Iterator[Iterator[Record]]:
    """The records of a journal file, up to a torn tail or to the first damage, which is logged."""
    refusal = f"Cannot open event log file at `{path}`"
    with ExitStack() as files:
        try:
            file = files.enter_context(path.open("rb"))
            reading = Reading(iter(lambda: file.read(CHUNK), b""))
        except (OSError, JournalError) as error:
            raise InputError(refusal) from error
        if reading.header is None:
            raise InputError(f"{refusal}: it is empty")
        yield _readable(path, reading)


def _readable(path: Path, reading: Reading) -> Iterator[Record]:
    try:
        for _, record in reading:
            yield record
    except JournalDamaged as error:
        log.error("Journal `%s`: %s; what follows is left out", path, error)
