"""Instances of the tasks of a job in which every task got a new one at once.

Otherwise a job keeps a plain dictionary of the few tasks that are past their first instance.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping


class RaisedInstances(dict[int, int]):
    """A number per task in one column; what is not in it is as in any dictionary."""

    __slots__ = ("_column",)

    _column: array[int]

    def __init__(self, before: Mapping[int, int], states: bytearray, active: int) -> None:
        """Those of `before`, and one more where the state is at most `active`."""
        super().__init__()
        count = len(states)
        column: array[int] = array("I", bytes(4 * count))
        for position, instance in before.items():
            column[position] = instance
        if isinstance(before, RaisedInstances):
            old = before._column
            column[: len(old)] = old
        pairs = zip(column, states, strict=True)
        self._column = array("I", [i + 1 if state <= active else i for i, state in pairs])

    def __bool__(self) -> bool:
        return True

    def get(self, position: int, default: int = 0) -> int:  # type: ignore[override]
        if position < len(self._column):
            return self._column[position]
        return super().get(position, default)

    def __getitem__(self, position: int) -> int:
        if position < len(self._column):
            return self._column[position]
        return super().__getitem__(position)

    def __setitem__(self, position: int, instance: int) -> None:
        if position < len(self._column):
            self._column[position] = instance
        else:
            super().__setitem__(position, instance)
