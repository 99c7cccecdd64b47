"""Tables as text: a frame of `+`, `-` and `|`, one blank of padding, no rules between rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TextIO

# A table of more rows than this is printed as they come; only its first rows set the widths.
HELD_ROWS_MAX: Final = 10_000

RESET = "\x1b[0m"
BOLD = "\x1b[1m"
RED = "\x1b[31m"
GREEN = "\x1b[32m"
YELLOW = "\x1b[33m"
BLUE = "\x1b[34m"
MAGENTA = "\x1b[35m"
CYAN = "\x1b[36m"


class Cell(NamedTuple):
    """Text, perhaps of several lines, perhaps in colour."""

    text: str
    style: str = ""
    right: bool = False


def horizontal(header: Sequence[str], rows: Sequence[Sequence[Cell | str]], *, colors: bool) -> str:
    """A table with a header row; without rows the header and its two rules remain."""
    body = [[_cell(cell) for cell in row] for row in rows]
    head = _head(header, body)
    widths = _widths([head, *body])
    rule = _rule(widths)
    lines = [rule, *_lines(head, widths, colors), rule]
    for row in body:
        lines += _lines(row, widths, colors)
    if body:
        lines.append(rule)
    return "\n".join(lines) + "\n"


class LongTable:
    """A horizontal table whose rows come in parts; `close` completes it.

    Up to HELD_ROWS_MAX rows it looks as any other. A longer one keeps the widths of its first
    rows, with at least those given beside the names of the columns; a longer cell sticks out.
    """

    def __init__(self, out: TextIO, columns: Sequence[tuple[str, int]], *, colors: bool) -> None:
        self._out = out
        self._header = [name for name, _ in columns]
        self._least = [width for _, width in columns]
        self._colors = colors
        self._held: list[Sequence[Cell | str]] | None = []
        self._widths: list[int] = []

    def add(self, rows: Sequence[Sequence[Cell | str]]) -> None:
        """Print these below the earlier ones, or keep them until it is clear how many come."""
        if self._held is None:
            self._print([[_cell(cell) for cell in row] for row in rows])
            return
        self._held += rows
        if len(self._held) > HELD_ROWS_MAX:
            held, self._held = self._held, None
            self._begin([[_cell(cell) for cell in row] for row in held])

    def close(self) -> None:
        if self._held is not None:
            self._out.write(horizontal(self._header, self._held, colors=self._colors))
        else:
            self._out.write(f"{_rule(self._widths)}\n")

    def _begin(self, body: list[list[Cell]]) -> None:
        head = _head(self._header, body)
        found = _widths([head, *body])
        self._widths = [max(pair) for pair in zip(found, self._least, strict=True)]
        rule = _rule(self._widths)
        lines = [rule, *_lines(head, self._widths, self._colors), rule, ""]
        self._out.write("\n".join(lines))
        self._print(body)

    def _print(self, body: list[list[Cell]]) -> None:
        lines: list[str] = []
        for row in body:
            lines += _lines(row, self._widths, self._colors)
        self._out.write("".join(f"{line}\n" for line in lines))


def vertical(rows: Sequence[tuple[str, Cell | str]], *, colors: bool) -> str:
    """A table of names and values, without a header."""
    body = [[Cell(name, BOLD), _cell(value)] for name, value in rows]
    widths = _widths(body)
    rule = _rule(widths)
    lines = [rule]
    for row in body:
        lines += _lines(row, widths, colors)
    return "\n".join([*lines, rule]) + "\n"


def _head(header: Sequence[str], body: Sequence[Sequence[Cell]]) -> list[Cell]:
    """Names of columns, aligned as their values are."""
    right = [bool(body) and body[0][at].right for at in range(len(header))]
    return [Cell(name, BOLD, right[at]) for at, name in enumerate(header)]


def _cell(value: Cell | str) -> Cell:
    if isinstance(value, str):
        return Cell(_printable(value))
    return (
        value
        if value.text.isprintable()
        else Cell(_printable(value.text), value.style, value.right)
    )


def _printable(text: str) -> str:
    """The text without characters that would drive the terminal instead of showing."""
    if text.isprintable():
        return text
    return "".join(
        c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum((2 if east_asian_width(c) in "WF" else 1) for c in text if not combining(c))


def _widths(rows: Sequence[Sequence[Cell]]) -> list[int]:
    columns = len(rows[0]) if rows else 0
    return [
        max(_width(line) for row in rows for line in row[at].text.split("\n"))
        for at in range(columns)
    ]


def _rule(widths: Sequence[int]) -> str:
    return "+" + "+".join("-" * (width + 2) for width in widths) + "+"


def _lines(row: Sequence[Cell], widths: Sequence[int], colors: bool) -> list[str]:
    columns = [cell.text.split("\n") for cell in row]
    lines = []
    if not colors and all(len(column) == 1 and column[0].isascii() for column in columns):
        # Nearly every row of a long table.
        cells = [
            cell.text.rjust(width) if cell.right else cell.text.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        return ["| " + " | ".join(cells) + " |"]
    for at in range(max(len(column) for column in columns)):
        cells = []
        for cell, column, width in zip(row, columns, widths, strict=True):
            text = column[at] if at < len(column) else ""
            padding = " " * (width - _width(text))
            painted = f"{cell.style}{text}{RESET}" if colors and cell.style and text else text
            cells.append(padding + painted if cell.right else painted + padding)
        lines.append("| " + " | ".join(cells) + " |")
    return lines
