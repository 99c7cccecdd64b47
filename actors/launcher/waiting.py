"""Wait for one of several descriptors to be readable."""

from __future__ import annotations

import select


class Waiter:
    """Descriptors to wait for."""

    __slots__ = ("_poller", "_unit")

    def __init__(self) -> None:
        self._poller = select.epoll() if hasattr(select, "epoll") else select.poll()
        self._unit = 1 if hasattr(select, "epoll") else 1000  # of a second

    def add(self, fd: int) -> None:
        self._poller.register(fd, select.POLLIN)

    def drop(self, fd: int) -> None:
        """Before it is closed."""
        self._poller.unregister(fd)

    def wait(self, wait_s: float) -> list[tuple[int, int]]:
        """Those that are readable, as pairs with what happened, after so many seconds at most
        (below 0: wait for ever)."""
        return self._poller.poll(-1 if wait_s < 0 else wait_s * self._unit)
