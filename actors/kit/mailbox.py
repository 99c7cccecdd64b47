"""Mailboxes: bounded queues with two lanes, one that waits for room and one that never waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import trio
from outcome import Error, Outcome
from trio.lowlevel import ParkingLot, checkpoint

M = TypeVar("M")  # what the actor understands
R = TypeVar("R")  # what an ask gives back


class ActorStopped(Exception):
    """The actor ended before it took, or before it answered, the message."""


class MailboxFull(Exception):
    """A core was told more than its bound allows: a sizing bug of ours."""


class Reply(Generic[R]):
    """One-shot answer slot that a request carries; answering nobody is harmless."""

    def __init__(self) -> None:
        self._outcome: Outcome[R] | None = None
        self._answered = trio.Event()

    def resolve(self, outcome: Outcome[R]) -> None:
        """Give the answer; only the first one counts."""
        self._outcome = self._outcome or outcome
        self._answered.set()

    async def wait(self) -> R:
        """The answer, or the exception that was given instead."""
        await self._answered.wait()
        assert self._outcome is not None
        return self._outcome.unwrap()


class Mailbox(Generic[M]):
    """Bounded queue: `put` waits at soft_max, `tell` never waits.

    At hard_max a core's box raises MailboxFull in the teller. With `on_full` it is an edge's
    outbox instead: it closes, calls `on_full` once, and the teller notices nothing.
    """

    def __init__(
        self,
        name: str,
        *,
        soft_max: int = 256,
        hard_max: int = 1024,
        on_full: Callable[[], None] | None = None,
    ) -> None:
        self.name, self._soft_max, self._hard_max = name, soft_max, hard_max
        self._on_full = on_full
        self._queue: list[M] = []
        # Keyed, not a set: asks are failed in the order in which they were made.
        self._asked: dict[int, Callable[[Error], None]] = {}
        self._arrived, self._drained = ParkingLot(), ParkingLot()
        self.closed = False

    def tell(self, message: M) -> None:
        """Queue now; the dead get no mail."""
        if self.closed:
            return
        if len(self._queue) < self._hard_max:
            self._queue.append(message)
            self._arrived.unpark()
        elif self._on_full is None:
            raise MailboxFull(f"{self.name}: {self._hard_max} messages unread")
        else:
            self.close()
            self._on_full()

    async def put(self, message: M) -> None:
        """Queue, waiting for room; the wait is what slows the sender's own source."""
        await checkpoint()
        while len(self._queue) >= self._soft_max and not self.closed:
            await self._drained.park()
        if self.closed:
            raise ActorStopped(f"{self.name} has ended")
        self.tell(message)

    async def ask(self, request: Callable[[Reply[R]], M]) -> R:
        """Put a request that carries a reply slot, and wait for the answer.

        Raises ActorStopped if the actor ends first.
        """
        reply: Reply[R] = Reply()
        self._asked[id(reply)] = reply.resolve
        try:
            await self.put(request(reply))
            return await reply.wait()
        finally:
            del self._asked[id(reply)]

    async def arrival(self) -> None:
        """Return once there is mail, or there never will be."""
        if self._queue or self.closed:
            await checkpoint()
        else:
            await self._arrived.park()

    def take(self) -> list[M]:
        """Everything queued, oldest first; as many waiting senders may go on."""
        batch, self._queue = self._queue, []
        self._drained.unpark(count=self._soft_max)
        return batch

    async def receive(self) -> list[M]:
        """Wait for mail and take all of it; an empty list means closed and drained."""
        await self.arrival()
        return self.take()

    def close(self) -> None:
        """Take no more mail; what is queued can still be received."""
        self.closed = True
        self._arrived.unpark_all()
        self._drained.unpark_all()

    def end(self) -> None:
        """The actor is gone: fail every ask that is still open."""
        self.close()
        for resolve in list(self._asked.values()):
            resolve(Error(ActorStopped(f"{self.name} has ended")))
