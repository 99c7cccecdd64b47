"""The bytes of a stream file: a header, then frames, each a head and perhaps data.

    header   magic, version, worker, length of the server's UID, the UID, crc32 of all that
    head     kind, channel, instance, task, time (ms), size, crc32 of the data, crc32 of the head

A head has a checksum of its own, so that an index is built without reading any data. The program
that writes these files loads nothing else of this package: standard library only.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

MAGIC = b"hqstream"
VERSION = 1
SUFFIX = ".hqs"

STDOUT, STDERR = 0, 1
CHANNELS = (STDOUT, STDERR)

BEGIN = 1  # an execution; the channel is a mask of those that are streamed
DATA = 2
END = 3  # of one channel

_HEADER = Struct("<8sHIH")
_HEAD = Struct("<BBxxIQQII")
_CRC = Struct("<I")
HEAD_BYTES = _HEAD.size + _CRC.size
HEADER_MAX = _HEADER.size + 0xFFFF + _CRC.size


class Frame:
    """A head. `task` is the job's number << 32 | the task's, `time_ms` is of the wall clock."""

    __slots__ = ("channel", "crc", "instance", "kind", "size", "task", "time_ms")

    def __init__(
        self, kind: int, channel: int, instance: int, task: int, time_ms: int, size: int, crc: int
    ) -> None:
        self.kind, self.channel, self.instance, self.task = kind, channel, instance, task
        self.time_ms, self.size, self.crc = time_ms, size, crc


class Header:
    """Who wrote the file, and how long this takes in it."""

    __slots__ = ("server_uid", "size", "worker")

    def __init__(self, server_uid: str, worker: int, size: int) -> None:
        self.server_uid, self.worker, self.size = server_uid, worker, size


def encode_header(server_uid: str, worker: int) -> bytes:
    """How a file begins."""
    uid = server_uid.encode()
    head = _HEADER.pack(MAGIC, VERSION, worker, len(uid)) + uid
    return head + _CRC.pack(crc32(head))


def decode_header(data: bytes) -> Header | None:
    """What the first bytes of a file say; None if they are not all there, or are no header."""
    if len(data) < _HEADER.size:
        return None
    magic, version, worker, length = _HEADER.unpack_from(data)
    end = _HEADER.size + length
    if magic != MAGIC or version != VERSION or len(data) < end + _CRC.size:
        return None
    if _CRC.unpack_from(data, end)[0] != crc32(data[:end]):
        return None
    uid = data[_HEADER.size : end].decode("utf-8", "replace")
    return Header(uid, worker, end + _CRC.size)


def encode_head(
    kind: int, channel: int, instance: int, task: int, time_ms: int, data: bytes | memoryview = b""
) -> bytes:
    """What goes before the data."""
    head = _HEAD.pack(kind, channel, instance, task, time_ms, len(data), crc32(data))
    return head + _CRC.pack(crc32(head))


def decode_head(data: bytes, offset: int) -> Frame | None:
    """The head at the offset, where all its bytes are; None if they are damaged."""
    end = offset + _HEAD.size
    if _CRC.unpack_from(data, end)[0] != crc32(data[offset:end]):
        return None
    kind, channel, instance, task, time_ms, size, crc = _HEAD.unpack_from(data, offset)
    return Frame(kind, channel, instance, task, time_ms, size, crc)
