"""Where the records of what happened go.

The two barriers of every journal: `written` returns once the records are written, so that no
effect of theirs leaves the process before; `call_on_durable` tells when they would survive the
machine, so that clients are answered and reports receipted after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from actors.server.events import Past
from hqtrio.messages.records import Record


class Journal(Protocol):
    """A place for records."""

    @property
    def trouble(self) -> str:
        """Why not everything can be recorded for now; empty if all is well."""
        ...

    async def flush(self) -> None:
        """Everything appended before is durable when it returns."""
        ...

    async def prune(self) -> None:
        """Only what live jobs need is left; OSError, and nothing is changed, if it cannot be."""
        ...

    def past(self) -> Past | None:
        """Everything written so far; None where nothing is kept."""
        ...

    def put(self, records: Sequence[Record]) -> int:
        """The number of the group that the records make; they will be written, and whole."""
        ...

    async def written(self, group: int) -> None:
        """The group is written when it returns."""
        ...

    async def append(self, records: Sequence[Record]) -> int:
        """Both."""
        ...

    def call_on_durable(self, told: Callable[[int], None]) -> None:
        """From now on `told(group)` is called when all groups up to it are durable."""
        ...


class NoJournal:
    """Keeps nothing: everything counts as written and durable at once."""

    trouble = ""

    async def flush(self) -> None:
        pass

    async def prune(self) -> None:
        pass

    def past(self) -> Past | None:
        return None

    def __init__(self) -> None:
        self._groups = 0
        self._told: Callable[[int], None] | None = None

    def put(self, records: Sequence[Record]) -> int:
        self._groups += 1
        if self._told is not None:
            self._told(self._groups)
        return self._groups

    async def written(self, group: int) -> None:
        pass

    async def append(self, records: Sequence[Record]) -> int:
        return self.put(records)

    def call_on_durable(self, told: Callable[[int], None]) -> None:
        self._told = told
