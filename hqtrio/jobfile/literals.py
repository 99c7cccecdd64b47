"""Values of a job file as JSON that keeps their source text."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from hqtrio.jobfile.tree import Items, Kind, Node, Scalar, Table

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_WORDS: Final = frozenset(["true", "false", "null"])


def json_of(node: Node) -> str:
    """The value as JSON: what JSON writes the same way stands as it is, anything else is text."""
    match node:
        case Scalar():
            if node.kind is not Kind.TEXT and (node.text in _WORDS or _NUMBER.fullmatch(node.text)):
                return node.text
            return json_text(node.text)
        case Items():
            return "[" + ",".join(map(json_of, node.items)) + "]"
        case Table():
            pairs = (
                f"{json_text(name)}:{json_of(value)}" for name, (_, value) in node.entries.items()
            )
            return "{" + ",".join(pairs) + "}"


def json_text(text: str) -> str:
    """A text in JSON's quotes."""
    try:
        return msgspec.json.encode(text).decode()
    except UnicodeEncodeError:  # half a character, which only an escape can stand for
        import json

        return json.dumps(text)
