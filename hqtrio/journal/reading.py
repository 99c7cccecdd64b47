"""Reading a journal from its bytes, chunk by chunk; what is torn is told from what is damaged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from hqtrio.errors import RemoteFault
from hqtrio.journal.format import (
    CBOR_MAX,
    HEAD,
    HEADER_MAX,
    Header,
    JournalError,
    decode_header,
    decode_records,
    frame_crc,
)
from hqtrio.messages.records import Record

CHUNK: Final = 1 << 20  # what readers of files should feed


@dataclass(frozen=True, slots=True)
class Torn:
    """What follows `offset` was being written when the machine or the server died."""

    offset: int
    size: int
    reason: str


class JournalDamaged(JournalError):
    """Bytes at `offset` that were safely on the disk are not what was written."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"it is damaged at byte {offset}: {reason}")
        self.offset, self.reason = offset, reason


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame whose CRC is right, from `offset` to `end`; `vouched`: all before was on the disk."""

    offset: int
    end: int
    vouched: int
    body: bytes


class Reading:
    """One pass over a journal. The header is read at once: JournalError if it cannot be used.

    An empty file has no header. Iterating gives every record with the offset of its frame, and
    raises JournalDamaged where the journal cannot be trusted. At its end `end` is where the next
    frame belongs, and `torn` says what stands there instead of nothing.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._window = Window(chunks)
        self.header: Header | None = None
        self.torn: Torn | None = None
        self.end = 0
        if data := self._window.peek(0, HEADER_MAX):
            self.header, self.end = decode_header(data)

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        for frame in self.frames():
            try:
                records = decode_records(frame.body)
            except RemoteFault as error:
                raise JournalDamaged(frame.offset, f"not records: {error}") from error
            for record in records:
                yield frame.offset, record

    def frames(self) -> Iterator[Frame]:
        """The same, undecoded."""
        if self.header is None:
            return
        mark = self.header.history[:4]
        while True:
            frame = read_frame(self._window, self.end, mark)
            if isinstance(frame, Frame):
                self.end = frame.end
                self._window.forget(frame.end)
                yield frame
            elif frame is None:
                return
            else:
                self._end_at(frame, mark)
                return

    def _end_at(self, reason: str, mark: bytes) -> None:
        """Nothing can be read at `end`: torn, unless a later frame vouches for it."""
        at = self.end
        while frame := next_frame(self._window, at + 1, mark):
            if frame.vouched > self.end:
                raise JournalDamaged(self.end, reason)
            at = frame.end - 1
        self.torn = Torn(self.end, self._window.size() - self.end, reason)


def read_frame(window: Window, offset: int, mark: bytes) -> Frame | str | None:
    """The frame at `offset`, why there is none, or None at the end of the file."""
    head = window.peek(offset, HEAD.size)
    if not head:
        return None
    if len(head) < HEAD.size:
        return "the file ends inside a frame"
    found, length, unsynced, crc = HEAD.unpack(head)
    if found != mark:
        return "no frame begins here"
    if not 0 < length <= CBOR_MAX:
        return f"a frame cannot be {length} bytes long"
    body = window.peek(offset + HEAD.size, length)
    if len(body) < length:
        return "the file ends inside a frame"
    if frame_crc(length, unsynced, body) != crc:
        return "its checksum is wrong"
    return Frame(offset, offset + HEAD.size + length, offset - unsynced, body)


def next_frame(window: Window, offset: int, mark: bytes) -> Frame | None:
    """The first whole frame at or behind `offset`."""
    while (found := window.find(mark, offset)) is not None:
        frame = read_frame(window, found, mark)
        if isinstance(frame, Frame):
            return frame
        offset = found + 1
    return None


class Window:
    """The part of a file that is being looked at: what lies before it is forgotten."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._data = b""
        self._base = 0
        self._ended = False

    def peek(self, offset: int, size: int) -> bytes:
        """These bytes, or as many of them as the file has."""
        self._reach(offset + size)
        start = offset - self._base
        return self._data[start : start + size]

    def forget(self, offset: int) -> None:
        """Bytes before `offset` will not be asked for again."""
        # Cutting is copying: only when it is worth it.
        if offset - self._base >= CHUNK or offset == self._base + len(self._data):
            self._data = self._data[offset - self._base :]
            self._base = offset

    def find(self, what: bytes, offset: int) -> int | None:
        """Where `what` comes next."""
        while True:
            found = self._data.find(what, max(0, offset - self._base))
            if found >= 0:
                found += self._base
                self.forget(found)
                return found
            offset = max(offset, self._base + len(self._data) - len(what) + 1)
            self.forget(min(offset, self._base + len(self._data)))
            if not self._reach(self._base + len(self._data) + 1):
                return None

    def size(self) -> int:
        """How long the whole file is; nothing of it is left to look at."""
        while self._reach(self._base + len(self._data) + 1):
            self.forget(self._base + len(self._data))
        return self._base + len(self._data)

    def _reach(self, end: int) -> bool:
        """Have everything before `end`; False if the file ends earlier."""
        missing = end - self._base - len(self._data)
        parts = [self._data]
        while missing > 0 and not self._ended:
            chunk = next(self._chunks, b"")
            self._ended = not chunk
            parts.append(chunk)
            missing -= len(chunk)
        if len(parts) > 1:
            self._data = b"".join(parts)
        return missing <= 0
