"""The command line, a client and the job book in one process; the test plays the workers."""

from __future__ import annotations

import io
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
import trio.testing
from job_book_story import Story

from hqtrio.cli.main import run
from hqtrio.cli.session import Session
from hqtrio.client import Client
from hqtrio.client.opening import over
from hqtrio.errors import Unreachable
from hqtrio.jobs.effects import ClientAsked
from hqtrio.messages.client import Call, Said


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def log(self) -> list[str]:
        """The lines of the log, without their dates."""
        return [line.partition(" ")[2] for line in self.err.splitlines()]


class CommandStory(Story):
    """A story whose clients are command lines.

    `meanwhile` is what happens, step by step, whenever a command waits for news; a command that
    goes on waiting after the last step finds its server gone.
    """

    def __init__(self, capture: Callable[[], tuple[str, str]]) -> None:
        super().__init__()
        self.meanwhile: deque[Callable[[], object]] = deque()
        self._capture = capture
        self._sessions = 100

    def hq(self, *words: str, code: int = 0) -> Result:
        """One command line to its end."""
        out = io.StringIO()
        got = run(words, Session(connect=self._connect, out=out))
        stdout, stderr = self._capture()
        result = Result(got, stdout + out.getvalue(), stderr)
        assert result.code == code, (words, result)
        return result

    def table(self, *words: str) -> dict[str, str]:
        """The rows of one vertical table; continuation lines are joined."""
        rows: dict[str, str] = {}
        name = ""
        for line in self.hq(*words).out.splitlines():
            cells = [cell.strip() for cell in line.split("|")]
            if len(cells) == 4:
                name = cells[1] or name
                rows[name] = f"{rows[name]}\n{cells[2]}" if name in rows else cells[2]
        return rows

    @asynccontextmanager
    async def _connect(self, server_dir: str) -> AsyncIterator[Client]:
        self._sessions += 1
        connection = BookConnection(self, self._sessions)
        async with over(connection) as client:
            yield client
        self.end_session(connection.session)


class BookConnection:
    """A connection to the book of a story."""

    def __init__(self, story: CommandStory, session: int) -> None:
        self.session = session
        self._story = story
        self._said: list[Said] = []
        self._heard = trio.Event()
        self._asked = trio.Event()

    async def send(self, messages: Sequence[Call]) -> None:
        await trio.lowlevel.checkpoint()
        story = self._story
        for call in messages:
            story.tell(ClientAsked(self.session, call.number, call.request))
            self._said.append(Said(call.number, story.responses[call.number].response))
            self._take_notices()
        self._asked.set()

    async def receive(self) -> Sequence[Said]:
        await self._asked.wait()
        await trio.testing.wait_all_tasks_blocked()
        while not self._said:
            if not self._story.meanwhile:
                raise Unreachable("the server has closed the connection")
            self._story.meanwhile.popleft()()
            self._take_notices()
        said, self._said = self._said, []
        return said

    def _take_notices(self) -> None:
        for notify in self._story.notices:
            if notify.session == self.session:
                self._said.append(Said(0, notify.notice))
        self._story.notices = []


def quiet_logging() -> Callable[[], None]:
    """Keep the handlers of the root logger; the result puts them back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def restore() -> None:
        root.handlers[:] = handlers
        root.setLevel(level)

    return restore
