"""Tables of `task list` and `task info`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hqtrio.cli.render.frame import RED, Cell
from hqtrio.cli.render.job_table import command_text, state_cell
from hqtrio.cli.render.reports import TaskList
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


@dataclass(frozen=True, slots=True)
class Listing:
    """A horizontal table, and whether an error in it was cut."""

    header: list[str]
    rows: list[list[Cell | str]]
    was_cut: bool


def cut(text: str, size: int) -> str:
    """At most `size` bytes of the text, then `...`."""
    data = text.encode(errors="replace")
    return data[:size].decode(errors="ignore") + "..."


def listing(tasks: TaskList, now: float) -> Listing:
    """All tasks of all selected jobs; the job is named unless there is only one."""
    with_job = len(tasks.jobs) != 1
    header = ["Job ID"] * with_job + ["Task ID", "State", "Worker", "Makespan", "Error"]
    rows: list[list[Cell | str]] = []
    was_cut = False
    for job, members in tasks.jobs.items():
        for task in members:
            error = task.row.error
            if not tasks.verbose and len(error.encode(errors="replace")) >= LIST_ERROR_BYTES_MAX:
                error, was_cut = cut(error, LIST_ERROR_BYTES_MAX), True
            line: list[Cell | str] = [
                Cell(str(task.number), right=True),
                state_cell(TASK_STATES[task.state]),
                "\n".join(task.hostnames),
                makespan(task, now),
                Cell(error, RED),
            ]
            rows.append([Cell(str(job), right=True), *line] if with_job else line)
    return Listing(header, rows, was_cut)


def makespan(task: Task, now: float) -> str:
    """How long the last execution took, so far if it runs; empty before the first."""
    row = task.row
    if row.started_at is None:
        return ""
    return format_elapsed((now if row.ended_at is None else row.ended_at) - row.started_at)


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
        ("Start", task_instant(row.started_at)),
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
    return table, was_cut
