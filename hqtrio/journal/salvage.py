"""What can still be read of a damaged journal, and what cannot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hqtrio.errors import RemoteFault
from hqtrio.journal.format import HEADER_MAX, Header, JournalError, decode_header, decode_records
from hqtrio.journal.reading import Frame, Window, next_frame, read_frame
from hqtrio.messages.records import Record


@dataclass(frozen=True, slots=True)
class Dropped:
    """Bytes that are no records."""

    offset: int
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Saved:
    """The records of one frame."""

    offset: int
    records: list[Record]


def salvage(chunks: Iterable[bytes]) -> tuple[Header, Iterator[Saved | Dropped]]:
    """The header and then, in order, all that can be read and all that cannot.

    JournalError if not even the header can: nothing else tells whose frames they are.
    """
    window = Window(chunks)
    header, start = decode_header(window.peek(0, HEADER_MAX))
    return header, _parts(window, start, header.history[:4])


def _parts(window: Window, offset: int, mark: bytes) -> Iterator[Saved | Dropped]:
    while (found := _read(window, offset, mark)) is not None:
        if isinstance(found, tuple):
            end, saved = found
            yield saved
        else:
            following = offset
            while frame := next_frame(window, following + 1, mark):
                following = frame.offset
                if isinstance(_read(window, following, mark), tuple):
                    break
            end = window.size() if frame is None else following
            yield Dropped(offset, end - offset, found)
            if frame is None:
                return
        offset = end
        window.forget(offset)


def _read(window: Window, offset: int, mark: bytes) -> tuple[int, Saved] | str | None:
    """The end and the records of the frame at `offset`, why there are none, or None at the end."""
    frame = read_frame(window, offset, mark)
    if not isinstance(frame, Frame):
        return frame
    try:
        return frame.end, Saved(offset, decode_records(frame.body))
    except RemoteFault as error:
        return f"not records: {error}"


__all__ = ["Dropped", "JournalError", "Saved", "salvage"]
