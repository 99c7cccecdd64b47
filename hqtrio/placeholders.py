"""Placeholders in paths: `%{NAME}` stands for a value that somebody further on knows.

Text goes through several hands: the client fills what it knows, the server its part, the worker
the rest. Each leaves the names it does not know as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Name", "fill", "join", "names", "split", "unknown"]

_PLACEHOLDER: Final = re.compile(r"%\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Name:
    """A placeholder inside a split text."""

    name: str

    def __str__(self) -> str:
        return f"%{{{self.name}}}"


def split(text: str) -> tuple[str | Name, ...]:
    """The text as pieces in order: plain text (never empty) and names."""
    pieces: list[str | Name] = []
    for index, piece in enumerate(_PLACEHOLDER.split(text)):
        if index % 2:
            pieces.append(Name(piece))
        elif piece:
            pieces.append(piece)
    return tuple(pieces)


def join(pieces: Iterable[str | Name]) -> str:
    """The text that `split` would cut into these pieces."""
    return "".join(map(str, pieces))


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with every name of `values` replaced; other names stay verbatim."""
    if "%{" not in text:
        return text
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


def names(text: str) -> list[str]:
    """Every name in the text once, in order of appearance."""
    return list(dict.fromkeys(_PLACEHOLDER.findall(text)))


def unknown(text: str, allowed: Iterable[str]) -> list[str]:
    """The names in the text that `allowed` does not hold, in order of appearance."""
    known = frozenset(allowed)
    return [name for name in names(text) if name not in known]
