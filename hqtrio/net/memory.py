"""A pair of connections inside one process, for tests of whatever talks over connections."""

from __future__ import annotations

from typing import Any

import trio

from hqtrio.net.connection import Connection, ConnectionEnded


class _Line:
    """What both ends know: how it ended."""

    def __init__(self) -> None:
        self.reason: str | None = None


class _MemoryTransport:
    def __init__(
        self,
        line: _Line,
        sender: trio.MemorySendChannel[bytes],
        receiver: trio.MemoryReceiveChannel[bytes],
    ) -> None:
        self._line = line
        self._sender = sender
        self._receiver = receiver

    async def send(self, frame: bytes) -> None:
        try:
            await self._sender.send(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._ended() from None

    async def receive(self) -> bytes:
        try:
            return await self._receiver.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise self._ended() from None

    async def close(self, reason: str) -> None:
        if self._line.reason is None:
            self._line.reason = f"closed by the peer: {reason}" if reason else "closed by the peer"
        self.drop()
        await trio.lowlevel.checkpoint()

    def drop(self) -> None:
        self._sender.close()
        self._receiver.close()

    def cut(self) -> None:
        """The connection ends without a word."""
        self._line.reason = self._line.reason or "connection lost: closed without a goodbye"
        self.drop()

    def _ended(self) -> ConnectionEnded:
        return ConnectionEnded(self._line.reason or "closed")


def memory_pair(
    expects_a: Any, expects_b: Any, *, frames: int = 4
) -> tuple[Connection[Any], Connection[Any]]:
    """Two ends of one connection; each side's sends wait while `frames` frames are unread."""
    line = _Line()
    to_b, from_a = trio.open_memory_channel[bytes](frames)
    to_a, from_b = trio.open_memory_channel[bytes](frames)
    return (
        Connection(_MemoryTransport(line, to_b, from_b), expects_a, "memory b"),
        Connection(_MemoryTransport(line, to_a, from_a), expects_b, "memory a"),
    )


def cut(connection: Connection[Any]) -> None:
    """Both ends of a memory pair see that the connection broke, without a goodbye."""
    transport = connection._transport
    assert isinstance(transport, _MemoryTransport), connection
    transport.cut()
