"""The cores of a server and its edges, with peers played by the test over in-memory links."""

from __future__ import annotations

import os
from collections import deque
from contextlib import asynccontextmanager

import trio

from actors.server.client_session import ClientSessions
from actors.server.cores import open_cores
from actors.server.journal import NoJournal
from actors.server.links import SayServerStops
from actors.server.worker_proxy import WorkerProxies
from hqtrio.ids import task_id
from hqtrio.messages.client import Call, JobNotice, Said, ServerDetails, SubmitJob, Submitted
from hqtrio.messages.columns import f32, f64, i32, read_u32, read_u64, u32, u64
from hqtrio.messages.worker import (
    Closed,
    Ended,
    Enqueue,
    FromWorker,
    Grant,
    Heartbeat,
    Register,
    Registered,
    Report,
    Started,
    ToWorker,
)
from hqtrio.model.job import ArraySpec, JobHead, Submit
from hqtrio.model.resources import CPUS, UNIT, Descriptor, Pool
from hqtrio.model.task import Ending, Stdio, TaskBody
from hqtrio.model.worker import WorkerConfig
from hqtrio.net.memory import memory_pair

DETAILS = ServerDetails("uid123", "h", 1, "h", 2, "0", 7, 0.0)
NOWHERE = Stdio(None)


def config(cpus=1, **more):
    labels = tuple(str(i) for i in range(cpus))
    descriptor = Descriptor((Pool(CPUS, (labels,), UNIT * cpus),))
    return WorkerConfig("node", "node", "/tmp", "g", descriptor, **more)


def submit(count=1, key=None):
    body = TaskBody((b"true",), (), "/", NOWHERE, NOWHERE, "/")
    return Submit(key or os.urandom(16), "/", JobHead("job"), arrays=(ArraySpec(body, count),))


class LateJournal:
    """Written at once; durable when the test says so."""

    trouble = ""

    def __init__(self):
        self.records = []
        self.groups = 0
        self._told = None

    def put(self, records):
        self.records += records
        self.groups += 1
        return self.groups

    async def written(self, group):
        await trio.lowlevel.checkpoint()

    async def append(self, records):
        group = self.put(records)
        await self.written(group)
        return group

    def call_on_durable(self, told):
        self._told = told

    def sync(self):
        self._told(self.groups)


class FullDisk(LateJournal):
    """No space is left once the test says so."""

    is_full = False

    def put(self, records):
        if self.is_full:
            raise OSError(28, "No space left on device")
        group = super().put(records)
        self.sync()
        return group


class Nest:
    """Where peers connect."""

    def __init__(self, server, scheduler, nursery):
        self.server, self.scheduler = server, scheduler
        self.sessions, self.proxies = ClientSessions(server, scheduler), WorkerProxies(scheduler)
        self.stop_asked = trio.Event()
        self._nursery = nursery

    def client(self, **pair):
        here, there = memory_pair(Call, Said, **pair)
        self._nursery.start_soon(self._attend, self.sessions.serve, here)
        return FakeClient(there)

    def connect_worker(self, **pair):
        """A connection to the worker port; nothing was said yet."""
        here, there = memory_pair(FromWorker, ToWorker, **pair)
        self._nursery.start_soon(self._attend, self.proxies.serve, here)
        return there

    async def worker(self, *, pair=None, **more):
        """A registered worker."""
        worker = FakeWorker(self.connect_worker(**(pair or {})))
        await worker.register(**more)
        return worker

    async def _attend(self, serve, connection):
        async with trio.open_nursery() as nursery:
            await serve(nursery, connection)
            await connection.aclose()
            nursery.cancel_scope.cancel()

    async def say_last_words(self):
        """What the server does when it ends on purpose."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.sessions.close)
            await self.scheduler.ask(SayServerStops)
            nursery.start_soon(self.proxies.close)


@asynccontextmanager
async def open_nest(*, journal=None, idle_timeout_s=None, **more):
    asked = trio.Event()
    async with (
        open_cores(
            DETAILS,
            journal=journal or NoJournal(),
            idle_timeout_s=idle_timeout_s,
            stop=asked.set,
            **more,
        ) as (server, scheduler),
        trio.open_nursery() as nursery,
    ):
        nest = Nest(server, scheduler, nursery)
        nest.stop_asked = asked
        yield nest
        nursery.cancel_scope.cancel()


class FakeClient:
    """Reads only when it is asked to."""

    def __init__(self, connection):
        self.connection = connection
        self.said = deque()
        self._last = 0

    async def send(self, request):
        """Ask without waiting for the answer; the number of the call."""
        self._last += 1
        await self.connection.send([Call(self._last, request)])
        return self._last

    async def hear(self):
        """The next thing said."""
        while not self.said:
            self.said.extend(await self.connection.receive())
        return self.said.popleft()

    async def answer(self, number):
        """The answer to that call; everything said before it is dropped."""
        while (said := await self.hear()).number != number:
            pass
        return said.response

    async def ask(self, request):
        return await self.answer(await self.send(request))

    async def submit(self, count=1, key=None):
        answer = await self.ask(SubmitJob(submit(count, key)))
        assert isinstance(answer, Submitted), answer
        return answer.job

    async def notice(self, wanted):
        """The first notice of a job whose counts are as wanted."""
        while True:
            said = await self.hear()
            if isinstance(said.response, JobNotice) and wanted(said.response.row.counts):
                return said.response.row


class FakeWorker:
    """Reads only when it is asked to; starts and ends what the test names."""

    def __init__(self, connection):
        self.connection = connection
        self.id = 0
        self.unread = deque()
        self.slots = {}
        self.tasks = {}  # id: instance
        self.seq = 0

    async def register(self, **more):
        await self.connection.send([Register(config(**more), os.urandom(16))])
        welcome = await self.hear(Registered)
        self.id = welcome.worker

    async def hear(self, kind):
        """The next message of this kind; others are noted or dropped."""
        while True:
            while not self.unread:
                self.unread.extend(await self.connection.receive())
            message = self.unread.popleft()
            match message:
                case Grant(slot, klass, _, _):
                    self.slots[slot] = klass
                case Enqueue():
                    rows = zip(
                        read_u64(message.firsts),
                        read_u32(message.counts),
                        read_u32(message.instances),
                        strict=True,
                    )
                    for first, count, instance in rows:
                        self.tasks.update((task, instance) for task in range(first, first + count))
            if isinstance(message, kind):
                return message

    async def report(self, *facts):
        self.seq += 1
        await self.connection.send([Report(self.seq, facts)])

    async def start(self, task, slot=1):
        await self.report(Started(u64([task]), u32([self.tasks[task]]), u32([slot]), f64([0.0])))

    async def end(self, *tasks, slot=1, close=True):
        """These tasks ran, one after another, in the slot, which then closes."""
        n = len(tasks)
        ended = Ended(
            u64(tasks),
            u32([self.tasks.pop(task) for task in tasks]),
            u32([slot] * n),
            bytes([Ending.FINISHED]) * n,
            i32([0] * n),
            f64([0.1] * n),
            f64([0.0] * n),
            f32([-1.0] * n),
            u32([0] * n),
        )
        await self.report(ended, *([Closed(u32([slot]))] if close else []))

    async def beat(self, *, every_s, task_status=trio.TASK_STATUS_IGNORED):
        """Be alive until cancelled."""
        task_status.started()
        while True:
            await self.connection.send([Heartbeat()])
            await trio.sleep(every_s)


def first_task(job):
    return task_id(job, 0)
