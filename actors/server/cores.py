"""The cores of the server, nested in the order in which they stop."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from actors.kit.actor import open_actor
from actors.kit.mailbox import Mailbox
from actors.server.events import Past
from actors.server.journal import Journal
from actors.server.links import AllocatorMail, SchedulerMail, ServerMail
from actors.server.scheduler import Scheduler
from actors.server.server import Server
from actors.server.suspects import Suspects
from hqtrio.jobs.machine import JobBook
from hqtrio.jobs.replay import Replay
from hqtrio.messages.client import ServerDetails
from hqtrio.messages.records import ServerStopped
from hqtrio.scheduling.absence import DEFAULT_GRACE, Grace
from hqtrio.scheduling.machine import PATIENCE_S, Scheduling

STOPPED_S: Final = 2.0  # how long the last record may take


@asynccontextmanager
async def open_cores(
    details: ServerDetails,
    *,
    journal: Journal,
    idle_timeout_s: float | None,
    stop: Callable[[], None],
    jobs_before: int = 0,
    patience_s: float = PATIENCE_S,
    grace: Grace = DEFAULT_GRACE,
    past: Callable[[], Past] | None = None,
    history: bytes | None = None,
    replayed: Replay | None = None,
    is_deliberate: Callable[[], bool] = lambda: False,
    suspects: Suspects | None = None,
    allocator: Mailbox[AllocatorMail] | None = None,
) -> AsyncIterator[tuple[Mailbox[ServerMail], Mailbox[SchedulerMail]]]:
    """Server and scheduler; the scheduler, opened last, stops first.

    What happens to workers and tasks is also told to the `allocator`, which is opened later.

    `stop` is called when a client asked for the server's end; if `is_deliberate` says so when the
    cores have stopped, the journal's last record does too. `history` and `replayed` are those of a
    journal that existed before, `suspects` what its servers have crashed over.

    Both boxes are bounded by construction: edges and the scheduler `put`, so each holds at most the
    soft bound of them; the cores `tell` each other at most twice per batch that they take.
    """
    server_box: Mailbox[ServerMail] = Mailbox("server")
    scheduler_box: Mailbox[SchedulerMail] = Mailbox("scheduler")
    book = JobBook(
        details.server_uid,
        history or secrets.token_bytes(16),
        details,
        idle_timeout_s,
        jobs_before=jobs_before,
        replayed=replayed,
    )
    server = Server(
        book,
        journal=journal,
        scheduler=scheduler_box,
        stop=stop,
        wall=time.time,
        return_grace_s=grace.after_silence_s,
        past=past,
        suspects=suspects,
        allocator=allocator,
    )
    scheduler = Scheduler(
        Scheduling(patience_s, grace),
        server=server_box,
        journal=journal,
        clock=time.perf_counter,
        wall=time.time,
        suspects=suspects,
    )
    async with (
        open_actor(server.run, mailbox=server_box),
        open_actor(scheduler.run, mailbox=scheduler_box),
    ):
        yield server_box, scheduler_box
    if is_deliberate():
        # After everything else: what is shipped later would be nobody's and somebody's. On a disk
        # that takes nothing it is left out, and the next start waits for workers in vain.
        with trio.move_on_after(STOPPED_S):
            await journal.append([ServerStopped(time.time())])
