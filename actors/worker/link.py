"""The worker's edge towards its server: one connection, from the first try to the last word."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

import trio

from actors.kit.edge import Silent, run_edge
from actors.kit.mailbox import ActorStopped, Mailbox
from hqtrio.errors import Refused, RemoteFault, Unreachable
from hqtrio.messages.worker import (
    Ack,
    FromWorker,
    Heartbeat,
    Overview,
    Register,
    Report,
    ToWorker,
)
from hqtrio.net.connection import Connection
from hqtrio.wire.statements import split
from hqtrio.worker.events import Event, Heard, LinkEnded, LinkOpened, OpenLink

log = logging.getLogger(__name__)

TRY_S: Final = 2.0  # between two tries to connect
ANSWER_S: Final = 15.0  # for the answer to the registration
SLICES: Final = 4
# The machine has at most a handful of unseen reports under way; the rest are one-off messages.
OUTBOX_MAX: Final = 4096

Connect = Callable[[], AbstractAsyncContextManager["Connection[ToWorker]"]]


@dataclass(slots=True)
class _Unseen:
    """Whether the server owes an answer: reports sent and seen, and a heartbeat since its last
    frame."""

    sent: int = 0
    seen: int = 0
    has_pulse: bool = True


class Link:
    """One connection with its number. Mail from the server goes to the worker's core."""

    def __init__(
        self, order: OpenLink, connect: Connect, core: Mailbox[Event], *, heartbeat_s: float
    ) -> None:
        self._number, self._tries = order.link, order.tries
        self._connect, self._core, self._heartbeat_s = connect, core, heartbeat_s
        self._outbox: Mailbox[Sequence[FromWorker]] | None = None
        self._unseen = _Unseen()
        self._overview: Overview | None = None  # the newest that was not sent yet

    def tell(self, messages: Sequence[FromWorker]) -> None:
        """Send these, if the connection is still there; of overviews the newest is enough."""
        if self._outbox is None:
            return
        match messages:
            case [Overview() as overview]:
                is_queued, self._overview = self._overview is not None, overview
                if not is_queued:
                    self._outbox.tell(())
            case _:
                self._outbox.tell(messages)

    def close(self) -> None:
        """Say what is queued, then hang up."""
        if self._outbox is not None:
            self._outbox.close()

    async def run(self) -> None:
        """Connect and talk until it is over; the core is told how it ended."""
        await run_edge(self._talk, self._ended, name=f"link {self._number}", outbox_max=OUTBOX_MAX)

    def _ended(self, fault: ExceptionGroup[Exception] | None) -> None:
        self._outbox = None
        why = "closed" if fault is None else str(_first(fault))
        final = fault is not None and fault.subgroup(Refused) is not None
        self._core.tell(LinkEnded(self._number, why, final=final))

    async def _talk(self, nursery: trio.Nursery, outbox: Mailbox[Sequence[FromWorker]]) -> None:
        self._outbox = outbox
        for left in range(self._tries - 1, -1, -1):
            connected = False
            try:
                async with self._connect() as connection:
                    connected = True
                    await self._serve(nursery, outbox, connection)
                    return
            except Unreachable as fault:
                if connected or not left:
                    raise
                log.info("%s; trying again", fault)
            await trio.sleep(TRY_S)

    async def _serve(
        self,
        nursery: trio.Nursery,
        outbox: Mailbox[Sequence[FromWorker]],
        connection: Connection[ToWorker],
    ) -> None:
        await self._core.put(LinkOpened(self._number))
        async with trio.open_nursery() as both:
            both.start_soon(self._write, outbox, connection, both.cancel_scope)
            await self._read(connection)

    async def _write(
        self,
        outbox: Mailbox[Sequence[FromWorker]],
        connection: Connection[ToWorker],
        over: trio.CancelScope,
    ) -> None:
        while True:
            batch: list[Sequence[FromWorker]] = []
            with trio.move_on_after(self._heartbeat_s) as idle:
                batch = await outbox.receive()
            if idle.cancelled_caught:
                self._unseen.has_pulse = False
                await connection.send([Heartbeat()])
                continue
            if not batch:
                over.cancel()  # leaving the block closes the connection
                return
            # A report may fill a frame; only few are ever queued, so none are packed together.
            for message in (message for messages in batch for message in messages):
                if isinstance(message, Report):
                    self._unseen.sent = message.seq
                if isinstance(message, Register):
                    for part in split(message):
                        await connection.send([part])
                else:
                    await connection.send([message])
            if self._overview is not None:
                overview, self._overview = self._overview, None
                await connection.send([overview])

    async def _read(self, connection: Connection[ToWorker]) -> None:
        messages: list[ToWorker] = []
        with trio.move_on_after(ANSWER_S) as patience:
            messages = await connection.receive()
        if patience.cancelled_caught:
            raise Unreachable(f"no answer to the registration within {ANSWER_S:g} s")
        while True:
            for message in messages:
                if isinstance(message, Ack):
                    self._unseen.seen = message.seen
            try:
                await self._core.put(Heard(self._number, messages))
            except ActorStopped:
                return  # it wants to hear no more; its last words still have to leave
            messages = await self._hear(connection.receive)

    async def _hear(self, receive: Callable[[], Awaitable[list[ToWorker]]]) -> list[ToWorker]:
        """The next frame. A server that owes an answer and is silent fails.

        Its loop owes an answer to reports. To a heartbeat its edge owes one, and has longer: a
        server with much to do must not cost an idle worker its connection. Only time spent here
        counts, in slices, so that a suspended worker blames nobody.
        """
        silent, silence_s = 0, 2 * self._heartbeat_s
        while True:
            owes_report = self._unseen.sent > self._unseen.seen
            owes_pulse = not self._unseen.has_pulse
            with trio.move_on_after(silence_s / SLICES):
                messages = await receive()
                self._unseen.has_pulse = True
                return messages
            silent = silent + 1 if owes_report or owes_pulse else 0
            if silent > (SLICES if owes_report else 2 * SLICES):
                seconds = silent * silence_s / SLICES
                raise Silent(f"the server has not answered for {seconds:g} s")


def _first(fault: ExceptionGroup[Exception]) -> Exception:
    """The peer's fault, if there is one among the errors."""
    remote = fault.subgroup(RemoteFault) or fault
    error: Exception = remote
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
