"""The server process: the nest of actors, and how it begins and ends."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio

from actors.kit.actor import open_actor
from actors.kit.mailbox import Mailbox
from actors.server.client_session import ClientSessions
from actors.server.endpoints import ServerSettings, plan_access, refuse_second, with_ports
from actors.server.journal import NoJournal
from actors.server.links import SayServerStops, SchedulerMail, ServerMail
from actors.server.scheduler import Scheduler
from actors.server.server import Server
from actors.server.stall import StallMeter, keep_collections_short
from actors.server.worker_proxy import WorkerProxies
from hqtrio import __version__
from hqtrio.jobs.machine import JobBook
from hqtrio.messages.client import Call, ServerDetails
from hqtrio.messages.worker import FromWorker
from hqtrio.net.access import AccessFile, write_access
from hqtrio.net.directory import ACCESS_FILE, create_instance, publish_instance, withdraw_instance
from hqtrio.net.listener import listening_port, open_listeners, raise_file_limit, serve
from hqtrio.scheduling.machine import Scheduling

__all__ = ["ServerSettings", "run_server"]

log = logging.getLogger(__name__)

STALL_LOG: Final = "HQTRIO_STALL_LOG"
# Time for the last words (answers, ServerStops) to leave before connections are closed.
LAST_WORDS_S: Final = 0.5


class _Ending:
    """Why the server ends; the first reason counts."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.deliberate = True

    def end(self, *, deliberate: bool) -> None:
        if not self.asked.is_set():
            self.deliberate = deliberate
            self.asked.set()


async def run_server(
    settings: ServerSettings,
    *,
    on_ready: Callable[[ServerDetails], None],
    stop: trio.Event | None = None,
    signals: bool = True,
) -> None:
    """Serve until `server stop`, a signal or `stop`; `on_ready` is called once both ports listen.

    `server stop`, SIGINT and `stop` end it on purpose: workers are told and the link to the
    current instance is removed. SIGTERM and SIGHUP are the machine's wish: workers and link are
    left alone. InputError if it cannot start; nothing is left behind then.
    """
    raise_file_limit()
    await refuse_second(settings.server_dir)
    meter = StallMeter() if os.environ.get(STALL_LOG) else None
    access = plan_access(settings)
    clients, workers = (
        open_listeners(
            access.endpoint(role).port, loopback=settings.loopback, option=f"--{role}-port"
        )
        for role in ("client", "worker")
    )
    access = with_ports(access, client=listening_port(clients), worker=listening_port(workers))
    instance = create_instance(settings.server_dir)
    write_access(instance / ACCESS_FILE, access)
    publish_instance(instance)
    details = _describe(access, instance)
    ending = _Ending()
    try:
        async with trio.open_nursery() as nursery:
            if signals:
                await nursery.start(_obey_signals, ending)
            if stop is not None:
                nursery.start_soon(_obey_event, stop, ending)
            async with _open_cores(settings, details, ending) as (server, scheduler):
                async with trio.open_nursery() as ports:
                    ports.start_soon(
                        partial(
                            serve,
                            ClientSessions(server, scheduler).serve,
                            listeners=clients,
                            role="client",
                            secret_key=access.endpoint("client").secret_key,
                            expects=Call,
                        )
                    )
                    ports.start_soon(
                        partial(
                            serve,
                            WorkerProxies(scheduler).serve,
                            listeners=workers,
                            role="worker",
                            secret_key=access.endpoint("worker").secret_key,
                            expects=FromWorker,
                        )
                    )
                    keep_collections_short()
                    if meter is not None:
                        trio.lowlevel.add_instrument(meter)
                    on_ready(details)
                    await ending.asked.wait()
                    if ending.deliberate:
                        with trio.move_on_after(LAST_WORDS_S):
                            await scheduler.ask(SayServerStops)
                    await trio.sleep(LAST_WORDS_S / 5)  # for what is on its way out
                    ports.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
    finally:
        if meter is not None:
            trio.lowlevel.remove_instrument(meter)
            meter.write(os.environ[STALL_LOG])
        if ending.deliberate:
            withdraw_instance(instance)
    log.info("server stopped")


@asynccontextmanager
async def _open_cores(
    settings: ServerSettings, details: ServerDetails, ending: _Ending
) -> AsyncIterator[tuple[Mailbox[ServerMail], Mailbox[SchedulerMail]]]:
    """Server and scheduler; the scheduler, opened last, stops first.

    Both boxes are bounded by construction: edges and the scheduler `put`, so each holds at most
    the soft bound of them; the cores `tell` each other at most once per batch that they take.
    """
    server_box: Mailbox[ServerMail] = Mailbox("server")
    scheduler_box: Mailbox[SchedulerMail] = Mailbox("scheduler")
    journal = NoJournal()
    book = JobBook(details.server_uid, secrets.token_bytes(16), details, settings.idle_timeout_s)
    server = Server(
        book,
        journal=journal,
        scheduler=scheduler_box,
        stop=partial(ending.end, deliberate=True),
        wall=time.time,
    )
    scheduler = Scheduler(
        Scheduling(), server=server_box, journal=journal, clock=time.perf_counter, wall=time.time
    )
    async with (
        open_actor(server.run, mailbox=server_box),
        open_actor(scheduler.run, mailbox=scheduler_box),
    ):
        yield server_box, scheduler_box


async def _obey_signals(
    ending: _Ending, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
        task_status.started()
        async for number in received:
            log.info("received %s", signal.Signals(number).name)
            ending.end(deliberate=number == signal.SIGINT)


async def _obey_event(stop: trio.Event, ending: _Ending) -> None:
    await stop.wait()
    ending.end(deliberate=True)


def _describe(access: AccessFile, instance: Path) -> ServerDetails:
    client, worker = access.endpoint("client"), access.endpoint("worker")
    assert access.server_uid is not None
    return ServerDetails(
        server_uid=access.server_uid,
        client_host=client.host,
        client_port=client.port,
        worker_host=worker.host,
        worker_port=worker.port,
        version=__version__,
        pid=os.getpid(),
        start_date=time.time(),
        server_dir=str(instance),
    )
