"""What has happened and what happens on a server, as events."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing

from hqtrio.client.client import Client
from hqtrio.errors import HqError, RemoteFault, Unreachable
from hqtrio.journal.events import Events
from hqtrio.journal.format import decode_records
from hqtrio.journal.lines import Lines
from hqtrio.journal.ordering import in_order
from hqtrio.messages.client import (
    StreamBegun,
    StreamEnd,
    StreamEvents,
    StreamLive,
    StreamPart,
    TaskNotice,
)
from hqtrio.messages.records import Record

__all__ = ["events"]


async def events(client: Client, *, live: bool) -> AsyncGenerator[tuple[Iterator[str], bool], None]:
    """Events in JSON, in groups, each with whether they happen now or are history.

    A group must be read to its end before the next one. With `live` it goes on until the server
    ends; a client that was cut for being too slow comes again and goes on where it was.
    """
    run = b""
    told: Events[str] | None = None
    async with AsyncExitStack() as connections:
        while True:
            now = Events(Lines(), told)
            try:
                begun = await client.begin_stream(StreamEvents(live, run))
                if run and not begun.lagged:
                    return  # another server, whose history is another story
                run, told = begun.run, now
                async with aclosing(_follow(client, begun, now)) as groups:
                    async for group in groups:
                        yield group
                return
            except Unreachable:
                if not live or not run:
                    raise
            try:
                client = await connections.enter_async_context(client.another())
            except HqError:
                return


async def _follow(
    client: Client, begun: StreamBegun, events: Events[str]
) -> AsyncGenerator[tuple[Iterator[str], bool], None]:
    pieces: list[bytes] = []
    history: list[Record] = []  # to be put in order
    is_live = False
    while True:
        match await client.next_of_stream():
            case StreamPart(body, more):
                pieces.append(body)
                if more:
                    continue
                records = decode_records(b"".join(pieces))
                pieces.clear()
                if not (begun.in_order or is_live):
                    history += records
                    continue
                for record in records:
                    yield events.of(record), is_live
            case TaskNotice() as notice:
                yield iter((Lines().notified(notice, time.time()),)), True
            case StreamLive():
                for record in in_order(history):
                    yield events.of(record), False
                history.clear()
                is_live = True
                events.begin_live()
                yield iter(()), True
            case StreamEnd():
                for record in in_order(history):
                    yield events.of(record), False
                return
            case other:
                raise RemoteFault(f"The server told {type(other).__name__} in a stream of events")
