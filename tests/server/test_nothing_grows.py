"""A server that was used for long is as large as before: forgotten jobs leave nothing behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing

import trio

from actors.server.main import ServerSettings, run_server
from hqtrio.client import Client, open_client
from hqtrio.client.client import ALL
from hqtrio.client.events import events
from hqtrio.messages.client import (
    CancelJobs,
    CloseJobs,
    ForgetJobs,
    Forgotten,
    JobState,
    OpenJob,
    Submitted,
    Verdicts,
)
from hqtrio.model.job import ArraySpec, GraphSpec, GraphTask, JobHead, Submit
from hqtrio.model.resources import CPUS, UNIT, Need, Request
from hqtrio.model.task import Stdio, TaskBody, TaskSettings

PATIENCE_S = 60.0
ROUND = 3  # jobs of each kind
ENDED = tuple(state.value for state in JobState)
NOWHERE = Stdio(None)
# Whoever has passed such a value on may still have the last one in hand.
PASSING = (
    "hqtrio.messages.",
    "hqtrio.scheduling.events.",
    "hqtrio.jobs.effects.",
    "actors.server.links.",
)
# What is kept to be found faster; each has a bound of its own.
BOUNDED = ("PoolLayout.memo", "policies.Ask", "policies.Give", "RequestClass._order")


def body(*words: str) -> TaskBody:
    return TaskBody(tuple(map(str.encode, words)), (), "/", NOWHERE, NOWHERE, "/")


def submit(name: str, **what) -> Submit:
    return Submit(os.urandom(16), "/", JobHead(name), **what)


def array(count: int, cpus: int = UNIT, **more) -> ArraySpec:
    return ArraySpec(body("true"), count, variants=(Request((Need(CPUS, cpus),)),), **more)


def chain(length: int, priority: int) -> GraphSpec:
    tasks = tuple(GraphTask(n, n % 2, 0, 0, (n - 1,) if n else ()) for n in range(length))
    variants = (Request((Need(CPUS, UNIT),)),)
    return GraphSpec(
        (body("one"), body("two")), (variants,), (TaskSettings(priority=priority),), tasks
    )


async def use(client: Client) -> None:
    """Jobs of many kinds begin and end, are looked at, and are forgotten."""
    for number in range(ROUND):
        entries = b"".join(b"%d" % n for n in range(10))
        ends = b"".join(n.to_bytes(8, "little") for n in range(1, 11))
        jobs = [
            await client.submit(submit("array", arrays=(array(100),))),
            await client.submit(submit("graph", graph=chain(20, number))),
            await client.submit(
                submit("entries", arrays=(array(10, entries=entries, entry_ends=ends),))
            ),
        ]
        opened = await client.ask(OpenJob(JobHead("open")), Submitted)
        part = Submit(os.urandom(16), "/", job=opened.job, arrays=(array(5),))
        await client.submit(part)
        await client.ask(CloseJobs(ALL), Verdicts)
        await client.wait_for_jobs([*jobs, opened.job])
        await client.submit(submit("waits", arrays=(array(50, cpus=UNIT * 99),)))
        await client.ask(CancelJobs(ALL), Verdicts)
        await client.ask(ForgetJobs(ALL, ENDED), Forgotten)
        assert (await client.jobs())[0] == []
    async with client.another() as viewer, aclosing(events(viewer, live=False)) as groups:
        async for lines, _ in groups:
            assert all(lines)


def census() -> Counter[str]:
    """How many objects of ours there are, and how much is in them."""
    for _ in range(3):
        gc.collect()
    found: Counter[str] = Counter()
    for thing in gc.get_objects():
        kind = type(thing)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if not name.startswith(("hqtrio.", "actors.")) or name.startswith(PASSING):
            continue
        found[name] += 1
        for attribute, value in attributes(thing):
            try:
                found[f"{name}.{attribute}"] += len(value)
            except TypeError:
                continue
            if isinstance(value, dict):
                inner = [v for v in value.values() if isinstance(v, dict | list | set)]
                found[f"{name}.{attribute}[]"] += sum(map(len, inner))
    return found


def attributes(thing: object) -> Iterator[tuple[str, object]]:
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(thing, name):
                yield name, getattr(thing, name)
    yield from getattr(thing, "__dict__", {}).items()


async def test_jobs_that_were_forgotten_leave_nothing_behind(tmp_path):
    stop = trio.Event()
    place = tmp_path / "server"

    async def serve(task_status):
        settings = ServerSettings(
            server_dir=place, host="localhost", loopback=True, has_own_journal=True
        )
        await run_server(settings, on_ready=task_status.started, stop=stop, signals=False)

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        command = [sys.executable, "-P", "-m", "hqtrio", "--server-dir", str(place)]
        command += ["worker", "start", "--cpus", "4", "--zero-worker"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as worker:
            try:
                async with open_client(place) as client:
                    await client.wait_for_workers(1)
                    for _ in range(2):
                        await use(client)
                    before = census()
                    for _ in range(2):
                        await use(client)
                    grown: dict[str, tuple[int, int]] = {}
                    with trio.move_on_after(PATIENCE_S):
                        while grown := growth(before, census()):
                            await trio.sleep(0.1)  # the last messages are on their way
                    assert not grown
            finally:
                worker.kill()
        stop.set()


def growth(before: Counter[str], after: Counter[str]) -> dict[str, tuple[int, int]]:
    """What there is more of: at least one for each time that a kind of job was used."""
    return {
        name: (before[name], count)
        for name, count in after.items()
        if count >= before[name] + 2 * ROUND and not any(bounded in name for bounded in BOUNDED)
    }
