"""The server process: how the nest of actors begins and ends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from actors.server.allocations import allocator_box, open_allocator
from actors.server.client_session import ClientSessions
from actors.server.cores import open_cores
from actors.server.crash_files import crashes_noted, read_suspects
from actors.server.degraded import Health
from actors.server.endpoints import (
    ServerSettings,
    earlier_access,
    given_access,
    plan_access,
    publish_to_earlier,
    refuse_second,
    with_ports,
)
from actors.server.file_journal import FileJournal, open_file_journal
from actors.server.journal import NoJournal
from actors.server.links import CancelAllocations, SayServerStops
from actors.server.restoring import Kept, kept_at
from actors.server.stall import collections_kept_short, stalls_measured
from actors.server.unfinished import JOURNAL_FILE, JOURNAL_FILES, name_unfinished
from actors.server.worker_proxy import WorkerProxies
from hqtrio import __version__
from hqtrio.autoalloc.books import Books
from hqtrio.errors import InputError
from hqtrio.jobs.effects import ServerEnds
from hqtrio.messages.client import Call, ServerDetails
from hqtrio.messages.worker import FromWorker
from hqtrio.net.access import AccessFile, make_uid, write_access
from hqtrio.net.directory import (
    ACCESS_FILE,
    create_instance,
    lock_start,
    publish_instance,
    withdraw_instance,
)
from hqtrio.net.listener import listening_port, open_listeners, raise_file_limit, serve

__all__ = ["ServerSettings", "run_server"]

log = logging.getLogger(__name__)

STALL_LOG: Final = "HQTRIO_STALL_LOG"
# Time for the last words (answers, ServerStops) to leave before connections are cut.
LAST_WORDS_S: Final = 0.5
CANCELS_S: Final = 15.0  # how long batch managers may take to cancel allocations
OTHER_START_S: Final = 15.0  # how long another server of the directory may take to start
LOCK_TRY_S: Final = 0.05


class _Ending:
    """Whether the server was ever there for others, and why it ends; the first reason counts."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.was_ready = False
        self.deliberate = False

    def end(self, *, deliberate: bool) -> None:
        if not self.asked.is_set():
            self.deliberate = deliberate
            self.asked.set()


@dataclass(frozen=True, slots=True)
class _Ports:
    """What listens, and what is published of it."""

    access: AccessFile
    instance: Path
    clients: list[trio.SocketListener]
    workers: list[trio.SocketListener]


async def run_server(
    settings: ServerSettings,
    *,
    on_ready: Callable[[ServerDetails], None],
    stop: trio.Event | None = None,
    signals: bool = True,
) -> None:
    """Serve until `server stop`, a signal or `stop`; `on_ready` is called once both ports listen.

    `server stop`, SIGINT and `stop` end it on purpose: workers are told and the link to the
    current instance is removed. SIGTERM and SIGHUP are the machine's wish, and a crash is nobody's:
    workers and link are left alone. InputError if it cannot start; nothing is left behind then.

    Without `signals` it is a guest in this process, and changes nothing that belongs to all of it:
    signal handlers, limits (which children inherit) and the garbage collector.
    """
    ending = _Ending()
    with ExitStack() as process:
        received: AsyncIterator[int] | None = None
        if signals:
            raise_file_limit()
            received = process.enter_context(trio.open_signal_receiver(*_obeyed()))
        if not settings.server_dir.exists():
            process.callback(_remove_if_empty, settings.server_dir)
        lock = process.enter_context(await _start_alone(settings.server_dir))
        await refuse_second(settings.server_dir)
        uid = make_uid()
        if settings.access_file is not None:
            uid = given_access(settings.access_file).server_uid or uid
        kept = process.enter_context(kept_at(settings.journal, uid))
        if kept is not None:
            uid = kept.opened.header.server_uid
        else:
            name_unfinished(settings.server_dir, settings.journal)
        ports = process.enter_context(_open_ports(settings, uid, ending))
        if settings.has_own_journal:
            kept = process.enter_context(kept_at(ports.instance / JOURNAL_FILE, uid))
        if signals:
            process.enter_context(collections_kept_short())
            process.enter_context(stalls_measured(os.environ.get(STALL_LOG)))
            history = b"" if kept is None else kept.opened.header.history
            process.enter_context(crashes_noted(ports.instance, history))
        async with trio.open_nursery() as nursery:
            if received is not None:
                nursery.start_soon(_obey_signals, received, ending)
            if stop is not None:
                nursery.start_soon(_obey_event, stop, ending)
            await _serve(settings, ports, kept, ending, partial(_be_ready, on_ready, lock))
            nursery.cancel_scope.cancel()
    log.info("server stopped")


async def _start_alone(server_dir: Path) -> ExitStack:
    """Wait until no other server of the directory is starting; closing lets the next one try.

    Of two that start at once, the second must find the first one answering.
    """
    for _ in range(int(OTHER_START_S / LOCK_TRY_S)):
        if (fd := lock_start(server_dir)) is not None:
            lock = ExitStack()
            lock.callback(os.close, fd)
            return lock
        await trio.sleep(LOCK_TRY_S)
    raise InputError(
        f"Another server is starting in `{server_dir}` and does not come up: end it, or choose "
        "another --server-dir"
    )


def _remove_if_empty(server_dir: Path) -> None:
    """A start that failed leaves no directory that it made."""
    with suppress(OSError):
        server_dir.rmdir()


def _be_ready(
    on_ready: Callable[[ServerDetails], None], lock: ExitStack, details: ServerDetails
) -> None:
    lock.close()
    on_ready(details)


async def _serve(
    settings: ServerSettings,
    ports: _Ports,
    kept: Kept | None,
    ending: _Ending,
    on_ready: Callable[[ServerDetails], None],
) -> None:
    """The nest, from the first accepted connection to the last word."""
    path = None if kept is None else str(kept.opened.path)
    history = None if kept is None else kept.opened.header.history
    details, access = _describe(ports.access, ports.instance, path), ports.access
    queues = allocator_box()
    workers = frozenset() if kept is None or kept.replayed is None else kept.replayed.workers()
    async with (
        _open_kept(kept) as journal,
        open_cores(
            details,
            journal=journal,
            idle_timeout_s=settings.idle_timeout_s,
            jobs_before=settings.jobs_before,
            patience_s=settings.patience_s,
            grace=settings.grace,
            stop=partial(ending.end, deliberate=True),
            is_deliberate=lambda: ending.deliberate,
            past=journal.past if isinstance(journal, FileJournal) else None,
            history=history,
            replayed=None if kept is None else kept.replayed,
            suspects=None if history is None else read_suspects(settings.server_dir, history),
            allocator=queues,
        ) as (server, scheduler),
        open_allocator(
            queues,
            ports.instance,
            history or b"",
            books=Books() if kept is None else kept.queues,
            workers=workers,
            server=server,
            scheduler=scheduler,
        ),
        trio.open_nursery() as edges,
    ):
        sessions, proxies = (
            ClientSessions(server, scheduler, Health(journal, details), queues),
            WorkerProxies(scheduler),
        )
        edges.start_soon(
            partial(
                serve,
                sessions.serve,
                listeners=ports.clients,
                role="client",
                secret_key=access.endpoint("client").secret_key,
                expects=Call,
            )
        )
        edges.start_soon(
            partial(
                serve,
                proxies.serve,
                listeners=ports.workers,
                role="worker",
                secret_key=access.endpoint("worker").secret_key,
                expects=FromWorker,
            )
        )
        on_ready(details)
        ending.was_ready = True
        await ending.asked.wait()
        if ending.deliberate:
            with trio.move_on_after(CANCELS_S):
                await queues.ask(CancelAllocations)
        with trio.move_on_after(LAST_WORDS_S):
            async with trio.open_nursery() as last_words:
                last_words.start_soon(sessions.close)
                if ending.deliberate:
                    await server.put(ServerEnds())
                    await scheduler.ask(SayServerStops)
                    last_words.start_soon(proxies.close)
        edges.cancel_scope.cancel()


@asynccontextmanager
async def _open_kept(kept: Kept | None) -> AsyncIterator[FileJournal | NoJournal]:
    if kept is None:
        yield NoJournal()
    else:
        async with open_file_journal(kept.opened) as journal:
            yield journal


@contextmanager
def _open_ports(settings: ServerSettings, uid: str, ending: _Ending) -> Iterator[_Ports]:
    """Both ports listen, and an instance directory tells where."""
    with ExitStack() as undo:
        has_file = settings.access_file is not None
        earlier = None if has_file else earlier_access(settings.server_dir, uid)
        access = plan_access(settings, earlier, uid)
        if access.server_uid != uid:
            raise InputError(
                f"The journal `{settings.journal}` is of the server {uid}, the access file "
                f"`{settings.access_file}` of {access.server_uid}: choose those of one server"
            )
        asked = {"client": settings.client_port, "worker": settings.worker_port}
        clients, workers = (
            undo.enter_context(
                _listening(
                    _listeners(
                        access.endpoint(role).port,
                        role,
                        loopback=settings.loopback,
                        or_any=earlier is not None and asked[role] is None,
                    )
                )
            )
            for role in ("client", "worker")
        )
        access = with_ports(access, client=listening_port(clients), worker=listening_port(workers))
        instance = create_instance(settings.server_dir)
        undo.callback(_leave, instance, ending)
        write_access(instance / ACCESS_FILE, access)
        publish_instance(instance)
        if has_file or earlier is not None:
            publish_to_earlier(instance, access)
        yield _Ports(access, instance, clients, workers)


def _listeners(port: int, role: str, *, loopback: bool, or_any: bool) -> list[trio.SocketListener]:
    """What listens on the port; on any other if it is taken, and that is as good."""
    option = f"--{role}-port"
    try:
        return open_listeners(port, loopback=loopback, option=option)
    except InputError:
        if not or_any:
            raise
        return open_listeners(0, loopback=loopback, option=option)


@contextmanager
def _listening(listeners: list[trio.SocketListener]) -> Iterator[list[trio.SocketListener]]:
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.socket.close()


def _leave(instance: Path, ending: _Ending) -> None:
    """The current instance is nobody's if this server ended on purpose, or never was there."""
    if ending.deliberate or not ending.was_ready:
        withdraw_instance(instance)
    if not ending.was_ready:
        with contextlib.suppress(OSError):  # whatever else lies there is worth keeping
            for name in (ACCESS_FILE, *JOURNAL_FILES):
                (instance / name).unlink(missing_ok=True)
            instance.rmdir()


def _obeyed() -> list[signal.Signals]:
    """The signals that end the server; a SIGHUP that nohup had ignored stays ignored."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


async def _obey_signals(received: AsyncIterator[int], ending: _Ending) -> None:
    async for number in received:
        log.info("received %s", signal.Signals(number).name)
        ending.end(deliberate=number == signal.SIGINT)


async def _obey_event(stop: trio.Event, ending: _Ending) -> None:
    await stop.wait()
    ending.end(deliberate=True)


def _describe(access: AccessFile, instance: Path, journal: str | None) -> ServerDetails:
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
        journal_path=journal,
    )
