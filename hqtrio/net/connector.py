"""How a client or a worker reaches its server."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from trio_websocket import ConnectionRejected

from hqtrio.errors import Refused, RemoteFault, Unreachable
from hqtrio.net.access import Endpoint, Role
from hqtrio.net.connection import Connection
from hqtrio.net.stream import RawStream, WatchedStream, describe, forget_handshake, pending_alert
from hqtrio.net.tls import client_context
from hqtrio.net.websocket import UNREAD_MAX, WebSocketTransport, ask_websocket, rejection

DEADLINE_S: Final = 15.0
BUSY: Final = 500  # and above: the server's trouble, not ours
TLS_ALERT: Final = b"\x15\x03"
NOT_FINAL: Final = ("INTERNAL_ERROR", "USER_CANCELLED", "CLOSE_NOTIFY")


@asynccontextmanager
async def connect(
    endpoint: Endpoint, role: Role, expects: Any, *, deadline_s: float = DEADLINE_S
) -> AsyncIterator[Connection[Any]]:
    """An authenticated connection for the length of the block.

    Refused if the answer was no, Unreachable if there was none in time; what the block raises
    comes out as it is.
    """
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        dialer = _Dialer(endpoint, role)
        try:
            transport = await dialer.dial(nursery, deadline_s)
            connection: Connection[Any] = Connection(transport, expects, endpoint.address)
            try:
                yield connection
            finally:
                await connection.aclose()
        except (Exception, KeyboardInterrupt) as error:
            failure = error  # raised again below, where no group is made around it
        finally:
            await dialer.close()
            nursery.cancel_scope.cancel()
    if failure is not None:
        try:
            raise failure
        finally:
            failure = None  # else frame, error and traceback keep each other alive


class _Dialer:
    """One attempt."""

    def __init__(self, endpoint: Endpoint, role: Role) -> None:
        self._endpoint = endpoint
        self._role = role
        self._raw: RawStream | None = None

    async def dial(self, nursery: trio.Nursery, deadline_s: float) -> WebSocketTransport:
        """The upgraded connection, or Refused, or Unreachable."""
        result: WebSocketTransport | BaseException | None = None
        with trio.move_on_after(deadline_s) as scope:
            result = await self._open(nursery)
        if isinstance(result, WebSocketTransport):
            return result
        if scope.cancelled_caught:
            raise self._unreachable(f"no answer within {deadline_s:g} s")
        raise self._why(result)

    async def close(self) -> None:
        """No socket is left."""
        if self._raw is not None:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._raw)

    async def _open(self, nursery: trio.Nursery) -> WebSocketTransport | BaseException | None:
        endpoint = self._endpoint
        raw = self._raw = RawStream(await self._open_socket())
        raw.trusted = True
        if endpoint.secret_key is None:
            stream = WatchedStream(raw, UNREAD_MAX)
            result = await ask_websocket(nursery, raw, stream, endpoint.host, self._role)
        else:
            context, name = client_context(endpoint.secret_key)
            tls = trio.SSLStream(raw, context, server_hostname=name, https_compatible=True)
            try:
                await tls.do_handshake()  # says nothing yet about our own certificate
            except trio.BrokenResourceError as error:
                await raw.last_words(pending_alert(tls))  # the server's log should say why
                return error.__cause__ or error
            forget_handshake(tls)
            stream = WatchedStream(tls, UNREAD_MAX)
            result = await ask_websocket(nursery, raw, stream, name, self._role)
        return result

    async def _open_socket(self) -> trio.SocketStream:
        host, port = self._endpoint.host, self._endpoint.port
        try:
            return await trio.open_tcp_stream(host, port)
        except OSError as error:
            causes = list(_leaves(error))
            # A node may be unable to reach itself by the name that others know.
            if any(cause.errno == errno.EHOSTUNREACH for cause in causes) and _is_local(host):
                with contextlib.suppress(OSError):
                    return await trio.open_tcp_stream("localhost", port)
            raise self._unreachable(_describe(causes[0] if causes else error)) from error
        except UnicodeError as error:
            raise self._unreachable("that is not a host name") from error

    def _unreachable(self, reason: str) -> Unreachable:
        return Unreachable(f"{self._endpoint.address} is unreachable: {reason}")

    def _why(self, reason: BaseException | None) -> RemoteFault:
        """What to tell the user, and whether trying again makes sense."""
        first = self._raw.first if self._raw else b""
        match reason:
            case RemoteFault():
                return reason
            case ssl.SSLCertVerificationError(verify_message=text):
                return Refused(f"refused: that is not the server of this access file ({text})")
            case ssl.SSLError(reason=str(text)) if "ALERT" in text and not text.endswith(NOT_FINAL):
                return Refused(
                    f"refused: this credential is not accepted on the {self._role} port ({text})"
                )
            case ssl.SSLError() if first.startswith(b"HTTP/"):
                return Refused(
                    f"refused: the {self._role} port is not encrypted, but this access file has "
                    "a credential for it"
                )
            case ConnectionRejected() if reason.status_code < BUSY:
                return Refused(f"refused: {rejection(reason)}")
            case _ if first.startswith(TLS_ALERT):
                return Refused(
                    f"refused: the {self._role} port demands a credential, and this access file "
                    "has none"
                )
            case ConnectionRejected():
                return self._unreachable(rejection(reason))
            case _:
                return self._unreachable(describe(reason))


def _leaves(error: BaseException) -> Iterator[OSError]:
    """The single errors behind one attempt at several addresses."""
    cause = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    elif isinstance(cause, (OSError, BaseExceptionGroup)):
        yield from _leaves(cause)
    elif isinstance(error, OSError):
        yield error


def _describe(error: OSError) -> str:
    # Only the name look-up has numbers below 0; the others repeat the address in their text.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else describe(error)


def _is_local(host: str) -> bool:
    own = socket.gethostname()
    return host in (own, own.partition(".")[0])
