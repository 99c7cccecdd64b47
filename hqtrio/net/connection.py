"""A connection: batches of typed messages in both directions, over whatever carries frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from hqtrio.errors import RemoteFault
from hqtrio.model.value import Value
from hqtrio.wire.codec import FRAME_MAX, Decoder, encode

In = TypeVar("In")


class ConnectionEnded(RemoteFault):
    """The peer closed the connection, or the path to it broke; the text says which."""


class FrameTooLarge(ConnectionEnded):
    """A frame over the limit was refused, and with it the rest of the connection."""


class Transport(Protocol):
    """Carries frames in order. Both calls raise ConnectionEnded once it is over."""

    async def send(self, frame: bytes) -> None:
        """The frame is on its way; waits while the peer reads too slowly."""

    async def receive(self) -> bytes:
        """The next frame; loses none when cancelled."""

    async def close(self, reason: str) -> None:
        """It is over, and the peer has been told why if that took no longer than a second."""


class Connection(Generic[In]):
    """One peer. Sending and receiving are independent; senders may be many, receivers one."""

    def __init__(self, transport: Transport, expects: Any, peer: str) -> None:
        self.peer: Final = peer
        self._transport: Final = transport
        self._decoder: Final[Decoder[In]] = Decoder(expects)

    def __repr__(self) -> str:
        return f"Connection({self.peer})"

    async def send(self, messages: Sequence[Value]) -> None:
        """The messages are on their way as one frame; waits while the peer reads too slowly.

        ConnectionEnded if that is so. Cancelled in the middle of a frame it leaves the connection
        unusable.
        """
        frame = encode(messages)
        if len(frame) > FRAME_MAX:
            raise ValueError(f"frame of {len(frame)} bytes for {self.peer}: cut the batch")
        await self._transport.send(frame)

    async def receive(self) -> list[In]:
        """The messages of the next frame. Loses nothing when cancelled.

        ConnectionEnded when it is over; another RemoteFault after a frame that is none, and then
        the peer was told so and the connection is closed.
        """
        frame = await self._transport.receive()
        try:
            return self._decoder.decode(frame)
        except RemoteFault as fault:
            await self._transport.close(f"refused: {fault}")
            raise

    async def aclose(self, reason: str = "") -> None:
        """The connection is closed; the peer, if it listens, learns the reason."""
        await self._transport.close(reason)
