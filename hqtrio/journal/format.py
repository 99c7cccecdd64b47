"""The format of a journal: a header, then frames, only ever appended to.

The header is the magic, the version as two little-endian u16, then length (u32), CRC-32 and the
CBOR of `Header`. A frame is a head of four little-endian u32 and a CBOR array of records:

    mark        the first four bytes of the history id, so that no frame of another journal,
                wherever it may come from, is taken for one of this
    length      of the CBOR
    unsynced    how many of the bytes before this frame were not known to be on the disk when it
                was made; this many at most may be lost when the machine dies
    crc         CRC-32 of length, unsynced and CBOR

A frame that cannot be read is torn if no later frame vouches for its bytes, and damaged if one
does: the first is what a crash leaves, the second is a fault of the disk or of somebody's hands.

Versions: a change that older programs would misread raises the major number, and every other major
is refused. A new kind of record or a new field of one raises the minor number: an older program
refuses a newer minor, a newer program reads every older one. Tags of records and the order of their
fields are therefore only ever appended to.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hqtrio.errors import InputError, RemoteFault
from hqtrio.messages.records import Record
from hqtrio.model.value import Value
from hqtrio.wire.codec import FRAME_AIM, Decoder, encode

MAGIC: Final = b"hqtrio\x1aJ"
MAJOR: Final = 1
MINOR: Final = 0

# A fact is never split, however many tasks an abort drags along: 20 million of them fit.
CBOR_MAX: Final = 256 << 20
HEADER_MAX: Final = 4096

VERSION: Final = struct.Struct("<8sHH")
CHECKED: Final = struct.Struct("<II")  # length and CRC of the header's CBOR
HEAD: Final = struct.Struct("<4sIII")
_COVERED: Final = struct.Struct("<II")  # what the CRC covers of the head
_UNSYNCED_MAX: Final = (1 << 32) - 1


class Header(Value, frozen=True):
    """Whose journal it is. The history id is new for every new journal and stays for life."""

    history: bytes
    server_uid: str
    created_at: float


class JournalError(InputError):
    """This file is not a journal that can be used."""


_HEADERS: Final[Decoder[Header]] = Decoder(Header)
_RECORDS: Final[Decoder[Record]] = Decoder(Record, frame_max=CBOR_MAX)


def encode_header(header: Header) -> bytes:
    """The first bytes of a journal."""
    body = encode([header])
    return VERSION.pack(MAGIC, MAJOR, MINOR) + CHECKED.pack(len(body), zlib.crc32(body)) + body


def decode_header(data: bytes) -> tuple[Header, int]:
    """The header and where the frames begin. `data` holds HEADER_MAX bytes, or the whole file."""
    if data[: len(MAGIC)] != MAGIC:
        raise JournalError("it is not a journal")
    try:
        _, major, minor = VERSION.unpack_from(data)
        if major != MAJOR:
            raise JournalError(f"its format is {major}.{minor}, this program knows {MAJOR}.{MINOR}")
        if minor > MINOR:
            raise JournalError(
                f"its format {major}.{minor} is newer than {MAJOR}.{MINOR}, the newest that this "
                "program knows"
            )
        length, crc = CHECKED.unpack_from(data, VERSION.size)
        start = VERSION.size + CHECKED.size
        body = data[start : start + length]
        if len(body) != length or zlib.crc32(body) != crc:
            raise JournalError("its header is damaged")
        (header,) = _HEADERS.decode(body)
    except (struct.error, RemoteFault, ValueError) as error:
        raise JournalError("its header is damaged") from error
    if len(header.history) != 16:
        raise JournalError("its header is damaged")
    return header, start + length


def encode_frames(records: Sequence[Record], *, mark: bytes, unsynced: int = 0) -> bytes:
    """The frames of a batch: one, or more where one would be longer than is good for readers."""
    return b"".join(_frames(records, mark, unsynced))


def _frames(records: Sequence[Any], mark: bytes, unsynced: int) -> Iterator[bytes]:
    body = encode(records)
    if len(body) > FRAME_AIM and len(records) > 1:
        middle = len(records) // 2
        for half in (records[:middle], records[middle:]):
            for frame in _frames(half, mark, unsynced):
                yield frame
                unsynced += len(frame)
        return
    if len(body) > CBOR_MAX:
        raise OverflowError(f"a record of {len(body)} bytes is over the limit of {CBOR_MAX}")
    unsynced = min(unsynced, _UNSYNCED_MAX)
    yield HEAD.pack(mark, len(body), unsynced, frame_crc(len(body), unsynced, body)) + body


def frame_crc(length: int, unsynced: int, body: bytes | memoryview) -> int:
    return zlib.crc32(body, zlib.crc32(_COVERED.pack(length, unsynced)))


def decode_records(body: bytes) -> list[Record]:
    """The records of a frame whose CRC is right; RemoteFault if it was never one of ours."""
    return _RECORDS.decode(body)
