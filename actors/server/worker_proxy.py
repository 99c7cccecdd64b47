"""The server's edge towards one worker: its frames go down, orders go out, silence is noticed."""

from __future__ import annotations

import logging
from contextlib import suppress
from itertools import count
from math import inf
from typing import Final

import trio

from actors.kit.edge import Lagged, OpenEdges, Silent, hear, run_edge
from actors.kit.mailbox import ActorStopped, Mailbox
from actors.server.links import Connected, HangUp, SchedulerMail, WorkerOutbox
from actors.server.parting import say_why
from hqtrio.errors import RemoteFault
from hqtrio.messages.worker import FromWorker, Goodbye, Heartbeat, HeldMore, Pulse, Register
from hqtrio.model.worker import LossReason
from hqtrio.net.connection import Connection, ConnectionEnded
from hqtrio.scheduling.events import LinkClosed, LinkFree, LinkOpened, LinkStuck, WorkerSaid
from hqtrio.wire.statements import check_parts, join

log = logging.getLogger(__name__)

REGISTRATION_S: Final = 15.0
# Orders are batches, one per scheduling round at most; a worker that leaves this many unread has
# not read for many seconds and counts as silent.
OUTBOX_MAX: Final = 4096
# A worker that has not read one batch for so long gets nothing more to do until it has.
STUCK_S: Final = 1.0


class WorkerProxies:
    """Serves the worker port: one edge per connection, each with a link number of its own."""

    def __init__(self, scheduler: Mailbox[SchedulerMail]) -> None:
        self._scheduler = scheduler
        self._numbers = count(1)
        self._open = OpenEdges()

    async def close(self) -> None:
        """Every worker that reads has its last orders; none of them counts as lost."""
        await self._open.close()

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
        silent = fault is not None and fault.subgroup((Silent, Lagged)) is not None
        reason = LossReason.HEARTBEAT_LOST if silent else LossReason.CONNECTION_LOST
        if not self._open.closed:
            with suppress(ActorStopped):  # the end of a core ends the whole process
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
            hello = await _registration(connection)
        if patience.cancelled_caught:
            raise RemoteFault(f"no registration within {REGISTRATION_S:g} s")
        heartbeat_s = hello.config.heartbeat_s
        if not 0.0 < heartbeat_s < inf:  # it will be refused politely, and has time to hear that
            heartbeat_s = REGISTRATION_S
        await self._scheduler.put(Connected(LinkOpened(link, hello), outbox))
        writer = _Writer(link, connection, outbox, self._scheduler)
        nursery.start_soon(writer.write, nursery)
        nursery.start_soon(writer.watch)
        is_parting = False
        with self._open.holding(outbox):
            try:
                while True:
                    messages = await hear(connection.receive, silence_s=2 * heartbeat_s)
                    said = tuple(m for m in messages if not isinstance(m, Heartbeat))
                    if len(said) < len(messages) and not outbox.closed:
                        outbox.tell((Pulse(),))
                    if said:
                        is_parting = is_parting or isinstance(said[-1], Goodbye)
                        await self._scheduler.put(WorkerSaid(link, said))
            except ConnectionEnded as end:
                if not (is_parting or outbox.closed):
                    raise
                log.debug("worker link %d (%s): %s", link, connection.peer, end)


async def _registration(connection: Connection[FromWorker]) -> Register:
    """Who it is, and all that it holds, in however many frames."""
    first = await connection.receive()
    if len(first) != 1 or not isinstance(first[0], Register):
        raise RemoteFault("the first frame is not a registration")
    hello = first[0]
    check_parts(hello)
    more: list[HeldMore] = []
    while len(more) < hello.more:
        for message in await connection.receive():
            if not isinstance(message, HeldMore) or len(more) == hello.more:
                raise RemoteFault("something else amid a registration")
            more.append(message)
    return join(hello, more)


class _Writer:
    """Sends orders, and notices when the worker does not read them."""

    def __init__(
        self,
        link: int,
        connection: Connection[FromWorker],
        outbox: WorkerOutbox,
        scheduler: Mailbox[SchedulerMail],
    ) -> None:
        self._link, self._connection = link, connection
        self._outbox, self._scheduler = outbox, scheduler
        self._began_at = inf  # when the batch in hand was taken; inf: there is none
        self._begun, self._sent = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()

    async def write(self, nursery: trio.Nursery) -> None:
        """Send until the outbox is closed and empty, then hang up."""
        while batch := await self._outbox.receive():
            self._began_at = trio.current_time()
            self._begun.unpark_all()
            for messages in batch:  # each fits one frame
                if isinstance(messages, HangUp):
                    raise RemoteFault(messages.reason)
                await self._connection.send(messages)
            self._began_at = inf
            self._sent.unpark_all()
        await self._connection.aclose()
        nursery.cancel_scope.cancel()  # closed on our side: what it says now has no meaning

    async def watch(self) -> None:
        """Tell the scheduler of every batch that takes too long; end a link that is to be closed.

        It sleeps through batches that are quick, so that a busy link wakes it once a second.
        """
        while True:
            while self._began_at == inf:
                await self._begun.park()
            began_at = self._began_at
            await trio.sleep_until(began_at + STUCK_S)
            if self._began_at != began_at:
                continue
            await self._scheduler.put(LinkStuck(self._link))
            while self._began_at == began_at:
                if self._outbox.closed:
                    raise RemoteFault("does not read its last orders")
                with trio.move_on_after(STUCK_S):
                    await self._sent.park()
            await self._scheduler.put(LinkFree(self._link))
