"""Arguments that are not what they should be."""

from __future__ import annotations

from hqtrio.errors import InputError


class ValidationException(InputError):
    """An argument cannot be used; the text names it and what it has to be."""
