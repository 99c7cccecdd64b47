from __future__ import annotations

import gc
import logging
import traceback
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TypeVar

import pytest
import trio
import trio.testing
from outcome import Error, Value

from actors.kit.actor import open_actor as open_core
from actors.kit.drive import Poisoned, drive
from actors.kit.edge import Lagged, hear, run_edge
from actors.kit.mailbox import ActorStopped, Mailbox, MailboxFull, Reply
from hqtrio.errors import RemoteFault
from hqtrio.now import Now

M = TypeVar("M")
Ending = ExceptionGroup[Exception] | None
EdgeRun = Callable[[trio.Nursery, Mailbox[M]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Add:
    n: int


@dataclass(frozen=True, slots=True)
class Total:
    reply: Reply[int]


Msg = Add | Total


def open_actor(run, *, name, soft_max=256, hard_max=1024, grace_s=5.0):
    """A core with a mailbox of its own."""
    box = Mailbox(name, soft_max=soft_max, hard_max=hard_max)
    return open_core(run, mailbox=box, grace_s=grace_s)


def each(perform):
    """Perform effects one by one."""

    async def perform_all(effects):
        for effect in effects:
            await perform(effect)

    return perform_all


class Counter:
    def __init__(self) -> None:
        self.total = 0

    async def run(self, mail: Mailbox[Msg]) -> None:
        while batch := await mail.receive():
            for m in batch:
                match m:
                    case Add(n):
                        self.total += n
                    case Total(reply):
                        reply.resolve(Value(self.total))


async def idle(mail: Mailbox[object]) -> None:
    while await mail.receive():
        pass


async def stuck(mail: Mailbox[object]) -> None:
    await trio.sleep_forever()


# --- mailboxes and actors


async def test_tell_then_ask() -> None:
    async with open_actor(Counter().run, name="counter") as ref:
        ref.tell(Add(2))
        ref.tell(Add(3))
        assert await ref.ask(Total) == 5


async def test_reply_error() -> None:
    async def run(mail: Mailbox[Total]) -> None:
        while batch := await mail.receive():
            for m in batch:
                m.reply.resolve(Error(KeyError("job 7")))
                m.reply.resolve(Value(1))

    async with open_actor(run, name="x") as ref:
        with pytest.raises(KeyError):
            await ref.ask(Total)


async def test_drains_on_exit() -> None:
    c = Counter()
    async with open_actor(c.run, name="counter") as ref:
        for _ in range(100):
            ref.tell(Add(1))
    assert c.total == 100


async def test_tell_to_dead_is_dropped_put_raises() -> None:
    async with open_actor(idle, name="x") as ref:
        pass
    ref.tell(1)
    with pytest.raises(ActorStopped):
        await ref.put(1)
    with pytest.raises(ActorStopped):
        await ref.ask(Total)


async def test_overflow_of_a_core_raises_in_the_teller() -> None:
    async with open_actor(stuck, name="s", soft_max=1, hard_max=2, grace_s=0) as ref:
        ref.tell(1)
        ref.tell(2)
        with pytest.raises(MailboxFull, match="s: 2 messages unread"):
            ref.tell(3)


async def test_full_put_lane_leaves_room_for_tell() -> None:
    async with open_actor(stuck, name="s", soft_max=2, hard_max=8, grace_s=0) as ref:
        async with trio.open_nursery() as n:
            for i in range(5):
                n.start_soon(ref.put, i)
            await trio.testing.wait_all_tasks_blocked()
            ref.tell(99)
            n.cancel_scope.cancel()
        *put, told = ref.take()
        assert len(put) == 2 and told == 99


async def test_put_waits(autojump_clock: trio.testing.MockClock) -> None:
    async def slow(mail: Mailbox[int]) -> None:
        while batch := await mail.receive():
            for _ in batch:
                await trio.sleep(10)

    async with open_actor(slow, name="s", soft_max=1, grace_s=100) as ref:
        for i in range(5):
            await ref.put(i)
        assert trio.current_time() == 30


async def test_waiting_senders_are_served_in_the_order_of_their_coming() -> None:
    got: list[int] = []
    box = Mailbox[int]("s", soft_max=1, hard_max=9)
    async with trio.open_nursery() as n:
        for i in range(8):
            n.start_soon(box.put, i)
            await trio.testing.wait_all_tasks_blocked()
        while len(got) < 8:
            got += await box.receive()
            await trio.testing.wait_all_tasks_blocked()
    assert got == list(range(8))


async def test_crash_wakes_asker() -> None:
    async def bad(mail: Mailbox[Total]) -> None:
        await mail.receive()
        raise ValueError("boom")

    with pytest.raises(ExceptionGroup) as e:
        async with open_actor(bad, name="bad") as ref:
            with pytest.raises(ActorStopped):
                await ref.ask(Total)
            await trio.sleep_forever()
    assert e.group_contains(ValueError, match="boom")


async def test_asker_outside_the_tree_is_woken(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    got: list[str] = []

    async def outsider(ref: Mailbox[object]) -> None:
        try:
            await ref.ask(Total)
        except ActorStopped:
            got.append("stopped")

    async with open_actor(stuck, name="s", grace_s=1) as ref:
        nursery.start_soon(outsider, ref)
        await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(1)
    assert got == ["stopped"]


async def test_early_return_is_loud() -> None:
    async def quits(mail: Mailbox[object]) -> None:
        return

    with pytest.raises(ExceptionGroup) as e:
        async with open_actor(quits, name="q"):
            await trio.sleep_forever()
    assert e.group_contains(RuntimeError)


async def test_inner_can_use_outer_while_stopping(autojump_clock: trio.testing.MockClock) -> None:
    written: list[str] = []

    async def journal(mail: Mailbox[str]) -> None:
        while batch := await mail.receive():
            await trio.sleep(0.1)
            written.extend(batch)

    def sched(j: Mailbox[str]) -> Callable[[Mailbox[str]], Awaitable[None]]:
        async def run(mail: Mailbox[str]) -> None:
            while batch := await mail.receive():
                for m in batch:
                    await trio.sleep(1)
                    await j.put(m)
            j.tell("bye")

        return run

    with trio.move_on_after(0.5):
        async with open_actor(journal, name="j") as j, open_actor(sched(j), name="s") as s:
            s.tell("one")
            s.tell("two")
            await trio.sleep_forever()
    assert written == ["one", "two", "bye"]


async def test_grace_expires(autojump_clock: trio.testing.MockClock) -> None:
    t0 = trio.current_time()
    async with open_actor(stuck, name="h", grace_s=7):
        pass
    assert trio.current_time() - t0 == 7


async def test_outer_crash_ends_all_within_grace(autojump_clock: trio.testing.MockClock) -> None:
    async def journal(mail: Mailbox[object]) -> None:
        await trio.sleep(3)
        raise OSError("disk full")

    order: list[str] = []

    async def sched(mail: Mailbox[int]) -> None:
        while batch := await mail.receive():
            for _ in batch:
                await trio.sleep(1)
        order.append("sched drained")

    with pytest.raises(ExceptionGroup) as e:
        async with open_actor(journal, name="j"), open_actor(sched, name="s", grace_s=5) as s:
            for i in range(2):
                s.tell(i)
            await trio.sleep_forever()
    assert e.group_contains(OSError, match="disk full")
    assert order == ["sched drained"]
    assert trio.current_time() <= 8


async def test_backpressure_reaches_the_source(autojump_clock: trio.testing.MockClock) -> None:
    """source → scheduler → server → journal (slow): the source slows to the journal's pace."""

    async def journal(mail: Mailbox[str]) -> None:
        while batch := await mail.receive():
            await trio.sleep(len(batch) * 1.0)  # a stalling disk

    def relay(to: Mailbox[str]) -> Callable[[Mailbox[str]], Awaitable[None]]:
        async def run(mail: Mailbox[str]) -> None:
            while batch := await mail.receive():
                for m in batch:
                    await to.put(m)

        return run

    sent = 0
    async with (
        open_actor(journal, name="journal", soft_max=4, grace_s=1000) as j,
        open_actor(relay(j), name="server", soft_max=4, grace_s=1000) as server,
        open_actor(relay(server), name="scheduler", soft_max=4, grace_s=1000) as sched,
    ):
        with trio.move_on_after(100):
            while True:
                await sched.put("finished")
                sent += 1
    assert 90 <= sent <= 130  # 100 written + at most the boxes and the batches in hand


# --- machines, mail and alarms


class Heartbeat:
    """Declares its peer lost after `limit` seconds without a beat."""

    def __init__(self, limit: float = 3) -> None:
        self.limit, self.deadline = limit, inf

    def handle(self, event: str, now: Now) -> list[str]:
        self.deadline = now.monotonic + self.limit
        return [event] if event != "beat" else []

    def tick(self, now: Now) -> list[str]:
        self.deadline = inf
        return [f"lost at {now.monotonic:.0f}"]

    def next_deadline(self) -> float:
        return self.deadline


async def test_drive_fires_the_alarm(autojump_clock: trio.testing.MockClock) -> None:
    out: list[str] = []

    async def perform(effect: str) -> None:
        out.append(effect)

    async def run(mail: Mailbox[str]) -> None:
        await drive(Heartbeat(), mail, each(perform))

    async with open_actor(run, name="hb") as ref:
        for _ in range(3):
            ref.tell("beat")
            await trio.sleep(2)
        await trio.sleep(60)
    assert out == ["lost at 7"]


async def test_a_stall_of_the_journal_loses_no_healthy_peer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Beats that queued up while the core could not look are read before the alarm is."""
    lost: list[str] = []

    async def perform(effect: str) -> None:
        if effect == "result":
            await trio.sleep(20)  # a put to a journal whose file system hangs
        else:
            lost.append(effect)

    async def run(mail: Mailbox[str]) -> None:
        await drive(Heartbeat(limit=16), mail, each(perform))

    async with open_actor(run, name="scheduler") as ref:
        for beat in range(12):
            ref.tell("beat")
            if beat == 3:
                ref.tell("result")
            await trio.sleep(8)
    assert lost == []


async def test_a_due_alarm_is_not_starved_by_mail(autojump_clock: trio.testing.MockClock) -> None:
    class Alarm:
        due = 5.0

        def handle(self, event: str, now: Now) -> list[str]:
            return [event]

        def tick(self, now: Now) -> list[str]:
            self.due = inf
            return [f"rang at {now.monotonic:.0f}"]

        def next_deadline(self) -> float:
            return self.due

    out: list[str] = []

    async def run(mail: Mailbox[str]) -> None:
        async def perform(effect: str) -> None:
            if effect == "noise":
                mail.tell("noise")  # the box is never found empty
                await trio.sleep(1)
            else:
                out.append(effect)

        await drive(Alarm(), mail, each(perform))

    async with open_actor(run, name="alarm") as ref:
        ref.tell("noise")
        await trio.sleep(20)
    assert out == ["rang at 5"]


async def test_a_batch_sees_one_instant_on_two_clocks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Recorder:
        def handle(self, event: str, now: Now) -> list[tuple[str, Now]]:
            return [(event, now)]

        def tick(self, now: Now) -> list[tuple[str, Now]]:
            return []

        def next_deadline(self) -> float:
            return inf

    seen: list[tuple[str, Now]] = []
    readings = iter([1e9, 2e9, 3e9])

    async def perform(effect: tuple[str, Now]) -> None:
        seen.append(effect)

    async def run(mail: Mailbox[str]) -> None:
        await trio.sleep(4)
        await drive(Recorder(), mail, each(perform), wall=lambda: next(readings))

    async with open_actor(run, name="recorder") as ref:
        ref.tell("a")
        ref.tell("b")
        await trio.sleep(5)
    assert seen == [("a", Now(4.0, 1e9)), ("b", Now(4.0, 1e9))]


async def test_a_crash_names_the_event_that_did_it() -> None:
    class Touchy(Heartbeat):
        def handle(self, event: str, now: Now) -> list[str]:
            assert event != "evil"
            return []

    async def perform(effect: str) -> None: ...

    async def run(mail: Mailbox[str]) -> None:
        await drive(Touchy(), mail, each(perform))

    with pytest.raises(ExceptionGroup) as e:
        async with open_actor(run, name="touchy") as ref:
            for event in ("good", "evil", "good"):
                ref.tell(event)
            await trio.sleep_forever()
    (crash,) = e.value.exceptions
    assert isinstance(crash, Poisoned) and crash.event == "evil"
    assert isinstance(crash.__cause__, AssertionError)


# --- edges


def start_edge(
    listener: trio.Nursery, run: EdgeRun[M], *, name: str, ends: dict[str, Ending]
) -> None:
    async def serve() -> None:
        await run_edge(run, partial(ends.__setitem__, name), name=name)

    listener.start_soon(serve)


async def test_a_remote_fault_is_confined(autojump_clock: trio.testing.MockClock) -> None:
    ends: dict[str, Ending] = {}

    async def faulty(connection: trio.Nursery, outbox: Mailbox[str]) -> None:
        await trio.sleep(1)
        raise RemoteFault("bad frame")

    async def sound(connection: trio.Nursery, outbox: Mailbox[str]) -> None:
        await trio.sleep(6)
        assert ends["faulty"] is not None and ends["faulty"].subgroup(RemoteFault)

    async with trio.open_nursery() as listener:
        start_edge(listener, faulty, name="faulty", ends=ends)
        start_edge(listener, sound, name="sound", ends=ends)
    assert ends["sound"] is None and trio.current_time() == 6


async def test_our_own_bug_costs_one_edge_and_shows_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ends: list[Ending] = []

    async def handle_frame() -> None:
        raise AssertionError("invariant")

    async def run(connection: trio.Nursery, outbox: Mailbox[str]) -> None:
        await handle_frame()

    await run_edge(run, ends.append, name="worker 3")
    (fault,) = ends
    assert fault is not None and fault.subgroup(AssertionError)
    assert "in handle_frame" in "".join(traceback.format_exception(fault))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and "worker 3" in record.message
    assert "in handle_frame" in caplog.text


async def test_a_remote_fault_is_a_warning_without_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run(connection: trio.Nursery, outbox: Mailbox[str]) -> None:
        raise RemoteFault("unknown tag 77")

    await run_edge(run, lambda fault: None, name="worker 3")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "unknown tag 77" in record.message
    assert record.exc_info is None


async def test_a_reader_in_the_background_ends_its_own_connection_only() -> None:
    """A websocket's reader task lives in the nursery it is given, so each edge has its own."""
    ends: list[Ending] = []

    async def reader() -> None:
        raise ValueError("bad frame")

    async def run(connection: trio.Nursery, outbox: Mailbox[str]) -> None:
        connection.start_soon(reader)
        await trio.sleep_forever()

    await run_edge(run, ends.append, name="worker 3")
    assert ends[0] is not None and ends[0].subgroup(ValueError)


async def test_returning_ends_what_the_connection_started() -> None:
    ends: list[Ending] = []

    async def run(connection: trio.Nursery, outbox: Mailbox[str]) -> None:
        connection.start_soon(trio.sleep_forever)

    await run_edge(run, ends.append, name="worker 3")
    assert ends == [None]


async def test_closing_the_outbox_lets_the_edge_say_what_is_queued() -> None:
    said: list[str] = []
    ends: list[Ending] = []

    async def run(connection: trio.Nursery, outbox: Mailbox[str]) -> None:
        outbox.tell("last words")
        outbox.close()
        outbox.tell("too late")
        while batch := await outbox.receive():
            said.extend(batch)

    await run_edge(run, ends.append, name="client 7")
    assert said == ["last words"] and ends == [None]


async def test_an_edge_that_fails_does_not_let_its_writer_say_goodbye() -> None:
    said: list[str] = []

    async def run(nursery: trio.Nursery, outbox: Mailbox[str]) -> None:
        async def write() -> None:
            while batch := await outbox.receive():
                said.extend(batch)
            said.append("goodbye")

        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        raise RemoteFault("nonsense")

    await run_edge(run, lambda fault: None, name="worker 3")
    assert said == []


async def test_whoever_asks_an_edge_that_ends_is_told(nursery: trio.Nursery) -> None:
    outboxes: list[Mailbox[object]] = []
    told: list[str] = []
    asking = trio.Event()

    async def outsider() -> None:
        try:
            asking.set()
            await outboxes[0].ask(Total)
        except ActorStopped as stopped:
            told.append(str(stopped))

    async def run(connection: trio.Nursery, outbox: Mailbox[object]) -> None:
        outboxes.append(outbox)
        nursery.start_soon(outsider)
        await asking.wait()
        await trio.testing.wait_all_tasks_blocked()
        raise RemoteFault("reset")

    await run_edge(run, lambda fault: None, name="worker 3")
    await trio.testing.wait_all_tasks_blocked()
    assert told == ["worker 3 has ended"]


async def test_a_base_exception_passes() -> None:
    ends: list[Ending] = []

    async def run(connection: trio.Nursery, outbox: Mailbox[str]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(BaseExceptionGroup) as e:
        await run_edge(run, ends.append, name="worker 3")
    assert e.group_contains(KeyboardInterrupt)
    assert ends == [None]


async def test_cancellation_passes_and_a_fault_beside_it_is_still_reported() -> None:
    ends: list[Ending] = []

    async def run(connection: trio.Nursery, outbox: Mailbox[str]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("while closing")

    with trio.CancelScope() as scope:
        scope.cancel()
        await run_edge(run, ends.append, name="worker 3")
    assert ends[0] is not None and ends[0].subgroup(ValueError)


async def test_a_suspended_viewer_ends_itself_and_not_the_server(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One viewer never reads again; the core tells 5,000 notices to it and to a healthy one."""
    outboxes: list[Mailbox[int]] = []
    seen: list[int] = []
    ends: dict[str, Ending] = {}

    async def suspended(connection: trio.Nursery, outbox: Mailbox[int]) -> None:
        outboxes.append(outbox)
        while await outbox.receive():
            await trio.sleep_forever()  # the socket's buffer is full

    async def healthy(connection: trio.Nursery, outbox: Mailbox[int]) -> None:
        outboxes.append(outbox)
        while batch := await outbox.receive():
            seen.extend(batch)

    async def server(mail: Mailbox[int]) -> None:
        while batch := await mail.receive():
            for notice in batch:
                for outbox in outboxes:
                    outbox.tell(notice)

    async with trio.open_nursery() as listener:
        start_edge(listener, suspended, name="suspended", ends=ends)
        start_edge(listener, healthy, name="healthy", ends=ends)
        await trio.testing.wait_all_tasks_blocked()
        async with open_actor(server, name="server") as ref:
            for notice in range(5000):
                await ref.put(notice)
                await trio.sleep(0.001)
        for outbox in outboxes:
            outbox.close()
    assert seen == list(range(5000)) and ends["healthy"] is None
    lagged = ends["suspended"]
    assert lagged is not None and lagged.subgroup(Lagged)


async def test_overflow_calls_on_full_once_and_keeps_quiet() -> None:
    calls: list[str] = []
    box = Mailbox[int]("viewer", soft_max=2, hard_max=2, on_full=lambda: calls.append("full"))
    for notice in range(10):
        box.tell(notice)
    assert calls == ["full"] and box.take() == [0, 1]


async def test_an_ended_edge_leaves_no_cycle_behind() -> None:
    """The server's tables are frozen and full collections are rare: a cycle would stay."""

    class Boom(Exception): ...

    refs: list[weakref.ref[Boom]] = []

    async def run(connection: trio.Nursery, outbox: Mailbox[str]) -> None:
        def fail() -> None:
            error = Boom()
            refs.append(weakref.ref(error))
            try:
                raise error
            finally:
                del error

        fail()

    logging.disable()
    gc.disable()
    try:
        await run_edge(run, lambda fault: None, name="worker 3")
        assert refs[0]() is None
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)


async def test_silence_is_measured_where_the_peer_is_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    send, receive = trio.open_memory_channel[str](1)
    send.send_nowait("beat")
    assert await hear(receive.receive, silence_s=16) == "beat"
    with pytest.raises(RemoteFault, match="silent for 16 s"):
        await hear(receive.receive, silence_s=16)
    assert trio.current_time() == 16


async def test_a_suspended_process_does_not_blame_its_peers(
    mock_clock: trio.testing.MockClock,
) -> None:
    """The machine sleeps for an hour; on waking, the peer's frame comes in a moment later."""
    send, receive = trio.open_memory_channel[str](1)
    heard: list[str] = []

    async def listen() -> None:
        heard.append(await hear(receive.receive, silence_s=16))

    async with trio.open_nursery() as n:
        n.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(3600)
        await trio.testing.wait_all_tasks_blocked()
        send.send_nowait("beat")
    assert heard == ["beat"]
