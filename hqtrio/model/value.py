"""The base of every value that travels or is recorded."""

from __future__ import annotations

import msgspec


class Value(msgspec.Struct, frozen=True, array_like=True):
    """An immutable record, encoded as the list of its fields; fields are only ever appended."""
