"""The streams of events: each client that asked for one is told all records, those of the past
first, and what tasks say.

What is new is kept for a client until it has read that; one that leaves too much unread is cut,
comes again and is told everything once more. The past is read bit by bit, as fast as the client
takes it.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import trio

from actors.kit.edge import Lagged
from hqtrio.messages.client import (
    Response,
    StreamBegun,
    StreamEnd,
    StreamEvents,
    StreamLive,
    StreamPart,
    TaskNotice,
)
from hqtrio.messages.records import Record, ServerStopped
from hqtrio.wire.codec import FRAME_AIM, encode

__all__ = ["EventStream", "EventStreams", "Past"]

UNREAD_MAX: Final = 16 << 20  # bytes for one client: some 300,000 starts and ends of tasks
_NOTICE_BYTES: Final = 100  # beside its text

Say = Callable[[Response], Awaitable[None]]

# The next part of a history may lie on a file system that makes its readers wait. One thread is
# enough for all of them, and there is none while nobody reads.
_readers: Final = trio.CapacityLimiter(1)


@dataclass(frozen=True, slots=True)
class Past:
    """Everything up to now: arrays of records, as a journal writes them.

    `in_order`: as they happened. `in_file`: any thread may get the next part, which may take long.
    """

    parts: Iterator[bytes]
    in_order: bool
    in_file: bool


class EventStream:
    """What one client is yet to be told."""

    def __init__(self, begun: StreamBegun, past: Past, *, live: bool) -> None:
        self._begun = begun
        self._past = past
        self._is_live = live
        self._unread: deque[StreamPart | TaskNotice] = deque()
        self._bytes = 0
        self._changed = trio.Event()
        self._lags = trio.Event()
        self._told = trio.Event()
        self._ends = False

    def add(self, part: StreamPart | TaskNotice) -> None:
        """Keep this for the client."""
        if self._is_live:
            self._unread.append(part)
            self._bytes += _size(part)
            self._changed.set()
            if self._bytes > UNREAD_MAX:
                self._lags.set()

    async def tell(self, say: Say) -> None:
        """Say everything in order, until the end. Lagged if the client takes too long to read."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            try:
                await say(self._begun)
                async with aclosing(self._read()) as bodies:
                    async for body in bodies:
                        for part in _cut(body):
                            await say(part)
                if self._is_live:
                    await say(StreamLive())
                    await self._tell_news(say)
                await say(StreamEnd())
            finally:
                self._told.set()
            nursery.cancel_scope.cancel()

    async def end(self) -> None:
        """Nothing is added any more; returns when all is said, or nobody listens."""
        self._ends = True
        self._changed.set()
        await self._told.wait()

    async def _read(self) -> AsyncGenerator[bytes, None]:
        parts = self._past.parts
        while True:
            if self._past.in_file:
                body = await trio.to_thread.run_sync(next, parts, None, limiter=_readers)
            else:
                body = next(parts, None)
                await trio.lowlevel.checkpoint()
            if body is None:
                return
            yield body

    async def _tell_news(self, say: Say) -> None:
        while True:
            while self._unread:
                part = self._unread.popleft()
                self._bytes -= _size(part)
                await say(part)
            if self._ends:
                return
            await self._changed.wait()
            self._changed = trio.Event()

    async def _watch(self) -> None:
        await self._lags.wait()  # what is being said may be stuck in the socket for ever
        raise Lagged(f"{UNREAD_MAX} bytes of events unread")


class EventStreams:
    """All of them, by session."""

    def __init__(self) -> None:
        self._run = secrets.token_bytes(16)
        self._open: dict[int, EventStream] = {}

    def begin(self, session: int, request: StreamEvents, past: Past) -> EventStream:
        """From now on the session is told what is new."""
        begun = StreamBegun(self._run, request.run == self._run, past.in_order)
        stream = self._open[session] = EventStream(begun, past, live=request.live)
        return stream

    def close(self, session: int) -> None:
        """The session is gone."""
        self._open.pop(session, None)

    def publish(self, records: Sequence[Record]) -> None:
        """These have been written. Of its own end the server tells in the journal only."""
        if not self._open:
            return
        news = [record for record in records if not isinstance(record, ServerStopped)]
        if news:
            for part in _cut(encode(news)):
                for stream in self._open.values():
                    stream.add(part)

    def note(self, notice: TaskNotice) -> None:
        """A task has said something."""
        for stream in self._open.values():
            stream.add(notice)

    @property
    def has_listeners(self) -> bool:
        return bool(self._open)


def _cut(body: bytes) -> Iterator[StreamPart]:
    for start in range(0, len(body), FRAME_AIM):
        piece = body[start : start + FRAME_AIM]
        yield StreamPart(piece, more=start + FRAME_AIM < len(body))


def _size(part: StreamPart | TaskNotice) -> int:
    return len(part.body) if isinstance(part, StreamPart) else _NOTICE_BYTES + len(part.text)
