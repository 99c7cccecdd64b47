"""Numeric columns: byte strings of little-endian numbers, one per row.

A column costs one object however many rows it has. Rows of one frame are at most ROWS_MAX.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from typing import Final

from hqtrio.errors import RemoteFault

ROWS_MAX: Final = 5000
_SWAP: Final = sys.byteorder == "big"


def _encode(kind: str, values: Iterable[float]) -> bytes:
    column = values if isinstance(values, array) else array(kind, values)
    if _SWAP:
        column = array(kind, column)
        column.byteswap()
    return column.tobytes()


def _decode(kind: str, data: bytes) -> array[int] | array[float]:
    column = array(kind)
    try:
        column.frombytes(data)
    except ValueError as error:
        raise RemoteFault(f"column of {len(data)} bytes is not a whole number of rows") from error
    if _SWAP:
        column.byteswap()
    return column


def u64(values: Iterable[int]) -> bytes:
    """Encode unsigned 64-bit numbers: task ids, offsets."""
    return _encode("Q", values)


def u32(values: Iterable[int]) -> bytes:
    """Encode unsigned 32-bit numbers: instances, slots, counts."""
    return _encode("I", values)


def i32(values: Iterable[int]) -> bytes:
    """Encode signed 32-bit numbers: exit codes."""
    return _encode("i", values)


def f64(values: Iterable[float]) -> bytes:
    """Encode doubles: ages and durations in seconds."""
    return _encode("d", values)


def f32(values: Iterable[float]) -> bytes:
    """Encode single floats: CPU seconds."""
    return _encode("f", values)


def read_u64(data: bytes) -> array[int]:
    return _decode("Q", data)  # type: ignore[return-value]


def read_u32(data: bytes) -> array[int]:
    return _decode("I", data)  # type: ignore[return-value]


def read_i32(data: bytes) -> array[int]:
    return _decode("i", data)  # type: ignore[return-value]


def read_f64(data: bytes) -> array[float]:
    return _decode("d", data)  # type: ignore[return-value]


def read_f32(data: bytes) -> array[float]:
    return _decode("f", data)  # type: ignore[return-value]
