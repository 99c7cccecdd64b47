"""The client over an in-memory connection: calls, pages, large submits, notices, loss."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from hqtrio.client import RequestFailed
from hqtrio.client.opening import open_client, over
from hqtrio.client.submits import fits_one_frame, parts_of
from hqtrio.errors import InputError, RemoteFault, Unreachable
from hqtrio.messages.client import (
    Call,
    Counts,
    Done,
    Failure,
    JobNotice,
    JobRow,
    JobRows,
    ListJobs,
    ListTasks,
    Said,
    ServerInfo,
    SubmitBegin,
    SubmitCommit,
    SubmitJob,
    SubmitPart,
    Submitted,
    TaskRow,
    TaskRows,
    Watch,
)
from hqtrio.messages.columns import read_u64, u64
from hqtrio.model.job import ArraySpec, GraphSpec, GraphTask, JobHead, Submit
from hqtrio.model.resources import ONE_CPU
from hqtrio.model.task import Stdio, TaskBody, TaskSettings
from hqtrio.net.memory import cut, memory_pair
from hqtrio.wire.codec import FRAME_MAX, encode

BODY = TaskBody((b"x",), (), "/w", Stdio(None), Stdio(None), "/w")
KEY = b"k" * 16


@asynccontextmanager
async def talking():
    """A client and the server's end of its connection."""
    ours, theirs = memory_pair(Said, Call)
    async with over(ours) as client:
        yield client, theirs


async def answer(server, *responses):
    """Read as many calls and answer them in order; the requests."""
    requests = []
    for response in responses:
        (call,) = await server.receive()
        requests.append(call.request)
        await server.send([Said(call.number, response)])
    return requests


def row(number, *, is_open=False, **counts):
    counts = Counts(**counts)
    return JobRow(number, "j", counts, is_open, None, False)


async def test_calls_side_by_side_get_their_own_answers():
    async with talking() as (client, server), trio.open_nursery() as nursery:
        results = {}

        async def ask(job):
            results[job] = await client.ask(ListJobs(client_selector(job)), JobRows)

        nursery.start_soon(ask, 1)
        nursery.start_soon(ask, 2)
        calls = [(await server.receive())[0] for _ in range(2)]
        for call in reversed(calls):
            asked = call.request.jobs.ids[0][0]
            await server.send([Said(call.number, JobRows((row(asked),), 2))])
    assert {job: rows.rows[0].id for job, rows in results.items()} == {1: 1, 2: 2}


def client_selector(job):
    from hqtrio.messages.client import Selector, Which

    return Selector(Which.GIVEN, ((job, 1, 1),))


async def test_a_refusal_carries_the_servers_text():
    async with talking() as (client, server), trio.open_nursery() as nursery:
        nursery.start_soon(answer, server, Failure("no such job"))
        with pytest.raises(RequestFailed, match=r"^Error: no such job$"):
            await client.call(ServerInfo())


async def test_an_answer_of_the_wrong_kind_is_the_servers_fault():
    async with talking() as (client, server), trio.open_nursery() as nursery:
        nursery.start_soon(answer, server, Done())
        with pytest.raises(RemoteFault, match="answered ServerInfo by Done"):
            await client.ask(ServerInfo(), Submitted)


async def test_every_call_learns_that_the_server_is_gone():
    async with talking() as (client, server):
        async with trio.open_nursery() as nursery:

            async def ask():
                with pytest.raises(Unreachable, match="The connection to the server was lost"):
                    await client.call(ServerInfo())

            nursery.start_soon(ask)
            nursery.start_soon(ask)
            for _ in range(2):
                await server.receive()
            cut(server)
        with pytest.raises(Unreachable, match="The connection to the server was lost"):
            await client.call(ServerInfo())


async def test_errors_of_the_block_come_out_as_they_are():
    with pytest.raises(InputError, match="mine"):
        async with talking():
            raise InputError("mine")


async def test_no_server_directory(tmp_path):
    with pytest.raises(InputError, match=r"No running instance of .* server start"):
        async with open_client(tmp_path / "none"):
            pass


# --- pages


async def test_jobs_are_read_page_by_page():
    async with talking() as (client, server), trio.open_nursery() as nursery:
        first = JobRows((row(1), row(5)), 3, more=True, unknown=(9,))
        nursery.start_soon(answer, server, first, JobRows((row(7),), 3))
        rows, total, unknown = await client.jobs()
    assert ([job.id for job in rows], total, unknown) == ([1, 5, 7], 3, [9])


async def test_tasks_are_read_until_there_are_enough():
    def page(*numbers, then):
        rows = tuple(TaskRow(number, 3, workers=(1,)) for number in numbers)
        return TaskRows(rows, (BODY,), (ONE_CPU,), (TaskSettings(),), ((1, "n"),), then)

    async with talking() as (client, server), trio.open_nursery() as nursery:
        nursery.start_soon(answer, server, page(1, then=50), page(60, 61, then=70))
        tasks, _ = await client.tasks(1, states=(3,), most=2)
    assert [task.number for task in tasks] == [1, 60]
    assert tasks[0].hostnames == ("n",)


async def test_the_next_page_begins_where_the_last_one_ended():
    end = TaskRows((), (), (), (), (), -1)
    async with talking() as (client, server), trio.open_nursery() as nursery:
        asked = []

        async def serve():
            asked.extend(await answer(server, TaskRows((), (), (), (), (), 40), end))

        nursery.start_soon(serve)
        await client.tasks(3)
    assert [request.position for request in asked] == [0, 40]
    assert all(isinstance(request, ListTasks) for request in asked)


# --- submits


def entry_submit(entries):
    ends, end = [], 0
    for entry in entries:
        end += len(entry)
        ends.append(end)
    spec = ArraySpec(BODY, len(entries), entries=b"".join(entries), entry_ends=u64(ends))
    return Submit(KEY, "/w", JobHead("j"), arrays=(spec,))


def test_a_large_array_travels_in_bounded_frames_and_arrives_whole():
    entries = [b"%06d" % n * (1 + n % 7) for n in range(60_000)]
    submit = entry_submit(entries)
    assert not fits_one_frame(submit)

    begin, *parts, commit = parts_of(submit)

    assert isinstance(begin, SubmitBegin)
    assert begin.submit.arrays[0].count == 60_000
    assert begin.submit.arrays[0].entries == b""
    assert commit == SubmitCommit(KEY)
    assert all(len(encode([Call(1, part)])) < FRAME_MAX // 2 for part in parts)
    assert b"".join(part.entries for part in parts) == submit.arrays[0].entries
    assert b"".join(part.entry_ends for part in parts) == submit.arrays[0].entry_ends
    # Each part's ends stay inside what has been sent with it.
    sent = 0
    for part in parts:
        sent += len(part.entries)
        assert read_u64(part.entry_ends)[-1] == sent


def test_a_large_graph_travels_in_bounded_frames_in_order():
    bodies = tuple(TaskBody((b"x" * 300, b"%d" % n), (), "/w", BODY.stdout, BODY.stderr, "/w")
                   for n in range(1000))  # fmt: skip
    tasks = tuple(GraphTask(n, n % 1000, 0, 0, (n - 1,) if n else ()) for n in range(30_000))
    graph = GraphSpec(bodies, (ONE_CPU,), (TaskSettings(),), tasks)
    submit = Submit(KEY, "/w", JobHead("j"), graph=graph)

    begin, *parts, _ = parts_of(submit)

    assert begin.submit.graph == GraphSpec((), (), (), ())
    assert all(len(encode([Call(1, part)])) < FRAME_MAX // 2 for part in parts)
    assert tuple(body for part in parts for body in part.graph.bodies) == bodies
    assert tuple(task for part in parts for task in part.graph.tasks) == tasks
    first_task = next(at for at, part in enumerate(parts) if part.graph.tasks)
    assert all(not part.graph.bodies for part in parts[first_task:])


def test_small_submits_go_in_one_frame():
    assert fits_one_frame(entry_submit([b"a", b"b"]))


@pytest.mark.parametrize(
    "submit",
    [
        Submit(KEY, "/w", JobHead("j"), arrays=(ArraySpec(TaskBody((b"x",), (), "/w", BODY.stdout,
               BODY.stderr, "/w", stdin=bytes(2**20)), 1),)),
        entry_submit([bytes(2**20)]),
    ],
)  # fmt: skip
def test_what_no_frame_can_hold_is_refused_before_it_is_sent(submit):
    with pytest.raises(InputError, match="file"):
        list(parts_of(submit))


async def test_a_large_submit_is_begun_continued_and_committed():
    submit = entry_submit([b"x" * 100] * 5000)
    async with talking() as (client, server), trio.open_nursery() as nursery:
        kinds = []

        async def serve():
            while True:
                (call,) = await server.receive()
                kinds.append(type(call.request))
                last = isinstance(call.request, SubmitCommit)
                await server.send([Said(call.number, Submitted(6) if last else Done())])
                if last:
                    return

        nursery.start_soon(serve)
        assert await client.submit(submit) == 6
    assert kinds[0] is SubmitBegin
    assert set(kinds[1:-1]) == {SubmitPart}


async def test_a_lost_answer_is_asked_for_again_with_the_same_key():
    submit = entry_submit([b"a"])
    first_ours, first = memory_pair(Said, Call)
    second_ours, second = memory_pair(Said, Call)
    keys = []

    async def serve():
        (call,) = await first.receive()
        keys.append(call.request.submit.key)
        cut(first)
        (call,) = await second.receive()
        assert isinstance(call.request, SubmitJob)
        keys.append(call.request.submit.key)
        await second.send([Said(call.number, Submitted(3))])

    async with trio.open_nursery() as nursery, over(first_ours) as client:
        client._another = lambda: over(second_ours)
        nursery.start_soon(serve)
        assert await client.submit(submit) == 3
    assert keys == [KEY, KEY]


# --- watching


async def test_no_change_is_missed_between_the_answer_and_the_first_notice():
    async with talking() as (client, server), trio.open_nursery() as nursery:

        async def serve():
            (call,) = await server.receive()
            assert call.request == Watch((1, 2))
            # The answer and the notices arrive in one frame.
            await server.send(
                [
                    Said(call.number, JobRows((row(1, waiting=1), row(2, waiting=1)), 2)),
                    Said(0, JobNotice(row(1, finished=1))),
                    Said(0, JobNotice(row(2, waiting=1), gone=True)),
                ]
            )

        nursery.start_soon(serve)
        await client.wait_for_jobs([1, 2])


async def test_waiting_is_told_of_each_change_and_ends_with_the_last():
    seen = []
    async with talking() as (client, server), trio.open_nursery() as nursery:

        async def serve():
            (call,) = await server.receive()
            await server.send([Said(call.number, JobRows((row(1, waiting=2),), 1))])
            await trio.testing.wait_all_tasks_blocked()
            for finished in (1, 2):
                notice = JobNotice(row(1, waiting=2 - finished, finished=finished))
                await server.send([Said(0, notice)])
                await trio.testing.wait_all_tasks_blocked()

        nursery.start_soon(serve)
        await client.wait_for_jobs(
            [1], on_change=lambda watching: seen.append(watching.rows[1].counts.finished)
        )
    assert seen == [0, 1, 2]


async def test_a_client_that_was_cut_off_goes_on_waiting_over_a_new_connection():
    first_ours, first = memory_pair(Said, Call)
    second_ours, second = memory_pair(Said, Call)

    async def serve():
        (call,) = await first.receive()
        await first.send([Said(call.number, JobRows((row(1, running=1),), 1))])
        await trio.testing.wait_all_tasks_blocked()
        cut(first)
        (call,) = await second.receive()
        await second.send([Said(call.number, JobRows((row(1, finished=1),), 1))])

    async with trio.open_nursery() as nursery, over(first_ours) as client:
        client._another = lambda: over(second_ours)
        nursery.start_soon(serve)
        await client.wait_for_jobs([1])
