"""What makes a core raise: once it ends the server, and after the second time it is set aside."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress

import pytest
import trio
from server_nest import FakeWorker, config, open_nest, submit

from actors.kit.drive import Poisoned
from actors.kit.mailbox import ActorStopped
from actors.server.crash_files import crashes_noted, read_suspects
from actors.server.suspects import Suspects, heed, marks_of
from hqtrio.errors import InputError
from hqtrio.ids import task_id
from hqtrio.jobs import machine as job_book
from hqtrio.jobs.effects import Command, TaskSetAside
from hqtrio.messages import client as ask
from hqtrio.messages.columns import f32, f64, i32, read_u64, u32, u64
from hqtrio.messages.scheduling import (
    AdmitWorker,
    RefuseWorker,
    TasksDropped,
    TasksReported,
    WorkerArrived,
    WorkerGone,
)
from hqtrio.messages.worker import (
    Ack,
    Cancel,
    Ended,
    Enqueue,
    Held,
    Register,
    Rejected,
    Report,
    Started,
)
from hqtrio.model.job import JobHead
from hqtrio.model.task import Ending
from hqtrio.model.worker import LossReason
from hqtrio.net.connection import ConnectionEnded
from hqtrio.scheduling.machine import Scheduling
from hqtrio.scheduling.reports import ReportReader

HISTORY = b"history of sixt."
JOB = 1
POISON, OTHER = task_id(JOB, 1), task_id(JOB, 0)
pytestmark = pytest.mark.usefixtures("autojump_clock")


def poisonous(monkeypatch, where, name: str, is_poison) -> None:
    """Whatever `is_poison` makes the handler raise."""
    real = getattr(where, name)

    def handler(*args, **kwargs):
        if is_poison(*args):
            raise ZeroDivisionError("poison")
        return real(*args, **kwargs)

    monkeypatch.setattr(where, name, handler)


async def crash(life, suspects: Counter[str]) -> list[str]:
    """What `life(nest)` makes its server crash over."""
    with pytest.RaisesGroup(Poisoned, flatten_subgroups=True) as raised:
        async with open_nest(suspects=Suspects(suspects)) as nest:
            with trio.fail_after(600):
                with suppress(ConnectionEnded, ActorStopped):
                    await life(nest)
                await trio.sleep_forever()
    (error,) = raised.value.exceptions
    while isinstance(error, ExceptionGroup):
        (error,) = error.exceptions
    return list(marks_of(error.event))


async def three_lives(life):
    """Two servers that crash; what they crashed over each time, and what the third would know."""
    first = await crash(life, Counter())
    second = await crash(life, Counter(first))
    return first, second, Suspects(Counter([*first, *second]))


async def counts(client) -> ask.Counts:
    return (await client.ask(ask.JobInfo(JOB))).row.counts


async def test_a_poisoned_end_fails_its_task_and_costs_nobody_else_anything(monkeypatch) -> None:
    poisonous(
        monkeypatch, job_book, "apply_ended", lambda tables, worker, fact, *_: POISON in tasks(fact)
    )

    async def life(nest):
        client, worker = nest.client(), await nest.worker(cpus=3)
        await client.submit(3)
        while len(worker.tasks) < 3:
            await worker.hear(Enqueue)
        await worker.end(*sorted(worker.tasks))
        return client, worker

    first, second, suspects = await three_lives(life)
    assert first == ["end of 1@0", "end of 1@1", "end of 1@2"]
    assert second == ["end of 1@1"]
    async with open_nest(suspects=suspects) as nest:
        client, worker = await life(nest)
        while (await worker.hear(Ack)).durable < worker.seq:
            pass
        assert await counts(client) == ask.Counts(finished=2, failed=1)
        (row,) = (await client.ask(ask.ListTasks(JOB, 0, numbers=((1, 1, 1),)))).rows
        assert row.error.startswith("Internal error: the server has crashed twice over the end")
        assert await client.submit() == 2
        await worker.hear(Enqueue)


async def test_a_poisoned_start_fails_its_task_which_is_ended(monkeypatch) -> None:
    poisonous(
        monkeypatch,
        job_book,
        "apply_started",
        lambda tables, worker, fact, *_: OTHER in tasks(fact),
    )

    async def life(nest):
        client, worker = nest.client(), await nest.worker()
        await client.submit(1)
        await worker.hear(Enqueue)
        await worker.start(OTHER)
        return client, worker

    first, second, suspects = await three_lives(life)
    assert first == second == ["start of 1@0"]
    async with open_nest(suspects=suspects) as nest:
        client, worker = await life(nest)
        cancel = await worker.hear(Cancel)
        assert list(read_u64(cancel.tasks)) == [OTHER]
        assert await counts(client) == ask.Counts(failed=1)


async def test_a_poisoned_request_is_refused_and_others_are_answered(monkeypatch) -> None:
    poisonous(
        monkeypatch,
        job_book.JobBook,
        "_respond",
        lambda book, call, now: (
            isinstance(call.request, ask.OpenJob) and call.request.head.name == "poison"
        ),
    )

    async def life(nest):
        client = nest.client()
        return client, await client.ask(ask.OpenJob(JobHead("poison", is_open=True)))

    first, second, suspects = await three_lives(life)
    assert first == second and len(first) == 1
    async with open_nest(suspects=suspects) as nest:
        client, refused = await life(nest)
        assert isinstance(refused, ask.Failure) and "crashed twice" in refused.reason
        assert isinstance(
            await client.ask(ask.OpenJob(JobHead("other", is_open=True))), ask.Submitted
        )
        assert await client.submit() == 2


async def test_a_poisoned_submit_is_known_by_what_it_says_and_not_by_its_key(monkeypatch) -> None:
    poisonous(
        monkeypatch,
        job_book.Submitting,
        "submit",
        lambda self, submit, at: submit.arrays[0].count == 3,
    )

    async def life(nest):
        client = nest.client()
        return client, await client.submit(3)  # with a key of its own each time

    _, _, suspects = await three_lives(life)
    async with open_nest(suspects=suspects) as nest:
        client = nest.client()
        refused = await client.ask(ask.SubmitJob(submit(3)))
        assert isinstance(refused, ask.Failure)
        assert await client.submit(2) == 1


async def test_a_worker_whose_arrival_is_poison_is_turned_away(monkeypatch) -> None:
    poisonous(
        monkeypatch,
        Scheduling,
        "_link_opened",
        lambda self, link, hello, *_: hello.worker_key == b"poison",
    )

    async def life(nest):
        worker = FakeWorker(nest.connect_worker())
        await worker.connection.send([Register(config(), b"poison")])
        return await worker.hear(Rejected)

    first, second, suspects = await three_lives(life)
    assert first == second == [f"frame with worker {b'poison'.hex()}"]
    async with open_nest(suspects=suspects) as nest:
        assert "internal error" in (await life(nest)).reason
        await nest.worker()


async def test_a_worker_whose_frame_is_poison_is_hung_up_on_to_state_what_it_has(
    monkeypatch,
) -> None:
    poisonous(monkeypatch, ReportReader, "_ended", lambda self, fact: POISON in tasks(fact))

    async def life(nest):
        client, worker = nest.client(), await nest.worker(cpus=2)
        await client.submit(2)
        while len(worker.tasks) < 2:
            await worker.hear(Enqueue)
        await worker.end(OTHER, POISON)
        return client, worker

    first, second, suspects = await three_lives(life)
    assert first == second == ["frame with end of 1@0", "frame with end of 1@1"]
    async with open_nest(suspects=suspects) as nest:
        client, worker = await life(nest)
        with pytest.raises(ConnectionEnded):
            await worker.hear(Rejected)
        assert (await counts(client)).finished == 0
        await nest.worker()


# --- facts whose parts are suspects


def tasks(fact) -> list[int]:
    return list(read_u64(fact.tasks))


def ended(*numbers: int) -> Ended:
    n = len(numbers)
    return Ended(
        u64(task_id(JOB, number) for number in numbers), u32([0] * n), u32([1] * n),
        bytes([Ending.EXITED] * n), i32(numbers), f64([0.5] * n), f64([0.25] * n), f32([1.0] * n),
        u32(numbers), tuple((row, f"text {number}") for row, number in enumerate(numbers)),
    )  # fmt: skip


def started(*numbers: int) -> Started:
    n = len(numbers)
    return Started(
        u64(task_id(JOB, number) for number in numbers), u32([0] * n), u32([1] * n), f64(numbers)
    )


def heeded(counts: dict[str, int], event, answers=()):
    """What is handled instead of the event, in order, and the effects."""
    handled = []

    def handle(part):
        handled.append(part)
        return answers if isinstance(part, WorkerArrived) else ()

    effects = heed(Suspects(counts), event, handle)
    return handled, effects


def test_a_suspect_is_handled_alone_after_the_others_with_its_whole_row() -> None:
    gangs, variants = ((task_id(JOB, 2), (4, 5)),), ((task_id(JOB, 2), 1),)
    report = TasksReported(4, 1, 9, (started(1, 2),), (ended(3, 5, 7),), gangs, variants)
    handled, _ = heeded({"start of 1@2": 1, "end of 1@5": 1}, report)
    assert handled == [
        TasksReported(4, 1, 9, (started(1),), (ended(3, 7),), gangs, variants),
        TasksReported(4, 1, 9, (started(2),), (), gangs, variants),
        TasksReported(4, 1, 9, (), (ended(5),)),
    ]


def test_of_a_statement_only_reports_that_are_news_are_taken_apart() -> None:
    reports = (Report(3, (ended(1),)), Report(4, (started(2), ended(5, 6))))
    held = Held((), b"", b"", b"", b"", b"", reports)
    arrived = WorkerArrived(8, Register(config(), b"key", held=held), seen=3)
    marks = {"end of 1@1": 2, "end of 1@5": 1, "start of 1@2": 2}
    admitted = Command(AdmitWorker(8, 4, 2, config(), "uid", b"", None))
    (plain, *parts), _ = heeded(marks, arrived, [admitted])
    assert plain.hello.held.reports == (reports[0], Report(4, (started(), ended(6))))
    assert [TaskSetAside(task_id(JOB, 2), parts[0].text)] == parts[:1]
    assert parts[1:] == [TasksReported(4, 2, 4, (), (ended(5),))]
    # Of a worker that is a new one to the job book nobody listens to old reports.
    first = Command(AdmitWorker(8, 4, 1, config(), "uid", b"", None))
    assert len(heeded(marks, arrived, [first])[0]) == 1


def test_a_worker_that_is_guilty_as_a_whole_is_refused() -> None:
    arrived = WorkerArrived(8, Register(config(), b"key"))
    handled, effects = heeded({f"worker {b'key'.hex()}": 2}, arrived)
    assert handled == []
    assert [type(effect.value) for effect in effects] == [RefuseWorker]
    assert heeded({f"worker {b'key'.hex()}": 1}, arrived)[0] == [arrived]


def test_losses_are_taken_apart_as_well() -> None:
    rows = tuple((task_id(JOB, number), 0) for number in range(4))
    gone = WorkerGone(4, LossReason.HEARTBEAT_LOST, rows[:2], rows[2:])
    handled, _ = heeded({"loss of 1@1": 1, "loss of 1@2": 2}, gone)
    assert handled[:2] == [
        WorkerGone(4, LossReason.HEARTBEAT_LOST, rows[:1], rows[3:]),
        TasksDropped(4, rows[1:2]),
    ]
    assert [part.task for part in handled[2:]] == [rows[2][0]]
    assert list(marks_of(gone)) == [f"loss of 1@{number}" for number in range(4)]


# --- crash files


def test_a_crash_is_written_down_for_people_and_for_the_next_server(tmp_path, caplog) -> None:
    place = tmp_path / "001"
    place.mkdir()
    event = TasksReported(4, 1, 9, (), (ended(5),))

    def die() -> None:
        with crashes_noted(place, HISTORY):
            try:
                raise ZeroDivisionError("poison")
            except ZeroDivisionError as error:
                raise ExceptionGroup("nursery", [Poisoned(event)]) from error

    for number in (1, 2):
        with pytest.raises(ExceptionGroup):
            die()
        path = place / f"crash-{number}.json"
        assert (
            f"TasksReported of worker 4: Poisoned: {Poisoned(event)}; see `{path}`" in caplog.text
        )
        assert path.stat().st_mode & 0o777 == 0o600
    told = json.loads(path.read_text())
    assert told["marks"] == ["end of 1@5"]
    assert "TasksReported(worker=4" in told["event"]
    assert any("ExceptionGroup" in line or "Poisoned" in line for line in told["traceback"])
    assert read_suspects(tmp_path, HISTORY).is_guilty("end of 1@5")
    assert not read_suspects(tmp_path, b"history of other")
    (place / "crash-2.json").write_text("{")
    assert not read_suspects(tmp_path, HISTORY).is_guilty("end of 1@5")
    assert read_suspects(tmp_path, HISTORY).is_suspect("end of 1@5")


def test_what_is_expected_to_happen_is_no_crash(tmp_path) -> None:
    for error in (InputError("no"), KeyboardInterrupt()):
        with pytest.raises(type(error)), crashes_noted(tmp_path, HISTORY):
            raise error
    assert list(tmp_path.iterdir()) == []


def test_a_crash_without_an_event_is_the_servers_own_work(tmp_path, caplog) -> None:
    with pytest.raises(ZeroDivisionError), crashes_noted(tmp_path, HISTORY):
        raise ZeroDivisionError("\udcff in a round")
    assert "crashed over its own work: ZeroDivisionError" in caplog.text
    assert json.loads((tmp_path / "crash-1.json").read_text())["marks"] == []
