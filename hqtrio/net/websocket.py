"""Frames over a websocket, on both sides of its upgrade."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
    wrap_server_stream,
)
from wsproto.utilities import LocalProtocolError

from hqtrio.errors import Refused, RemoteFault
from hqtrio.net.connection import ConnectionEnded, FrameTooLarge
from hqtrio.net.stream import RawStream, WatchedStream, describe
from hqtrio.wire.codec import FRAME_MAX

PROTOCOL: Final = "hqtrio.1"
CLOSE_S: Final = 1.0
CODE_NORMAL: Final = 1000
CODE_REFUSED: Final = 1008
CODE_TOO_BIG: Final = 1009
CODE_BROKEN: Final = 1006
REASON_BYTES: Final = 120  # a close frame holds no more
STATUS_NOT_FOUND: Final = 404
STATUS_UPGRADE: Final = 426

# One message in the application's hands, one queued, one in the reader's hand, one arriving.
UNREAD_MAX: Final = 4 * FRAME_MAX
RECEIVE_BYTES: Final = 16 << 10  # of one TLS record; bounds the frames parsed without a pause
DRAIN_BYTES: Final = 8 << 20

T = TypeVar("T")


class _Reader:
    """Stands in for the nursery that trio-websocket starts its reader in.

    The reader may raise because of what a peer sent, and it may end without waking those who wait
    for it; here it ends its own connection and everybody learns that it has ended.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self.ended = trio.Event()
        self.error: Exception | None = None

    def start_soon(self, run: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(self._confine, run)

    async def _confine(self, run: Callable[[], Awaitable[None]]) -> None:
        try:
            with self._scope:
                await run()
        except Exception as error:  # of this connection only
            self.error = error
        finally:
            self.ended.set()

    async def unless_ended(self, run: Callable[[], Awaitable[T]]) -> T | None:
        """What `run` returns, or None if the reader or the connection ended first."""
        result: T | None = None

        async def race() -> None:
            nonlocal result
            with contextlib.suppress(ConnectionClosed, LocalProtocolError):
                result = await run()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(race)
            await self.ended.wait()
            nursery.cancel_scope.cancel()
        return result

    async def stop(self) -> None:
        """Nobody reads any more."""
        self._scope.cancel()
        await self.ended.wait()


class WebSocketTransport:
    """Frames of an open websocket."""

    def __init__(
        self, raw: RawStream, stream: WatchedStream, reader: _Reader, websocket: WebSocketConnection
    ) -> None:
        self._raw = raw
        self._stream = stream
        self._reader = reader
        self._websocket = websocket
        self._closed_here = False

    async def send(self, frame: bytes) -> None:
        try:
            await self._websocket.send_message(frame)
        except (ConnectionClosed, LocalProtocolError):
            raise self._ended() from None

    async def receive(self) -> bytes:
        try:
            message = await self._websocket.get_message()
        except ConnectionClosed:
            raise self._ended() from None
        self._stream.unread = 0
        if isinstance(message, str):
            fault = "frame is text"
            await self.close(f"refused: {fault}")
            raise RemoteFault(fault)
        return message

    async def close(self, reason: str) -> None:
        code = CODE_REFUSED if reason else CODE_NORMAL
        text = reason.encode()[:REASON_BYTES].decode(errors="ignore") or None
        self._closed_here = self._closed_here or self._websocket.closed is None
        try:
            # A refusal is heard even if the one who closes is being cancelled.
            with trio.move_on_after(CLOSE_S, shield=bool(reason)):
                await self._reader.unless_ended(lambda: self._websocket.aclose(code, text))
                await self._reader.stop()
                if self._websocket.closed and self._websocket.closed.code == CODE_TOO_BIG:
                    await self._raw.last_words(b"", drain_bytes=DRAIN_BYTES)
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._raw)
                await self._reader.stop()

    def _ended(self) -> ConnectionEnded:
        closed = self._websocket.closed
        if self._closed_here:
            return ConnectionEnded("closed here")
        if closed is not None and closed.code == CODE_TOO_BIG:
            return FrameTooLarge(f"a frame over the limit of {FRAME_MAX} bytes was refused")
        if closed is None or closed.code == CODE_BROKEN:
            reason = self._reader.error or self._stream.reason
            if reason is None or isinstance(reason, EOFError):
                return ConnectionEnded("connection lost: closed without a goodbye")
            return ConnectionEnded(f"connection lost: {describe(reason)}")
        said = printable(closed.reason or "")
        return ConnectionEnded(f"closed by the peer: {said}" if said else "closed by the peer")


async def accept_websocket(
    nursery: trio.Nursery, raw: RawStream, stream: WatchedStream, role: str
) -> WebSocketTransport:
    """The server's side of an upgrade; RemoteFault if there is none, and the peer was told."""
    reader = _Reader(nursery)
    request = await reader.unless_ended(
        lambda: wrap_server_stream(
            cast("trio.Nursery", reader),
            stream,
            max_message_size=FRAME_MAX,
            receive_buffer_size=RECEIVE_BYTES,
        )
    )
    if request is None:
        fault = f"no websocket upgrade ({describe(reader.error or stream.reason)})"
    elif PROTOCOL not in request.proposed_subprotocols:
        offers = printable(", ".join(request.proposed_subprotocols)) or "none"
        fault = f"the peer speaks protocol {offers}, this server {PROTOCOL}"
        body = f"the server speaks protocol {PROTOCOL}, this program {offers}"
        await reader.unless_ended(lambda: request.reject(STATUS_UPGRADE, body=body.encode()))
    elif request.path != f"/{role}":
        fault = f"the peer wants {printable(request.path)}, this is the {role} port"
        body = f"this is the {role} port"
        await reader.unless_ended(lambda: request.reject(STATUS_NOT_FOUND, body=body.encode()))
    else:
        raw.trusted = True  # from its side, frames may follow as soon as it is accepted
        websocket = await reader.unless_ended(lambda: request.accept(subprotocol=PROTOCOL))
        if websocket is not None:
            stream.unread = 0
            return WebSocketTransport(raw, stream, reader, websocket)
        fault = f"gone during the upgrade ({describe(stream.reason)})"
    await reader.stop()
    await raw.last_words(b"")
    raise RemoteFault(fault)


async def ask_websocket(
    nursery: trio.Nursery, raw: RawStream, stream: WatchedStream, host: str, role: str
) -> WebSocketTransport | BaseException | None:
    """The client's side of an upgrade: frames, or why there are none."""
    reader = _Reader(nursery)
    websocket = await reader.unless_ended(
        lambda: wrap_client_stream(
            cast("trio.Nursery", reader),
            cast("Any", stream),
            host,
            f"/{role}",
            subprotocols=[PROTOCOL],
            max_message_size=FRAME_MAX,
            receive_buffer_size=RECEIVE_BYTES,
        )
    )
    if websocket is None:
        return reader.error or stream.reason
    if websocket.subprotocol != PROTOCOL:
        await reader.stop()
        spoken = printable(websocket.subprotocol or "") or "none"
        return Refused(f"refused: the server speaks protocol {spoken}, this program {PROTOCOL}")
    stream.unread = 0
    return WebSocketTransport(raw, stream, reader, websocket)


def rejection(error: ConnectionRejected) -> str:
    """What a server said when it refused an upgrade."""
    said = ""
    if error.body:
        with contextlib.suppress(UnicodeDecodeError):
            said = printable(bytes(error.body[:500]).decode())
    return said or f"status {error.status_code}"


def printable(text: str) -> str:
    """A peer's words, safe to log and to show."""
    return "".join(char if char.isprintable() else "?" for char in text[:200])
