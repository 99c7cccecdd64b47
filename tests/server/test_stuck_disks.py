"""A server whose journal takes nothing for a while: who is served, and who is told what."""

from __future__ import annotations

import trio
from server_nest import LateJournal, first_task, open_nest, submit

from actors.server.patience import PATIENCE_S
from actors.server.server import SLOW_S
from hqtrio.messages import client as ask
from hqtrio.messages.worker import Ack, Enqueue

ALL = ask.Selector(ask.Which.ALL)


class StuckJournal(LateJournal):
    """Takes records until the test says otherwise; what it has taken is durable at once."""

    def __init__(self):
        super().__init__()
        self.flows = trio.Event()
        self.flows.set()
        self.trouble = ""

    def stick(self, trouble="No space left on device"):
        self.flows, self.trouble = trio.Event(), trouble

    def flow(self):
        self.trouble = ""
        self.flows.set()
        self.sync()

    async def written(self, group):
        await self.flows.wait()
        self._told(group)


async def jobs(client):
    return [row.id for row in (await client.ask(ask.ListJobs(ALL))).rows]


async def test_what_cannot_be_written_is_told_and_done_when_it_can(autojump_clock):
    journal = StuckJournal()
    async with open_nest(journal=journal) as nest:
        client, worker = nest.client(), await nest.worker(cpus=1)
        assert await client.submit() == 1
        await worker.hear(Enqueue)
        journal.stick()
        answer = await client.ask(ask.SubmitJob(submit(1)))
        assert isinstance(answer, ask.Failure)
        assert "not recorded yet: No space left on device" in answer.reason
        assert trio.current_time() >= PATIENCE_S
        journal.flow()
        while first_task(2) not in worker.tasks:
            await worker.hear(Enqueue)
        assert await jobs(client) == [1, 2]
        assert await client.submit() == 3


async def test_b13_who_only_asks_is_answered_while_nothing_can_be_written(autojump_clock):
    journal = StuckJournal()
    async with open_nest(journal=journal) as nest:
        client, other = nest.client(), nest.client()
        worker = await nest.worker(cpus=1)
        job = await client.submit(2)
        await worker.hear(Enqueue)
        journal.stick()
        await worker.start(first_task(job))
        await trio.sleep(2 * PATIENCE_S)
        assert await jobs(client) == [job]
        assert await jobs(other) == [job]
        assert await jobs(nest.client()) == [job]
        assert len((await client.ask(ask.ListWorkers(ALL))).rows) == 1
        assert isinstance(await client.ask(ask.JobInfo(job)), ask.JobDetails)
        explain = ask.ExplainTask(ask.Selector(ask.Which.LAST), 0)
        assert isinstance(await client.ask(explain), ask.TaskExplained)


async def test_what_would_add_to_the_books_meanwhile_changes_nothing(autojump_clock):
    journal = StuckJournal()
    async with open_nest(journal=journal) as nest:
        client, other = nest.client(), nest.client()
        assert await jobs(client) == []
        journal.stick()
        await client.send(ask.SubmitJob(submit(1)))
        await trio.sleep(2 * PATIENCE_S)
        before = list(journal.records)
        answer = await other.ask(ask.SubmitJob(submit(1)))
        assert "cannot record this now: No space left on device" in answer.reason
        journal.flow()
        assert await jobs(other) == [1]
        assert journal.records == before


async def test_no_end_is_lost_or_receipted_while_nothing_can_be_written(autojump_clock):
    journal = StuckJournal()
    async with open_nest(journal=journal) as nest:
        client, worker = nest.client(), await nest.worker(cpus=1)
        job = await client.submit(1)
        await client.ask(ask.Watch((job,)))
        await worker.hear(Enqueue)
        journal.stick()
        await worker.start(first_task(job))
        await worker.end(first_task(job))
        told = []
        with trio.move_on_after(3 * PATIENCE_S):
            while True:
                told.append((await worker.hear(Ack)).durable)
        assert not any(told), "it keeps what it has said"
        journal.flow()
        while (await worker.hear(Ack)).durable < worker.seq:
            pass
        row = await client.notice(lambda counts: counts.finished == 1)
        assert row.terminated


async def test_a_disk_that_is_slow_without_failing_is_waited_for(autojump_clock):
    journal = StuckJournal()
    async with open_nest(journal=journal) as nest:
        client, other = nest.client(), nest.client()
        assert await jobs(client) == []
        journal.stick(trouble="")
        number = await client.send(ask.SubmitJob(submit(1)))
        await trio.sleep(SLOW_S / 2)
        assert await jobs(other) == [1]
        journal.flow()
        assert (await client.answer(number)).job == 1
        journal.stick(trouble="")
        answer = await client.ask(ask.SubmitJob(submit(1)))
        assert "the disk of the journal does not answer" in answer.reason
        assert trio.current_time() >= SLOW_S


async def test_what_is_written_and_not_synced_is_told_as_well(autojump_clock):
    journal = LateJournal()
    async with open_nest(journal=journal) as nest:
        client = nest.client()
        number = await client.send(ask.SubmitJob(submit(1)))
        await trio.sleep(SLOW_S / 2)
        journal.trouble = "Input/output error"
        answer = await client.answer(number)
        assert "not recorded yet: Input/output error" in answer.reason
        journal.trouble = ""
        number = await client.send(ask.SubmitJob(submit(1)))
        await trio.sleep(1.0)
        journal.sync()
        assert (await client.answer(number)).job == 2
