"""What a core does while the disk takes nothing of what it wants to record."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import trio

from actors.kit.mailbox import Mailbox
from actors.server.journal import Journal
from hqtrio.messages.records import Record

PATIENCE_S: Final = 2.0  # of those who wait for an answer
KEPT_MAX: Final = 10_000  # messages that are put by; the senders of more have to wait

M = TypeVar("M")


class Patience(Generic[M]):
    """Appends for one core. If that takes long, those who only want to look are served meanwhile.

    They see what is about to be recorded. Everything else is put by, and nothing else happens.
    """

    def __init__(
        self,
        journal: Journal,
        mailbox: Mailbox[M],
        serve: Callable[[M], bool],
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`serve` answers a message, or gives False if it has to wait for its turn."""
        self._journal, self._mailbox, self._serve = journal, mailbox, serve
        self.patience_s = patience_s

    async def append(
        self, records: Sequence[Record], mail: deque[M], on_delay: Callable[[], None]
    ) -> int:
        """The group of the records, which are written when it returns.

        `mail` is what has been taken from the mailbox and not been handled; what is put by comes
        behind it. `on_delay` is called again and again while it takes long.
        """
        group = self._journal.put(records)
        with trio.move_on_after(self.patience_s) as patience:
            await self._journal.written(group)
        if patience.cancelled_caught:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve_meanwhile, mail)
                nursery.start_soon(self._call_often, on_delay)
                await self._journal.written(group)
                nursery.cancel_scope.cancel()
        return group

    async def _serve_meanwhile(self, mail: deque[M]) -> None:
        kept = [message for message in mail if not self._serve(message)]
        mail.clear()
        mail.extend(kept)
        while len(mail) < KEPT_MAX and not self._mailbox.closed:
            await self._mailbox.arrival()
            mail.extend(m for m in self._mailbox.take() if not self._serve(m))

    async def _call_often(self, on_delay: Callable[[], None]) -> None:
        while True:
            on_delay()
            await trio.sleep(self.patience_s)
