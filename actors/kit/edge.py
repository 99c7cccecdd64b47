"""The fence around an edge: one peer's faults, and our bugs in handling them, stay its own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import trio

from actors.kit.mailbox import ActorStopped, Mailbox
from hqtrio.errors import RemoteFault

M = TypeVar("M")
R = TypeVar("R")

log = logging.getLogger(__name__)


class Lagged(RemoteFault):
    """The peer read more slowly than news arose for it: its outbox overflowed."""


async def run_edge(
    run: Callable[[trio.Nursery, Mailbox[M]], Awaitable[None]],
    ended: Callable[[ExceptionGroup[Exception] | None], None],
    *,
    name: str,
    outbox_max: int = 1024,
) -> None:
    """Serve one peer until `run` returns, it fails or its outbox overflows; then say how it ended.

    `run` gets a nursery and an outbox that live as long as the connection. To end it politely,
    close the outbox. Every Exception stops here, logged and handed to `ended` with its traceback:
    bad frames and our own bugs in handling them cost this peer only. Cancellation and other
    BaseExceptions pass. What `ended` itself raises is the owner's.
    """
    fault: ExceptionGroup[Exception] | None = None
    try:
        async with trio.open_nursery() as connection:
            overflow = trio.Event()
            outbox: Mailbox[M] = Mailbox(
                name, soft_max=outbox_max, hard_max=outbox_max, on_full=overflow.set
            )

            async def watch() -> None:
                await overflow.wait()  # the sender may be stuck in the socket for ever
                raise Lagged(f"{outbox_max} messages unread")

            connection.start_soon(watch)
            try:
                await run(connection, outbox)
            finally:
                # Before the outbox ends: a writer must not take that for a polite goodbye.
                connection.cancel_scope.cancel()
                outbox.end()
    except* Exception as group:
        fault = group
        _report(name, group)
    finally:
        ended(fault)
        fault = None  # else frame, exception and traceback would keep each other alive


class OpenEdges:
    """The outboxes of one port's connections, so that all can be ended politely together."""

    def __init__(self) -> None:
        self.closed = False
        self._outboxes: dict[int, Mailbox[Any]] = {}
        self._gone = trio.lowlevel.ParkingLot()

    @contextmanager
    def holding(self, outbox: Mailbox[Any]) -> Iterator[None]:
        """Inside, the edge of this outbox has a peer that wants to hear the last words."""
        self._outboxes[id(outbox)] = outbox
        if self.closed:
            outbox.close()
        try:
            yield
        finally:
            del self._outboxes[id(outbox)]
            if not self._outboxes:
                self._gone.unpark_all()

    async def close(self) -> None:
        """Every edge has said what was queued for its peer, and is gone.

        As slow as the slowest peer, so the caller needs a deadline.
        """
        self.closed = True
        for outbox in list(self._outboxes.values()):
            outbox.close()
        while self._outboxes:
            await self._gone.park()


def _report(name: str, fault: ExceptionGroup[Exception]) -> None:
    _, ours = fault.split((RemoteFault, OSError, trio.BrokenResourceError, ActorStopped))
    if ours:
        log.error("%s: connection closed by a bug of ours", name, exc_info=ours)
    else:
        log.warning("%s: connection closed: %s", name, "; ".join(_texts(fault)))


def _texts(fault: ExceptionGroup[Exception]) -> list[str]:
    texts = []
    for error in fault.exceptions:
        if isinstance(error, ExceptionGroup):
            texts += _texts(error)
        else:
            texts.append(str(error) or type(error).__name__)
    return texts


async def hear(receive: Callable[[], Awaitable[R]], *, silence_s: float, slices: int = 4) -> R:
    """The peer's next message, or RemoteFault once it was silent for `silence_s`.

    Only time spent here counts, and a suspended process costs one slice, however long it slept.
    `receive` must lose nothing when it is cancelled.
    """
    for _ in range(slices):
        with trio.move_on_after(silence_s / slices):
            return await receive()
    raise Silent(f"silent for {silence_s:g} s")


class Silent(RemoteFault):
    """The peer said nothing for longer than it promised to."""
