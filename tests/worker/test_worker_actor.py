"""The supervisor and its link over in-memory connections; launchers are fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from worker_bench import CONFIG, SITE, define, enqueue, grant, t

from actors.kit.mailbox import Mailbox
from actors.worker.supervisor import Supervisor, open_mailbox
from hqtrio.errors import Refused, Unreachable
from hqtrio.messages.columns import read_u64
from hqtrio.messages.worker import (
    Ended,
    FromWorker,
    Goodbye,
    Heartbeat,
    Overview,
    Register,
    Registered,
    Report,
    Stop,
    ToWorker,
)
from hqtrio.model.load import NodeLoad
from hqtrio.model.worker import LossReason, OnServerLost, WorkerConfig
from hqtrio.net.connection import Connection, ConnectionEnded
from hqtrio.net.memory import memory_pair
from hqtrio.worker.events import Event, Exit, Sampled, StopAsked
from hqtrio.worker.machine import WorkerMachine
from hqtrio.worker.orders import LauncherReady, LauncherSaid, Order, RunTasks, SignalTasks, TaskRan


@dataclass
class Crew:
    """Launchers that run every task for no time, or for ever."""

    mailbox: Mailbox[Event]
    endless: bool = False
    orders: list[Order] = field(default_factory=list)
    running: list[tuple[int, int]] = field(default_factory=list)

    def start(self, launcher: int) -> None:
        self.mailbox.tell(LauncherReady(launcher))

    def tell(self, order: Order) -> None:
        self.orders.append(order)
        match order:
            case RunTasks(launcher, lane, _, tasks) if not self.endless:
                rows = tuple(TaskRan(task, lane, 1, 0.0) for task in tasks)
                self.mailbox.tell(LauncherSaid(launcher, ended=rows))
            case RunTasks(launcher, lane, _, tasks):
                rows = tuple(TaskRan(task, lane, 1, 0.0) for task in tasks[:1])
                self.mailbox.tell(LauncherSaid(launcher, started=rows))
            case SignalTasks(launcher, _, tasks):
                rows = tuple(TaskRan(task, 0, 1, 1.0, 0.0, -2) for task in tasks)
                self.mailbox.tell(LauncherSaid(launcher, ended=rows))


class Server:
    """Hands out connections in order; `None` stands for a try that reaches nobody."""

    def __init__(self, *ways: str) -> None:
        self._ways = list(ways)
        self._send, self._receive = trio.open_memory_channel[Connection[FromWorker]](10)
        self.tries = 0

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection[ToWorker]]:
        self.tries += 1
        await trio.lowlevel.checkpoint()
        way = self._ways.pop(0) if self._ways else "open"
        if way == "unreachable":
            raise Unreachable("nobody there")
        if way == "refused":
            raise Refused("not with that credential")
        worker, server = memory_pair(ToWorker, FromWorker)
        self._send.send_nowait(server)
        try:
            yield worker
        finally:
            await worker.aclose()

    async def accept(self) -> tuple[Connection[FromWorker], Register]:
        connection = await self._receive.receive()
        (hello,) = await connection.receive()
        assert isinstance(hello, Register)
        return connection, hello


@dataclass
class Running:
    server: Server
    mailbox: Mailbox[Event]
    crew: Crew
    joined: list[int] = field(default_factory=list)
    ended: list[Exit] = field(default_factory=list)
    over: trio.Event = field(default_factory=trio.Event)

    async def run(self, machine: WorkerMachine) -> None:
        supervisor = Supervisor(
            machine,
            self.mailbox,
            self.crew,
            self.server.connect,
            heartbeat_s=8.0,
            on_joined=lambda worker, _: self.joined.append(worker),
            on_judged=lambda number, refusal: None,
        )
        self.ended.append(await supervisor.run())
        self.over.set()


@pytest.fixture
def start(nursery: trio.Nursery):
    def start(*ways: str, endless: bool = False, **config: object) -> Running:
        mailbox = open_mailbox()
        running = Running(Server(*ways), mailbox, Crew(mailbox, endless))
        settings = {name: getattr(CONFIG, name) for name in CONFIG.__struct_fields__}
        worker = WorkerConfig(**{**settings, **config})
        machine = WorkerMachine(worker, SITE, worker_key=b"key", launchers=1)
        nursery.start_soon(running.run, machine)
        return running

    return start


async def register(running: Running) -> Connection[FromWorker]:
    connection, _ = await running.server.accept()
    await connection.send([Registered(7, "abcdef", b"history", 1), *define()])
    return connection


async def last_words(connection: Connection[FromWorker]) -> list[FromWorker]:
    """What is said until the connection ends, heartbeats aside."""
    said: list[FromWorker] = []
    try:
        while True:
            said += [m for m in await connection.receive() if not isinstance(m, Heartbeat)]
    except ConnectionEnded:
        return said


async def reports(connection: Connection[FromWorker], tasks: int) -> list[int]:
    """Ended tasks, once there are so many."""
    ended: list[int] = []
    while len(ended) < tasks:
        for message in await connection.receive():
            if isinstance(message, Report):
                for fact in message.facts:
                    if isinstance(fact, Ended):
                        ended += read_u64(fact.tasks)
    return ended


async def test_tasks_run_and_are_reported(start, autojump_clock):
    running = start()
    connection = await register(running)
    await connection.send([grant(1), enqueue(1, 2, 3)])
    assert sorted(await reports(connection, 3)) == [t(1), t(2), t(3)]
    assert running.joined == [7]
    await connection.send([Stop(LossReason.STOPPED)])
    await running.over.wait()
    assert running.ended[0].code == 0


async def test_an_idle_worker_says_that_it_is_alive(start, autojump_clock):
    running = start()
    connection = await register(running)
    began = trio.current_time()
    assert await connection.receive() == [Heartbeat()]
    assert trio.current_time() - began == pytest.approx(8.0)
    running.mailbox.tell(StopAsked("test"))
    await running.over.wait()


async def test_of_overviews_that_could_not_be_sent_only_the_newest_is(start, autojump_clock):
    running = start()
    connection = await register(running)
    for share in range(10_000):
        await running.mailbox.put(Sampled(NodeLoad((float(share),), 2, 1)))
    said: list[FromWorker] = []
    while not said or said[-1] != Overview(NodeLoad((9999.0,), 2, 1)):
        said += [m for m in await connection.receive() if not isinstance(m, Heartbeat)]
    assert all(isinstance(m, Overview) for m in said) and len(said) < 10_000
    running.mailbox.tell(StopAsked("test"))
    await running.over.wait()


async def test_a_signal_says_goodbye_first_and_kills_then(start, autojump_clock):
    running = start(endless=True)
    connection = await register(running)
    await connection.send([grant(1), enqueue(1)])
    await connection.receive()  # started
    running.mailbox.tell(StopAsked("received SIGTERM"))
    assert await last_words(connection) == [Goodbye(LossReason.CONNECTION_LOST)]
    await running.over.wait()
    assert running.ended[0].code == 0
    assert any(isinstance(order, SignalTasks) for order in running.crew.orders)


async def test_s3_18_a_refused_credential_ends_the_worker_at_once(start, autojump_clock):
    running = start("refused")
    await running.over.wait()
    assert running.ended[0].code == 1 and "credential" in running.ended[0].why
    assert running.server.tries == 1 and trio.current_time() == 0


async def test_a_server_that_is_late_is_waited_for(start, autojump_clock):
    running = start(*["unreachable"] * 5)
    connection = await register(running)
    assert running.server.tries == 6 and trio.current_time() == 10
    await connection.send([Stop(LossReason.STOPPED)])
    await running.over.wait()


async def test_a_server_that_never_comes_ends_the_worker(start, autojump_clock):
    running = start(*["unreachable"] * 1000)
    await running.over.wait()
    assert running.ended[0].code == 1 and running.server.tries == 8 * 20


async def test_an_answer_to_the_registration_is_awaited_for_15_s(start, autojump_clock):
    running = start()
    await running.server.accept()
    connection, _ = await running.server.accept()  # the next attempt
    assert trio.current_time() == pytest.approx(25.0)
    await connection.send([Registered(7, "abcdef", b"history", 1), Stop(LossReason.STOPPED)])
    await running.over.wait()
    assert running.ended[0].code == 0


async def test_a_server_that_owes_an_answer_and_is_silent_is_lost(start, autojump_clock):
    running = start(on_server_lost=OnServerLost.STOP)
    connection = await register(running)
    await connection.send([grant(1), enqueue(1)])
    await reports(connection, 1)  # and never a word more
    assert await last_words(connection) == []
    await running.over.wait()
    assert running.ended[0].code == 1 and "has not answered" in running.ended[0].why
    assert 16 <= trio.current_time() < 30


async def test_a_lost_server_is_looked_for_and_told_what_is_held(start, autojump_clock):
    running = start(endless=True)
    connection = await register(running)
    await connection.send([grant(1), enqueue(1, 2)])
    await connection.receive()
    await connection.aclose()
    connection, hello = await running.server.accept()
    assert hello.worker == 7 and hello.held is not None
    assert sorted(read_u64(hello.held.tasks)) == [t(1), t(2)]
    await connection.send([Registered(9, "abcdef", b"new", 1), *define(), grant(1), enqueue(5)])
    while not any(isinstance(m, Report) for m in await connection.receive()):
        pass
    assert running.joined == [7, 9]
    assert [o.tasks for o in running.crew.orders if isinstance(o, RunTasks)][-1] == (t(5),)
    running.mailbox.tell(StopAsked("test"))
    await running.over.wait()
