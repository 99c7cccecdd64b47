"""Groups of native job files: their names, matrices and entries, and retries of their tasks."""

from __future__ import annotations

from typing import Final

from hqtrio.cli.render.wording import date
from hqtrio.ids import IdArray, format_ids
from hqtrio.messages.client import ArrayPart, JobDetails, TaskRow
from hqtrio.model.fields import field_texts
from hqtrio.model.matrix import Axis

GROUPS_SHOWN_MAX: Final = 20
ENTRY_CHARACTERS_MAX: Final = 60


def groups_text(details: JobDetails) -> str:
    """A line per named group: its ids, and what its matrix combines; nothing without names."""
    parts = [part for submit in details.submits for part in submit.arrays if part.group]
    lines = [_line(part) for part in parts[:GROUPS_SHOWN_MAX]]
    if len(parts) > GROUPS_SHOWN_MAX:
        lines.append(f"… ({len(parts)} total)")
    return "\n".join(lines)


def _line(part: ArrayPart) -> str:
    line = f"{part.group}: {format_ids(IdArray(part.ranges))}"
    matrix = part.body.matrix
    if matrix is None:
        return line
    return f"{line} ({'; '.join(f'{axis.name}: {_values(axis)}' for axis in matrix.axes)})"


def _values(axis: Axis) -> str:
    if axis.ranges:
        return format_ids(IdArray(axis.ranges))
    return ", ".join(_plain(value) for value in axis.values)


def _plain(value: str) -> str:
    return field_texts(f'{{"value":{value}}}'.encode(), ["value"])[0]


def entry_text(row: TaskRow, *, whole: bool) -> str:
    """The entry of a task on one line."""
    text = (row.entry or b"").decode(errors="replace").replace("\n", " ")
    if not whole and len(text) > ENTRY_CHARACTERS_MAX:
        return text[:ENTRY_CHARACTERS_MAX] + "..."
    return text


def retry_text(row: TaskRow) -> str:
    """How often a task has failed and was or will be tried again; nothing if it never was."""
    if not row.tries:
        return ""
    failed = f"failed {row.tries} time{'s' if row.tries > 1 else ''}"
    if row.retry_at is None:
        return failed
    return f"{failed}, waits until {date(row.retry_at)} for the next try"
