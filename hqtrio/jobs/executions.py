"""Start, end, worker and usage of each task's last execution, in pages of packed rows.

A page is made when the first of its tasks starts: waiting tasks cost nothing here.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

PAGE_BITS: Final = 12
PAGE_MASK: Final = (1 << PAGE_BITS) - 1
ROW: Final = Struct("<ddIfI")  # started, ended, worker (0: never started), cpu_s, peak_kib
ROW_BYTES: Final = ROW.size
_PAGE_BYTES: Final = ROW_BYTES << PAGE_BITS
UNKNOWN_CPU: Final = -1.0


class Execution(NamedTuple):
    """One row. Dates are Unix seconds, 0 means not yet or never; `cpu_s` < 0 means unknown."""

    started: float = 0.0
    ended: float = 0.0
    worker: int = 0
    cpu_s: float = UNKNOWN_CPU
    peak_kib: int = 0


class Executions:
    """Rows by position. `pages` is open to the one loop that ends thousands of tasks at once."""

    __slots__ = ("pages",)

    def __init__(self) -> None:
        self.pages: list[bytearray | None] = []

    def grow(self, count: int) -> None:
        """There are `count` tasks now."""
        wanted = (count + PAGE_MASK) >> PAGE_BITS
        self.pages.extend([None] * (wanted - len(self.pages)))

    def page(self, position: int) -> bytearray:
        """The page that holds the row of `position`, made if need be."""
        page = self.pages[position >> PAGE_BITS]
        if page is None:
            page = self.pages[position >> PAGE_BITS] = bytearray(_PAGE_BYTES)
        return page

    def put(self, position: int, row: Execution) -> None:
        ROW.pack_into(self.page(position), (position & PAGE_MASK) * ROW_BYTES, *row)

    def get(self, position: int) -> Execution:
        page = self.pages[position >> PAGE_BITS]
        if page is None:
            return Execution()
        return Execution(*ROW.unpack_from(page, (position & PAGE_MASK) * ROW_BYTES))
