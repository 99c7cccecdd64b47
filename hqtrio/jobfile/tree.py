"""A job file as nodes with places, before anybody decides what the values mean.

YAML leaves the type of a plain scalar open; it is settled by who asks: where text is wanted,
`no`, `1e3` and `0700` are text. TOML has typed its values already.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from hqtrio.units import quote


class Kind(Enum):
    """What a scalar is."""

    PLAIN = "plain"  # YAML without quotes: the reader decides
    TEXT = "text"
    INTEGER = "whole number"
    NUMBER = "number"
    BOOLEAN = "boolean"
    NULL = "null"
    MOMENT = "date or time"


@dataclass(slots=True)
class Scalar:
    text: str
    kind: Kind
    line: int
    column: int


@dataclass(slots=True)
class Items:
    line: int
    column: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    """Keys in the order of the file, each with its own place."""

    line: int
    column: int
    entries: dict[str, tuple[Scalar, Node]] = field(default_factory=dict)


Node = Scalar | Items | Table

_NULLS: Final = frozenset(["", "~", "null", "Null", "NULL"])
_BOOLEANS: Final = frozenset(["true", "True", "TRUE", "false", "False", "FALSE"])
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER: Final = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


def resolve(scalar: Scalar) -> Kind:
    """The kind of the scalar by the core schema of YAML 1.2; never PLAIN."""
    if scalar.kind is not Kind.PLAIN:
        return scalar.kind
    text = scalar.text
    if text in _NULLS:
        return Kind.NULL
    if text in _BOOLEANS:
        return Kind.BOOLEAN
    if _INTEGER.fullmatch(text):
        return Kind.INTEGER
    if _NUMBER.fullmatch(text):
        return Kind.NUMBER
    return Kind.TEXT


def is_null(node: Node) -> bool:
    """Whether the value counts as absent."""
    return isinstance(node, Scalar) and resolve(node) is Kind.NULL


def describe(node: Node) -> str:
    """What was found, for an error line."""
    match node:
        case Items():
            return "a list"
        case Table():
            return "a mapping"
        case Scalar():
            kind = resolve(node)
            if kind is Kind.NULL:
                return "nothing"
            article = "the" if kind is not Kind.MOMENT else "a"
            return f"{article} {kind.value} '{quote(node.text)}'"
