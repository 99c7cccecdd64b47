"""`journal`: check and repair files, flush and prune the server's."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from typing import BinaryIO

from hqtrio.cli.parsing import argument, client_command, command
from hqtrio.cli.session import Session
from hqtrio.client import Client
from hqtrio.errors import InputError
from hqtrio.journal.format import JournalError, encode_frames, encode_header
from hqtrio.journal.reading import CHUNK
from hqtrio.journal.salvage import Dropped, Saved, salvage
from hqtrio.messages.client import Done, FlushJournal, PruneJournal
from hqtrio.messages.records import InstancesRaised

log = getLogger(__name__)


@command("check")
@argument("journal", read=str, metavar="FILE")
def check(session: Session, journal: str) -> None:
    """Read a journal file and say what is wrong with it, and where; no server is needed."""
    records = frames = 0
    dropped: list[Dropped] = []
    with _parts(Path(journal)) as (_, parts):
        for part in parts:
            if isinstance(part, Saved):
                frames, records = frames + 1, records + len(part.records)
                continue
            dropped.append(part)
            log.warning("%s", _told(part))
    if dropped and not _is_torn(Path(journal), dropped):
        raise InputError(
            f"Journal `{journal}` is damaged: {len(dropped)} gaps of "
            f"{sum(gap.size for gap in dropped)} bytes between {records} good records; "
            f"`hqtrio journal repair {journal} NEW` saves what can be read into a new file"
        )
    log.info("Journal is fine: %d records in %d frames", records, frames)


@command("repair")
@argument("journal", read=str, metavar="FILE")
@argument("out", read=str, metavar="NEW")
def repair(session: Session, journal: str, out: str) -> None:
    """Save what can be read of a damaged journal into a new file, and say what is dropped."""
    saved = lost = after = 0
    with _parts(Path(journal)) as (start, parts), _new(Path(out)) as file:
        mark = start[1]
        file.write(start[0])
        for part in parts:
            if isinstance(part, Saved):
                saved += len(part.records)
                after += len(part.records) if lost else 0
                file.write(encode_frames(part.records, mark=mark))
            else:
                lost += part.size
                log.warning("%s", _told(part))
                file.write(encode_frames([InstancesRaised(time.time())], mark=mark))
    log.info(
        "Saved %d records in `%s`, %d of them behind the first gap; dropped %d bytes",
        saved, out, after, lost,
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


def _told(gap: Dropped) -> str:
    return f"{gap.size} bytes at {gap.offset} cannot be read: {gap.reason}"


def _is_torn(path: Path, dropped: list[Dropped]) -> bool:
    """A last write that did not end is what the next start cuts off."""
    (*earlier, last) = dropped
    return not earlier and last.offset + last.size == path.stat().st_size


@contextmanager
def _parts(path: Path) -> Iterator[tuple[tuple[bytes, bytes], Iterator[Saved | Dropped]]]:
    try:
        with path.open("rb") as file:
            header, parts = salvage(iter(lambda: file.read(CHUNK), b""))
            yield (encode_header(header), header.history[:4]), parts
    except JournalError as error:
        raise InputError(f"Cannot use `{path}` as a journal: {error}") from error
    except OSError as error:
        raise InputError(f"Cannot read journal `{path}`") from error


@contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    """A file that did not exist, that only its owner reads, and that is on the disk afterwards."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"Cannot create `{path}`: {error.strerror}") from error
    with os.fdopen(fd, "wb") as file:
        yield file
        file.flush()
        os.fsync(fd)
