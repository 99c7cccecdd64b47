"""The program against a server that answers from a script."""

from __future__ import annotations

import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from hqtrio.cli.main import run
from hqtrio.cli.session import Session
from hqtrio.client import Client
from hqtrio.client.opening import over
from hqtrio.errors import HqError, Unreachable
from hqtrio.messages.client import Call, Failure, Response, Said


@dataclass
class ScriptedServer:
    """Answers each kind of request by a function or a constant; keeps what it was asked."""

    answers: dict[type, Any] = field(default_factory=dict)
    notices: dict[type, Sequence[Response]] = field(default_factory=dict)
    asked: list[Any] = field(default_factory=list)
    refusal: HqError | None = None
    hangs_up_after: type | None = None

    def on(self, request: type, answer: Response | Callable[[Any], Response]) -> ScriptedServer:
        self.answers[request] = answer
        return self

    @asynccontextmanager
    async def connect(self, server_dir: str) -> AsyncIterator[Client]:
        if self.refusal is not None:
            raise self.refusal
        async with over(ScriptedConnection(self)) as client:
            yield client


class ScriptedConnection:
    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._to_client, self._inbox = trio.open_memory_channel[list[Said] | None](10_000)

    async def send(self, messages: Sequence[Call]) -> None:
        for call in messages:
            kind = type(call.request)
            self._server.asked.append(call.request)
            answer = self._server.answers.get(kind, Failure(f"no answer for {kind.__name__}"))
            response = answer(call.request) if callable(answer) else answer
            notices = [Said(0, notice) for notice in self._server.notices.get(kind, ())]
            self._to_client.send_nowait([Said(call.number, response), *notices])
            if kind is self._server.hangs_up_after:
                self._to_client.send_nowait(None)

    async def receive(self) -> Sequence[Said]:
        batch = await self._inbox.receive()
        if batch is None:
            raise Unreachable("the server has closed the connection")
        return batch


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def hq(
    server: ScriptedServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Result]]:
    """Run one command line against the scripted server."""
    for name in ("HQ_OUTPUT_MODE", "HQ_DEBUG", "HQ_SERVER_DIR", "RUST_LOG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def invoke(*args: str) -> Result:
        out = io.StringIO()
        code = run(args, Session(connect=server.connect, out=out))
        captured = capsys.readouterr()
        return Result(code, captured.out + out.getvalue(), captured.err)

    yield invoke
    root.handlers[:] = handlers
    root.setLevel(level)
