"""Notifications at the client: whoever listens hears them, also over a second connection."""

from __future__ import annotations

import trio
import trio.testing

from hqtrio.client.opening import over
from hqtrio.messages.client import (
    Call,
    Counts,
    Done,
    JobRow,
    JobRows,
    Said,
    SubmitCommit,
    SubmitJob,
    Submitted,
    TaskNotice,
    Watch,
)
from hqtrio.messages.columns import u64
from hqtrio.model.job import ArraySpec, JobHead, Submit
from hqtrio.model.task import Stdio, TaskBody
from hqtrio.net.memory import cut, memory_pair
from hqtrio.wire.codec import FRAME_MAX

BODY = TaskBody((b"x",), (), "/w", Stdio(None), Stdio(None), "/w")
SMALL = Submit(b"k" * 16, "/w", JobHead("j"), arrays=(ArraySpec(BODY, 1),))


def note(text: bytes) -> TaskNotice:
    return TaskNotice(1, 0, 1, text)


def rows(**counts: int) -> JobRows:
    return JobRows((JobRow(1, "j", Counts(**counts), False, None, False),), 1)


async def test_notes_that_come_before_the_answer_of_the_submit_are_heard():
    ours, server = memory_pair(Said, Call)
    heard: list[TaskNotice] = []

    async def serve() -> None:
        (call,) = await server.receive()
        assert call.request == SubmitJob(SMALL, notes=True)
        await server.send([Said(0, note(b"a")), Said(call.number, Submitted(1))])

    async with trio.open_nursery() as nursery, over(ours) as client:
        nursery.start_soon(serve)
        client.listener = heard.append
        await client.submit(SMALL)
    assert heard == [note(b"a")]


async def test_without_a_listener_none_are_asked_for():
    ours, server = memory_pair(Said, Call)

    async def serve() -> None:
        for answer in (Submitted(1), rows(finished=1)):
            (call,) = await server.receive()
            assert call.request in (SubmitJob(SMALL), Watch((1,)))
            await server.send([Said(0, note(b"unasked")), Said(call.number, answer)])

    async with trio.open_nursery() as nursery, over(ours) as client:
        nursery.start_soon(serve)
        await client.submit(SMALL)
        await client.wait_for_jobs([1])


async def test_a_large_submit_is_listened_to_from_its_commit_on():
    ours, server = memory_pair(Said, Call)
    entry = b"e" * (FRAME_MAX // 2)
    ends = u64([len(entry), 2 * len(entry)])
    large = Submit(
        b"k" * 16, "/w", JobHead("j"),
        arrays=(ArraySpec(BODY, 2, entries=entry * 2, entry_ends=ends),),
    )  # fmt: skip

    async def serve() -> None:
        while True:
            (call,) = await server.receive()
            if isinstance(call.request, SubmitCommit):
                assert call.request.notes
                await server.send([Said(call.number, Submitted(1))])
                return
            await server.send([Said(call.number, Done())])

    async with trio.open_nursery() as nursery, over(ours) as client:
        nursery.start_soon(serve)
        client.listener = lambda notice: None
        assert await client.submit(large) == 1


async def test_who_listens_goes_on_listening_over_a_new_connection():
    first_ours, first = memory_pair(Said, Call)
    second_ours, second = memory_pair(Said, Call)
    heard: list[TaskNotice] = []

    async def serve() -> None:
        (call,) = await first.receive()
        await first.send([Said(call.number, rows(running=1)), Said(0, note(b"a"))])
        await trio.testing.wait_all_tasks_blocked()
        cut(first)
        (call,) = await second.receive()
        assert call.request == Watch((1,), notes=True)
        await second.send([Said(0, note(b"b")), Said(call.number, rows(finished=1))])

    async with trio.open_nursery() as nursery, over(first_ours) as client:
        client._another = lambda: over(second_ours)
        nursery.start_soon(serve)
        client.listener = heard.append
        await client.wait_for_jobs([1])
    assert heard == [note(b"a"), note(b"b")]
