"""`alloc`: list, info, log, pause, resume, remove."""

from __future__ import annotations

from logging import getLogger
from typing import Final

from hqtrio.cli import values
from hqtrio.cli.kinds import Choice
from hqtrio.cli.parsing import argument, client_command, flag, option
from hqtrio.cli.session import Session
from hqtrio.client import Client
from hqtrio.errors import InputError
from hqtrio.messages.allocations import (
    AllocationRows,
    AllocationState,
    FindAllocation,
    PauseQueue,
    RemoveQueue,
    ResumeQueue,
)
from hqtrio.messages.client import Done

log = getLogger(__name__)

ENDED: Final = (AllocationState.FINISHED, AllocationState.FAILED)
STATES: Final = {
    "queued": (AllocationState.QUEUED,),
    "running": (AllocationState.RUNNING,),
    "finished": ENDED,
    "failed": (AllocationState.FAILED,),
}


@client_command("list")
async def list_queues(session: Session, client: Client) -> None:
    """List allocation queues, and why they submit nothing right now."""
    rows = await client.queues()
    session.render.queues(sorted(rows, key=lambda row: row.id))


@client_command("info")
@argument("queue", read=values.whole, metavar="QUEUE")
@option(
    "--filter",
    "states",
    read=Choice(STATES),
    metavar="STATE",
    help="Show only allocations that are queued, running, finished (failed ones too) or failed.",
)
async def info(
    session: Session, client: Client, queue: int, states: tuple[AllocationState, ...] | None
) -> None:
    """Show the allocations of a queue, and what they have cost."""
    rows = await client.allocations(queue)
    owner = next((row for row in await client.queues() if row.id == queue), None)
    if states is not None:
        rows = [row for row in rows if row.state in states]
    session.render.allocations(owner, rows)


@client_command("log")
@argument("allocation", read=str, metavar="ALLOCATION")
@argument("channel", read=Choice(["stdout", "stderr"]), metavar="stdout|stderr")
async def log_of(session: Session, client: Client, allocation: str, channel: str) -> None:
    """Print what an allocation has written; a queue's id stands for its latest one."""
    if session.output_mode == "json":
        raise InputError("JSON output mode doesn't support allocation output")
    rows = (await client.ask(FindAllocation(allocation), AllocationRows)).rows
    path = f"{rows[0].directory}/{channel}"
    session.render.raw()
    if session.output_mode == "quiet":
        return
    try:
        with open(path, "rb") as source:  # noqa: ASYNC230
            log.info("Content of `%s`:", path)
            session.write_bytes(source)
    except OSError as error:
        log.warning("File at `%s` cannot be opened: %s", path, error.strerror)


@client_command("pause")
@argument("queue", read=values.whole, metavar="QUEUE")
async def pause(_: Session, client: Client, queue: int) -> None:
    """Have a queue submit nothing; its allocations go on."""
    await client.ask(PauseQueue(queue), Done)
    log.info("Allocation queue %d successfully paused", queue)


@client_command("resume")
@argument("queue", read=values.whole, metavar="QUEUE")
async def resume(_: Session, client: Client, queue: int) -> None:
    """Have a paused queue go on, its failures forgotten."""
    await client.ask(ResumeQueue(queue), Done)
    log.info("Allocation queue %d successfully resumed", queue)


@client_command("remove")
@argument("queue", read=values.whole, metavar="QUEUE")
@flag("--force", help="Also with running allocations.")
async def remove(_: Session, client: Client, queue: int, force: bool) -> None:
    """Remove a queue; its allocations are cancelled."""
    await client.ask(RemoveQueue(queue, force), Done)
    log.info("Allocation queue %d successfully removed", queue)
