"""The server's actors over in-memory links: edges, cores, and what passes between them."""

from __future__ import annotations

import logging
from math import inf

import pytest
import trio
from server_nest import FullDisk, LateJournal, config, first_task, open_nest, submit

from actors.kit.drive import Poisoned
from actors.server.scheduler import REST_MAX_S
from actors.server.worker_proxy import REGISTRATION_S, STUCK_S
from hqtrio.messages import client as ask
from hqtrio.messages.columns import u32, u64
from hqtrio.messages.records import TasksEnded
from hqtrio.messages.worker import (
    Ack,
    Ended,
    Enqueue,
    Goodbye,
    Grant,
    Heartbeat,
    Register,
    Rejected,
    Report,
    ServerStops,
    Stop,
)
from hqtrio.model.worker import LossReason
from hqtrio.net.connection import ConnectionEnded
from hqtrio.net.memory import cut
from hqtrio.scheduling.machine import PACED_WORKERS

ALL = ask.Selector(ask.Which.ALL)


async def settled():
    await trio.testing.wait_all_tasks_blocked()


async def worker_rows(client):
    return (await client.ask(ask.ListWorkers(ALL))).rows


async def loss_of(client):
    """Why the first worker is gone, as soon as it is."""
    answer = await client.ask(ask.WatchWorkers())
    while not isinstance(answer, ask.WorkerNotice) or answer.connected:
        answer = (await client.hear()).response
    return (await worker_rows(client))[0].reason


# --- the path of a task


async def test_a_task_is_granted_run_and_counted(autojump_clock):
    async with open_nest() as nest:
        client, worker = nest.client(), await nest.worker(cpus=1)
        job = await client.submit(2)
        await client.ask(ask.Watch((job,)))
        await worker.hear(Enqueue)
        task = first_task(job)
        await worker.start(task)
        row = await client.notice(lambda counts: counts.running == 1)
        assert row.counts == ask.Counts(waiting=1, running=1)
        assert (await worker_rows(client))[0].running_tasks == 1
        while task + 1 not in worker.tasks:
            await worker.hear(Enqueue)
        await worker.end(task, task + 1)
        row = await client.notice(lambda counts: counts.finished == 2)
        assert row.terminated
        await worker.hear(Ack)


async def test_a_client_that_leaves_is_forgotten(autojump_clock):
    async with open_nest() as nest:
        leaving, client, worker = nest.client(), nest.client(), await nest.worker()
        job = await client.submit(1)
        await leaving.ask(ask.Watch((job,)))
        await leaving.connection.aclose()
        await worker.hear(Enqueue)
        await worker.end(first_task(job))
        await client.ask(ask.Watch((job,)))
        await client.notice(lambda counts: counts.finished == 1)


# --- workers that do not do as they should


async def test_a_bad_first_frame_is_refused_with_the_reason(autojump_clock, caplog):
    async with open_nest() as nest:
        for messages in (
            [Heartbeat()],
            [Register(config(), b"k" * 16), Heartbeat()],
            [Goodbye(LossReason.STOPPED)],
        ):
            link = nest.connect_worker()
            await link.send(messages)
            with pytest.raises(ConnectionEnded, match="the first frame is not a registration"):
                await link.receive()
        assert "the first frame is not a registration" in caplog.text
        assert not await worker_rows(nest.client())


async def test_a_peer_that_does_not_register_is_cut(autojump_clock, caplog):
    async with open_nest() as nest:
        link = nest.connect_worker()
        with pytest.raises(ConnectionEnded, match="no registration"):
            await link.receive()
        assert trio.current_time() == REGISTRATION_S
    assert "no registration within 15 s" in caplog.text


@pytest.mark.parametrize("heartbeat_s", [0.0, 0.1, -1.0, float("nan"), float("inf")])
async def test_a_worker_with_an_impossible_heartbeat_is_told_so(autojump_clock, heartbeat_s):
    async with open_nest() as nest:
        link = nest.connect_worker()
        await link.send([Register(config(heartbeat_s=heartbeat_s), b"k" * 16)])
        (rejected,) = await link.receive()
        assert isinstance(rejected, Rejected)
        assert "heartbeat" in rejected.reason.lower()
        with pytest.raises(ConnectionEnded):
            await link.receive()


async def test_a_silent_worker_is_lost_after_two_intervals(autojump_clock):
    async with open_nest() as nest:
        client, worker = nest.client(), await nest.worker(heartbeat_s=8.0)
        began = trio.current_time()
        assert await loss_of(client) == LossReason.HEARTBEAT_LOST
        assert trio.current_time() - began == pytest.approx(16.0, abs=0.2)
        with pytest.raises(ConnectionEnded):
            await worker.hear(Stop)


async def test_heartbeats_keep_a_worker(autojump_clock):
    async with open_nest() as nest:
        client, worker = nest.client(), await nest.worker(heartbeat_s=1.0)
        with trio.move_on_after(100):
            await worker.beat(every_s=1.0)
        assert (await worker_rows(client))[0].reason is None


async def test_a_cut_link_is_another_loss_than_silence(autojump_clock):
    async with open_nest() as nest:
        client, worker = nest.client(), await nest.worker()
        cut(worker.connection)
        assert await loss_of(client) == LossReason.CONNECTION_LOST


async def test_a_goodbye_says_why_and_is_no_reason_to_warn(autojump_clock, caplog):
    async with open_nest() as nest:
        client, worker = nest.client(), await nest.worker()
        await worker.connection.send([Goodbye(LossReason.TIME_LIMIT_REACHED)])
        await worker.connection.aclose()
        assert await loss_of(client) == LossReason.TIME_LIMIT_REACHED
    assert not caplog.records


async def test_a_suspended_server_does_not_blame_its_workers(mock_clock):
    """The process sleeps for an hour; what the worker said meanwhile comes in a moment later."""
    async with open_nest() as nest:
        client, worker = nest.client(), await nest.worker(heartbeat_s=8.0)
        await settled()
        mock_clock.jump(3600)
        await settled()
        await worker.connection.send([Heartbeat()])
        await settled()
        assert (await worker_rows(client))[0].reason is None


async def test_nonsense_facts_end_the_link_with_the_reason_in_the_log(autojump_clock, caplog):
    async with open_nest() as nest:
        client, worker = nest.client(), await nest.worker()
        nonsense = Ended(u64([7]), u32([0]), u32([1]), b"\0", b"\0" * 4, b"\0" * 8, b"\0" * 8,
                         b"\0" * 4, b"\0" * 4)  # fmt: skip
        await worker.connection.send([Report(1, (nonsense,))])
        with pytest.raises(ConnectionEnded, match="is not held here"):
            await worker.hear(Stop)
        assert await loss_of(client) == LossReason.CONNECTION_LOST
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("worker link 1")
    assert "is not held here" in line


async def test_a_link_that_is_to_be_closed_does_not_wait_for_a_worker_that_does_not_read(
    autojump_clock, caplog
):
    """It goes on sending heartbeats, so that it is not silent either."""
    async with open_nest() as nest:
        client = nest.client()
        worker = await nest.worker(cpus=4, pair={"frames": 1})
        await fill(client)
        await worker.report()
        await worker.connection.send([Report(1, ())])  # the same number twice
        with pytest.raises(ConnectionEnded, match="does not read its last orders"):
            await worker.beat(every_s=1)
    assert "does not read its last orders" in caplog.text


async def fill(client):
    """Orders are under way that do not fit into the line to a large worker that does not read."""
    for _ in range(3):  # one frame in the line, one in the edge's hand, one in its outbox
        await client.submit(1)
        await trio.sleep(0.05)  # more than rounds are apart


# --- back-pressure towards workers


async def test_a_worker_that_does_not_read_for_a_second_gets_nothing_more(autojump_clock):
    async with open_nest() as nest, trio.open_nursery() as nursery:
        client = nest.client()
        stuck = await nest.worker(cpus=4, pair={"frames": 1})
        nursery.start_soon(lambda: stuck.beat(every_s=4))
        await fill(client)
        await trio.sleep(2 * STUCK_S)
        other = await nest.worker(cpus=4)
        nursery.start_soon(lambda: other.beat(every_s=4))
        job = await client.submit(2)
        await other.hear(Grant)
        await other.hear(Enqueue)
        assert set(other.tasks) >= {first_task(job), first_task(job) + 1}
        for _ in range(3):
            await stuck.hear(Enqueue)
        await settled()
        assert not set(stuck.tasks) & set(other.tasks)
        job = await client.submit(6)  # it reads again, so that both are needed
        await stuck.hear(Enqueue)
        assert max(stuck.tasks) >= first_task(job)
        nursery.cancel_scope.cancel()


# --- clients that do not do as they should


async def test_a_viewer_that_does_not_read_costs_one_notice_per_job(autojump_clock):
    async with open_nest() as nest:
        client, worker = nest.client(), await nest.worker(cpus=1)
        viewer = nest.client(frames=1)
        jobs = [await client.submit(50) for _ in range(2)]
        await viewer.ask(ask.Watch(tuple(jobs)))
        for job in jobs:
            for task in range(first_task(job), first_task(job) + 50):
                while task not in worker.tasks:
                    await worker.hear(Enqueue)
                slot = max(worker.slots)
                await worker.end(task, slot=slot, close=False)
                await trio.sleep(0.1)
        await settled()
        for job in jobs:  # nobody was held up by the viewer
            assert (await client.ask(ask.JobInfo(job))).row.terminated
        notices = []
        with trio.move_on_after(10):
            while True:
                notices.append((await viewer.hear()).response.row)
        # Those that were in the line or in the edge's hand, and then the last word on each job.
        assert len(notices) <= 6
        last = {row.id: row.counts.finished for row in notices}
        assert last == dict.fromkeys(jobs, 50)


async def test_a_client_that_never_reads_its_answers_is_cut_and_the_server_goes_on(
    autojump_clock, caplog
):
    async with open_nest() as nest:
        rude, client = nest.client(), nest.client()
        with pytest.raises(ConnectionEnded, match="1024 messages unread"):
            await ask_for_ever(rude)
        assert isinstance(await client.ask(ask.ServerInfo()), ask.ServerDetails)
    assert "client " in caplog.text
    assert "1024 messages unread" in caplog.text


async def ask_for_ever(client):
    while True:
        await client.send(ask.ServerInfo())


async def test_a_bug_in_an_edge_costs_one_connection(autojump_clock, caplog, monkeypatch):
    async with open_nest() as nest:
        victim, client = nest.client(), nest.client()
        await nest.worker()
        monkeypatch.setattr("msgspec.structs.replace", lambda *a, **k: 1 / 0)
        with pytest.raises(ConnectionEnded, match="internal error of the server"):
            await victim.ask(ask.ListWorkers(ALL))
        monkeypatch.undo()
        assert len(await worker_rows(client)) == 1
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info


# --- the end


async def test_server_stop_is_answered_and_workers_are_told(autojump_clock):
    async with open_nest() as nest:
        client, other, worker = nest.client(), nest.client(), await nest.worker()
        number = await client.send(ask.StopServer())
        await nest.stop_asked.wait()
        with trio.fail_after(60):
            async with trio.open_nursery() as ending:
                ending.start_soon(nest.say_last_words)
                assert isinstance(await client.answer(number), ask.Done)
                for peer in (client.hear(), other.hear()):
                    with pytest.raises(ConnectionEnded, match="closed by the peer: the server end"):
                        await peer
                await worker.hear(ServerStops)
                with pytest.raises(ConnectionEnded):
                    await worker.hear(Stop)
        assert (await worker_rows_of_book(nest))[0].reason is None


async def worker_rows_of_book(nest):
    """Asked of the cores, when no connection is served any more."""
    from actors.kit.mailbox import Mailbox
    from actors.server.links import SessionOpened, SessionOutbox
    from hqtrio.jobs.effects import ClientAsked

    box = Mailbox("asker")
    await nest.server.put(SessionOpened(999, SessionOutbox(box)))
    await nest.server.put(ClientAsked(999, 1, ask.ListWorkers(ALL)))
    (said,) = await box.receive()
    return said.response.rows


async def test_peers_that_do_not_read_do_not_hold_up_the_others_last_words(autojump_clock):
    async with open_nest() as nest:
        rude, client = nest.client(frames=1), nest.client()
        await nest.worker(cpus=4, pair={"frames": 1})
        await fill(client)
        worker = await nest.worker()
        for _ in range(10):
            await rude.send(ask.ServerInfo())
        await settled()
        with trio.move_on_after(0.5):
            async with trio.open_nursery() as ending:
                ending.start_soon(nest.say_last_words)
                with pytest.raises(ConnectionEnded):
                    await client.hear()
                await worker.hear(ServerStops)
                with pytest.raises(ConnectionEnded):
                    await worker.hear(Stop)


async def test_a_worker_without_work_is_told_to_stop_after_the_idle_timeout(autojump_clock):
    async with open_nest(idle_timeout_s=30.0) as nest, trio.open_nursery() as nursery:
        client, worker = nest.client(), await nest.worker()
        began = trio.current_time()
        nursery.start_soon(lambda: worker.beat(every_s=4))
        assert (await worker.hear(Stop)).reason == LossReason.IDLE_TIMEOUT
        assert trio.current_time() - began == pytest.approx(30.0, abs=0.2)
        nursery.cancel_scope.cancel()
        await worker.connection.aclose()
        assert await loss_of(client) == LossReason.IDLE_TIMEOUT


# --- durability


async def test_a_submit_is_answered_when_it_is_durable(autojump_clock):
    journal = LateJournal()
    async with open_nest(journal=journal) as nest:
        client, other = nest.client(), nest.client()
        number = await client.send(ask.SubmitJob(submit()))
        await settled()
        # What needs no durability is not held up.
        assert isinstance(await other.ask(ask.ServerInfo()), ask.ServerDetails)
        with trio.move_on_after(30) as patience:
            await client.hear()
        assert patience.cancelled_caught
        journal.sync()
        assert await client.answer(number) == ask.Submitted(1)


async def test_a_repeated_submit_is_not_answered_before_the_first_one_is_durable(autojump_clock):
    """It writes nothing, but its answer promises what the first one wrote."""
    journal = LateJournal()
    async with open_nest(journal=journal) as nest:
        lost, client = nest.client(), nest.client()
        asked = submit()
        await lost.send(ask.SubmitJob(asked))
        await settled()
        cut(lost.connection)
        number = await client.send(ask.SubmitJob(asked))
        with trio.move_on_after(30) as patience:
            await client.hear()
        assert patience.cancelled_caught
        journal.sync()
        assert await client.answer(number) == ask.Submitted(1)


async def test_receipts_follow_durability_and_acknowledgements_do_not(autojump_clock):
    journal = LateJournal()
    async with open_nest(journal=journal) as nest, trio.open_nursery() as nursery:
        client, worker = nest.client(), await nest.worker()
        nursery.start_soon(lambda: worker.beat(every_s=4))
        number = await client.send(ask.SubmitJob(submit()))
        await worker.hear(Enqueue)
        journal.sync()
        job = (await client.answer(number)).job
        await worker.end(first_task(job))
        assert await worker.hear(Ack) == Ack(1, 0)
        with trio.move_on_after(60) as patience:
            await worker.hear(Ack)
        assert patience.cancelled_caught
        journal.sync()
        assert await worker.hear(Ack) == Ack(1, 1)
        nursery.cancel_scope.cancel()


async def test_the_server_stops_only_after_the_answer_to_that_may_leave(autojump_clock):
    journal = LateJournal()
    async with open_nest(journal=journal) as nest:
        client = nest.client()
        submitted = await client.send(ask.SubmitJob(submit()))
        stopped = await client.send(ask.StopServer())
        await settled()
        assert not nest.stop_asked.is_set()
        journal.sync()
        await nest.stop_asked.wait()
        assert isinstance(await client.answer(submitted), ask.Submitted)
        assert isinstance(await client.answer(stopped), ask.Done)


async def test_a_journal_that_tells_often_does_not_fill_the_mailbox(autojump_clock):
    journal = LateJournal()
    async with open_nest(journal=journal) as nest:
        client = nest.client()
        number = await client.send(ask.SubmitJob(submit()))
        await settled()
        for _ in range(5000):
            journal.sync()
        assert isinstance(await client.answer(number), ask.Submitted)


async def test_a_full_disk_ends_the_server_and_nothing_unwritten_is_answered_or_shipped(
    autojump_clock,
):
    journal = FullDisk()
    answers = []
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="No space"), flatten_subgroups=True):
        async with open_nest(journal=journal) as nest:
            client, worker = nest.client(), await nest.worker()
            assert await client.submit() == 1
            await worker.hear(Enqueue)
            journal.is_full = True
            await client.send(ask.SubmitJob(submit()))
            answers.append(await client.hear())
    assert not answers


# --- crashes


@pytest.mark.parametrize("core", ["server", "scheduler"])
async def test_a_crash_in_a_core_ends_the_nest_and_names_the_event(
    autojump_clock, core, monkeypatch
):
    where = {
        "server": "hqtrio.jobs.machine.JobBook._reported",
        "scheduler": "hqtrio.scheduling.machine.Scheduling._read",
    }
    with pytest.RaisesGroup(Poisoned, flatten_subgroups=True) as crash:
        async with open_nest() as nest:
            client, worker = nest.client(), await nest.worker()
            viewers = [nest.client() for _ in range(3)]
            job = await client.submit(1)
            await worker.hear(Enqueue)
            for viewer in viewers:
                await viewer.ask(ask.Watch((job,)))
            monkeypatch.setattr(where[core], lambda *a, **k: 1 / 0)
            await worker.end(first_task(job))
            await trio.sleep_forever()
    (poisoned,) = crash.value.exceptions
    while isinstance(poisoned, ExceptionGroup):
        (poisoned,) = poisoned.exceptions
    assert isinstance(poisoned, Poisoned)
    assert isinstance(poisoned.__cause__, ZeroDivisionError)
    assert ("TasksReported" if core == "server" else "WorkerSaid") in str(poisoned)


# --- many workers


@pytest.mark.parametrize(("workers", "rests"), [(PACED_WORKERS - 1, False), (PACED_WORKERS, True)])
async def test_with_many_workers_the_scheduler_rests_between_batches(
    autojump_clock, monkeypatch, workers, rests
):
    """What arrives in the meantime is handled together; few workers are answered at once."""
    monkeypatch.setattr("actors.server.scheduler.REST", inf)  # a batch takes no virtual time
    journal = LateJournal()

    def ends():
        return sum(isinstance(record, TasksEnded) for record in journal.records)

    async with open_nest(journal=journal) as nest:
        fleet = [await nest.worker() for _ in range(workers)]
        await nest.client().send(ask.SubmitJob(submit(workers)))
        for worker in fleet:
            await worker.hear(Enqueue)
        await trio.sleep(1)
        for worker in fleet[:2]:
            (task,) = worker.tasks
            await worker.end(task)
            await settled()
        assert ends() == (1 if rests else 2)
        await trio.sleep(REST_MAX_S)
        await settled()
        assert ends() == 2
