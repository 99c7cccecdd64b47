"""What is wrong with a journal file (bytes that are no records, records that fit no others), and
what can be saved of it."""

from __future__ import annotations

import gc
import os
import secrets
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import BinaryIO, Final

from msgspec.structs import replace

from hqtrio.errors import InputError
from hqtrio.jobs.replay import Misfit, Replay
from hqtrio.journal.format import Header, JournalError, encode_frames, encode_header
from hqtrio.journal.reading import CHUNK
from hqtrio.journal.salvage import Dropped, Saved, salvage
from hqtrio.messages.records import InstancesRaised
from hqtrio.net.directory import sync_directory

Place = tuple[int, int]  # offset of a frame, and which record in it

_TOLD_MAX: Final = 20


@dataclass(slots=True)
class Examination:
    """What a start would make of the file, had it to. `refused` names records by place."""

    size: int
    frames: int = 0
    records: int = 0
    gaps: list[Dropped] = field(default_factory=list)
    refused: dict[Place, str] = field(default_factory=dict)

    @property
    def is_torn(self) -> bool:
        """All that is wrong is a last write that did not end, which the next start cuts off."""
        if self.refused or len(self.gaps) != 1:
            return False
        (gap,) = self.gaps
        return gap.offset + gap.size == self.size

    @property
    def is_whole(self) -> bool:
        return not self.gaps and not self.refused

    def findings(self) -> Iterator[str]:
        """A line for each of the first things that are wrong, and one for all others."""
        told: list[tuple[int, str]] = [
            (gap.offset, f"{gap.size} bytes at {gap.offset} cannot be read: {gap.reason}")
            for gap in self.gaps
        ]
        told += [(offset, f"{why}, at byte {offset}") for (offset, _), why in self.refused.items()]
        told.sort(key=lambda finding: finding[0])
        yield from (text for _, text in told[:_TOLD_MAX])
        if len(told) > _TOLD_MAX:
            yield f"... and {len(told) - _TOLD_MAX} more"


def examine(path: Path) -> Examination:
    """Read the whole file and restore from it what can be; InputError if it is no journal."""
    found = Examination(0)
    with journal_parts(path) as (_, parts), _collected_later():
        found.size = path.stat().st_size
        replay = Replay()
        for part in parts:
            if isinstance(part, Dropped):
                found.gaps.append(part)
                continue
            found.frames += 1
            for index, record in enumerate(part.records):
                found.records += 1
                try:
                    replay.apply(record)
                # Whatever it is, a mistake of ours included: the server would not start with it.
                except Exception as error:
                    place = part.offset, index
                    words = str(error) or type(error).__name__
                    found.refused[place] = f"{type(record).__name__} cannot be used: {words}"
                    if not isinstance(error, Misfit):
                        replay = _replayed(path, found.refused, place)
    return found


def save_usable(path: Path, out: Path) -> Examination:
    """The new file `out` has everything of `path` that a start can use; what was found there.

    If that is not all, it is another journal: what workers still have belongs to the old one, and
    their tasks to nobody.
    """
    found = examine(path)
    with journal_parts(path) as (header, parts), _new(out) as file:
        if not found.is_whole:
            header = replace(header, history=secrets.token_bytes(16))
        mark = header.history[:4]
        file.write(encode_header(header))
        for part in parts:
            if isinstance(part, Saved):
                places = ((part.offset, index) for index in range(len(part.records)))
                usable = [place not in found.refused for place in places]
                if kept := list(compress(part.records, usable)):
                    file.write(encode_frames(kept, mark=mark))
        if not found.is_whole:
            file.write(encode_frames([InstancesRaised(time.time())], mark=mark))
    return found


def _replayed(path: Path, refused: dict[Place, str], until: Place) -> Replay:
    """The tables before this place."""
    replay = Replay()
    with journal_parts(path) as (_, parts):
        for part in parts:
            if isinstance(part, Saved):
                for index, record in enumerate(part.records):
                    if (part.offset, index) == until:
                        return replay
                    if (part.offset, index) not in refused:
                        replay.apply(record)
    raise AssertionError(until)


@contextmanager
def journal_parts(path: Path) -> Iterator[tuple[Header, Iterator[Saved | Dropped]]]:
    """Everything in the file, for the block; InputError if it cannot be read or is no journal."""
    with closing(_chunks(path)) as chunks:
        try:
            yield salvage(chunks)
        except JournalError as error:
            raise InputError(f"Cannot use `{path}` as a journal: {error}") from error


def _chunks(path: Path) -> Generator[bytes, None, None]:
    try:
        with path.open("rb") as file:
            yield from iter(lambda: file.read(CHUNK), b"")
    except OSError as error:
        raise InputError(f"Cannot read journal `{path}`") from error


@contextmanager
def _collected_later() -> Iterator[None]:
    """Everything made in the block stays: looking for garbage would only take time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    """A file that did not exist, that only its owner reads, and that is on the disk afterwards.

    If the block fails there is none.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"Cannot create `{path}`: {error.strerror}") from error
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(fd)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
