"""Entries of an array, packed for the way."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from hqtrio.messages import columns


def pack_entries(entries: Iterable[bytes]) -> tuple[bytes, bytes]:
    """One blob, and the column of where each entry ends in it."""
    packed = list(entries)
    return b"".join(packed), columns.u64(accumulate(map(len, packed)))
