"""`task`: list, info, explain."""

from __future__ import annotations

import time
from contextlib import aclosing
from logging import getLogger

from hqtrio.cli import values
from hqtrio.cli.kinds import Choices
from hqtrio.cli.parsing import argument, client_command, flag, option
from hqtrio.cli.session import Session
from hqtrio.client import Client, Task, tasks_of
from hqtrio.errors import InputError
from hqtrio.ids import IdArray
from hqtrio.messages.client import Selector, Which
from hqtrio.model.task import TaskState

log = getLogger(__name__)


@client_command("list")
@argument("jobs", read=values.selector_last, metavar="SELECTOR")
@option("--tasks", "numbers", read=values.ids, metavar="IDS", help="Only these tasks.")
@option("--task-status", "states", read=Choices(values.TASK_STATES), multiple=True,
        metavar="STATES", help="Only tasks in these states.")  # fmt: skip
@flag("-v", "--verbose", help="Do not shorten error messages.")
async def list_tasks(
    session: Session,
    client: Client,
    jobs: Selector,
    numbers: IdArray | None,
    states: tuple[tuple[TaskState, ...], ...],
    verbose: bool,
) -> None:
    """List the tasks of jobs (ids or `last`)."""
    rows, _, unknown = await client.jobs(jobs)
    for job in unknown:
        log.warning("Job %d not found", job)
    wanted = tuple(sorted({int(state) for group in states for state in group}))
    chosen = [row.id for row in rows]
    writer = session.render.task_writer(chosen, verbose=verbose, now=time.time())
    for job in chosen:
        pages = client.task_pages(job, numbers=numbers.ranges if numbers else (), states=wanted)
        async with aclosing(pages):
            async for page in pages:
                for number in page.unknown:
                    log.warning("Task %d not found", number)
                writer.add(job, list(tasks_of(job, page)))
    if writer.close():
        log.info("An error message was truncated. Use -v to display the full error.")


@client_command("info")
@argument("job", read=values.one, metavar="JOB")
@argument("numbers", read=values.ids, metavar="TASKS")
@flag("-v", "--verbose", help="Do not shorten error messages.")
async def info(
    session: Session, client: Client, job: Selector, numbers: IdArray, verbose: bool
) -> None:
    """Show everything about tasks of one job (an id or `last`)."""
    rows, _, unknown = await client.jobs(job)
    if not rows and job.which is Which.LAST:
        raise InputError("No jobs were found")
    for missing in unknown:
        log.error("Cannot find job %d", missing)
    tasks: list[Task] = []
    for row in rows:
        tasks, absent = await client.tasks(row.id, numbers=numbers.ranges)
        for number in absent:
            log.warning("Task %d not found", number)
    if session.render.task_info(tasks, verbose=verbose, now=time.time()):
        log.info("An error message(s) was truncated. Use -v to display the full error.")


@client_command("explain")
@argument("job", read=values.one, metavar="JOB")
@argument("number", read=values.whole, metavar="TASK")
async def explain(session: Session, client: Client, job: Selector, number: int) -> None:
    """Show what a task of a job (an id or `last`) waits for, and which workers could run it."""
    session.render.explanation(await client.explain(job, number))
