"""Arguments that are not what they should be."""

from __future__ import annotations

import os

from hqtrio.errors import InputError
from hqtrio.units import quote

__all__ = ["ValidationException", "read_path", "shown"]


class ValidationException(InputError):
    """An argument cannot be used; the text names it and what it has to be."""


def shown(value: object) -> str:
    """The value as it is written in Python, in one line that is not too long."""
    return quote(repr(value))


def read_path(name: str, value: object) -> str:
    """The path as text; ValidationException names the argument."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValidationException(f"{name} has to be a path, not {shown(value)}")
    return path
