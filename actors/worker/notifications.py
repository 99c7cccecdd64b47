"""The socket by which tasks of this host say something to whoever listens to their job.

A connection carries one notification and its answer.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Final

import trio

from actors.kit.mailbox import Mailbox
from hqtrio.errors import InputError
from hqtrio.net.unix import short_path
from hqtrio.notifying import TAKEN, TEXT_BYTES_MAX
from hqtrio.worker.events import Event, NoteAsked

log = logging.getLogger(__name__)

TALK_S: Final = 10.0  # for one notification; the worker answers at once
CONNECTIONS_MAX: Final = 64  # at once; the kernel keeps others waiting
_LINE_BYTES_MAX: Final = 64
_PAUSE_S: Final = 0.1


class Desk:
    """Where tasks speak up. `judged` is told what the worker thinks of it."""

    def __init__(self, mailbox: Mailbox[Event]) -> None:
        self._mailbox = mailbox
        self._numbers = count(1)
        self._waiting: dict[int, trio.Event] = {}
        self._refusals: dict[int, str] = {}

    def judged(self, number: int, refusal: str) -> None:
        """The answer to one of our questions; empty means taken."""
        if number in self._waiting:
            self._refusals[number] = refusal
            self._waiting[number].set()

    async def serve(self, listener: trio.socket.SocketType) -> None:
        """Take notifications until cancelled."""
        room = trio.Semaphore(CONNECTIONS_MAX)
        async with trio.open_nursery() as nursery:
            while True:
                await room.acquire()
                try:
                    connection, _ = await listener.accept()
                except OSError as error:
                    # Out of descriptors, most likely; others will be closed soon.
                    log.warning("a notification cannot be accepted: %s", error.strerror)
                    await trio.sleep(_PAUSE_S)
                    room.release()
                else:
                    nursery.start_soon(self._serve, connection, room)

    async def _serve(self, connection: trio.socket.SocketType, room: trio.Semaphore) -> None:
        with connection:
            try:
                with trio.move_on_after(TALK_S):
                    said = await _read(connection)
                    refusal = await self._ask(said)
                    await _send_all(connection, refusal.encode() or TAKEN)
            except OSError as error:
                log.debug("a notification failed: %s", error)
            finally:
                room.release()

    async def _ask(self, said: bytes) -> str:
        token, _, text = said.partition(b"\n")
        number = next(self._numbers)
        self._waiting[number] = trio.Event()
        try:
            self._mailbox.tell(NoteAsked(number, token, text))
            await self._waiting[number].wait()
            return self._refusals[number]
        finally:
            del self._waiting[number]
            self._refusals.pop(number, None)


@asynccontextmanager
async def open_desk(path: Path, mailbox: Mailbox[Event]) -> AsyncIterator[Desk]:
    """A socket at the path takes notifications; it is gone afterwards.

    InputError if no socket can be there.
    """
    desk = Desk(mailbox)
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            with short_path(os.fsencode(path)) as name:
                await listener.bind(name)
            os.chmod(path, 0o600)
        except OSError as error:
            raise InputError(
                f"Cannot make a socket in `{path.parent}`: {error.strerror};"
                " let TMPDIR name a directory on a local file system"
            ) from error
        listener.listen()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(desk.serve, listener, name="notifications")
                yield desk
                nursery.cancel_scope.cancel()
        finally:
            os.unlink(path)


async def _read(connection: trio.socket.SocketType) -> bytes:
    """Token and text; what is too long is read no further than to see that."""
    said = bytearray()
    while len(said) <= _LINE_BYTES_MAX + TEXT_BYTES_MAX:
        data = await connection.recv(_LINE_BYTES_MAX + TEXT_BYTES_MAX + 1)
        if not data:
            break
        said += data
    return bytes(said)


async def _send_all(connection: trio.socket.SocketType, data: bytes) -> None:
    while data:
        data = data[await connection.send(data) :]
