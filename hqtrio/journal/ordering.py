"""Records in the order of time, where they come from a memory that keeps them by job."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby
from math import inf
from operator import itemgetter
from typing import Final

from msgspec.structs import replace

from hqtrio.messages.columns import read_f64, read_u32, read_u64, u32, u64
from hqtrio.messages.records import Record, TasksEnded, TasksStarted

__all__ = ["in_order"]

_ROW_BITS: Final = 32


def in_order(records: Sequence[Record]) -> Iterator[Record]:
    """The same by time; what has none comes right before what follows it. Starts and ends of tasks
    stand each where its own time says."""
    dates = array("d")
    places = array("Q")  # of a record, and the row in it
    for index, record in enumerate(records):
        match record:
            case TasksStarted():
                rows = read_f64(record.at)
            case TasksEnded(tasks=tasks) if tasks:
                rows = read_f64(record.ended)
            case _:
                rows = array("d", [getattr(record, "at", inf)])
        dates.extend(rows)
        places.extend(index << _ROW_BITS | row for row in range(len(rows)))
    at = inf
    for place in range(len(dates) - 1, -1, -1):
        at = dates[place] = at if dates[place] == inf else dates[place]
    order = sorted(range(len(dates)), key=dates.__getitem__)
    split = (divmod(places[place], 1 << _ROW_BITS) for place in order)
    columns: dict[int, _Columns] = {}
    for index, chosen in groupby(split, key=itemgetter(0)):
        record = records[index]
        if isinstance(record, TasksStarted) or (isinstance(record, TasksEnded) and record.tasks):
            if index not in columns:
                columns[index] = _Columns(record)
            yield columns[index].rows([row for _, row in chosen])
        else:
            yield record


class _Columns:
    """A record's columns, to take rows from."""

    def __init__(self, record: TasksStarted | TasksEnded) -> None:
        self._record = record
        self._tasks, self._instances = read_u64(record.tasks), read_u32(record.instances)
        self._errors = dict(record.errors) if isinstance(record, TasksEnded) else {}
        self._results = dict(record.results) if isinstance(record, TasksEnded) else {}

    def rows(self, rows: list[int]) -> Record:
        """The record with these of its rows."""
        record = self._record
        tasks = u64(self._tasks[row] for row in rows)
        instances = u32(self._instances[row] for row in rows)
        if isinstance(record, TasksStarted):
            return replace(record, tasks=tasks, instances=instances, at=_pick(record.at, rows, 8))
        errors, results = self._errors, self._results
        return replace(
            record,
            tasks=tasks,
            instances=instances,
            states=_pick(record.states, rows, 1),
            started=_pick(record.started, rows, 8),
            ended=_pick(record.ended, rows, 8),
            cpu_s=_pick(record.cpu_s, rows, 4),
            peak_kib=_pick(record.peak_kib, rows, 4),
            errors=tuple((i, errors[row]) for i, row in enumerate(rows) if row in errors),
            results=tuple((i, results[row]) for i, row in enumerate(rows) if row in results),
        )


def _pick(column: bytes, rows: list[int], width: int) -> bytes:
    return b"".join(column[width * row : width * (row + 1)] for row in rows)
