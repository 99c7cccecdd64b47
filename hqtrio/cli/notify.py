"""`task notify`: what a task says to whoever listens to its job."""

from __future__ import annotations

import os
import socket
from typing import Final

from hqtrio.cli.parsing import argument, command
from hqtrio.cli.session import Session
from hqtrio.errors import HqError, InputError
from hqtrio.net.unix import short_path
from hqtrio.notifying import ACCESS_VARIABLE, TAKEN, too_long

PATIENCE_S: Final = 60.0  # a worker may be suspended for a while
_ANSWER_BYTES: Final = 4096


class NotTaken(HqError):
    """The worker did not take the notification; the text tells why."""


@command("notify")
@argument("message", read=str, metavar="MESSAGE")
def notify(session: Session, message: str) -> None:
    """Say something to those who wait for the job; works inside a task only."""
    text = os.fsencode(message)
    if refusal := too_long(text):
        raise InputError(refusal)
    key = os.environb.get(ACCESS_VARIABLE)
    if key is None:
        raise InputError("HQ_ACCESS_KEY variable not found: `task notify` works inside a task only")
    path, colon, token = key.rpartition(b":")
    if not colon or not path or not token:
        raise InputError("HQ_ACCESS_KEY has a wrong format: it is for `task notify` alone")
    session.was_brief = True
    answer = _say(path, token, text)
    if answer != TAKEN:
        raise NotTaken(answer.decode(errors="replace") or "The worker ended")


def _say(path: bytes, token: bytes, text: bytes) -> bytes:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE_S)
            with short_path(path) as name:
                connection.connect(name)
            connection.sendall(token + b"\n" + text)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(_ANSWER_BYTES)
    except OSError as error:
        why = error.strerror or str(error)
        raise NotTaken(f"The worker of this task cannot be reached: {why}") from error
