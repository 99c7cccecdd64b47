"""`job check` and `job schema`: about job files, before anything is submitted."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from logging import getLogger

from hqtrio.cli.parsing import argument, command
from hqtrio.cli.render.plan import JobPlan, PlannedGroup, plan_of, request_text
from hqtrio.cli.session import Session
from hqtrio.client import Client
from hqtrio.errors import HqError
from hqtrio.messages.client import WorkerRow
from hqtrio.model.resources import Request

log = getLogger(__name__)


@command("check")
@argument("path", read=str, metavar="FILE")
def check(session: Session, path: str) -> None:
    """Show what a job file would submit, or what is wrong with it; nothing is submitted.

    No server is needed; with one, requests that no connected worker can satisfy are named.
    """
    from hqtrio.cli.jobfiles import read_jobfile

    plan = plan_of(read_jobfile(path))
    session.render.plan(plan)
    session.out.flush()
    for warning in _server_warnings(session, plan):
        log.warning("%s", warning)


@command("schema")
def schema(session: Session) -> None:
    """Print the JSON Schema of job files, for editors that complete and check them."""
    from hqtrio.jobfile.schema import json_schema

    session.render.raw()
    session.out.write(f"{json.dumps(json_schema(), indent=2, ensure_ascii=False)}\n")


def _server_warnings(session: Session, plan: JobPlan) -> list[str]:
    """What the server's workers make unlikely; nothing if there is no server."""

    async def ask(client: Client) -> list[WorkerRow]:
        rows, _ = await client.workers()
        return [row for row in rows if row.reason is None]

    try:
        workers = session.with_client(ask)
    except HqError as error:
        log.debug("No server is asked: %s", error)
        return []
    return warnings_of(plan, workers, time.time())


def warnings_of(plan: JobPlan, workers: Sequence[WorkerRow], now: float) -> list[str]:
    """The groups that none of these workers could ever run."""
    if not workers:
        return ["No worker is connected; the tasks would wait for one"]
    sizes = Counter(worker.config.group for worker in workers)
    return [
        f"No connected worker can run {_subject(group)}: {request_text(group.variants)}".replace(
            "\n", "; or "
        )
        for group in plan.groups
        if not any(
            _fits(request, worker, sizes, now) for request in group.variants for worker in workers
        )
    ]


def _subject(group: PlannedGroup) -> str:
    plural = "s" if group.tasks > 1 else ""
    return f"`{group.name}`" if group.name else f"{group.tasks} task{plural}"


def _fits(request: Request, worker: WorkerRow, sizes: Mapping[str, int], now: float) -> bool:
    limit_s = worker.config.time_limit_s
    if limit_s is not None and worker.started_at + limit_s - now < request.time_s:
        return False
    if request.nodes:
        return request.nodes <= sizes[worker.config.group]
    have = {pool.resource: pool.size for pool in worker.config.descriptor.pools}
    return all(have.get(need.resource, 0) >= max(need.amount, 1) for need in request.needs)
