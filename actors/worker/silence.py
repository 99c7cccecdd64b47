"""Whether somebody owes answers for too long."""

from __future__ import annotations

from typing import Final

import trio

_SLICES: Final = 4


class Silence:
    """Counts orders, and the answers that say how many of them were obeyed."""

    def __init__(self) -> None:
        self._sent = self._obeyed = self._answers = 0
        self._ordered = trio.Event()

    def sent(self) -> None:
        """Another order goes out."""
        self._sent += 1
        self._ordered.set()

    def answered(self, obeyed: int) -> None:
        """An answer came: so many orders were obeyed since the beginning."""
        self._obeyed = obeyed
        self._answers += 1

    async def too_long(self, silence_s: float) -> None:
        """Returns once an order has been out for `silence_s` without any answer."""
        while True:
            # The answer may have come before the order has woken this task: look again.
            while self._obeyed == self._sent:
                self._ordered = trio.Event()
                await self._ordered.wait()
            answers = self._answers
            for _ in range(_SLICES):  # a worker that was suspended itself must not blame others
                await trio.sleep(silence_s / _SLICES)
                if self._answers != answers:
                    break
            else:
                return
