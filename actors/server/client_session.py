"""The server's edge towards one client: requests go down one by one, answers and notices back."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Final

import msgspec
import trio

from actors.kit.edge import OpenEdges, run_edge
from actors.kit.mailbox import ActorStopped, Mailbox
from actors.server.debug_dump import dump
from actors.server.links import (
    AskFits,
    AskRuntime,
    SchedulerMail,
    ServerMail,
    SessionOpened,
    SessionOutbox,
)
from actors.server.parting import say_why
from hqtrio.jobs.effects import ClientAsked, SessionEnded
from hqtrio.messages.client import Call, DebugDump, Said, TaskExplained, WorkerRow, WorkerRows
from hqtrio.net.connection import Connection, ConnectionEnded, FrameTooLarge
from hqtrio.scheduling.explain import Fits
from hqtrio.scheduling.machine import RuntimeInfo

log = logging.getLogger(__name__)

# Answers in flight: a client that asks this often without reading is cut off.
OUTBOX_MAX: Final = 1024
NOTICES_APART_S: Final = 0.05


class ClientSessions:
    """Serves the client port: one edge per connection, each with a session number of its own."""

    def __init__(self, server: Mailbox[ServerMail], scheduler: Mailbox[SchedulerMail]) -> None:
        self._server, self._scheduler = server, scheduler
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
            nursery.start_soon(self._write, nursery, connection, outbox)
            with self._open.holding(mailbox):
                try:
                    while True:
                        for call in await connection.receive():
                            await self._take(session, call, outbox)
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

    async def _take(self, session: int, call: Call, outbox: SessionOutbox) -> None:
        match call.request:
            case DebugDump(path):
                dumping = next(self._numbers)
                response = await dump(self._server, dumping, path, self._complete)
                outbox.tell(Said(call.number, response))
            case request:
                await self._server.put(ClientAsked(session, call.number, request))

    async def _write(
        self, nursery: trio.Nursery, connection: Connection[Call], outbox: SessionOutbox
    ) -> None:
        while batch := await outbox.receive():
            for said in batch:
                await connection.send([await self._complete(said)])
            # Without a pause a job of short tasks would be a notice per millisecond.
            with trio.move_on_after(NOTICES_APART_S):
                await outbox.wait_urgent()
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
