"""Which launchers there are, and how many lanes each has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

BROKEN_AFTER: Final = 3  # launchers in a row that died before they took an order


class Crew:
    """Launchers by number; a replacement has a new number."""

    def __init__(self) -> None:
        self._lanes: dict[int, int] = {}  # ready ones only
        self._next = 1
        self._failures = 0

    def hire(self) -> int:
        """The number of a launcher that is to be started."""
        self._next += 1
        return self._next - 1

    def ready(self, launcher: int) -> None:
        """The launcher takes orders."""
        self._lanes.setdefault(launcher, 0)
        self._failures = 0

    def died(self, launcher: int) -> None:
        """The launcher and its lanes are gone."""
        if self._lanes.pop(launcher, None) is None:
            self._failures += 1

    def is_ready(self, launcher: int) -> bool:
        return launcher in self._lanes

    @property
    def any_ready(self) -> bool:
        return bool(self._lanes)

    @property
    def broken(self) -> bool:
        """Whether launchers cannot be started on this node."""
        return self._failures >= BROKEN_AFTER

    def place(self) -> int:
        """The ready launcher with the fewest lanes, which gets one more."""
        launcher = min(self._lanes, key=lambda number: (self._lanes[number], number))
        self._lanes[launcher] += 1
        return launcher

    def leave(self, launcher: int) -> None:
        """One lane less."""
        if launcher in self._lanes:
            self._lanes[launcher] -= 1

    def check(self, used: Iterable[int]) -> None:
        """Lanes lie with ready launchers only."""
        assert all(launcher in self._lanes for launcher in used), list(used)
        assert all(count >= 0 for count in self._lanes.values()), self._lanes
