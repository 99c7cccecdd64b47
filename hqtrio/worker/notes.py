"""Notifications: what a process has to show to speak for a task, and how much it may say."""

from __future__ import annotations

from base64 import b32encode
from hashlib import blake2b
from typing import Final

from hqtrio.notifying import too_long

# Notifications that the server has not been told of; a task that says more has to wait.
WAITING_MAX: Final = 1000
_PREFIX: Final = b"hq0-"
_SECRET_BYTES: Final = 5  # eight characters of base 32


def token_of(key: bytes, task: int, instance: int) -> bytes:
    """What only this execution of the task knows, as long as nobody else knows the key."""
    name = b"%d %d" % (task, instance)
    return _PREFIX + b32encode(blake2b(name, digest_size=_SECRET_BYTES, key=key).digest())


def refusal_of(text: bytes, waiting: int) -> str:
    """Why a running task may not say this now; empty if it may."""
    if waiting >= WAITING_MAX:
        return "The server does not take notifications at the moment; try again later"
    return too_long(text)
