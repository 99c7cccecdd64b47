"""`job`: list, summary, info, cancel, forget, task-ids, open, close."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from logging import getLogger

from hqtrio.cli import values
from hqtrio.cli.kinds import Choices
from hqtrio.cli.parsing import argument, client_command, flag, option
from hqtrio.cli.render.job_table import FAILED_SHOWN_MAX
from hqtrio.cli.render.reports import JobReport, TaskIds
from hqtrio.cli.session import Session
from hqtrio.cli.submitting import checked_name
from hqtrio.client import Client, RequestFailed, Task
from hqtrio.errors import InputError
from hqtrio.ids import IdArray
from hqtrio.messages.client import (
    CancelJobs,
    CloseJobs,
    ForgetJobs,
    Forgotten,
    JobDetails,
    JobInfo,
    JobRow,
    OpenJob,
    Selector,
    Submitted,
    Verdict,
    VerdictKind,
    Verdicts,
)
from hqtrio.model.job import JobHead, JobState
from hqtrio.model.task import TaskState

log = getLogger(__name__)

_UNENDED = (JobState.WAITING, JobState.RUNNING, JobState.OPENED)


@client_command("list", conflicts=[("all_jobs", "states")])
@flag("--all", "all_jobs", help="Show all jobs.")
@option("--filter", "states", read=Choices(values.JOB_STATES), multiple=True, metavar="STATES",
        help="Show only jobs in these states.")  # fmt: skip
@flag("--verbose", help="Show the reason of cancelled jobs.")
async def list_jobs(
    session: Session,
    client: Client,
    all_jobs: bool,
    states: tuple[tuple[JobState, ...], ...],
    verbose: bool,
) -> None:
    """List jobs; without options those that are not completed."""
    rows, total, _ = await client.jobs()
    wanted = {state for group in states for state in group}
    if wanted:
        rows = [row for row in rows if row.state in wanted]
    elif not all_jobs:
        rows = [row for row in rows if row.is_open or row.state in _UNENDED]
    session.render.jobs(rows, total=total, verbose=verbose)


@client_command("summary")
async def summary(session: Session, client: Client) -> None:
    """Count jobs by state."""
    rows, _, _ = await client.jobs()
    counts: dict[JobState, int] = {}
    for row in rows:
        counts[row.state] = counts.get(row.state, 0) + 1
    session.render.job_summary(counts)


@client_command("info")
@argument("jobs", read=values.selector, metavar="SELECTOR")
async def info(session: Session, client: Client, jobs: Selector) -> None:
    """Show everything about jobs (ids, `last` or `all`)."""
    rows, _, unknown = await client.jobs(jobs)
    async with aclosing(_reports(session, client, rows, unknown)) as reports:
        await session.render.job_info(reports, now=time.time())
    for job in sorted(unknown):
        log.error("Job %d not found", job)


async def _reports(
    session: Session, client: Client, rows: Sequence[JobRow], unknown: list[int]
) -> AsyncGenerator[JobReport, None]:
    """What there is to say about each job; those that are gone by then become unknown."""
    for row in rows:
        try:
            details = await client.ask(JobInfo(row.id), JobDetails)
        except RequestFailed:
            unknown.append(row.id)
            continue
        failed: Sequence[Task] = ()
        if session.output_mode == "cli" and details.row.counts.failed:
            states = (int(TaskState.FAILED),)
            failed, _ = await client.tasks(row.id, states=states, most=FAILED_SHOWN_MAX)
        yield JobReport(details, failed, partial(client.task_lists, row.id))


@client_command("cancel")
@argument("jobs", read=values.selector, metavar="SELECTOR")
@option("--reason", read=values.cancel_reason, default="", help="Shown by `job info`.")
async def cancel(session: Session, client: Client, jobs: Selector, reason: str) -> None:
    """Cancel every task of the jobs (ids, `last` or `all`) that has not ended."""
    verdicts = await client.ask(CancelJobs(jobs, reason), Verdicts)
    if not verdicts.rows:
        log.info("There is nothing to cancel")
    for verdict in _by_id(verdicts):
        match verdict.kind:
            case VerdictKind.OK:
                log.info(
                    "Job %d canceled (%d tasks canceled, %d tasks already finished)",
                    verdict.id, verdict.cancelled, verdict.ended,
                )  # fmt: skip
            case VerdictKind.ALREADY:
                log.error("Canceling job %d failed; all tasks are already finished", verdict.id)
            case VerdictKind.NOT_FOUND:
                log.error("Canceling job %d failed; job not found", verdict.id)


@client_command("forget")
@argument("jobs", read=values.selector, metavar="SELECTOR")
@option("--filter", "states", read=Choices(values.FORGETTABLE), multiple=True, metavar="STATES",
        help="Forget only jobs in these states.")  # fmt: skip
@option("--status", "old_states", read=Choices(values.FORGETTABLE), multiple=True, hidden=True)
async def forget(
    session: Session,
    client: Client,
    jobs: Selector,
    states: tuple[tuple[JobState, ...], ...],
    old_states: tuple[tuple[JobState, ...], ...],
) -> None:
    """Remove completed jobs (ids, `last` or `all`) from the server's memory."""
    given = (*states, *old_states)
    chosen = [state for group in given for state in group] or values.FORGETTABLE.values()
    wanted = tuple(sorted({int(state) for state in chosen}))
    answer = await client.ask(ForgetJobs(jobs, wanted), Forgotten)
    text = f"{answer.forgotten} {'job' if answer.forgotten == 1 else 'jobs'} were forgotten"
    if answer.ignored:
        text += f", {answer.ignored} were ignored due to wrong state or invalid ID"
    log.info("%s", text)


@client_command("task-ids")
@argument("jobs", read=values.selector, metavar="SELECTOR")
@option("--filter", "states", read=Choices(values.TASK_STATES), multiple=True, metavar="STATES",
        help="Print only tasks in these states.")  # fmt: skip
async def task_ids(
    session: Session, client: Client, jobs: Selector, states: tuple[tuple[TaskState, ...], ...]
) -> None:
    """Print the ids of tasks in the form that `--array` reads."""
    rows, _, unknown = await client.jobs(jobs)
    if unknown:
        raise InputError(f"Job Id not found: {', '.join(map(str, sorted(unknown)))}")
    wanted = tuple(sorted({int(state) for group in states for state in group}))
    found = {row.id: IdArray.of_runs(await client.numbers(row.id, wanted)) for row in rows}
    session.render.task_ids(TaskIds(found))


@client_command("open")
@option("--name", default="job", help="Name of the job.")
@option("--max-fails", read=values.whole, default=None,
        help="How many tasks may fail before the rest is aborted.")  # fmt: skip
async def open_job(session: Session, client: Client, name: str, max_fails: int | None) -> None:
    """Open a job without tasks; `submit --job` adds some."""
    head = JobHead(checked_name(name), max_fails, is_open=True)
    session.render.opened((await client.ask(OpenJob(head), Submitted)).job)


@client_command("close")
@argument("jobs", read=values.selector, metavar="SELECTOR")
async def close(session: Session, client: Client, jobs: Selector) -> None:
    """Close open jobs (ids, `last` or `all`): no more tasks can be added."""
    verdicts = await client.ask(CloseJobs(jobs), Verdicts)
    if not verdicts.rows:
        log.info("There is nothing to close")
    for verdict in _by_id(verdicts):
        match verdict.kind:
            case VerdictKind.OK:
                log.info("Job %d closed", verdict.id)
            case VerdictKind.ALREADY:
                log.error("Closing job %d failed; job is already closed", verdict.id)
            case VerdictKind.NOT_FOUND:
                log.error("Closing job %d failed; job not found", verdict.id)


def _by_id(verdicts: Verdicts) -> list[Verdict]:
    return sorted(verdicts.rows, key=lambda verdict: verdict.id)
