"""The worker's core: drives the worker machine and performs what it asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import trio

from actors.kit.drive import drive
from actors.kit.mailbox import Mailbox
from actors.worker.link import Connect, Link
from hqtrio.messages.worker import FromWorker
from hqtrio.worker.events import (
    Began,
    CloseLink,
    Depart,
    Effect,
    Event,
    Exit,
    Joined,
    NoteJudged,
    OpenLink,
    Say,
    StartLauncher,
)
from hqtrio.worker.machine import WorkerMachine
from hqtrio.worker.orders import Order

log = logging.getLogger(__name__)

LAST_WORDS_S: Final = 1.0
# Launchers tell without waiting, at most 200 answers a second each; eight of them fill this when
# the loop stands still for half a minute.
MAILBOX_MAX: Final = 50_000


class Crew(Protocol):
    """Launcher processes by number; nothing here waits."""

    def start(self, launcher: int) -> None: ...
    def tell(self, order: Order) -> None: ...


def open_mailbox() -> Mailbox[Event]:
    """Where links, launchers and signals leave word for the supervisor."""
    return Mailbox("worker", soft_max=256, hard_max=MAILBOX_MAX)


class Supervisor:
    """Owns the machine, the addresses of launchers and the link to the server."""

    def __init__(
        self,
        machine: WorkerMachine,
        mailbox: Mailbox[Event],
        crew: Crew,
        connect: Connect,
        *,
        heartbeat_s: float,
        on_joined: Callable[[int, str], None],
        on_judged: Callable[[int, str], None],
    ) -> None:
        self._machine, self._mailbox, self._crew = machine, mailbox, crew
        self._connect, self._heartbeat_s = connect, heartbeat_s
        self._on_joined, self._on_judged = on_joined, on_judged
        self._links: dict[int, Link] = {}
        self._exit: Exit | None = None

    async def run(self) -> Exit:
        """Work until the machine says that it is over."""
        self._mailbox.tell(Began())
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await drive(
                self._machine, self._mailbox, self._perform, end_batch=self._machine.end_batch
            )
            for link in self._links.values():
                link.close()
            nursery.cancel_scope.deadline = trio.current_time() + LAST_WORDS_S
        assert self._exit is not None
        return self._exit

    async def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Say(number, messages):
                    self._say(number, messages)
                case OpenLink(number):
                    link = Link(effect, self._connect, self._mailbox, heartbeat_s=self._heartbeat_s)
                    self._links = {number: link}  # of older ones nothing is wanted any more
                    self._nursery.start_soon(link.run, name=f"link {number}")
                case CloseLink(number):
                    if number in self._links:
                        self._links[number].close()
                case StartLauncher(launcher):
                    self._crew.start(launcher)
                case Joined(worker, server_uid):
                    self._on_joined(worker, server_uid)
                case NoteJudged(number, refusal):
                    self._on_judged(number, refusal)
                case Depart(why, is_failure):
                    log.log(logging.ERROR if is_failure else logging.INFO, "worker ends: %s", why)
                case Exit():
                    self._exit = effect
                    self._mailbox.close()
                case _:
                    self._crew.tell(effect)
        await trio.lowlevel.checkpoint()

    def _say(self, number: int, messages: Sequence[FromWorker]) -> None:
        if number in self._links:
            self._links[number].tell(messages)
