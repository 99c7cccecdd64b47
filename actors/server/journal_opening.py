"""How a server comes by a journal of its own: a new one, or one that it goes on with.

A server never appends to a file that it found: another one may still have it open. It copies what
can be read, and puts the copy in the file's place. Whoever was writing to the old one sees that
its file is no longer there and acknowledges nothing more; what it had acknowledged before is in
the file, and is carried over.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from actors.server.disk import Disk, chunks_of, copy_start, write_all
from actors.server.journal_lock import Lock, journal_lock
from hqtrio.errors import InputError
from hqtrio.journal.format import Header, JournalError, encode_frames, encode_header
from hqtrio.journal.reading import JournalDamaged, Reading, Torn
from hqtrio.messages.records import InstancesRaised, Record

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """A journal that only this server appends to, and that is on the disk as it is.

    Whoever has appended, synced and closed it tells the lock.
    """

    path: Path
    header: Header
    fd: int
    size: int
    is_new: bool
    lock: Lock


def read_header(path: Path, disk: Disk | None = None) -> Header | None:
    """Whose journal it is; None if there is none yet, InputError if it cannot be used."""
    disk = disk or Disk()
    try:
        with _reading(path, disk) as (_, reading):
            return reading.header
    except FileNotFoundError:
        return None


def read_records(path: Path, disk: Disk | None = None) -> Iterator[tuple[int, Record]]:
    """Every record with the offset of its frame, up to a torn tail.

    InputError if it is no journal; also in the middle, with the place and the remedy, if it is
    damaged.
    """
    disk = disk or Disk()
    with _reading(path, disk) as (_, reading):
        yield from reading


@contextmanager
def open_journal(
    path: Path,
    new_uid: str,
    *,
    now: float,
    disk: Disk | None = None,
    make_history: Callable[[], bytes] = lambda: secrets.token_bytes(16),
) -> Iterator[Opened]:
    """The journal at `path` is ours and whole for the block; a new one is made for `new_uid`.

    InputError, and nothing is changed, if another server has it or if it cannot be used. A torn
    tail is cut off with a warning.
    """
    disk = disk or Disk()
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(journal_lock(path, disk))
            opened = _take_over(path, disk, lock, now)
            if opened is None:
                opened = _create(path, disk, lock, Header(make_history(), new_uid, now))
            lock.writes()
        except OSError as error:
            raise InputError(f"Cannot use journal `{path}`: {error.strerror}") from error
        yield opened


def _create(path: Path, disk: Disk, lock: Lock, header: Header) -> Opened:
    data = encode_header(header)
    temporary = f"{path}.new"
    fd = disk.create(temporary)
    try:
        write_all(disk, fd, data, 0)
        if read_header(path, disk) is not None:
            raise _taken_over(path)
        _put_in_place(disk, fd, temporary, path)
    except BaseException:
        _give_up(disk, fd, temporary)
        raise
    return Opened(path, header, fd, len(data), True, lock)


def _take_over(path: Path, disk: Disk, lock: Lock, now: float) -> Opened | None:
    try:
        with _reading(path, disk) as (found, reading):
            if reading.header is None:
                return None
            for _ in reading.frames():
                pass
            temporary = f"{path}.new"
            fd = disk.create(temporary)
            try:
                copy_start(disk, found, fd, reading.end)
                if reading.torn is not None:
                    _warn(path, reading.torn)
                disk.fsync(fd)
                _refuse_other(path, disk, found)
                disk.rename(temporary, str(path))
                # Until now its old owner may have acknowledged more, from now on it does not.
                size = _carry_over(disk, found, fd, reading.end)
                if not lock.has_all:
                    size = _note_gap(disk, fd, size, reading.header, now)
                disk.fsync(fd)
                disk.sync_directory(str(path))
            except BaseException:
                _give_up(disk, fd, temporary)
                raise
            return Opened(path, reading.header, fd, size, False, lock)
    except FileNotFoundError:
        _refuse_other(path, disk, None)
        return None


def _refuse_other(path: Path, disk: Disk, found: int | None) -> None:
    """InputError unless what stands at the path is what was found there, or nothing then as now."""
    if disk.identity(str(path)) != (None if found is None else disk.identity_of(found)):
        raise _taken_over(path)


def _taken_over(path: Path) -> InputError:
    """What another server has acknowledged since we looked is not in our file.

    That happens only if somebody has taken away our lock.
    """
    return InputError(f"Journal `{path}` was taken over by another server just now: stop one")


def _give_up(disk: Disk, fd: int, temporary: str) -> None:
    disk.close(fd)
    with suppress(OSError):
        disk.unlink(temporary)


def _put_in_place(disk: Disk, fd: int, temporary: str, path: Path) -> None:
    disk.fsync(fd)
    disk.rename(temporary, str(path))
    disk.sync_directory(str(path))


def _carry_over(disk: Disk, found: int, fd: int, size: int) -> int:
    """The copy has every whole frame that the file has by now; how long it is then."""
    reading = Reading(chunks_of(disk, found))
    for _ in reading.frames() if disk.size(found) > size else ():
        pass
    for chunk in chunks_of(disk, found, size, reading.end):
        write_all(disk, fd, chunk, size)
        size += len(chunk)
    return size


def _warn(path: Path, torn: Torn) -> None:
    log.warning(
        "journal `%s`: the last %d bytes were not written to their end (%s); they are cut off",
        path, torn.size, torn.reason,
    )  # fmt: skip


def _note_gap(disk: Disk, fd: int, size: int, header: Header, now: float) -> int:
    """What the machine forgot when it died may have been done: no instance of then is used again.

    Not so if only the server died: nobody was told of what it had not written. Whole frames may
    be gone without a trace, and where they ended tells nothing.
    """
    frame = encode_frames([InstancesRaised(now, workers_keep=True)], mark=header.history[:4])
    write_all(disk, fd, frame, size)
    return size + len(frame)


@contextmanager
def _reading(path: Path, disk: Disk) -> Iterator[tuple[int, Reading]]:
    fd = disk.open(str(path))
    try:
        yield fd, Reading(chunks_of(disk, fd))
    except JournalDamaged as error:
        raise InputError(
            f"Journal `{path}` appears corrupted: {error}; `hqtrio journal repair {path} NEW` "
            "saves what can be read into a new file"
        ) from error
    except JournalError as error:
        raise InputError(f"Cannot use `{path}` as a journal: {error}") from error
    finally:
        disk.close(fd)
