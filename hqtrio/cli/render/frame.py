"""Tables as text: a frame of `+`, `-` and `|`, one blank of padding, no rules between rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RESET = "\x1b[0m"
BOLD = "\x1b[1m"
RED = "\x1b[31m"
GREEN = "\x1b[32m"
YELLOW = "\x1b[33m"
BLUE = "\x1b[34m"
MAGENTA = "\x1b[35m"
CYAN = "\x1b[36m"


@dataclass(frozen=True, slots=True)
class Cell:
    """Text, perhaps of several lines, perhaps in colour."""

    text: str
    style: str = ""
    right: bool = False


def horizontal(header: Sequence[str], rows: Sequence[Sequence[Cell | str]], *, colors: bool) -> str:
    """A table with a header row; without rows the header and its two rules remain."""
    body = [[_cell(cell) for cell in row] for row in rows]
    # A column is aligned as its values are, its header included.
    right = [bool(body) and body[0][at].right for at in range(len(header))]
    head = [Cell(name, BOLD, right[at]) for at, name in enumerate(header)]
    widths = _widths([head, *body])
    rule = _rule(widths)
    lines = [rule, *_lines(head, widths, colors), rule]
    for row in body:
        lines += _lines(row, widths, colors)
    if body:
        lines.append(rule)
    return "\n".join(lines) + "\n"


def vertical(rows: Sequence[tuple[str, Cell | str]], *, colors: bool) -> str:
    """A table of names and values, without a header."""
    body = [[Cell(name, BOLD), _cell(value)] for name, value in rows]
    widths = _widths(body)
    rule = _rule(widths)
    lines = [rule]
    for row in body:
        lines += _lines(row, widths, colors)
    return "\n".join([*lines, rule]) + "\n"


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
    for at in range(max(len(column) for column in columns)):
        cells = []
        for cell, column, width in zip(row, columns, widths, strict=True):
            text = column[at] if at < len(column) else ""
            padding = " " * (width - _width(text))
            painted = f"{cell.style}{text}{RESET}" if colors and cell.style and text else text
            cells.append(padding + painted if cell.right else painted + padding)
        lines.append("| " + " | ".join(cells) + " |")
    return lines
