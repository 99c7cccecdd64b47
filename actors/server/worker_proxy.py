"""The server's edge towards one worker: its frames go down, orders go out, silence is noticed."""

from __future__ import annotations

import logging
from itertools import count
from typing import Final

import trio

from actors.kit.edge import Silent, hear, run_edge
from actors.kit.mailbox import Mailbox
from actors.server.links import Connected, HangUp, SchedulerMail, WorkerOutbox
from actors.server.parting import say_why
from hqtrio.errors import RemoteFault
from hqtrio.messages.worker import FromWorker, Heartbeat, Register
from hqtrio.model.worker import LossReason
from hqtrio.net.connection import Connection
from hqtrio.scheduling.events import LinkClosed, LinkOpened, WorkerSaid

log = logging.getLogger(__name__)

REGISTRATION_S: Final = 15.0
# Orders are batches, one per scheduling round at most; a worker that leaves this many unread has
# not read for many seconds and counts as silent.
OUTBOX_MAX: Final = 4096


class WorkerProxies:
    """Serves the worker port: one edge per connection, each with a link number of its own."""

    def __init__(self, scheduler: Mailbox[SchedulerMail]) -> None:
        self._scheduler = scheduler
        self._numbers = count(1)

    async def serve(self, _: trio.Nursery, connection: Connection[FromWorker]) -> None:
        """Serve one connection to its end, then tell the scheduler how it ended."""
        link = next(self._numbers)
        faults: list[ExceptionGroup[Exception] | None] = []

        async def run(nursery: trio.Nursery, outbox: WorkerOutbox) -> None:
            await self._talk(link, connection, nursery, outbox)

        await run_edge(
            run,
            faults.append,
            name=f"worker link {link} ({connection.peer})",
            outbox_max=OUTBOX_MAX,
        )
        fault = faults[0]
        silent = fault is not None and fault.subgroup(Silent) is not None
        reason = LossReason.HEARTBEAT_LOST if silent else LossReason.CONNECTION_LOST
        await self._scheduler.put(LinkClosed(link, reason))
        await say_why(connection, fault)

    async def _talk(
        self,
        link: int,
        connection: Connection[FromWorker],
        nursery: trio.Nursery,
        outbox: WorkerOutbox,
    ) -> None:
        with trio.move_on_after(REGISTRATION_S) as patience:
            first = await connection.receive()
        if patience.cancelled_caught:
            raise RemoteFault(f"no registration within {REGISTRATION_S:g} s")
        if not first or not isinstance(first[0], Register) or len(first) > 1:
            raise RemoteFault("the first frame is not a registration")
        hello = first[0]
        if not hello.config.heartbeat_s > 0.15:
            raise RemoteFault(f"heartbeat of {hello.config.heartbeat_s:g} s is too short")
        await self._scheduler.put(Connected(LinkOpened(link, hello), outbox))

        async def write() -> None:
            while batch := await outbox.receive():
                for messages in batch:  # each fits one frame
                    if isinstance(messages, HangUp):
                        raise RemoteFault(messages.reason)
                    await connection.send(messages)
            await connection.aclose()
            nursery.cancel_scope.cancel()  # closed on our side: what it says now has no meaning

        nursery.start_soon(write)
        while True:
            messages = await hear(connection.receive, silence_s=2 * hello.config.heartbeat_s)
            said = tuple(m for m in messages if not isinstance(m, Heartbeat))
            if said:
                await self._scheduler.put(WorkerSaid(link, said))
