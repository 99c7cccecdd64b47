"""`job wait` and `job progress`; also what `submit` does with `--wait` and `--progress`."""

from __future__ import annotations

from logging import getLogger

from hqtrio.cli import values
from hqtrio.cli.bar import follow
from hqtrio.cli.on_notify import ON_NOTIFY_OPTION, calling
from hqtrio.cli.parsing import argument, client_command, flag
from hqtrio.cli.render.wording import total
from hqtrio.cli.session import Session
from hqtrio.client import Client, is_complete
from hqtrio.messages.client import Selector

log = getLogger(__name__)


@client_command("wait")
@argument("jobs", read=values.selector, metavar="SELECTOR")
@flag("--without-close", help="Do not wait for open jobs to be closed.")
@ON_NOTIFY_OPTION
async def wait(
    session: Session, client: Client, jobs: Selector, without_close: bool, on_notify: str | None
) -> None:
    """Wait until jobs (ids, `last` or `all`) are completed."""
    rows, _, _ = await client.jobs(jobs)
    closed = not without_close
    unfinished = [row.id for row in rows if not is_complete(row, closed=closed)]
    async with calling(client, on_notify):
        await client.wait_for_jobs(unfinished, closed=closed)


@client_command("progress")
@argument("jobs", read=values.selector, metavar="SELECTOR")
@ON_NOTIFY_OPTION
async def progress(session: Session, client: Client, jobs: Selector, on_notify: str | None) -> None:
    """Show the progress of jobs (ids, `last` or `all`) until they are completed."""
    rows, _, _ = await client.jobs(jobs)
    session.render.raw()
    unfinished = [row for row in rows if not is_complete(row)]
    if not unfinished:
        log.warning("There are no jobs to wait for")
        return
    tasks = sum(total(row.counts) for row in rows)
    log.info(
        "Waiting for %d %s with %d %s",
        len(rows), "job" if len(rows) == 1 else "jobs",
        tasks, "task" if tasks == 1 else "tasks",
    )  # fmt: skip
    async with calling(client, on_notify):
        await follow(session, client, [row.id for row in rows])
