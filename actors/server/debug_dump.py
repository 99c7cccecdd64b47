"""`server debug-dump`: what the server knows, in a file that the server writes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, BinaryIO, Final, TypeVar

import msgspec
import trio

from actors.kit.mailbox import ActorStopped, Mailbox
from actors.server.links import ServerMail, SessionOpened, SessionOutbox
from hqtrio.jobs.effects import ClientAsked, SessionEnded
from hqtrio.messages.client import (
    Done,
    Failure,
    JobRow,
    JobRows,
    ListJobs,
    ListTasks,
    ListWorkers,
    Request,
    Response,
    Said,
    Selector,
    TaskRow,
    TaskRows,
    Which,
    WorkerRow,
    WorkerRows,
)
from hqtrio.model.task import TaskState

UNENDED: Final = (int(TaskState.WAITING), int(TaskState.RUNNING))
FAREWELL_S: Final = 10.0
_EVERY: Final = Selector(Which.ALL)
R = TypeVar("R", bound=Response)


async def dump(
    server: Mailbox[ServerMail],
    session: int,
    path: str,
    complete: Callable[[Said], Awaitable[Said]],
) -> Response:
    """Done once the file is there; Failure if it cannot be written.

    The server is asked page by page, as by any client under this number of a session, and goes on
    with its work meanwhile. `complete` adds what only the scheduler knows.
    """
    async with _asking(server, session, complete) as asker:
        try:
            await _write(asker, path)
        except (OSError, ValueError) as error:
            return Failure(f"Could not write debug dump into `{path}`: {error}")
    return Done()


class _Asker:
    def __init__(
        self,
        server: Mailbox[ServerMail],
        session: int,
        complete: Callable[[Said], Awaitable[Said]],
    ) -> None:
        self._server, self._session, self._complete = server, session, complete
        self.outbox = SessionOutbox(Mailbox(f"dump {session}"))

    async def ask(self, request: Request, kind: type[R]) -> R | None:
        """The answer; None for a refusal, as of a job that was forgotten in the meantime."""
        await self._server.put(ClientAsked(self._session, 1, request))
        batch = await self.outbox.receive()
        if not batch:
            raise ActorStopped("the server ends")
        response = (await self._complete(batch[0])).response
        return response if isinstance(response, kind) else None


@asynccontextmanager
async def _asking(
    server: Mailbox[ServerMail], session: int, complete: Callable[[Said], Awaitable[Said]]
) -> AsyncIterator[_Asker]:
    asker = _Asker(server, session, complete)
    await server.put(SessionOpened(session, asker.outbox))
    try:
        yield asker
    finally:
        # Also when the client has left: the server would keep the session for ever.
        with trio.move_on_after(FAREWELL_S, shield=True), suppress(ActorStopped):
            await server.put(SessionEnded(session))


async def _write(asker: _Asker, path: str) -> None:
    def opened() -> BinaryIO:
        if not os.path.isabs(path):
            raise ValueError("the path must be absolute")
        # A pipe that nobody reads must not hold the server when it ends.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
        return open(os.open(path, flags, 0o600), "wb")

    with await trio.to_thread.run_sync(opened) as file:

        async def put(text: bytes) -> None:
            await trio.to_thread.run_sync(file.write, text)

        workers = await _workers(asker)
        jobs = await _jobs(asker)
        await put(b'{"tako":{"workers":' + msgspec.json.encode([_worker(w) for w in workers]))
        await put(b',"worker_groups":' + msgspec.json.encode(_groups(workers)))
        await put(b',"jobs":' + msgspec.json.encode(jobs) + b',"tasks":[')
        separator = b""
        for job in jobs:
            position = 0
            while position >= 0:
                asked = ListTasks(job.id, position, states=UNENDED)
                page = await asker.ask(asked, TaskRows)
                if page is None:
                    break
                if page.rows:
                    rows = [_task(job.id, row) for row in page.rows]
                    await put(separator + msgspec.json.encode(rows)[1:-1])
                    separator = b","
                position = page.next_position
        await put(b"]}}\n")
        await trio.to_thread.run_sync(file.flush)


async def _workers(asker: _Asker) -> list[WorkerRow]:
    workers: list[WorkerRow] = []
    page = await asker.ask(ListWorkers(_EVERY), WorkerRows)
    while page is not None:
        workers += page.rows
        if not page.more:
            break
        page = await asker.ask(ListWorkers(_EVERY, workers[-1].id), WorkerRows)
    return workers


async def _jobs(asker: _Asker) -> list[JobRow]:
    jobs: list[JobRow] = []
    page = await asker.ask(ListJobs(_EVERY), JobRows)
    while page is not None:
        jobs += page.rows
        if not page.more:
            break
        page = await asker.ask(ListJobs(_EVERY, jobs[-1].id), JobRows)
    return jobs


def _worker(row: WorkerRow) -> dict[str, Any]:
    config = msgspec.structs.asdict(row.config)
    config["descriptor"] = [msgspec.structs.asdict(pool) for pool in row.config.descriptor.pools]
    reason = None if row.reason is None else row.reason.name.lower()
    load = None if row.load is None else msgspec.structs.asdict(row.load)
    return {**msgspec.structs.asdict(row), "config": config, "reason": reason, "load": load}


def _groups(workers: list[WorkerRow]) -> list[dict[str, Any]]:
    groups: dict[str, list[int]] = {}
    for row in workers:
        if row.ended_at is None:
            groups.setdefault(row.config.group, []).append(row.id)
    return [{"name": name, "workers": members} for name, members in groups.items()]


def _task(job: int, row: TaskRow) -> dict[str, Any]:
    return {
        "job": job,
        "task": row.number,
        "state": TaskState(row.state).name.lower(),
        "instance": row.instance,
        "workers": row.workers,
        "needs": row.needs,
    }
