"""Notifications through the server's actors, from a worker's frame to a client's."""

from __future__ import annotations

import trio
from server_nest import first_task, open_nest, submit

from actors.kit.mailbox import Mailbox
from actors.server.links import NOTES_MAX, SessionOutbox
from hqtrio.messages import client as ask
from hqtrio.messages.client import Counts, JobNotice, JobRow, Said, TaskNotice
from hqtrio.messages.worker import Enqueue, Note, Started


def notes(task: int, *texts: bytes) -> Started:
    return Started(b"", b"", b"", b"", tuple(Note(task, 0, text) for text in texts))


async def test_notes_come_in_order_and_before_the_end_of_their_task(autojump_clock):
    async with open_nest() as nest:
        client, worker = nest.client(), await nest.worker(cpus=1)
        job = (await client.ask(ask.SubmitJob(submit(1), notes=True))).job
        await client.ask(ask.Watch((job,), notes=True))
        await worker.hear(Enqueue)
        task = first_task(job)
        await worker.start(task)
        await worker.report(notes(task, b"one", b"two"))
        await worker.report(notes(task, b"three"))
        await worker.end(task)
        heard = []
        while not heard or not isinstance(heard[-1], JobNotice) or not heard[-1].row.terminated:
            heard.append((await client.hear()).response)
        said = [notice for notice in heard if isinstance(notice, TaskNotice)]
        assert said == [TaskNotice(job, 0, worker.id, text) for text in (b"one", b"two", b"three")]


async def test_who_did_not_ask_hears_nothing(autojump_clock):
    async with open_nest() as nest:
        client, worker = nest.client(), await nest.worker(cpus=1)
        job = await client.submit(1)
        await client.ask(ask.Watch((job,)))
        await worker.hear(Enqueue)
        await worker.report(notes(first_task(job), b"x"))
        await worker.end(first_task(job))
        while not (isinstance(heard := (await client.hear()).response, JobNotice)):
            assert not isinstance(heard, TaskNotice)
        assert heard.row.terminated


async def test_a_client_that_does_not_read_costs_a_bounded_number_of_notes():
    box: Mailbox[Said | None] = Mailbox("box", soft_max=10, hard_max=10)
    outbox = SessionOutbox(box)
    row = JobRow(1, "j", Counts(finished=1), False, None, True)
    for n in range(NOTES_MAX + 100):
        outbox.tell(Said(0, TaskNotice(1, 0, 1, b"%d" % n)))
    outbox.tell(Said(0, JobNotice(row)))
    outbox.tell(Said(5, ask.Done()))
    with trio.fail_after(10):
        batch = [said.response for said in await outbox.receive()]
    assert batch[0] == ask.Done()
    assert [notice.text for notice in batch[1:-1]] == [b"%d" % n for n in range(NOTES_MAX)]
    assert batch[-1] == JobNotice(row)
