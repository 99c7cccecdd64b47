"""A port of the server: accepts, authenticates, hands over.

Before authentication a connection costs bounded memory and time. Whoever fails costs itself only,
is told why, and leaves one line in the log.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NoReturn

import trio

from hqtrio.errors import InputError, RemoteFault
from hqtrio.net.access import Role
from hqtrio.net.connection import Connection
from hqtrio.net.stream import RawStream, WatchedStream, describe, forget_handshake, pending_alert
from hqtrio.net.tls import server_context
from hqtrio.net.websocket import UNREAD_MAX, WebSocketTransport, accept_websocket

log = logging.getLogger(__name__)

Handler = Callable[[trio.Nursery, Connection[Any]], Awaitable[None]]

HALF_OPEN_MAX: Final = 1024
HANDSHAKE_S: Final = 5.0
BACKLOG: Final = 4096
EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
EXHAUSTED_PAUSE_S: Final = 0.1
PLAIN_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
)


def raise_file_limit() -> tuple[int, int]:
    """This process may open as many files as it is allowed to; returns its former limits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard


def open_listeners(
    port: int = 0, *, loopback: bool = False, option: str = "--client-port"
) -> list[trio.SocketListener]:
    """Sockets that listen on one port number of all interfaces, or of the loopback only.

    InputError, naming the `option` that chooses the port, if the port is not to be had.
    """
    try:
        if not loopback:
            with contextlib.suppress(OSError):
                return [_listen(socket.AF_INET6, "::", port)]  # takes IPv4 as well
            return [_listen(socket.AF_INET, "0.0.0.0", port)]
        listeners = [_listen(socket.AF_INET, "127.0.0.1", port)]
        with contextlib.suppress(OSError):  # no IPv6 here, or its port of that number is taken
            listeners.append(_listen(socket.AF_INET6, "::1", listening_port(listeners)))
    except OSError as error:
        raise InputError(
            f"Cannot listen on port {port}: {error.strerror}; choose another one with {option}"
        ) from error
    return listeners


def listening_port(listeners: Sequence[trio.SocketListener]) -> int:
    """The port number of listeners that were opened together."""
    port: int = listeners[0].socket.getsockname()[1]
    return port


def _listen(family: socket.AddressFamily, host: str, port: int) -> trio.SocketListener:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        sock.bind((host, port))
        sock.listen(BACKLOG)
        return trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    except BaseException:
        sock.close()
        raise


async def serve(
    handler: Handler,
    *,
    listeners: Sequence[trio.SocketListener],
    role: Role,
    secret_key: str | None,
    expects: Any,
    half_open_max: int = HALF_OPEN_MAX,
    handshake_s: float = HANDSHAKE_S,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the port of one role until cancelled; closes the listeners.

    Each connection that authenticated is given to `handler` in a task of its own, with a nursery
    that ends with it. What `handler` raises is not caught here.
    """
    port = _Port(handler, role, secret_key, expects, half_open_max, handshake_s)
    try:
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(port.accept, nursery, listener)
            task_status.started()
    finally:
        for listener in listeners:
            listener.socket.close()
    raise AssertionError("accepting never ends")


class _Refused(Exception):
    """The peer is not let in, for this reason."""


class _Port:
    """One role's port. `half_open` is in the order of arrival."""

    def __init__(
        self,
        handler: Handler,
        role: Role,
        secret_key: str | None,
        expects: Any,
        half_open_max: int,
        handshake_s: float,
    ) -> None:
        self._handler = handler
        self._role = role
        self._context = None if secret_key is None else server_context(secret_key)
        self._expects = expects
        self._half_open_max = half_open_max
        self._handshake_s = handshake_s
        self._half_open: dict[RawStream, trio.CancelScope] = {}

    async def accept(self, nursery: trio.Nursery, listener: trio.SocketListener) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                log.warning(
                    "%s port: cannot accept: %s; %d half-open connections",
                    self._role, error.strerror, len(self._half_open),
                )  # fmt: skip
                self._evict()
                await trio.sleep(EXHAUSTED_PAUSE_S)
                continue
            if len(self._half_open) >= self._half_open_max:
                self._evict()
            raw = RawStream(stream)
            self._half_open[raw] = trio.CancelScope()
            nursery.start_soon(self._attend, raw, name=f"{self._role} connection")

    def _evict(self) -> None:
        """The oldest half-open connection, if there is one, makes room."""
        if self._half_open:
            raw = next(iter(self._half_open))
            self._half_open.pop(raw).cancel()

    async def _attend(self, raw: RawStream) -> None:
        peer = _peer(raw)
        try:
            async with trio.open_nursery() as nursery:
                transport = await self._admit(nursery, raw, peer)
                if transport is not None:
                    connection: Connection[Any] = Connection(transport, self._expects, peer)
                    await self._handler(nursery, connection)
                    await connection.aclose()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(raw)

    async def _admit(
        self, nursery: trio.Nursery, raw: RawStream, peer: str
    ) -> WebSocketTransport | None:
        """An authenticated connection, or None and a line in the log."""
        scope = self._half_open[raw]
        scope.deadline = trio.current_time() + self._handshake_s
        reason = ""
        with scope:
            try:
                return await self._greet(nursery, raw)
            except (_Refused, RemoteFault) as refusal:
                reason = str(refusal)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                reason = describe(error.__cause__ or error)
            finally:
                evicted = self._half_open.pop(raw, None) is None
        if scope.cancelled_caught and not reason:
            if evicted:
                reason = f"evicted, {self._half_open_max} half-open connections are too many"
            else:
                reason = f"no handshake within {self._handshake_s:g} s"
        log.warning("%s port: refused %s: %s", self._role, peer, reason)
        return None

    async def _greet(self, nursery: trio.Nursery, raw: RawStream) -> WebSocketTransport:
        # A silent peer costs no more than its socket: TLS starts with its first byte.
        await trio.lowlevel.wait_readable(raw.socket.socket)
        if self._context is None:
            stream = WatchedStream(raw, UNREAD_MAX)
        else:
            stream = WatchedStream(await self._authenticate(raw, self._context), UNREAD_MAX)
        return await accept_websocket(nursery, raw, stream, self._role)

    async def _authenticate(
        self, raw: RawStream, context: ssl.SSLContext
    ) -> trio.SSLStream[RawStream]:
        """The authenticated stream; a peer that fails gets the alert that says why."""
        tls = trio.SSLStream(raw, context, server_side=True, https_compatible=True)
        try:
            await tls.do_handshake()
        except trio.BrokenResourceError as error:
            cause = error.__cause__ or error
            alert = pending_alert(tls)
            if getattr(cause, "reason", None) == "HTTP_REQUEST":
                text = f"the {self._role} port demands a credential".encode()
                alert = PLAIN_ANSWER % (len(text), text)
            await raw.last_words(alert)
            raise _Refused(_why(cause, self._role)) from error
        forget_handshake(tls)
        return tls


def _peer(raw: RawStream) -> str:
    try:
        host, port = raw.socket.socket.getpeername()[:2]
    except OSError:
        return "a peer that is gone"
    host = host.removeprefix("::ffff:")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why(cause: BaseException, role: str) -> str:
    match cause:
        case ssl.SSLCertVerificationError(verify_message=text):
            return f"its credential is not accepted on the {role} port ({text})"
        case ssl.SSLError(reason="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            return "it has no credential"
        case ssl.SSLError(reason="HTTP_REQUEST"):
            return "it speaks plain HTTP where TLS is demanded"
        case ssl.SSLEOFError() | ssl.SSLSyscallError():
            return "gone during the handshake"
        case ssl.SSLError(reason=str(text)) if "ALERT" in text:
            return f"it refused this server ({describe(cause)})"
        case ssl.SSLError():
            return f"it does not speak TLS 1.3 ({describe(cause)})"
        case _:
            return describe(cause)
