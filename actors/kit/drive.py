"""The loop between a mailbox and a sans-I/O machine."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import trio

from actors.kit.mailbox import Mailbox
from hqtrio.now import Now

M = TypeVar("M")
E = TypeVar("E", contravariant=True)
F = TypeVar("F", covariant=True)
R = TypeVar("R")


class Poisoned(Exception):
    """A machine raised while it handled `event`; the cause is chained."""

    def __init__(self, event: object) -> None:
        text = repr(event)
        super().__init__(text if len(text) < 500 else text[:500] + "...")
        self.event = event


class Machine(Protocol[E, F]):
    """A sans-I/O state machine: facts and the time go in, intentions come out."""

    def handle(self, event: E, now: Now) -> Sequence[F]: ...
    def tick(self, now: Now) -> Sequence[F]: ...
    def next_deadline(self) -> float: ...


async def drive(
    machine: Machine[M, R],
    mailbox: Mailbox[M],
    perform: Callable[[Sequence[R]], Awaitable[None]],
    *,
    end_batch: Callable[[Now], Sequence[R]] | None = None,
    wall: Callable[[], float] = time.time,
) -> None:
    """Feed mail, then alarms, to the machine and carry out what it asks for, batch by batch.

    Returns when the mailbox is closed and drained. Mail comes before alarms, so that a stalled
    loop hears what its peers have said before it calls them silent.
    """
    while True:
        with trio.move_on_at(machine.next_deadline()):
            await mailbox.arrival()
        batch, now = mailbox.take(), Now(trio.current_time(), wall())
        if not batch and mailbox.closed:
            return
        effects: list[R] = []
        for event in batch:
            try:
                effects += machine.handle(event, now)
            except Exception as error:
                raise Poisoned(event) from error
        if machine.next_deadline() <= now.monotonic:  # asked again: the mail may have moved it
            effects += machine.tick(now)
            assert machine.next_deadline() > now.monotonic, "a tick must move the deadline"
        if end_batch is not None:
            effects += end_batch(now)
        if effects:
            await perform(effects)
