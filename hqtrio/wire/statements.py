"""A worker that has much to state says it in several frames, and the server puts them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from hqtrio.errors import RemoteFault
from hqtrio.messages.worker import Held, HeldMore, HeldSlot, Register, Report
from hqtrio.wire.codec import FRAME_MAX, encode

PART_BYTES: Final = FRAME_MAX // 2  # one report alone may be longer
PARTS_MAX: Final = 256
_ROWS: Final = 4096
_WIDTHS: Final = {"tasks": 8, "instances": 4, "task_slots": 4, "running": 1, "ages": 8}

Piece = HeldSlot | Report | Held  # the last with columns only


def split(hello: Register) -> list[Register | HeldMore]:
    """The registration as messages each of which fits a frame; `join` gives it back."""
    if hello.held is None:
        return [hello]
    parts: list[list[Piece]] = [[]]
    size = 0
    for piece in _pieces(hello.held):
        length = len(encode([piece]))
        if parts[-1] and size + length > PART_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(piece)
        size += length
    first, *more = (_joined(part) for part in parts)
    return [replace(hello, held=first, more=len(more)), *map(HeldMore, more)]


def join(hello: Register, more: Sequence[HeldMore]) -> Register:
    """What `split` was given."""
    if hello.held is None or not more:
        return hello
    pieces = [hello.held, *(part.held for part in more)]
    held = Held(
        tuple(slot for piece in pieces for slot in piece.slots),
        **{name: b"".join(getattr(piece, name) for piece in pieces) for name in _WIDTHS},
        reports=tuple(report for piece in pieces for report in piece.reports),
    )
    return replace(hello, held=held, more=0)


def check_parts(hello: Register) -> None:
    """RemoteFault if no worker announces so many parts."""
    if not 0 <= hello.more <= (0 if hello.held is None else PARTS_MAX):
        raise RemoteFault(f"a registration of {hello.more} more parts")


def _pieces(held: Held) -> Iterator[Piece]:
    yield from held.slots
    for row in range(0, len(held.running), _ROWS):
        yield Held(
            (),
            **{
                name: getattr(held, name)[row * width : (row + _ROWS) * width]
                for name, width in _WIDTHS.items()
            },
        )
    yield from held.reports


def _joined(pieces: Sequence[Piece]) -> Held:
    columns = [piece for piece in pieces if isinstance(piece, Held)]
    return Held(
        tuple(piece for piece in pieces if isinstance(piece, HeldSlot)),
        **{name: b"".join(getattr(piece, name) for piece in columns) for name in _WIDTHS},
        reports=tuple(piece for piece in pieces if isinstance(piece, Report)),
    )
