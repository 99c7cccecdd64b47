"""JSON as it is printed: two blanks per level, keys sorted, long lists part by part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TextIO

import msgspec


def json_text(value: object) -> str:
    """The value as text, without a newline at the end."""
    try:
        text = msgspec.json.encode(value, order="sorted")
    except UnicodeEncodeError:
        # Names of files need not be text; those that are not keep their bytes as escapes.
        return json.dumps(value, indent=2, sort_keys=True)
    return msgspec.json.format(text, indent=2).decode()


def indented(text: str, depth: int) -> str:
    """The text as it stands so deep inside other values, its first line excepted."""
    return text.replace("\n", "\n" + "  " * depth) if depth else text


class Array:
    """A list, at a depth of nesting, whose values come one after another."""

    def __init__(self, out: TextIO, depth: int) -> None:
        self._out = out
        self._depth = depth
        self._is_empty = True

    def begin(self) -> None:
        """The next value is written by somebody else, one level deeper."""
        self._out.write(("[" if self._is_empty else ",") + "\n" + "  " * (self._depth + 1))
        self._is_empty = False

    def add(self, values: Sequence[object]) -> None:
        if values:
            self._out.write("[" if self._is_empty else ",")
            self._out.write(indented(json_text(values)[1:-2], self._depth))
            self._is_empty = False

    def close(self) -> None:
        self._out.write("[]" if self._is_empty else "\n" + "  " * self._depth + "]")
