"""Honest peers and refused ones on real ports."""

from __future__ import annotations

import contextlib
import errno
import gc
import socket
from typing import Any

import pytest
import trio
import trio.testing
from net_ports import ACCESS, OTHER, Log, at, echo, open_port, refusal, talk

from hqtrio.errors import InputError, Refused, RemoteFault, Unreachable
from hqtrio.messages.worker import Closed, Drain, FromWorker, Heartbeat, Report, ToWorker
from hqtrio.net import websocket
from hqtrio.net.access import AccessFile, Endpoint, Role
from hqtrio.net.connection import Connection, ConnectionEnded
from hqtrio.net.connector import connect
from hqtrio.net.listener import listening_port, open_listeners, serve

# --- honest peers


async def test_messages_travel_in_both_directions_over_tls() -> None:
    async with open_port() as port:
        await talk(at(port))


async def test_messages_travel_without_encryption_where_there_is_no_secret() -> None:
    async with open_port(is_open=True) as port:
        await talk(at(port, secret_key=None))


async def test_a_partial_access_file_is_enough_and_holds_no_server_key() -> None:
    key = ACCESS.worker_part().endpoint("worker").secret_key
    assert key is not None
    assert key.count("PRIVATE KEY") == 2
    async with open_port(role="client") as port:
        await talk(at(port, role="client"), "client")


async def test_the_server_listens_on_all_interfaces_under_one_number() -> None:
    listeners = open_listeners()
    port = listening_port(listeners)
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: serve(
                echo,
                listeners=listeners,
                role="worker",
                secret_key=ACCESS.endpoint("worker").secret_key,
                expects=FromWorker,
                task_status=task_status,
            )
        )
        await talk(at(port))
        if socket.has_ipv6 and listeners[0].socket.family == socket.AF_INET6:
            await talk(at(port, host="::1"))
        nursery.cancel_scope.cancel()


async def test_a_taken_port_is_named_with_the_option_that_chooses_another() -> None:
    async with open_port() as port:
        with pytest.raises(InputError, match=rf"Cannot listen on port {port}: .*--worker-port"):
            open_listeners(port, loopback=True, option="--worker-port")


async def test_frames_leave_at_once() -> None:
    """TCP_NODELAY is set on both sides."""
    flags: list[int] = []

    async def note(nursery: trio.Nursery, connection: Connection[Any]) -> None:
        raw: Any = connection._transport
        flags.append(raw._raw.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await connection.receive()

    async with open_port(note) as port, connect(at(port), "worker", ToWorker) as connection:
        raw: Any = connection._transport
        flags.append(raw._raw.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await connection.send([Heartbeat()])
    assert len(flags) == 2
    assert all(flags)


async def test_many_senders_share_a_connection() -> None:
    async with (
        open_port() as port,
        connect(at(port), "worker", ToWorker) as connection,
        trio.open_nursery() as nursery,
    ):
        for _ in range(20):
            nursery.start_soon(connection.send, [Heartbeat()] * 3)
        for _ in range(20):
            assert await connection.receive() == [Drain(bytes(3))]


async def test_the_largest_frames_pass_in_both_directions_at_once() -> None:
    size = (1 << 20) - 100

    async def mirror(nursery: trio.Nursery, connection: Connection[Any]) -> None:
        with contextlib.suppress(ConnectionEnded):
            while True:
                await connection.receive()
                await connection.send([Drain(bytes(size))])

    async with open_port(mirror) as port, connect(at(port), "worker", ToWorker) as connection:

        async def push() -> None:
            for number in range(3):
                await connection.send([Report(number, (Closed(bytes(size)),))])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(push)
            for _ in range(3):
                (drain,) = await connection.receive()
                assert len(drain.slots) == size


async def test_a_batch_that_is_too_large_is_our_own_bug() -> None:
    async with open_port() as port, connect(at(port), "worker", ToWorker) as connection:
        with pytest.raises(ValueError, match="cut the batch"):
            await connection.send([Drain(bytes(1 << 20))])
        await connection.send([Heartbeat()])
        assert await connection.receive() == [Drain(bytes(1))]


async def test_a_cancelled_receive_loses_nothing() -> None:
    release = trio.Event()

    async def count(nursery: trio.Nursery, connection: Connection[Any]) -> None:
        await release.wait()
        for number in range(50):
            await connection.send([Drain(bytes(number))])
        await connection.receive()

    async with open_port(count) as port, connect(at(port), "worker", ToWorker) as connection:
        release.set()
        got: list[int] = []
        while len(got) < 50:
            with trio.CancelScope() as scope:
                scope.cancel()
                got += [len(drain.slots) for drain in await connection.receive()]
            with trio.move_on_after(0.001):
                got += [len(drain.slots) for drain in await connection.receive()]
        assert got == list(range(50))
        await connection.send([Heartbeat()])


async def test_a_close_says_why() -> None:
    async def leave(nursery: trio.Nursery, connection: Connection[Any]) -> None:
        await connection.aclose("the server stops")

    async with open_port(leave) as port, connect(at(port), "worker", ToWorker) as connection:
        with pytest.raises(ConnectionEnded, match=r"^closed by the peer: the server stops$"):
            await connection.receive()
        with pytest.raises(ConnectionEnded):
            await connection.send([Heartbeat()])


async def test_a_connection_that_breaks_is_not_taken_for_a_goodbye() -> None:
    async def cut(nursery: trio.Nursery, connection: Connection[Any]) -> None:
        transport: Any = connection._transport
        await trio.aclose_forcefully(transport._raw)

    async with open_port(cut) as port, connect(at(port), "worker", ToWorker) as connection:
        with pytest.raises(ConnectionEnded, match="connection lost"):
            await connection.receive()


async def test_what_the_block_raises_comes_out_bare() -> None:
    async with open_port() as port:
        with pytest.raises(KeyError):
            async with connect(at(port), "worker", ToWorker):
                raise KeyError


async def test_the_handlers_nursery_ends_with_it() -> None:
    ended = trio.Event()

    async def wait() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async def start(nursery: trio.Nursery, connection: Connection[Any]) -> None:
        nursery.start_soon(wait)
        await connection.receive()

    async with open_port(start) as port:
        async with connect(at(port), "worker", ToWorker) as connection:
            await connection.send([Heartbeat()])
        with trio.fail_after(10):
            await ended.wait()


async def test_what_a_handler_raises_is_not_hidden() -> None:
    async def fail(nursery: trio.Nursery, connection: Connection[Any]) -> None:
        raise LookupError

    async def use() -> None:
        async with open_port(fail) as port:
            with contextlib.suppress(RemoteFault):
                await talk(at(port))
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as group:
        await use()
    assert group.value.split(LookupError)[0] is not None


async def test_a_suspended_peer_does_not_keep_a_close_waiting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It reads nothing, so that neither the frame on its way nor the goodbye can pass."""
    over = trio.Event()

    async def flood(nursery: trio.Nursery, connection: Connection[Any]) -> None:
        async def push() -> None:
            with contextlib.suppress(ConnectionEnded):
                while True:
                    await connection.send([Drain(bytes(1 << 19))])

        nursery.start_soon(push)
        await trio.testing.wait_all_tasks_blocked(0.2)
        await connection.aclose("too slow")
        over.set()

    async with open_port(flood) as port, connect(at(port), "worker", ToWorker):
        await over.wait()


# --- refused credentials

NOT_HERE = "refused: this credential is not accepted on the {} port"


async def test_another_servers_credential_is_refused(log: Log) -> None:
    async with open_port() as port:
        false_server = await refusal(at(port, OTHER))
        assert false_server.startswith("refused: that is not the server of this access file")
        await log.wait_for("it refused this server")
        await talk(at(port))


def mixed(own: AccessFile, role: Role, port: int) -> Endpoint:
    """A credential of one role of `own`, with the certificate of the server of ACCESS."""
    bundle = own.worker_part() if role == "worker" else own.client_part()
    trusted = ACCESS.endpoint(role).secret_key
    key = bundle.endpoint(role).secret_key
    assert key is not None
    assert trusted is not None
    pem = key.split("-----END PRIVATE KEY-----\n")[0] + "-----END PRIVATE KEY-----\n"
    server = trusted.split("-----END PRIVATE KEY-----\n")[1]
    return at(port, secret_key=pem + server)


async def test_a_stolen_server_certificate_does_not_replace_the_credential(log: Log) -> None:
    async with open_port() as port:
        text = await refusal(mixed(OTHER, "worker", port))
        assert text.startswith(NOT_HERE.format("worker"))
        await log.wait_for("its credential is not accepted on the worker port")
        await talk(at(port))


@pytest.mark.parametrize(("role", "wrong"), [("worker", "client"), ("client", "worker")])
async def test_the_credential_of_one_role_does_not_open_the_port_of_the_other(
    log: Log, role: Role, wrong: Role
) -> None:
    async with open_port(role=role) as port:
        text = await refusal(at(port, role=wrong), role)
        assert text.startswith(NOT_HERE.format(role))
        await log.wait_for(f"its credential is not accepted on the {role} port")
        await talk(at(port, role=role), role)


async def test_every_one_of_many_refusals_arrives_with_its_reason() -> None:
    reasons: list[str] = []

    async def attempt(port: int) -> None:
        reasons.append(await refusal(at(port, role="client")))

    async with open_port() as port:
        for _ in range(5):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(attempt, port)
    assert {reason.partition(" (")[0] for reason in reasons} == {NOT_HERE.format("worker")}


async def test_a_peer_without_secret_is_told_that_it_needs_one(log: Log) -> None:
    async with open_port() as port:
        text = await refusal(at(port, secret_key=None))
        assert text == "refused: the worker port demands a credential"
        await log.wait_for("it speaks plain HTTP where TLS is demanded")
        await talk(at(port))


async def test_a_peer_with_secret_is_told_that_the_port_is_open(log: Log) -> None:
    async with open_port(is_open=True) as port:
        assert "the worker port is not encrypted" in await refusal(at(port))
        await log.wait_for("no websocket upgrade")
        await talk(at(port, secret_key=None))


@pytest.mark.parametrize("is_open", [False, True])
async def test_another_protocol_is_refused_with_both_versions_named(
    log: Log, monkeypatch: pytest.MonkeyPatch, is_open: bool
) -> None:
    changes: dict[str, Any] = {"secret_key": None} if is_open else {}
    async with open_port(is_open=is_open) as port:
        real = websocket.wrap_client_stream

        async def wrap(*args: Any, **options: Any) -> Any:
            return await real(*args, **{**options, "subprotocols": ["hqtrio.0"]})

        monkeypatch.setattr(websocket, "wrap_client_stream", wrap)
        text = await refusal(at(port, **changes))
        assert text == "refused: the server speaks protocol hqtrio.1, this program hqtrio.0"
        await log.wait_for("the peer speaks protocol hqtrio.0, this server hqtrio.1")
        monkeypatch.setattr(websocket, "wrap_client_stream", real)
        await talk(at(port, **changes))


async def test_on_an_open_port_the_wrong_role_is_refused(log: Log) -> None:
    async with open_port(is_open=True) as port:
        text = await refusal(at(port, secret_key=None), "client")
        assert text == "refused: this is the worker port"
        await log.wait_for("the peer wants /client, this is the worker port")


# --- unreachable


async def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = at(free.getsockname()[1])
        with pytest.raises(Unreachable, match=r"127.0.0.1:\d+ is unreachable: Connection refused"):
            await talk(endpoint)


async def test_an_unknown_host_is_unreachable() -> None:
    for host in ("no-such-host.invalid", "a" * 100, ""):
        with pytest.raises((Unreachable, Refused)):
            await talk(at(1, host=host))


async def test_a_host_that_cannot_reach_itself_tries_localhost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = trio.open_tcp_stream

    async def route(host: str, port: int) -> trio.SocketStream:
        if host != "localhost":
            raise OSError("all attempts failed") from ExceptionGroup(
                "", [OSError(errno.EHOSTUNREACH, "No route to host")]
            )
        return await real("127.0.0.1", port)

    async with open_port() as port:
        monkeypatch.setattr(trio, "open_tcp_stream", route)
        await talk(at(port, host=socket.gethostname()))
        with pytest.raises(Unreachable, match="No route to host"):
            await talk(at(port, host="elsewhere"))


async def test_a_server_that_never_answers_is_unreachable(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def ignore(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, ignore, listeners)
        for changes in ({}, {"secret_key": None}):
            with pytest.raises(Unreachable, match="no answer within 15 s"):
                await talk(at(listeners[0].socket.getsockname()[1], **changes))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("noise", [b"SSH-2.0-OpenSSH_9.2\r\n", b"", b"\0" * 200_000])
async def test_a_port_of_something_else_is_unreachable(noise: bytes) -> None:
    async def shout(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(noise)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, shout, listeners)
        for changes in ({}, {"secret_key": None}):
            with trio.fail_after(10), pytest.raises(Unreachable):
                await talk(at(listeners[0].socket.getsockname()[1], **changes))
        nursery.cancel_scope.cancel()


async def test_a_connection_that_ended_leaves_nothing_to_the_collector() -> None:
    """A server never looks at old objects for what only holds itself."""
    async with open_port() as port:
        await talk(at(port))
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                await talk(at(port))
            await trio.testing.wait_all_tasks_blocked()
            assert gc.collect() < 10, "one connection used to leave 75 objects"
        finally:
            gc.enable()
