"""The allocator among its actors: commands that hang, machines that fail, books that stay."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from server_nest import DETAILS, FakeClient, Nest

from actors.kit.actor import open_actor
from actors.server.allocations import allocator_box, settings_from
from actors.server.allocator import Allocator, AllocatorParts
from actors.server.client_session import ClientSessions
from actors.server.cores import open_cores
from actors.server.journal import NoJournal
from actors.server.links import CancelAllocations
from actors.server.manager_commands import hold, run_command
from hqtrio.autoalloc.books import Books
from hqtrio.autoalloc.dialogues import Command, Completed, NotStarted, TimedOut
from hqtrio.autoalloc.machine import Allocating
from hqtrio.autoalloc.pbs import Pbs
from hqtrio.autoalloc.slurm import Slurm
from hqtrio.messages import allocations as ask
from hqtrio.messages.client import Done, Failure
from hqtrio.messages.records import AllocationPlanned, AllocationQueued, QueueAdded
from hqtrio.model.allocation import Manager, QueueParams

PARAMS = QueueParams(Manager.SLURM, 600.0)


class RecordingJournal(NoJournal):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[object] = []

    def put(self, records) -> int:
        self.records += records
        return super().put(records)


class SlowJournal(NoJournal):
    """Its disk does not answer while it is `stuck`."""

    stuck = False

    def put(self, records) -> int:
        if not self.stuck:
            return super().put(records)
        self._groups += 1
        return self._groups

    def recover(self) -> None:
        self.stuck = False
        assert self._told is not None
        self._told(self._groups)


class Site:
    """Programs of a manager that say what a test wants."""

    def __init__(self, place: Path) -> None:
        self.programs = place / "bin"
        self.programs.mkdir()
        self.instance = place / "001"
        self.instance.mkdir()
        self.calls = place / "calls"
        self.say("sbatch", "echo Submitted batch job 7")
        self.say("squeue", "true")
        self.say("scancel", "true")

    def say(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f'#!/bin/sh\necho "{name} $@" >> {self.calls}\n{script}\n')
        path.chmod(0o755)

    def called(self, name: str) -> int:
        text = self.calls.read_text() if self.calls.exists() else ""
        return sum(line.split()[0] == name for line in text.splitlines())


@pytest.fixture
def place(tmp_path: Path) -> Site:
    return Site(tmp_path)


@asynccontextmanager
async def allocating(place: Site, journal=None, crashes=None):
    """A nest with an allocator; and a client of it."""
    box = allocator_box()
    environment = {**os.environ, "PATH": f"{place.programs}:{os.environ['PATH']}"}
    settings = settings_from(
        place.instance,
        {
            "HQ_AUTOALLOC_SCHEDULE_TICK_INTERVAL_MS": "50",
            "HQ_AUTOALLOC_MAX_SCHEDULE_DELAY_MS": "50",
            "HQ_AUTOALLOC_REFRESH_INTERVAL_MS": "100",
        },
    )
    parts = AllocatorParts(
        settings,
        Books(),
        {Manager.SLURM: Slurm(), Manager.PBS: Pbs()},
        environment,
        timeout_s=1.0,
    )
    noted = [] if crashes is None else crashes
    async with open_cores(
        DETAILS,
        journal=journal or NoJournal(),
        idle_timeout_s=None,
        stop=lambda: None,
        allocator=box,
    ) as (server, scheduler):
        allocator = Allocator(parts, server=server, scheduler=scheduler, on_crash=noted.append)
        async with open_actor(allocator.run, mailbox=box), trio.open_nursery() as nursery:
            nest = Nest(server, scheduler, nursery)
            nest.sessions = ClientSessions(server, scheduler, None, box)
            yield nest, box
            nursery.cancel_scope.cancel()


async def rows(client: FakeClient, queue: int = 1) -> list[ask.AllocationRow]:
    return list((await client.ask(ask.ListAllocations(queue))).rows)


async def eventually(condition) -> None:
    with trio.fail_after(20):
        while not await condition():
            await trio.sleep(0.02)


async def test_nothing_is_submitted_before_it_is_recorded(place: Site) -> None:
    journal = RecordingJournal()
    async with allocating(place, journal) as (nest, _):
        client = nest.client()
        assert await client.ask(ask.AddQueue(PARAMS, False)) == ask.QueueAnswer(1)
        assert isinstance(journal.records[-1], QueueAdded)
        await client.submit()

        async def is_queued() -> bool:
            return bool([row for row in await rows(client) if row.id == "7"])

        await eventually(is_queued)
    kinds = [type(one) for one in journal.records]
    assert kinds.index(AllocationPlanned) < kinds.index(AllocationQueued)
    directory = place.instance / "autoalloc/1/001"
    assert (directory / "hq-submit.sh").stat().st_mode & 0o777 == 0o700
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "jobid").read_text() == "7"


async def test_queues_can_be_looked_at_while_nothing_can_be_recorded(place: Site) -> None:
    journal = SlowJournal()
    async with allocating(place, journal) as (nest, _), trio.open_nursery() as nursery:
        client, other = nest.client(), nest.client()
        await client.ask(ask.AddQueue(PARAMS, False))
        journal.stuck = True
        paused: list[object] = []

        async def pause() -> None:
            paused.append(await client.ask(ask.PauseQueue(1)))

        nursery.start_soon(pause)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(20):
            assert len((await other.ask(ask.ListQueues())).rows) == 1
            assert await rows(other) == []
        assert paused == []
        journal.recover()
    assert paused == [Done()]


async def test_a_manager_that_hangs_holds_nobody_up(place: Site) -> None:
    for name in ("sbatch", "squeue", "scancel"):
        place.say(name, "sleep 1000")
    async with allocating(place) as (nest, box):
        client = nest.client()
        await client.ask(ask.AddQueue(PARAMS, False))
        await client.submit()

        async def is_tried() -> bool:
            return place.called("sbatch") > 0

        await eventually(is_tried)
        assert isinstance(await client.ask(ask.PauseQueue(1)), Done)

        async def is_unsure() -> bool:
            return "not clear" in (await rows(client))[0].note

        await eventually(is_unsure)
        with trio.fail_after(20):
            await box.ask(CancelAllocations)
    assert place.called("sbatch") == 1


async def test_a_machine_that_fails_begins_anew_with_what_was_recorded(
    place: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes: list[Exception] = []
    handle = Allocating.handle

    def failing(self, event, now):
        if isinstance(getattr(event, "request", None), ask.PauseQueue):
            raise RuntimeError("a mistake of ours")
        return handle(self, event, now)

    monkeypatch.setattr(Allocating, "handle", failing)
    async with allocating(place, crashes=crashes) as (nest, _):
        client = nest.client()
        await client.ask(ask.AddQueue(PARAMS, False))
        refused = await client.ask(ask.PauseQueue(1))
        assert isinstance(refused, Failure)
        assert "Internal error" in refused.reason
        assert len(crashes) == 2  # tried once more, and set aside
        (row,) = (await client.ask(ask.ListQueues())).rows
        assert row.id == 1
        assert isinstance(await client.ask(ask.ResumeQueue(1)), Done)


async def test_a_mistake_in_speaking_to_a_manager_is_one_failed_answer(
    place: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes: list[Exception] = []

    def mistaken(self, submission):
        yield Command(("true",))
        raise OverflowError("of ours")

    monkeypatch.setattr(Slurm, "submit", mistaken)
    async with allocating(place, crashes=crashes) as (nest, _):
        client = nest.client()
        await client.ask(ask.AddQueue(PARAMS, False))
        await client.submit()

        async def is_unsure() -> bool:
            found = await rows(client)
            return bool(found) and "OverflowError" in found[0].note

        await eventually(is_unsure)
        refused = await client.ask(ask.TryQueue(PARAMS))
        assert "internal error" in refused.reason
    assert crashes


async def test_a_directory_that_cannot_be_made_is_a_failed_submission(place: Site) -> None:
    (place.instance / "autoalloc").write_text("in the way")
    async with allocating(place) as (nest, _):
        client = nest.client()
        await client.ask(ask.AddQueue(PARAMS, False))
        await client.submit()

        async def is_noted() -> bool:
            (row,) = (await client.ask(ask.ListQueues())).rows
            return "autoalloc" in row.note

        await eventually(is_noted)
    assert place.called("sbatch") == 0


# --- trials


async def test_39_a_trial_that_cannot_be_cancelled_makes_no_queue(place: Site) -> None:
    place.say("scancel", "echo no >&2; exit 1")
    async with allocating(place) as (nest, _):
        client = nest.client()
        refused = await client.ask(ask.AddQueue(PARAMS, True))
        assert "Could not cancel allocation 7" in refused.reason
        assert (await client.ask(ask.ListQueues())).rows == ()


async def test_40_41_a_trial_is_held_and_cancelled(place: Site) -> None:
    async with allocating(place) as (nest, _):
        client = nest.client()
        assert await client.ask(ask.TryQueue(PARAMS)) == Done()
        assert place.called("scancel") == 1
        place.say("sbatch", "echo FOOBAR >&2; exit 1")
        refused = await client.ask(ask.AddQueue(PARAMS, True))
        assert "Could not submit allocation: sbatch execution failed" in refused.reason
        assert "Stderr: FOOBAR" in refused.reason
        script = refused.reason.partition("script at `")[2].partition("`")[0]
        assert "--hold" in Path(script).read_text()
        Path(script).unlink()
        Path(script).parent.rmdir()


# --- commands


async def test_what_becomes_of_a_command(place: Site) -> None:
    environment = {"PATH": f"{place.programs}:/usr/bin:/bin"}
    place.say("x", 'echo "$@"; echo err >&2; exit 3')
    done = await run_command(Command(("x", "a b")), environment, 20.0)
    assert done == Completed(3, b"a b\n", b"err\n")
    assert isinstance(await run_command(Command(("nosuch",)), environment, 20.0), NotStarted)
    # What it leaves behind with its pipes open does not hold up its answer.
    place.say("x", "sleep 5 & echo out")
    with trio.fail_after(20):
        assert await run_command(Command(("x",)), environment, 1000.0) == Completed(0, b"out\n")
    place.say("x", "echo $$; trap '' TERM; sleep 1000")
    assert await run_command(Command(("x",)), environment, 0.3) == TimedOut(0.3)


async def test_a_dialogue_gets_what_became_of_its_commands(place: Site) -> None:
    place.say("squeue", "exit 1")
    environment = {"PATH": f"{place.programs}:/usr/bin:/bin"}
    answer = await hold(Slurm().statuses(["1"]), environment, 20.0)
    assert answer.words == "squeue: exit code 1"
