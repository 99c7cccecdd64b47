"""The server's edge towards one client: requests go down one by one, answers and notices back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Final

import msgspec
import trio

from actors.kit.edge import OpenEdges, run_edge
from actors.kit.mailbox import ActorStopped, Mailbox
from actors.server.debug_dump import dump
from actors.server.degraded import Health
from actors.server.events import EventStream
from actors.server.links import (
    AllocatorMail,
    AskFits,
    AskRuntime,
    OpenStream,
    QueueAsked,
    SchedulerMail,
    ServerMail,
    SessionOpened,
    SessionOutbox,
)
from actors.server.parting import say_why
from hqtrio.jobs.effects import ClientAsked, SessionEnded
from hqtrio.messages.allocations import QueueRequest
from hqtrio.messages.client import (
    Call,
    DebugDump,
    Done,
    Failure,
    FlushJournal,
    PruneJournal,
    Response,
    Said,
    StreamBegun,
    StreamEvents,
    TaskExplained,
    WorkerRow,
    WorkerRows,
)
from hqtrio.net.connection import Connection, ConnectionEnded, FrameTooLarge
from hqtrio.scheduling.explain import Fits
from hqtrio.scheduling.machine import RuntimeInfo

log = logging.getLogger(__name__)

# Answers in flight: a client that asks this often without reading is cut off.
OUTBOX_MAX: Final = 1024
NOTICES_APART_S: Final = 0.05


class ClientSessions:
    """Serves the client port: one edge per connection, each with a session number of its own."""

    def __init__(
        self,
        server: Mailbox[ServerMail],
        scheduler: Mailbox[SchedulerMail],
        health: Health | None = None,
        allocator: Mailbox[AllocatorMail] | None = None,
    ) -> None:
        self._server, self._scheduler, self._health = server, scheduler, health
        self._allocator = allocator
        self._numbers = count(1)
        self._open = OpenEdges()

    async def close(self) -> None:
        """Every client that reads has its answers, and knows that the server ends."""
        await self._open.close()

    async def serve(self, _: trio.Nursery, connection: Connection[Call]) -> None:
        """Serve one connection to its end, then let the server forget the session."""
        session = next(self._numbers)

        async def run(nursery: trio.Nursery, mailbox: Mailbox[Said | None]) -> None:
            outbox = SessionOutbox(mailbox)
            await self._server.put(SessionOpened(session, outbox))
            streams: list[EventStream] = []

            async def listen(number: int, wanted: StreamEvents) -> None:
                stream = await self._server.ask(partial(OpenStream, session, wanted))
                streams.append(stream)
                nursery.start_soon(_tell, connection, number, stream)

            nursery.start_soon(self._write, nursery, connection, outbox, streams)
            with self._open.holding(mailbox):
                try:
                    while True:
                        for call in await connection.receive():
                            await self._take(session, call, outbox, listen)
                except FrameTooLarge:
                    raise
                except ConnectionEnded as end:  # clients come and go: nothing to be warned of
                    log.debug("client %d (%s): %s", session, connection.peer, end)

        faults: list[ExceptionGroup[Exception] | None] = []
        await run_edge(
            run,
            faults.append,
            name=f"client {session} ({connection.peer})",
            outbox_max=OUTBOX_MAX,
        )
        with suppress(ActorStopped):  # the end of a core ends the whole process
            await self._server.put(SessionEnded(session))
        await say_why(connection, faults[0])

    async def _take(
        self,
        session: int,
        call: Call,
        outbox: SessionOutbox,
        listen: Callable[[int, StreamEvents], Awaitable[None]],
    ) -> None:
        if self._health and (response := self._health.answer(call.request)):
            outbox.tell(Said(call.number, response))
            return
        match call.request:
            case DebugDump(path):
                dumping = next(self._numbers)
                dumped = await dump(self._server, dumping, path, self._complete)
                outbox.tell(Said(call.number, dumped))
            case FlushJournal():
                if self._health is not None:
                    await self._health.journal.flush()
                outbox.tell(Said(call.number, Done()))
            case PruneJournal():
                pruned: Response = Done()
                try:
                    if self._health is not None:
                        await self._health.journal.prune()
                except OSError as error:
                    pruned = Failure(str(error))
                outbox.tell(Said(call.number, pruned))
            case StreamEvents() as wanted:
                await listen(call.number, wanted)
            case request if isinstance(request, QueueRequest):
                await self._ask_allocator(call.number, request, outbox)
            case request:
                await self._server.put(ClientAsked(session, call.number, request))

    async def _ask_allocator(
        self, number: int, request: QueueRequest, outbox: SessionOutbox
    ) -> None:
        if self._allocator is None:
            outbox.tell(Said(number, Failure("This server makes no allocations")))
        else:
            await self._allocator.put(QueueAsked(number, request, outbox))

    async def _write(
        self,
        nursery: trio.Nursery,
        connection: Connection[Call],
        outbox: SessionOutbox,
        streams: Sequence[EventStream],
    ) -> None:
        while batch := await outbox.receive():
            for said in batch:
                await connection.send([await self._complete(said)])
            # Without a pause a job of short tasks would be a notice per millisecond.
            with trio.move_on_after(NOTICES_APART_S):
                await outbox.wait_urgent()
        for stream in streams:
            await stream.end()
        await connection.aclose("the server ends")
        nursery.cancel_scope.cancel()  # closed on our side: what it asks now has no answer

    async def _complete(self, said: Said) -> Said:
        """Add what only the scheduler knows of connected workers."""
        match said.response:
            case WorkerRows(rows=[_, *_]) as rows:
                return msgspec.structs.replace(said, response=await self._with_runtime(rows))
            case TaskExplained() as explained:
                return msgspec.structs.replace(said, response=await self._with_fits(explained))
        return said

    async def _with_runtime(self, rows: WorkerRows) -> WorkerRows:
        connected = tuple(row.id for row in rows.rows if row.ended_at is None)
        runtime: dict[int, RuntimeInfo] = await self._scheduler.ask(partial(AskRuntime, connected))

        def complete(row: WorkerRow) -> WorkerRow:
            if (info := runtime.get(row.id)) is None:
                return row
            return msgspec.structs.replace(
                row,
                assigned_tasks=info.assigned,
                running_tasks=info.running,
                is_reserved=info.reserved,
            )

        return msgspec.structs.replace(rows, rows=tuple(complete(row) for row in rows.rows))

    async def _with_fits(self, explained: TaskExplained) -> TaskExplained:
        question = partial(AskFits, explained.variants, explained.after)
        fits: Fits = await self._scheduler.ask(question)
        return msgspec.structs.replace(explained, workers=fits.rows, more=fits.more)


async def _tell(connection: Connection[Call], number: int, stream: EventStream) -> None:
    """Everything of the stream is said on the connection, its beginning as the call's answer."""

    async def say(response: Response) -> None:
        answer = number if isinstance(response, StreamBegun) else 0
        await connection.send([Said(answer, response)])

    await stream.tell(say)
