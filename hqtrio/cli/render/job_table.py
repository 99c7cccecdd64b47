"""The table of `job info`."""

from __future__ import annotations

import textwrap
from typing import Final

from hqtrio.cli.render.frame import BLUE, CYAN, GREEN, MAGENTA, RED, YELLOW, Cell
from hqtrio.cli.render.groups import groups_text
from hqtrio.cli.render.wording import (
    JOB_STATES,
    PINS,
    arguments,
    crash_limit_text,
    date,
    environment,
    optional_duration,
    stdio_text,
    total,
    variants_text,
)
from hqtrio.client.views import resolve
from hqtrio.ids import IdArray, format_ids
from hqtrio.messages.client import ArrayPart, Counts, JobDetails
from hqtrio.model.resources import Variants
from hqtrio.model.task import TaskBody, TaskSettings
from hqtrio.units import format_elapsed

FAILED_SHOWN_MAX: Final = 5
BAR_CHARACTERS: Final = 40
COMMAND_WIDTH: Final = 80
WORKERS_SHOWN_MAX: Final = 2

_STYLES: Final = {
    "WAITING": CYAN,
    "RUNNING": YELLOW,
    "FINISHED": GREEN,
    "FAILED": RED,
    "CANCELED": MAGENTA,
    "ABORTED": MAGENTA,
    "OPENED": BLUE,
}


def state_cell(state: str) -> Cell:
    """A state in its colour."""
    return Cell(state, _STYLES.get(state, ""))


def rows(details: JobDetails, now: float) -> list[tuple[str, Cell | str]]:
    """What there is to say about one job; how its tasks look only if they all look the same."""
    row = details.row
    table: list[tuple[str, Cell | str]] = [
        ("ID", str(row.id)),
        ("Name", row.name),
        ("State", _state(details)),
        ("Cancel Reason", row.cancel_reason or ""),
        ("Session", "open" if row.is_open else "closed"),
        ("Tasks", _tasks(details)),
        ("Workers", _workers(details)),
    ]
    only = details.submits[0] if len(details.submits) == 1 else None
    if only is not None and len(only.arrays) == 1 and not only.graph_tasks:
        table += _array(row.id, only.arrays[0])
    table.append(("Submission date", date(details.submitted_at)))
    if only is not None:
        table.append(("Submission directory", only.submit_dir))
    if groups := groups_text(details):
        table.append(("Groups", groups))
    end = now if details.finished_at is None else details.finished_at
    table.append(("Makespan", format_elapsed(end - details.submitted_at)))
    return table


def bar(counts: Counts, width: int = BAR_CHARACTERS) -> str:
    """`[###...]`: every task that has started or ended counts."""
    everything = total(counts)
    filled = 0
    if everything:
        for count in (
            counts.cancelled,
            counts.failed,
            counts.finished,
            counts.running,
            counts.aborted,
        ):
            filled += -(-count * width // everything)
    filled = min(filled, width)
    return f"[{'#' * filled}{'.' * (width - filled)}]"


def command_text(args: list[str]) -> str:
    """One argument per line, long ones wrapped."""
    lines = []
    for arg in args:
        for part in arg.split("\n"):
            lines += textwrap.wrap(
                part, COMMAND_WIDTH, replace_whitespace=False, drop_whitespace=False
            ) or [""]
    return "\n".join(lines)


def _state(details: JobDetails) -> Cell:
    counts = details.row.counts
    if total(counts) == 1 or not total(counts):
        return state_cell(JOB_STATES[details.row.state])
    shares = (
        ("RUNNING", counts.running),
        ("FAILED", counts.failed),
        ("FINISHED", counts.finished),
        ("CANCELED", counts.cancelled),
        ("WAITING", counts.waiting),
        ("ABORTED", counts.aborted),
    )
    return Cell("\n".join([bar(counts), *(f"{name} ({n})" for name, n in shares if n)]))


def _tasks(details: JobDetails) -> str:
    ids = IdArray(details.ids)
    return f"{len(ids)}; Ids: {format_ids(ids)}" if len(ids) else "0"


def _workers(details: JobDetails) -> str:
    names = [name or "N/A" for name in details.hostnames]
    text = ",".join(names[:WORKERS_SHOWN_MAX])
    if len(names) > WORKERS_SHOWN_MAX:
        text += f", … ({len(names)} total)"
    return text


def _array(job: int, part: ArrayPart) -> list[tuple[str, Cell | str]]:
    return description(job, part.body, part.variants, part.settings)


def description(
    job: int, body: TaskBody, variants: Variants, settings: TaskSettings
) -> list[tuple[str, Cell | str]]:
    """What all tasks of an array have in common; paths as far as they are known."""
    paths = resolve(body, {"JOB_ID": str(job)})
    return [
        ("Resources", variants_text(variants)),
        ("Pin", PINS[body.pin]),
        ("Priority", str(settings.priority)),
        ("Command", command_text(arguments(body.args))),
        ("Stdout", stdio_text(body.stdout, paths.stdout)),
        ("Stderr", stdio_text(body.stderr, paths.stderr)),
        ("Environment", "\n".join(environment(body.env))),
        ("Working directory", paths.cwd),
        ("Task time limit", optional_duration(body.time_limit_s or None)),
        ("Crash limit", str(crash_limit_text(settings.crash_limit))),
    ]
