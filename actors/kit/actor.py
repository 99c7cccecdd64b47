"""The lifetime of a core actor is a block."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from actors.kit.mailbox import Mailbox

M = TypeVar("M")

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_actor(
    run: Callable[[Mailbox[M]], Awaitable[None]],
    *,
    mailbox: Mailbox[M],
    grace_s: float = 5.0,
) -> AsyncIterator[Mailbox[M]]:
    """Run a core for the length of the block; leaving drains its mail, then ends it.

    The mailbox is made beforehand, so that actors that are opened earlier can hold it. A core
    that does not end within `grace_s` of leaving is cancelled. What a core raises ends the block.
    """
    leaving = trio.Event()
    lifetime = trio.CancelScope(shield=True)  # an outer cancel reaches the block first

    async def main() -> None:
        try:
            with lifetime:
                await run(mailbox)
                if not leaving.is_set():
                    raise RuntimeError(f"{mailbox.name} returned while still in use")
            if lifetime.cancelled_caught:
                log.warning("%s: did not end within %g s; what it had in hand is lost",
                            mailbox.name, grace_s)  # fmt: skip
        finally:
            mailbox.end()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(main, name=mailbox.name)
        try:
            yield mailbox
        finally:
            leaving.set()
            mailbox.close()
            lifetime.deadline = trio.current_time() + grace_s
