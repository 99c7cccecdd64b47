"""The fields of an entry that is a JSON object, as text for placeholders."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

__all__ = ["field_names", "field_texts"]

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)


def field_names(entry: bytes) -> Collection[str]:
    """The names of the entry's fields; none if it is no object."""
    try:
        return _OBJECT.decode(entry).keys()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()


def field_texts(entry: bytes, names: Sequence[str]) -> tuple[str, ...]:
    """What the entry has under each name: text as it is, anything else as its JSON.

    Empty text where it has nothing, or is no object.
    """
    try:
        fields = _OBJECT.decode(entry)
        return tuple(_text(bytes(fields[name])) if name in fields else "" for name in names)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ("",) * len(names)


def _text(json: bytes) -> str:
    return _TEXT.decode(json) if json.startswith(b'"') else json.decode()
