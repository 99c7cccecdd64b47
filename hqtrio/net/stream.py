"""Streams below and above TLS that know more than the library's: limits, and why they died."""

from __future__ import annotations

import contextlib
import ssl
from typing import Final

import trio

LAST_WORDS_S: Final = 1.0
READ_BYTES: Final = 64 << 10
UNKNOWN_READ_BYTES: Final = 16 << 10  # at once, from a peer that has not authenticated
UNKNOWN_BYTES: Final = 64 << 10  # in all; a handshake and an upgrade need a tenth

FIRST_BYTES: Final = 5


class TooMuch(Exception):
    """The peer sent more than it may."""


class RawStream(trio.abc.HalfCloseableStream):
    """A socket that remembers how it began, and reads little from peers that are still unknown."""

    def __init__(self, socket: trio.SocketStream) -> None:
        self.socket: Final = socket
        self.first = b""
        self.trusted = False
        self._read = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self.trusted and len(self.first) == FIRST_BYTES:
            return await self.socket.receive_some(max_bytes or READ_BYTES)
        if self._read > UNKNOWN_BYTES:
            raise trio.BrokenResourceError from TooMuch(f"over {UNKNOWN_BYTES} bytes of greeting")
        data = await self.socket.receive_some(min(max_bytes or READ_BYTES, UNKNOWN_READ_BYTES))
        self._read += len(data)
        self.first += data[: FIRST_BYTES - len(self.first)]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.socket.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.socket.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.socket.send_eof()

    async def aclose(self) -> None:
        await self.socket.aclose()

    async def last_words(self, data: bytes, *, drain_bytes: int = UNKNOWN_BYTES) -> None:
        """The peer has had a second to read what it was told; nobody else may read here now.

        Closing a socket with unread data sends a reset, which can overtake the last words.
        """
        with (
            trio.move_on_after(LAST_WORDS_S),
            contextlib.suppress(
                trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError
            ),
        ):
            if data:
                await self.socket.send_all(data)
            await self.socket.send_eof()
            left = drain_bytes
            while left > 0 and (rest := await self.socket.receive_some(READ_BYTES)):
                left -= len(rest)


class WatchedStream(trio.abc.Stream):
    """A stream that remembers why it died; trio-websocket drops the reason, and may wait on.

    It dies of a peer that sends more than `unread_max` bytes in which no whole message is; who
    takes a message out sets `unread` to 0.
    """

    def __init__(self, inner: trio.abc.Stream, unread_max: int) -> None:
        self._inner = inner
        self._unread_max = unread_max
        self.unread = 0
        self.dead = trio.Event()
        self.reason: BaseException | None = None

    def die(self, reason: BaseException) -> None:
        self.reason = self.reason or reason
        self.dead.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self.unread > self._unread_max:
            self.die(TooMuch(f"{self.unread} bytes without a whole message"))
            raise trio.BrokenResourceError
        try:
            data = await self._inner.receive_some(max_bytes)
        except trio.BrokenResourceError as error:
            self.die(error.__cause__ or error)
            raise
        if not data:
            self.die(EOFError("closed by the peer"))
        self.unread += len(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.dead.is_set():
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError
        try:
            await self._inner.send_all(data)
        except trio.BrokenResourceError as error:
            self.die(error.__cause__ or error)
            raise
        except trio.Cancelled:
            self.die(InterruptedError("a frame was cut in the middle"))
            raise

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._inner.aclose()


def pending_alert(tls: trio.SSLStream[RawStream]) -> bytes:
    """What OpenSSL wants to tell the peer after a handshake failed; trio does not send it."""
    return tls._outgoing.read()  # a test pins the private name


def forget_handshake(tls: trio.SSLStream[RawStream]) -> None:
    """After its handshake, the stream is freed with its last reference.

    It would keep a method of its own for the handshake. A server never looks at old objects for
    such circles, so each connection would cost it 25 KB for ever.
    """
    tls._handshook._afn = None  # type: ignore[assignment]  # a test pins the private name


def describe(reason: BaseException | None) -> str:
    """Why a stream died, in a few words."""
    match reason:
        case None:
            return "no reason known"
        case ssl.SSLError(reason=str(text)):
            return text.lower().replace("_", " ")
        case OSError(strerror=str(text)):
            return text
        case _:
            return str(reason) or type(reason).__name__
