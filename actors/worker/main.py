"""The worker process: how it begins, what it listens to, and what it leaves behind (nothing)."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from actors.kit.mailbox import Mailbox
from actors.worker.hardware import describe
from actors.worker.launchers import count_launchers, open_launchers
from actors.worker.leftovers import kill_leftovers
from actors.worker.manager import Manager, ask_remaining, find_manager
from actors.worker.notifications import open_desk
from actors.worker.overview import watch_load
from actors.worker.places import WORK_DIR_VARIABLE, Places, open_places
from actors.worker.reaper import Reaper
from actors.worker.settings import WorkerSettings
from actors.worker.streamer import open_streamer
from actors.worker.supervisor import Supervisor, open_mailbox
from hqtrio import __version__
from hqtrio.errors import InputError, Refused, Unreachable
from hqtrio.messages.worker import ToWorker
from hqtrio.model.resources import CPUS, UNIT, Descriptor
from hqtrio.model.worker import WorkerConfig
from hqtrio.net.access import read_access
from hqtrio.net.connection import Connection
from hqtrio.net.connector import connect
from hqtrio.worker.events import Event, StopAsked
from hqtrio.worker.launch import Site
from hqtrio.worker.machine import WorkerMachine

__all__ = ["WorkerSettings", "run_worker"]

log = logging.getLogger(__name__)

HEARTBEAT_MIN_S: Final = 0.15
KEY_BYTES: Final = 16
PARENT_S: Final = 1.0  # between two looks whether the parent process is there
# The server gives a worker that it has told to stop a minute.
GRACE_MAX_S: Final = 50.0
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP)
# What concerns every command of the user, unlike what a task is told of itself.
KEPT_VARIABLES: Final = (b"HQ_SERVER_DIR", b"HQ_OUTPUT_MODE", b"HQ_DEBUG", b"HQ_PYLOG")


async def run_worker(
    settings: WorkerSettings,
    *,
    on_registered: Callable[[int, WorkerConfig], None],
    stop: trio.Event | None = None,
    signals: bool = True,
) -> int:
    """Work for a server until told to end; the exit code.

    `on_registered` is called whenever the server has given this process a worker id. SIGINT,
    SIGTERM, SIGTSTP and SIGHUP, or `stop`, end it gracefully. InputError if it cannot begin.
    """
    if not settings.heartbeat_s > HEARTBEAT_MIN_S:
        raise InputError("--heartbeat: the interval must be longer than 150 ms")
    if not 0.0 <= settings.min_utilization <= 1.0:
        raise InputError("Minimal utilization has to be in the interval [0.0, 1.0].")
    if not 0.0 <= settings.grace_s <= GRACE_MAX_S:
        raise InputError(f"--grace: at most {GRACE_MAX_S:g} s are possible")
    manager = find_manager(settings.manager, os.environ)
    descriptor = describe(settings, under_slurm=manager.name == "SLURM")
    if read_access(settings.server_dir, "worker").endpoint("worker").secret_key is None:
        log.warning("No worker key: Unauthenticated and unencrypted connection to server")
    time_limit_s = await _lifetime(settings, manager)
    with open_places(settings.work_dir) as places:
        kill_leftovers(places.work_dir)
        config = _configure(settings, manager, places, descriptor, time_limit_s)
        cores = next(pool.size for pool in config.descriptor.pools if pool.resource == CPUS)
        machine = WorkerMachine(
            config,
            _site(places),
            worker_key=secrets.token_bytes(KEY_BYTES),
            launchers=count_launchers(cores // UNIT),
            grace_s=settings.grace_s,
            reconnect_timeout_s=settings.reconnect_timeout_s,
        )
        door = _Door(settings.server_dir)
        mailbox = open_mailbox()
        reaper = Reaper()

        def joined(worker: int, server_uid: str) -> None:
            door.server_uid = server_uid
            on_registered(worker, config)

        async with trio.open_nursery() as nursery:
            if signals:
                await nursery.start(_obey_signals, mailbox)
            if stop is not None:
                nursery.start_soon(_obey_event, stop, mailbox)
            if settings.parent is not None:
                nursery.start_soon(_obey_parent, settings.parent, mailbox)
            if settings.overview_interval_s is not None:
                nursery.start_soon(watch_load, mailbox, descriptor, settings.overview_interval_s)
            async with (
                open_desk(places.socket, mailbox) as desk,
                open_streamer(places.streams, reaper),
                open_launchers(mailbox.tell, reaper=reaper) as crew,
            ):
                ended = await Supervisor(
                    machine,
                    mailbox,
                    crew,
                    door.connect,
                    heartbeat_s=settings.heartbeat_s,
                    on_joined=joined,
                    on_judged=desk.judged,
                ).run()
            nursery.cancel_scope.cancel()
    return ended.code


class _Door:
    """The way to the server that the directory names now: a resumed one may have moved.

    Once the worker has had a server, another one in its place is not its own.
    """

    def __init__(self, server_dir: Path) -> None:
        self._server_dir = server_dir
        self.server_uid = ""

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection[ToWorker]]:
        """A connection; Refused if the directory names another server by now."""
        try:
            access = read_access(self._server_dir, "worker")
            endpoint = access.endpoint("worker")
        except InputError as error:
            raise Unreachable(str(error)) from error
        if self.server_uid and access.server_uid not in (None, self.server_uid):
            raise Refused(f"another server ({access.server_uid}) has taken the place of this one")
        async with connect(endpoint, "worker", ToWorker) as connection:
            yield connection


async def _lifetime(settings: WorkerSettings, manager: Manager) -> float | None:
    """The limit that was asked for, else what is left of the allocation."""
    if settings.time_limit_s is not None:
        return settings.time_limit_s
    return await ask_remaining(manager)


def _configure(
    settings: WorkerSettings,
    manager: Manager,
    places: Places,
    descriptor: Descriptor,
    time_limit_s: float | None,
) -> WorkerConfig:
    hostname = settings.hostname or socket.gethostname()
    return WorkerConfig(
        hostname=hostname,
        listen_address=hostname,
        work_dir=str(places.work_dir),
        group=settings.group or manager.job_id or "default",
        descriptor=descriptor,
        heartbeat_s=settings.heartbeat_s,
        idle_timeout_s=settings.idle_timeout_s,
        time_limit_s=time_limit_s,
        overview_interval_s=settings.overview_interval_s,
        on_server_lost=settings.on_server_lost,
        min_utilization=settings.min_utilization,
        retract_check_s=settings.retract_check_s,
        pid=os.getpid(),
        manager=manager.name,
        manager_job_id=manager.job_id,
        version=__version__,
        zero_cost=settings.zero_cost,
    )


def _site(places: Places) -> Site:
    work_dir = str(places.work_dir)
    environment = {
        name: value for name, value in os.environb.items() if not _is_of_outer_task(name)
    }
    environment[WORK_DIR_VARIABLE] = os.fsencode(work_dir)
    return Site(
        tuple(environment.items()),
        os.fsencode(places.program),
        work_dir,
        notify_socket=str(places.socket),
        token_key=secrets.token_bytes(KEY_BYTES),
        stream_socket=str(places.streams),
    )


def _is_of_outer_task(name: bytes) -> bool:
    """Whether a worker that was itself started by a task must not hand this on to its own."""
    return name.startswith(b"HQ_") and name not in KEPT_VARIABLES


async def _obey_signals(
    mailbox: Mailbox[Event], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    # Whoever started it with `nohup` wants it to survive the end of the session.
    is_deaf = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    wanted = SIGNALS if is_deaf else (*SIGNALS, signal.SIGHUP)
    with trio.open_signal_receiver(*wanted) as received:
        task_status.started()
        async for number in received:
            name = signal.Signals(number).name
            mailbox.tell(StopAsked(f"received {name}", terminated=number == signal.SIGTERM))


async def _obey_event(stop: trio.Event, mailbox: Mailbox[Event]) -> None:
    await stop.wait()
    mailbox.tell(StopAsked("asked to stop"))


async def _obey_parent(parent: int, mailbox: Mailbox[Event]) -> None:
    # A signal at its death would come with the end of the thread that has started us; descriptors
    # of processes need Linux 5.3.
    while os.getppid() == parent:  # noqa: ASYNC110
        await trio.sleep(PARENT_S)
    mailbox.tell(StopAsked("the parent process has ended"))
