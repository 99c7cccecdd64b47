"""Tables of `task list` and `task info`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, TextIO

from hqtrio.cli.render.frame import RED, Cell, LongTable
from hqtrio.cli.render.groups import ENTRY_CHARACTERS_MAX, entry_text, retry_text
from hqtrio.cli.render.job_table import command_text, state_cell
from hqtrio.cli.render.wording import (
    PINS,
    TASK_STATES,
    arguments,
    crash_limit_text,
    environment,
    optional_duration,
    stdio_text,
    task_instant,
    variants_text,
)
from hqtrio.client.views import Task
from hqtrio.units import format_bytes, format_elapsed

LIST_ERROR_BYTES_MAX: Final = 16
INFO_ERROR_BYTES_MAX: Final = 237
_STATES: Final = {state: state_cell(text) for state, text in TASK_STATES.items()}


# The widest that columns of a long list get: times and shortened errors are never wider.
_ID_WIDTH: Final = 10
_STATE_WIDTH: Final = 8
_TIME_WIDTH: Final = 9
_ERROR_WIDTH: Final = LIST_ERROR_BYTES_MAX + 3


class TaskTable:
    """All tasks of all selected jobs; the job is named unless there is only one."""

    def __init__(
        self, out: TextIO, *, colors: bool, with_job: bool, verbose: bool, now: float
    ) -> None:
        self._with_job = with_job
        self._verbose = verbose
        self._now = now
        self._was_cut = False
        columns = [
            ("Task ID", _ID_WIDTH),
            ("State", _STATE_WIDTH),
            ("Worker", 0),
            ("Makespan", _TIME_WIDTH),
            ("Error", _ERROR_WIDTH),
        ]
        self._columns = [("Job ID", _ID_WIDTH)] * with_job + columns
        self._make_table = partial(LongTable, out, colors=colors)
        self._table: LongTable | None = None
        self._has_groups = False

    def add(self, job: int, tasks: Sequence[Task]) -> None:
        if self._table is None:
            # Jobs without named groups have the columns that scripts know.
            self._has_groups = any(task.row.group for task in tasks)
            more = [("Group", 0), ("Entry", ENTRY_CHARACTERS_MAX + 3)] * self._has_groups
            self._table = self._make_table([*self._columns, *more])
        self._table.add([self._line(job, task) for task in tasks])

    def close(self) -> bool:
        (self._table or self._make_table(self._columns)).close()
        return self._was_cut

    def _line(self, job: int, task: Task) -> list[Cell | str]:
        error = task.row.error
        if not self._verbose and len(error.encode(errors="replace")) >= LIST_ERROR_BYTES_MAX:
            error, self._was_cut = cut(error, LIST_ERROR_BYTES_MAX), True
        line: list[Cell | str] = [
            Cell(str(task.number), right=True),
            _STATES[task.state],
            "\n".join(task.hostnames),
            makespan(task, self._now),
            Cell(error, RED) if error else "",
        ]
        if self._has_groups:
            line += [task.row.group, entry_text(task.row, whole=self._verbose)]
        return [Cell(str(job), right=True), *line] if self._with_job else line


def cut(text: str, size: int) -> str:
    """At most `size` bytes of the text, then `...`."""
    data = text.encode(errors="replace")
    return data[:size].decode(errors="ignore") + "..."


def makespan(task: Task, now: float) -> str:
    """How long the last execution took, so far if it runs; empty before the first."""
    row, started_at = task.row, task.started_at
    if started_at is None:
        return ""
    return format_elapsed((now if row.ended_at is None else row.ended_at) - started_at)


def rows(task: Task, now: float, *, verbose: bool) -> tuple[list[tuple[str, Cell | str]], bool]:
    """Everything about one task, and whether its error was cut."""
    row, body, paths = task.row, task.body, task.paths
    error, was_cut = row.error, False
    if not verbose and len(error.encode(errors="replace")) > INFO_ERROR_BYTES_MAX:
        error, was_cut = cut(error, INFO_ERROR_BYTES_MAX), True
    table: list[tuple[str, Cell | str]] = [
        ("Task ID", str(task.number)),
        ("State", state_cell(TASK_STATES[task.state])),
        ("Command", command_text(arguments(body.args))),
        ("Environment", "\n".join(environment(body.env))),
        ("Worker", "\n".join(task.hostnames)),
        ("Start", task_instant(task.started_at)),
        ("End", task_instant(row.ended_at)),
        ("Makespan", makespan(task, now)),
        ("Workdir", "" if paths is None else paths.cwd),
        ("Stdout", "" if paths is None else stdio_text(body.stdout, paths.stdout)),
        ("Stderr", "" if paths is None else stdio_text(body.stderr, paths.stderr)),
        ("Time limit", optional_duration(body.time_limit_s or None)),
        ("Resources", variants_text(task.variants)),
        ("Priority", str(task.settings.priority)),
        ("Pin", PINS[body.pin]),
        ("Task dir", "yes" if body.task_dir else "no"),
        ("Crash limit", str(crash_limit_text(task.settings.crash_limit))),
        ("Dependencies", ",".join(map(str, row.needs))),
        ("Error", Cell(error, RED)),
        ("CPU time", "" if row.cpu_s is None else format_elapsed(row.cpu_s)),
        ("Peak memory", "" if row.peak_kib is None else format_bytes(row.peak_kib * 1024)),
    ]
    more = [
        ("Group", row.group),
        ("Entry", entry_text(row, whole=verbose)),
        ("Retries", retry_text(row)),
    ]
    table += [(name, text) for name, text in more if text]
    return table, was_cut
