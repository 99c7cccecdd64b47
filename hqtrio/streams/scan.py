"""Frames of a stream file, without their data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from hqtrio.streams.format import HEAD_BYTES, Frame, decode_head

# (offset, size) -> as many bytes as there are; fewer at the end of the file only.
ReadAt = Callable[[int, int], bytes]

_BLOCK_BYTES: Final = 1 << 16


class Damaged(Exception):
    """No frame begins at this offset, where one should."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"damaged at offset {offset}")
        self.offset = offset


def scan(read_at: ReadAt, offset: int, size: int) -> Iterator[tuple[int, Frame]]:
    """Each whole frame of a file of that size, from one that begins at `offset`, with the offset
    of its data. An incomplete tail is left out; what comes behind damage is unknown: Damaged.
    """
    block, begin = b"", 0
    want = _BLOCK_BYTES
    while offset + HEAD_BYTES <= size:
        at = offset - begin
        if not 0 <= at <= len(block) - HEAD_BYTES:
            block, begin, at = read_at(offset, want), offset, 0
            if len(block) < HEAD_BYTES:
                return
        frame = decode_head(block, at)
        if frame is None:
            raise Damaged(offset)
        if offset + HEAD_BYTES + frame.size > size:
            return
        yield offset + HEAD_BYTES, frame
        offset += HEAD_BYTES + frame.size
        # Among large frames, what is read with a head would be thrown away.
        want = _BLOCK_BYTES if frame.size < _BLOCK_BYTES else HEAD_BYTES
