"""`worker`: list, info, stop, address, wait."""

from __future__ import annotations

from logging import getLogger

from hqtrio.cli import values
from hqtrio.cli.kinds import Choice
from hqtrio.cli.parsing import argument, client_command, flag, option
from hqtrio.cli.session import Session
from hqtrio.client import Client
from hqtrio.errors import InputError
from hqtrio.messages.client import Selector, StopWorkers, VerdictKind, Verdicts, Which

log = getLogger(__name__)


@client_command("list", conflicts=[("all_workers", "state")])
@flag("--all", "all_workers", help="Show all workers.")
@option("--filter", "state", read=Choice(["running", "offline"]), metavar="STATE",
        help="Show only workers that are connected (running) or gone (offline).")  # fmt: skip
async def list_workers(
    session: Session, client: Client, all_workers: bool, state: str | None
) -> None:
    """List workers; without options the connected ones."""
    rows, _ = await client.workers()
    if not all_workers:
        offline = state == "offline"
        rows = [row for row in rows if (row.reason is not None) is offline]
    session.render.workers(rows)


@client_command("info")
@argument("workers", read=values.selector, metavar="SELECTOR")
async def info(session: Session, client: Client, workers: Selector) -> None:
    """Show everything about workers (ids, `last` or `all`)."""
    rows, unknown = await client.workers(workers)
    for worker in unknown:
        log.error("Worker %d not found", worker)
    session.render.worker_info(rows)


@client_command("stop")
@argument("workers", read=values.selector, metavar="SELECTOR")
async def stop(session: Session, client: Client, workers: Selector) -> None:
    """Stop workers (ids, `last` or `all`); tasks that run there start elsewhere."""
    verdicts = await client.ask(StopWorkers(workers), Verdicts)
    for verdict in sorted(verdicts.rows, key=lambda verdict: verdict.id):
        match verdict.kind:
            case VerdictKind.OK:
                log.info("Worker %d stopped", verdict.id)
            case VerdictKind.ALREADY:
                log.warning("Stopping worker %d failed; worker is already stopped", verdict.id)
            case VerdictKind.NOT_FOUND:
                log.error("Stopping worker %d failed; worker not found", verdict.id)


@client_command("address")
@argument("worker", read=values.whole, metavar="WORKER_ID")
async def address(session: Session, client: Client, worker: int) -> None:
    """Print the host name of a worker."""
    rows, _ = await client.workers(Selector(Which.GIVEN, ((worker, 1, 1),)))
    if not rows:
        raise InputError(f"Worker {worker} not found")
    session.render.raw()
    session.out.write(f"{rows[0].config.hostname}\n")


@client_command("wait")
@argument("count", read=values.whole, metavar="COUNT")
async def wait(session: Session, client: Client, count: int) -> None:
    """Wait until at least COUNT workers are connected."""
    await client.wait_for_workers(count)
