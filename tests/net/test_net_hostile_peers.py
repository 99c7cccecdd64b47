"""Peers that mean harm or are broken: each costs itself only, and leaves its reason in the log."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from net_ports import ACCESS, Log, at, open_port, talk
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from hqtrio.messages.worker import Drain, ToWorker
from hqtrio.net import listener
from hqtrio.net.connection import Connection, ConnectionEnded
from hqtrio.net.connector import connect
from hqtrio.net.identity import parse_bundle
from hqtrio.net.listener import raise_file_limit
from hqtrio.net.tls import client_context
from hqtrio.net.websocket import PROTOCOL
from hqtrio.wire.codec import FRAME_MAX, encode


def secret() -> str:
    key = ACCESS.worker_part().endpoint("worker").secret_key
    assert key is not None
    return key


async def open_tls(port: int) -> trio.SSLStream[trio.SocketStream]:
    """An authenticated stream whose other end waits for the websocket upgrade."""
    context, name = client_context(secret())
    raw = await trio.open_tcp_stream("127.0.0.1", port)
    tls = trio.SSLStream(raw, context, server_hostname=name, https_compatible=True)
    await tls.do_handshake()
    return tls


@asynccontextmanager
async def open_websocket(port: int) -> AsyncIterator[WebSocketConnection]:
    """A raw websocket of an authenticated peer that then does as it likes."""
    tls = await open_tls(port)
    try:
        async with trio.open_nursery() as nursery:
            yield await wrap_client_stream(
                nursery, tls, "localhost", "/worker", subprotocols=[PROTOCOL]
            )
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(tls)


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Everything until the other side has closed."""
    data = b""
    with contextlib.suppress(trio.BrokenResourceError):
        while part := await stream.receive_some():
            data += part
    return data


# --- before authentication


async def test_a_peer_without_credential_is_refused(log: Log) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bundle = parse_bundle(secret(), "")
    context.load_verify_locations(cadata=bundle.server_certificate)
    async with open_port() as port:
        raw = await trio.open_tcp_stream("127.0.0.1", port)
        tls = trio.SSLStream(raw, context, server_hostname=bundle.server_name)
        await tls.do_handshake()
        with trio.fail_after(30), pytest.raises(trio.BrokenResourceError) as refused:
            await tls.receive_some()
        assert "CERTIFICATE_REQUIRED" in str(refused.value.__cause__)
        await trio.aclose_forcefully(tls)
        await log.wait_for("it has no credential")
        await talk(at(port))


async def test_an_older_tls_is_refused(log: Log) -> None:
    context, name = client_context(secret())
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with open_port() as port:
        raw = await trio.open_tcp_stream("127.0.0.1", port)
        tls = trio.SSLStream(raw, context, server_hostname=name)
        with trio.fail_after(30), pytest.raises(trio.BrokenResourceError) as refused:
            await tls.do_handshake()
        assert "ALERT_PROTOCOL_VERSION" in str(refused.value.__cause__)
        await trio.aclose_forcefully(tls)
        await log.wait_for("it does not speak TLS 1.3 (unsupported protocol)")
        await talk(at(port))


NOISE = {
    "plain_http": (b"GET / HTTP/1.1\r\n\r\n", "plain HTTP"),
    "plain_text": (b"hello, is anybody there?\r\n", "it does not speak TLS 1.3"),
    "zeros": (b"\0" * 1_000_000, "it does not speak TLS 1.3"),
    "half_a_record": (b"\x16\x03\x01\x02\x00", "gone during the handshake"),
    "nothing": (b"", "gone during the handshake"),
}


@pytest.mark.parametrize("name", NOISE)
async def test_garbage_ends_its_own_connection_only(name: str, log: Log) -> None:
    noise, reason = NOISE[name]
    async with open_port() as port:
        async with await trio.open_tcp_stream("127.0.0.1", port) as garbage:
            with trio.fail_after(30):
                with contextlib.suppress(trio.BrokenResourceError):
                    await garbage.send_all(noise)
                    await garbage.send_eof()
                answer = await read_all(garbage)
            if name == "plain_http":
                assert b"the worker port demands a credential" in answer
        await log.wait_for(reason)
        await talk(at(port))


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_peer_that_says_nothing_is_cut_off(
    autojump_clock: trio.testing.MockClock, log: Log, is_open: bool
) -> None:
    async with open_port(is_open=is_open) as port:
        async with await trio.open_tcp_stream("127.0.0.1", port) as silent:
            assert await silent.receive_some() == b""
        assert trio.current_time() >= 5
        await log.wait_for("no handshake within 5 s")


async def test_a_handshake_that_stops_in_the_middle_is_cut_off(
    autojump_clock: trio.testing.MockClock, log: Log
) -> None:
    async with open_port() as port:
        async with await trio.open_tcp_stream("127.0.0.1", port) as slow:
            await slow.send_all(hello())
            await read_all(slow)
        await log.wait_for("no handshake within 5 s")


def hello() -> bytes:
    """The first flight of an honest peer's handshake."""
    context, name = client_context(secret())
    outgoing = ssl.MemoryBIO()
    half = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        half.do_handshake()
    return outgoing.read()


async def test_an_upgrade_that_comes_byte_by_byte_is_cut_off(
    autojump_clock: trio.testing.MockClock, log: Log
) -> None:
    async with open_port() as port:
        tls = await open_tls(port)
        with contextlib.suppress(trio.BrokenResourceError):
            while trio.current_time() < 60:
                await tls.send_all(b"G")
                await trio.sleep(0.5)
        assert trio.current_time() < 30
        await trio.aclose_forcefully(tls)
        await log.wait_for("no handshake within 5 s")


@pytest.mark.parametrize("is_open", [False, True])
async def test_an_endless_upgrade_is_cut_off(log: Log, is_open: bool) -> None:
    async with open_port(is_open=is_open) as port:
        stream: trio.abc.Stream = (
            await trio.open_tcp_stream("127.0.0.1", port) if is_open else await open_tls(port)
        )
        with trio.fail_after(30), contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(b"GET / HTTP/1.1\r\nX: ")
            while True:
                await stream.send_all(b"x" * 10_000)
        await trio.aclose_forcefully(stream)
        await log.wait_for("no websocket upgrade")


async def test_a_request_that_is_no_upgrade_is_answered(log: Log) -> None:
    async with open_port() as port:
        tls = await open_tls(port)
        await tls.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with trio.fail_after(30):
            assert b" 400 " in await read_all(tls)
        await trio.aclose_forcefully(tls)
        await log.wait_for("no websocket upgrade")
        await talk(at(port))


@pytest.fixture
def many_files() -> Iterator[None]:
    before = raise_file_limit()
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("greeting", [b"", b"hello"])
async def test_2000_half_open_connections_do_not_keep_an_honest_peer_out(
    many_files: None, log: Log, greeting: bytes
) -> None:
    first = hello() if greeting else b""
    async with open_port(half_open_max=500, handshake_s=3600) as port:
        with contextlib.ExitStack() as sockets:
            for number in range(2000):
                half = sockets.enter_context(socket.create_connection(("127.0.0.1", port)))
                half.sendall(first)
                if number % 100 == 99:
                    await trio.testing.wait_all_tasks_blocked()
                    await talk(at(port))
            await log.wait_for("evicted, 500 half-open connections are too many", 1500)
            await talk(at(port))


async def test_an_exhausted_file_table_does_not_keep_an_honest_peer_out(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = trio.SocketListener.accept, 3

    async def accept(listener: trio.SocketListener) -> trio.SocketStream:
        nonlocal left
        stream = await real(listener)
        if left and stream.socket.getpeername()[1] not in patient:
            left -= 1
            await trio.aclose_forcefully(stream)
            raise OSError(errno.EMFILE, "Too many open files")
        return stream

    patient: set[int] = set()
    monkeypatch.setattr(trio.SocketListener, "accept", accept)
    async with open_port(handshake_s=3600) as port:
        with socket.socket() as half_open:
            half_open.bind(("127.0.0.1", 0))
            patient.add(half_open.getsockname()[1])
            half_open.connect(("127.0.0.1", port))
            for _ in range(3):
                with contextlib.suppress(trio.BrokenResourceError):
                    async with await trio.open_tcp_stream("127.0.0.1", port) as victim:
                        await victim.receive_some()
            await log.wait_for("evicted")
            assert any("cannot accept: Too many open files" in line for line in log.lines)
            await talk(at(port))


# --- after authentication


async def test_a_frame_over_the_limit_ends_the_connection_with_a_reason(log: Log) -> None:
    async with open_port() as port:
        async with open_websocket(port) as websocket:
            with trio.fail_after(30):
                with contextlib.suppress(ConnectionClosed):
                    await websocket.send_message(bytes(FRAME_MAX + 1))
                with pytest.raises(ConnectionClosed) as closed:
                    await websocket.get_message()
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1009
        await log.wait_for("a frame over the limit of 1048576 bytes")
        await talk(at(port))


async def test_a_frame_far_over_the_limit_ends_the_connection_too(log: Log) -> None:
    async with open_port() as port:
        async with open_websocket(port) as websocket:
            with trio.fail_after(30):
                with contextlib.suppress(ConnectionClosed):
                    await websocket.send_message(bytes(8 << 20))
                with pytest.raises(ConnectionClosed):
                    await websocket.get_message()
        await log.wait_for("a frame over the limit of 1048576 bytes")
        await talk(at(port))


BAD_FRAMES = {
    "wrong_type": (encode([Drain(b"")]), "frame with a message of wrong type"),
    "not_cbor": (b"\xff\xff", "frame is not plain CBOR"),
    "tag": (b"\x81\xc1\x00", "frame is not plain CBOR: it holds a tag"),
    "trailing": (b"\x80\x80", "bytes follow after its end"),
    "text": ("hello", "frame is text"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_bad_frame_ends_the_connection_and_the_peer_is_told(name: str, log: Log) -> None:
    frame, reason = BAD_FRAMES[name]
    async with open_port() as port:
        async with open_websocket(port) as websocket:
            await websocket.send_message(frame)
            with trio.fail_after(30), pytest.raises(ConnectionClosed) as closed:
                await websocket.get_message()
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1008
            told = closed.value.reason.reason
            assert told is not None
            assert reason[:40] in told
        await log.wait_for(reason)
        await talk(at(port))


async def test_our_own_side_of_a_refused_frame_knows_why() -> None:
    async def refuse(nursery: trio.Nursery, connection: Connection[Any]) -> None:
        with contextlib.suppress(Exception):
            await connection.receive()

    async with open_port(refuse) as port, connect(at(port), "worker", ToWorker) as connection:
        await connection.send([Drain(b"")])
        with trio.fail_after(30), pytest.raises(ConnectionEnded, match="refused: frame with a me"):
            await connection.receive()


@pytest.mark.parametrize(
    "junk",
    [
        pytest.param(b"\x02\x80" + bytes(4) + b"\x00\x80" + bytes(4), id="empty_fragments"),
        pytest.param(b"\x82\x85" + bytes(4) + b"hello" + b"\xff" * 50, id="broken_frames"),
        pytest.param(b"\x83\x85" + bytes(4) + b"hello", id="unknown_opcode"),
        pytest.param(b"\x02\x05hello", id="unmasked"),
        pytest.param(b"\x88\x80" + bytes(4) + b"\x89\x80" + bytes(4), id="ping_after_close"),
        pytest.param(b"\x88\x82" + bytes(4) + b"\x03\xed", id="reserved_close_code"),
    ],
)
async def test_broken_websocket_frames_end_the_connection(
    junk: bytes, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "UNREAD_MAX", 200_000)  # else empty fragments take seconds
    async with open_port() as port:
        tls = await open_tls(port)
        await tls.send_all(
            b"GET /worker HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Sec-WebSocket-Protocol: hqtrio.1\r\n\r\n"
        )
        assert b" 101 " in await tls.receive_some()
        empty_rest = b"\x00\x80" + bytes(4)
        with trio.fail_after(30):
            with contextlib.suppress(trio.BrokenResourceError):
                await tls.send_all(junk)
                for _ in range(10):
                    await tls.send_all(empty_rest * 10_000)
            await read_all(tls)
        await trio.aclose_forcefully(tls)
        await log.wait_for("")
        await talk(at(port))


async def test_thousands_of_pings_are_only_answered(log: Log) -> None:
    async with open_port() as port, open_websocket(port) as websocket:
        for number in range(200):
            await websocket.ping(number.to_bytes(4, "big"))
        await talk(at(port))


# --- what the remedies rest on


def test_trio_still_keeps_the_alert_where_it_is_looked_for() -> None:
    left, _ = trio.testing.memory_stream_pair()
    tls = trio.SSLStream(left, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), server_side=True)
    assert isinstance(tls._outgoing, ssl.MemoryBIO)
