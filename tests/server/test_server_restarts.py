"""A server, its end, and the next one on the same records; workers that outlive the first."""

from __future__ import annotations

import pytest
import trio
from server_nest import FakeWorker, LateJournal, config, first_task, open_nest

from hqtrio.jobs.replay import Replay
from hqtrio.messages.client import JobInfo, ListWorkers, Selector, Which
from hqtrio.messages.columns import f64, read_u64, u32, u64
from hqtrio.messages.records import ServerStarted, ServerStopped, WorkerLost
from hqtrio.messages.worker import (
    Enqueue,
    Goodbye,
    Grant,
    Heartbeat,
    Held,
    HeldSlot,
    Register,
    Registered,
)
from hqtrio.model.resources import ONE_CPU
from hqtrio.model.worker import LossReason
from hqtrio.net.connection import ConnectionEnded
from hqtrio.scheduling.absence import Grace
from hqtrio.wire.statements import split

HISTORY = b"history of sixt."
LONG = Grace(1000.0, 1000.0)


class ListJournal(LateJournal):
    """Durable as soon as it is written."""

    def put(self, records):
        group = super().put(records)
        self.sync()
        return group


def replayed(journal):
    replay = Replay()
    for record in journal.records:
        replay.apply(record)
    return replay


def next_server(journal, **more):
    return open_nest(journal=journal, history=HISTORY, replayed=replayed(journal), **more)


class LastingWorker(FakeWorker):
    """A worker that can come back."""

    async def register(self, **more):
        self.key = b"k" * 16
        await self.connection.send([Register(config(**more), self.key)])
        welcome = await self.hear(Registered)
        self.id, self.attachment = welcome.worker, welcome.attachment

    async def start_first(self, task):
        self.grant = await self.hear(Grant)
        while task not in self.tasks:
            await self.hear(Enqueue)
        await self.start(task, self.grant.slot)

    async def come_back(self, connection, *running):
        """Over another connection, with these running tasks in its only slot."""
        self.connection = connection
        self.unread.clear()
        held = Held(
            (HeldSlot(self.grant.slot, ONE_CPU, self.grant.variant, self.grant.claim),),
            u64(running),
            u32([self.tasks[task] for task in running]),
            u32([self.grant.slot] * len(running)),
            bytes([1] * len(running)),
            f64([5.0] * len(running)),
        )
        self.tasks = {task: self.tasks[task] for task in running}
        hello = Register(config(), self.key, self.id, HISTORY, self.attachment, None, held)
        await connection.send([hello])
        return await self.hear(Registered)


async def info(client, job):
    return (await client.ask(JobInfo(job))).row.counts


async def test_a_task_that_runs_goes_on_and_one_that_was_not_shipped_starts_elsewhere(
    autojump_clock,
):
    journal = ListJournal()
    async with open_nest(journal=journal, history=HISTORY, grace=LONG) as nest:
        client = nest.client()
        job = await client.submit(3)
        task = first_task(job)
        worker = LastingWorker(nest.connect_worker())
        await worker.register()
        await worker.start_first(task)
        while (await info(client, job)).running == 0:
            await trio.sleep(0.01)
    replay = replayed(journal)
    assert set(replay.shipped) == {task + i for i in range(len(replay.shipped))}
    expected = {task + i: int(task + i in replay.shipped) for i in (1, 2)}

    async with next_server(journal, grace=LONG) as nest:
        client = nest.client()
        assert (await info(client, job)).running == 1
        (row,) = (await client.ask(ListWorkers(Selector(Which.ALL)))).rows
        assert (row.id, row.reason is None) == (worker.id, False)
        welcome = await worker.come_back(nest.connect_worker(), task)
        assert (welcome.worker, list(read_u64(welcome.keep))) == (worker.id, [task])
        assert welcome.attachment == worker.attachment + 1
        await worker.end(task, slot=worker.grant.slot)
        while (await info(client, job)).finished == 0:
            await trio.sleep(0.01)
        # What had been shipped and is not there any more starts as another instance.
        while len(worker.tasks) < 2:
            await worker.hear(Enqueue)
        assert worker.tasks == expected
    assert sum(isinstance(record, ServerStarted) for record in journal.records) == 2
    assert not any(isinstance(record, WorkerLost) for record in journal.records)


async def test_a_worker_that_does_not_come_back_is_lost_when_its_grace_is_over(autojump_clock):
    journal = ListJournal()
    async with open_nest(journal=journal, history=HISTORY, grace=LONG) as nest:
        client = nest.client()
        job = await client.submit(1)
        worker = LastingWorker(nest.connect_worker())
        await worker.register()
        await worker.start_first(first_task(job))
        while (await info(client, job)).running == 0:
            await trio.sleep(0.01)

    async with next_server(journal, grace=Grace(5.0, 50.0)) as nest:
        client = nest.client()
        began = trio.current_time()
        while (await info(client, job)).running:
            await trio.sleep(1.0)
        assert trio.current_time() - began >= 50.0
        other = await nest.worker()
        while first_task(job) not in other.tasks:
            await other.hear(Enqueue)
        assert other.tasks[first_task(job)] == 1
        assert other.id == worker.id + 2


async def test_after_server_stop_nobody_is_expected(autojump_clock):
    journal = ListJournal()
    async with open_nest(journal=journal, is_deliberate=lambda: True) as nest:
        client = nest.client()
        job = await client.submit(1)
        worker = LastingWorker(nest.connect_worker())
        await worker.register()
        await worker.start_first(first_task(job))
        while (await info(client, job)).running == 0:
            await trio.sleep(0.01)
    assert isinstance(journal.records[-1], ServerStopped)

    async with next_server(journal) as nest:
        client = nest.client()
        assert (await info(client, job)).waiting == 1
        other = await nest.worker()
        while first_task(job) not in other.tasks:
            await other.hear(Enqueue)
        assert other.tasks[first_task(job)] == 1


async def test_a_worker_may_state_more_than_a_frame_holds(autojump_clock):
    """Reports without receipt, of tasks of long ago, with one that runs behind them."""
    journal = ListJournal()
    async with open_nest(journal=journal, history=HISTORY, grace=LONG) as nest:
        job = await nest.client().submit(1)
        task = first_task(job)
        worker = LastingWorker(nest.connect_worker())
        await worker.register()
        await worker.start_first(task)
        await trio.sleep(1)
    async with next_server(journal, grace=LONG) as nest:
        rows = 60_000
        worker.connection = nest.connect_worker()
        worker.unread.clear()
        held = Held(
            (HeldSlot(worker.grant.slot, ONE_CPU, worker.grant.variant, worker.grant.claim),),
            u64([task, *range(rows)]),
            u32([0] * (rows + 1)),
            u32([worker.grant.slot, *[0] * rows]),
            bytes([1, *[0] * rows]),
            f64([5.0, *[0.0] * rows]),
        )
        attachment = worker.attachment
        hello = Register(config(), worker.key, worker.id, HISTORY, attachment, None, held)
        parts = split(hello)
        assert len(parts) > 2
        for part in parts:
            await worker.connection.send([part])
        welcome = await worker.hear(Registered)
        assert (welcome.worker, list(read_u64(welcome.keep))) == (worker.id, [task])


@pytest.mark.parametrize("second", [Heartbeat(), Goodbye(LossReason.STOPPED)])
async def test_nothing_comes_between_the_parts_of_a_registration(autojump_clock, second):
    async with open_nest() as nest:
        connection = nest.connect_worker()
        held = Held((), *[b""] * 5)
        await connection.send([Register(config(), b"k" * 16, held=held, more=1)])
        await connection.send([second])
        with pytest.raises(ConnectionEnded, match="amid a registration"):
            await connection.receive()
