"""A matrix: one task per combination of values, none of them written out.

A combination is named by its place: the last axis changes fastest, excluded combinations are left
out, included ones follow at the end. Values are kept as JSON, since that is how tasks get them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import compress
from typing import Final

from hqtrio.errors import InputError
from hqtrio.model.value import Value
from hqtrio.units import quote

__all__ = ["ANY", "Axis", "Combinations", "Matrix", "check_field_name", "check_matrix", "product"]

ANY: Final = -1  # stands for every value of an axis
COMBINATIONS_MAX: Final = 100_000_000
_MARKED_MAX: Final = 50_000_000  # combinations times exclusions: marking them takes a moment
_BLOCK: Final = 4096
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class Axis(Value, frozen=True):
    """One name and its values: JSON texts, or ranges (start, count, step) of whole numbers."""

    name: str
    values: tuple[str, ...] = ()
    ranges: tuple[tuple[int, int, int], ...] = ()


class Matrix(Value, frozen=True):
    """Axes, and what differs from their product.

    `exclude` has a row of places of values, one per axis, for what is left out (ANY: whatever
    stands there); `include` has rows of JSON values for what is added.
    """

    axes: tuple[Axis, ...]
    exclude: tuple[tuple[int, ...], ...] = ()
    include: tuple[tuple[str, ...], ...] = ()


def check_field_name(name: str) -> None:
    """Refuse what a placeholder cannot name."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"'{quote(name)}' cannot be used as a placeholder:"
            " a letter or _, then letters, digits, _, - or ."
        )


def product(matrix: Matrix) -> int:
    """How many combinations the axes alone have."""
    count = 1
    for axis in matrix.axes:
        count *= len(axis.values) or sum(n for _, n, _ in axis.ranges)
    return count


def check_matrix(matrix: Matrix) -> None:
    """Refuse a matrix that makes no sense, or too much work."""
    if not matrix.axes:
        raise InputError("A matrix needs at least one name with values.")
    if len({axis.name for axis in matrix.axes}) < len(matrix.axes):
        raise InputError("A matrix names something twice.")
    for axis in matrix.axes:
        check_field_name(axis.name)
        if bool(axis.values) == bool(axis.ranges):
            raise InputError(f"`{axis.name}` of a matrix needs values.")
        if any(start < 0 or count < 1 or step < 1 for start, count, step in axis.ranges):
            raise InputError(f"`{axis.name}` of a matrix has an impossible range.")
    count = product(matrix)
    if count + len(matrix.include) > COMBINATIONS_MAX:
        raise InputError(f"A matrix has at most {COMBINATIONS_MAX} combinations, not {count}.")
    if count * len(matrix.exclude) > _MARKED_MAX:
        raise InputError(
            f"{len(matrix.exclude)} exclusions from {count} combinations are too many;"
            " list the combinations as entries."
        )
    width = len(matrix.axes)
    if any(len(row) != width for row in (*matrix.exclude, *matrix.include)):
        raise InputError("Exclusions and inclusions of a matrix must be as wide as it is.")
    for row in matrix.exclude:
        for place, axis in zip(row, matrix.axes, strict=True):
            if not ANY <= place < (len(axis.values) or sum(n for _, n, _ in axis.ranges)):
                raise InputError(f"An exclusion names a value that `{axis.name}` does not have.")


class Combinations:
    """The combinations of a checked matrix by place. Holds a byte each if any is excluded."""

    __slots__ = ("_axes", "_before", "_block", "_include", "_kept", "_places", "_plain", "count")

    def __init__(self, matrix: Matrix) -> None:
        self._axes = [(f'"{axis.name}":', _Values(axis)) for axis in matrix.axes]
        self._include = matrix.include
        total = product(matrix)
        self._kept = _kept(matrix, total) if matrix.exclude else b""
        # How many are kept before each block of marks; the places kept in the block used last.
        self._before: list[int] = []
        self._block, self._places = -1, list[int]()
        if self._kept:
            kept = 0
            for at in range(0, total, _BLOCK):
                self._before.append(kept)
                kept += self._kept.count(1, at, at + _BLOCK)
            total = kept
        self._plain = total
        self.count = total + len(self._include)

    def entry(self, place: int) -> bytes:
        """The combination as a JSON object."""
        assert 0 <= place < self.count, (place, self.count)
        parts = []
        if place >= self._plain:
            row = self._include[place - self._plain]
            parts = [head + value for (head, _), value in zip(self._axes, row, strict=True)]
        else:
            rest = self._product_place(place) if self._kept else place
            for head, values in reversed(self._axes):
                rest, at = divmod(rest, values.count)
                parts.append(head + values.value(at))
            parts.reverse()
        return ("{" + ",".join(parts) + "}").encode("utf-8", "surrogatepass")

    def _product_place(self, place: int) -> int:
        """The place, in the whole product, of the kept combination at `place`."""
        block = bisect_right(self._before, place) - 1
        first = block * _BLOCK
        if block != self._block:
            marks = self._kept[first : first + _BLOCK]
            self._places = list(compress(range(len(marks)), marks))
            self._block = block
        return first + self._places[place - self._before[block]]


class _Values:
    """The values of one axis by place."""

    __slots__ = ("_ranges", "_values", "count")

    def __init__(self, axis: Axis) -> None:
        self._values = axis.values
        self._ranges = axis.ranges
        self.count = len(axis.values) or sum(n for _, n, _ in axis.ranges)

    def value(self, place: int) -> str:
        if self._values:
            return self._values[place]
        for start, count, step in self._ranges:
            if place < count:
                return str(start + place * step)
            place -= count
        raise AssertionError(place)


def _kept(matrix: Matrix, total: int) -> bytes:
    """One byte per combination of the product: 1 for what is kept."""
    excluded = 0
    counts = [_Values(axis).count for axis in matrix.axes]
    for row in matrix.exclude:
        marks = b"\x01"
        for place, count in zip(reversed(row), reversed(counts), strict=True):
            if place == ANY:
                marks *= count
            else:
                marks = bytes(place * len(marks)) + marks + bytes((count - 1 - place) * len(marks))
        excluded |= int.from_bytes(marks, "little")
    return excluded.to_bytes(total, "little").translate(b"\x01\x00" + bytes(254))
