"""Connections inside one process behave like those over a network."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from hqtrio.errors import RemoteFault
from hqtrio.messages.worker import Drain, FromWorker, Heartbeat, ToWorker
from hqtrio.net.connection import ConnectionEnded
from hqtrio.net.memory import cut, memory_pair


async def test_messages_travel_through_the_codec() -> None:
    server, worker = memory_pair(FromWorker, ToWorker)
    await server.send([Drain(b"\1"), Drain(b"")])
    await worker.send([Heartbeat()])
    assert await worker.receive() == [Drain(b"\1"), Drain(b"")]
    assert await server.receive() == [Heartbeat()]


async def test_a_frame_of_wrong_type_is_refused_and_the_sender_told() -> None:
    server, worker = memory_pair(FromWorker, ToWorker)
    await worker.send([Drain(b"")])
    with pytest.raises(RemoteFault, match="wrong type"):
        await server.receive()
    with pytest.raises(ConnectionEnded, match="closed by the peer: refused: frame with a message"):
        await worker.receive()


async def test_a_close_is_heard_after_what_was_sent_before() -> None:
    server, worker = memory_pair(FromWorker, ToWorker)
    await worker.send([Heartbeat()])
    await worker.aclose("enough")
    await worker.aclose()
    assert await server.receive() == [Heartbeat()]
    with pytest.raises(ConnectionEnded, match="closed by the peer: enough"):
        await server.receive()
    with pytest.raises(ConnectionEnded):
        await server.send([Drain(b"")])


async def test_a_cut_is_no_goodbye() -> None:
    server, worker = memory_pair(FromWorker, ToWorker)
    cut(server)
    for end in (server, worker):
        with pytest.raises(ConnectionEnded, match="connection lost"):
            await end.receive()
        with pytest.raises(ConnectionEnded, match="connection lost"):
            await end.send([Heartbeat()])


async def test_a_slow_reader_holds_its_sender(autojump_clock: trio.testing.MockClock) -> None:
    server, worker = memory_pair(FromWorker, ToWorker, frames=2)
    for _ in range(2):
        await server.send([Drain(b"")])
    with trio.move_on_after(3600) as waiting:
        await server.send([Drain(b"late")])
    assert waiting.cancelled_caught
    for _ in range(2):
        assert await worker.receive() == [Drain(b"")]


async def test_a_batch_that_is_too_large_is_our_own_bug() -> None:
    server, _ = memory_pair(FromWorker, ToWorker)
    with pytest.raises(ValueError, match="cut the batch"):
        await server.send([Drain(bytes(1 << 20))])
