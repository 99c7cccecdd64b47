"""How a task and its worker talk about notifications: what both sides have to know."""

from __future__ import annotations

from typing import Final

ACCESS_VARIABLE: Final = b"HQ_ACCESS_KEY"  # `<path of the worker's socket>:<token>`
TEXT_BYTES_MAX: Final = 1024
# The task sends its token, a line feed and the text, and shuts its side; the answer is this, or
# why the text was not taken.
TAKEN: Final = b"ok"


def too_long(text: bytes) -> str:
    """Why this cannot be said; empty if it can."""
    if len(text) <= TEXT_BYTES_MAX:
        return ""
    return f"Notify message limit exceeded ({len(text)} > {TEXT_BYTES_MAX} bytes)"
