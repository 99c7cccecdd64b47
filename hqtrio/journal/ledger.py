"""How far each task of a job is, as far as telling of it needs: waiting, running or ended.

One byte per task, and everything rarer sparse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hqtrio.ids import IdArray
from hqtrio.model.job import JobHead, Ranges
from hqtrio.model.resources import Variants

__all__ = ["ENDED", "RUNNING", "WAITING", "Group", "JobLedger"]

WAITING: Final = 0
RUNNING: Final = 1
ENDED: Final = 2

_FEW: Final = 16


class Group:
    """Tasks that were submitted together. `always`: they survive the failure of all others."""

    __slots__ = ("always", "numbers", "states", "variants")

    def __init__(self, numbers: Ranges, *, always: bool = False, variants: Variants = ()) -> None:
        self.variants = variants  # none of a task that nobody has told of
        self.numbers = IdArray(numbers)
        self.states = bytearray(self.numbers.count)
        self.always = always

    def active(self) -> Iterator[int]:
        """The numbers of tasks that wait or run."""
        states = self.states
        for position, state in enumerate(states):
            if state != ENDED:
                yield self.numbers.number(position)


class JobLedger:
    """The tasks of one job. Of tasks that were never announced it learns when they are named."""

    __slots__ = (
        "_few",
        "_groups",
        "_large",
        "_last",
        "active",
        "cancels",
        "head",
        "instances",
        "is_open",
        "submits",
    )

    def __init__(self, head: JobHead) -> None:
        self.head = head
        self.is_open = head.is_open
        self.active = 0
        self.instances: dict[int, int] = {}  # by number, of tasks past their first
        self.submits = 0
        self.cancels: list[float] = []  # when
        self._groups: list[Group] = []
        self._large: list[Group] = []
        self._few: dict[int, tuple[Group, int]] = {}
        self._last = Group(())

    def add(self, numbers: Ranges, *, always: bool = False, variants: Variants = ()) -> None:
        """These tasks wait."""
        group = Group(numbers, always=always, variants=variants)
        self.active += group.numbers.count
        self._groups.append(group)
        if group.numbers.count <= _FEW:
            for position, number in enumerate(group.numbers):
                self._few[number] = group, position
        else:
            self._large.append(group)

    def find(self, number: int) -> tuple[Group, int]:
        """The group of a task, and its place there."""
        position = self._last.numbers.position(number)
        if position >= 0:
            return self._last, position
        if number in self._few:
            return self._few[number]
        for group in self._large:
            position = group.numbers.position(number)
            if position >= 0:
                self._last = group
                return group, position
        self.add(((number, 1, 1),))
        return self._few[number]

    def active_numbers(self, *, spared: bool) -> Iterator[int]:
        """The tasks that wait or run; if `spared`, without those that survive others' failure."""
        for group in self._groups:
            if not (spared and group.always):
                yield from group.active()

    def running(self) -> Iterator[int]:
        """The numbers of the tasks that run, in the order in which they were submitted."""
        for group in self._groups:
            at = group.states.find(RUNNING)
            while at >= 0:
                yield group.numbers.number(at)
                at = group.states.find(RUNNING, at + 1)

    def end(self, number: int) -> bool:
        """The task has ended; False if it had before."""
        group, position = self.find(number)
        if group.states[position] == ENDED:
            return False
        group.states[position] = ENDED
        self.active -= 1
        return True

    def stand(self, number: int) -> tuple[int, int]:
        """Instance and state: never less than before."""
        group, position = self.find(number)
        return self.instances.get(number, 0), group.states[position]
