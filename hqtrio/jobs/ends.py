"""The tasks of a job in the order in which somebody learned that they had ended."""

from __future__ import annotations

import re
from array import array
from typing import Final

from hqtrio.jobs.job import RUNNING, Job
from hqtrio.messages.client import PAGE_ROWS, ListEnds, TaskEnds
from hqtrio.messages.columns import u32

_PAGE_BYTES: Final = 512 * 1024  # of results and errors: a page fits one frame
_IS_ENDED: Final = bytes(state > RUNNING for state in range(256))
_SET: Final = re.compile(b"\x01")


class Ends:
    """Positions of ended tasks. Each stays where it is, as no task that has ended goes on."""

    __slots__ = ("_known", "order")

    def __init__(self) -> None:
        self.order = array("I")
        self._known = b""

    def learn(self, states: bytearray) -> None:
        """Append those that have ended since the last time, by number."""
        ended = states.translate(_IS_ENDED)
        known = self._known.ljust(len(ended), b"\0")
        new = int.from_bytes(ended, "big") ^ int.from_bytes(known, "big")
        if new:
            found = _SET.finditer(new.to_bytes(len(ended), "big"))
            self.order.extend(match.start() for match in found)
            self._known = bytes(ended)


def ends_page(job: Job, asked: ListEnds) -> TaskEnds:
    """The ends after the first `asked.after`, as many as fit."""
    if job.ends is None:
        job.ends = Ends()
    job.ends.learn(job.states)
    order = job.ends.order
    first = min(max(asked.after, 0), len(order))
    numbers, states = array("I"), bytearray()
    results: list[tuple[int, bytes]] = []
    errors: list[tuple[int, str]] = []
    room = _PAGE_BYTES
    for row, position in enumerate(order[first : first + PAGE_ROWS]):
        result, error = job.results.get(position, b""), job.errors.get(position, "")
        room -= len(result) + 2 * len(error)
        if room < 0 and row:
            break
        numbers.append(job.numbering.number(position))
        states.append(job.states[position])
        if result:
            results.append((row, result))
        if error:
            errors.append((row, error))
    after = first + len(numbers)
    return TaskEnds(
        after, u32(numbers), bytes(states), tuple(results), tuple(errors), after < len(order)
    )
