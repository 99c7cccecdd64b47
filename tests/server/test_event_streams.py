"""Streams of events, served from memory over in-memory links."""

import json
from contextlib import aclosing, asynccontextmanager

import trio
from server_nest import first_task, open_nest

from actors.server import events as streams
from hqtrio.client.events import events
from hqtrio.client.opening import over
from hqtrio.messages import client as ask
from hqtrio.messages.columns import f64, u32, u64
from hqtrio.messages.worker import Enqueue, Note, Started


class Viewer:
    """Reads events when it is asked to."""

    def __init__(self, groups):
        self._groups = groups
        self.is_live = False

    async def event(self):
        """The next one."""
        while not (lines := await self.group()):
            pass
        (line,) = lines
        return line

    async def group(self):
        lines, self.is_live = await anext(self._groups)
        return [json.loads(line)["event"] for line in lines]

    async def history(self):
        """All types up to the moment when news begin."""
        types = []
        while not self.is_live:
            types += [event["type"] for event in await self.group()]
        return types

    async def rest(self):
        types = []
        while True:
            try:
                types += [event["type"] for event in await self.group()]
            except StopAsyncIteration:
                return types


@asynccontextmanager
async def view(client, *, live=True):
    async with aclosing(events(client, live=live)) as groups:
        yield Viewer(groups)


async def test_g4_2_history_then_a_marker_then_news(autojump_clock):
    async with open_nest() as nest:
        user, worker = nest.client(), await nest.worker()
        await user.submit(1)
        async with over(nest.client().connection) as client, view(client) as viewer:
            assert await viewer.history() == ["server-start", "worker-connected", "job-created"]
            second = await user.submit(1)
            created = await viewer.event()
            assert (created["type"], created["job"]) == ("job-created", second)
            await worker.hear(Enqueue)
            await worker.start(first_task(1))
            assert (await viewer.event())["type"] == "task-started"


async def test_replay_ends_where_history_ends(autojump_clock):
    async with open_nest() as nest:
        user = nest.client()
        await user.submit(3)
        async with over(nest.client().connection) as client, view(client, live=False) as viewer:
            assert await viewer.rest() == ["server-start", "job-created"]


async def test_b45_viewers_hear_what_tasks_say_of_every_job(autojump_clock):
    async with open_nest() as nest:
        user, worker = nest.client(), await nest.worker()
        async with over(nest.client().connection) as client, view(client) as viewer:
            await viewer.history()
            job = await user.submit(1)
            await worker.hear(Enqueue)
            task = first_task(job)
            note = Note(task, 0, b"half way")
            await worker.report(Started(u64([task]), u32([0]), u32([1]), f64([0.0]), (note,)))
            types = [(await viewer.event()) for _ in range(3)]
            assert [event["type"] for event in types] == [
                "job-created", "task-started", "task-notify"
            ]  # fmt: skip
            assert types[2]["text"] == "half way"


async def test_the_end_of_the_server_ends_the_stream_after_everything_else(autojump_clock):
    async with open_nest() as nest:
        user = nest.client()
        async with over(nest.client().connection) as client, view(client) as viewer:
            await viewer.history()
            for _ in range(3):
                await user.submit(1)
            await nest.say_last_words()
            assert await viewer.rest() == ["job-created"] * 3


async def test_a_viewer_that_does_not_read_is_cut_and_hears_the_rest_when_it_comes_again(
    autojump_clock, monkeypatch, caplog
):
    monkeypatch.setattr(streams, "UNREAD_MAX", 2000)
    async with open_nest() as nest:
        user = nest.client()
        first = nest.client(frames=1)

        def another():
            return over(nest.client().connection)

        async with over(first.connection) as client:
            client._another = another
            async with view(client) as viewer:
                assert await viewer.history() == ["server-start"]
                for _ in range(40):
                    await user.submit(1)
                await trio.testing.wait_all_tasks_blocked()
                seen = []
                while len(seen) < 40:
                    seen += [event["job"] for event in await viewer.group()]
                assert seen == list(range(1, 41))
    assert "events unread" in caplog.text


async def test_another_run_of_the_server_is_not_taken_for_the_same(autojump_clock):
    """Its history would be told as if it went on where the first one ended."""
    async with open_nest() as one, open_nest() as other:
        user = one.client()
        connection = one.client().connection
        async with over(connection) as client:
            client._another = lambda: over(other.client().connection)
            async with view(client) as viewer:
                await viewer.history()
                await user.submit(1)
                assert (await viewer.event())["type"] == "job-created"
                await connection.aclose()
                assert await viewer.rest() == []


async def test_many_tasks_are_remembered_in_parts_that_fit_frames(autojump_clock):
    async with open_nest() as nest:
        user = nest.client()
        job = await user.submit(20_000)
        await user.ask(ask.CancelJobs(ask.Selector(ask.Which.GIVEN, ((job, 1, 1),))))
        async with over(nest.client().connection) as client, view(client, live=False) as viewer:
            assert await viewer.rest() == [
                "server-start", "job-created", "job-cancel",
                *["task-canceled"] * 4, "job-completed",
            ]  # fmt: skip
