"""`journal`: check and repair files, flush and prune the server's."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path

from hqtrio.cli.journal_examining import examine, save_usable
from hqtrio.cli.parsing import argument, client_command, command
from hqtrio.cli.session import Session
from hqtrio.client import Client
from hqtrio.errors import InputError
from hqtrio.messages.client import Done, FlushJournal, PruneJournal

log = getLogger(__name__)


@command("check")
@argument("journal", read=str, metavar="FILE")
def check(session: Session, journal: str) -> None:
    """Read a journal file and say what is wrong with it, and where; no server is needed."""
    found = examine(Path(journal))
    for finding in found.findings():
        log.warning("%s", finding)
    if not (found.is_whole or found.is_torn):
        raise InputError(
            f"Journal `{journal}` is damaged: {len(found.gaps)} gaps of "
            f"{sum(gap.size for gap in found.gaps)} bytes, {len(found.refused)} of "
            f"{found.records} records that cannot be used; "
            f"`hqtrio journal repair {journal} NEW` saves what can be used into a new file"
        )
    log.info("Journal is fine: %d records in %d frames", found.records, found.frames)


@command("repair")
@argument("journal", read=str, metavar="FILE")
@argument("out", read=str, metavar="NEW")
def repair(session: Session, journal: str, out: str) -> None:
    """Save what can be used of a damaged journal into a new file, and say what is dropped.

    If anything is, unfinished tasks start anew, and no worker of before is believed any more.
    """
    found = save_usable(Path(journal), Path(out))
    for finding in found.findings():
        log.warning("%s", finding)
    log.info(
        "Saved %d records in `%s`; dropped %d records, and %d bytes that are none",
        found.records - len(found.refused), out, len(found.refused),
        sum(gap.size for gap in found.gaps),
    )  # fmt: skip


@client_command("flush")
async def flush(session: Session, client: Client) -> None:
    """Return when all that the server has recorded is on the disk."""
    await client.ask(FlushJournal(), Done)
    log.info("Journal flushed")


@client_command("prune")
async def prune(session: Session, client: Client) -> None:
    """Have the server leave out of its journal what concerns only jobs that are over."""
    await client.ask(PruneJournal(), Done)
    log.info("Journal pruned")
