"""`job cat`: the output files of tasks, one after another."""

from __future__ import annotations

from contextlib import aclosing
from logging import getLogger

from hqtrio.cli import values
from hqtrio.cli.kinds import Choice, Choices
from hqtrio.cli.parsing import argument, client_command, flag, option
from hqtrio.cli.session import Session
from hqtrio.client import Client, Task, tasks_of
from hqtrio.errors import InputError
from hqtrio.ids import IdArray
from hqtrio.messages.client import JobRow, Selector
from hqtrio.model.task import TaskState

log = getLogger(__name__)


@client_command("cat")
@argument("jobs", read=values.selector_last, metavar="SELECTOR")
@argument("stream", read=Choice(["stdout", "stderr"]), metavar="STREAM")
@option("--tasks", "numbers", read=values.ids, metavar="IDS", help="Only these tasks.")
@option("--task-status", "states", read=Choices(values.TASK_STATES), multiple=True,
        metavar="STATES", help="Only tasks in these states.")  # fmt: skip
@flag("--print-task-header", "with_header", help="Print a line with job and task before each.")
async def cat(
    session: Session,
    client: Client,
    jobs: Selector,
    stream: str,
    numbers: IdArray | None,
    states: tuple[tuple[TaskState, ...], ...],
    with_header: bool,
) -> None:
    """Print the outputs of tasks (STREAM is `stdout` or `stderr`)."""
    if session.output_mode == "json":
        raise InputError("JSON output mode doesn't support job output")
    session.render.raw()
    rows, _, unknown = await client.jobs(jobs)
    for job in unknown:
        log.error("Job %d was not found", job)
    if not rows and not unknown:
        log.warning("No jobs were found")
    wanted = tuple(sorted({int(state) for group in states for state in group}))
    for row in in_order(rows, jobs):
        found = False
        pages = client.task_pages(row.id, numbers=numbers.ranges if numbers else (), states=wanted)
        async with aclosing(pages):
            async for page in pages:
                for number in page.unknown:
                    log.warning("Task %d of job %d not found", number, row.id)
                for task in tasks_of(row.id, page):
                    found = True
                    if with_header:
                        session.out.write(f"# Job {row.id}, task {task.number}\n")
                    _copy(session, task, stream)
        if not found:
            log.warning("No tasks were selected for job %d, there is nothing to print", row.id)


def in_order(rows: list[JobRow], jobs: Selector) -> list[JobRow]:
    """The rows in the order in which the user named the jobs."""
    named = IdArray(jobs.ids)
    return sorted(rows, key=lambda row: named.position(row.id))


def _copy(session: Session, task: Task, stream: str) -> None:
    paths = task.paths
    path = None if paths is None else getattr(paths, stream)
    if path is None:
        log.warning("Task %d has no `%s` stream associated with it", task.number, stream)
        return
    try:
        with open(path, "rb") as source:
            session.write_bytes(source)
    except OSError as error:
        log.warning("File at `%s` cannot be opened: %s", path, error.strerror)
