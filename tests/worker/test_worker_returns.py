"""What a worker does without its server, and when it is back."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from worker_bench import Bench, define, enqueue, grant, only, t

from hqtrio.messages.columns import read_u64, u32, u64
from hqtrio.messages.worker import (
    Drain,
    Goodbye,
    Register,
    Registered,
    Rejected,
    Retract,
    ServerStops,
)
from hqtrio.model.task import Ending
from hqtrio.model.worker import LossReason, OnServerLost
from hqtrio.worker.events import Exit, Heard, LinkEnded, LinkOpened, OpenLink, StopAsked
from hqtrio.worker.orders import LauncherSaid, RunTasks, SignalTasks, TakeBack


def run_order(effects):
    return [task for order in only(effects, RunTasks) for task in order.tasks]


def lose(bench: Bench) -> None:
    bench.acknowledge = False
    bench.step(LinkEnded(1, "reset"))


def reopen(bench: Bench) -> Register:
    """The worker connects as soon as it may, and says what it holds."""
    orders = only(bench.step(), OpenLink)
    while not orders:
        orders = only(bench.wait(bench.machine.next_deadline() - bench.at), OpenLink)
    bench.step(LinkOpened(orders[0].link))
    hello = bench.told.other[-1]
    assert isinstance(hello, Register) and hello.held is not None
    bench.told.last = max([bench.told.last, *(report.seq for report in hello.held.reports)])
    return hello


def welcome(bench: Bench, hello: Register, *keep: int):
    message = Registered(7, "abcdef", b"history", hello.attachment + 1, u64(map(t, keep)))
    return bench.step(Heard(hello.attempt, (message,)))


def held(hello: Register) -> list[int]:
    assert hello.held is not None
    return sorted(read_u64(hello.held.tasks))


# --- looking for the server


def test_each_connection_has_a_higher_number():
    bench = Bench()
    lose(bench)
    first = reopen(bench)
    bench.step(LinkEnded(first.attempt, "reset"))
    assert reopen(bench).attempt > first.attempt > 1


def test_pauses_grow_and_a_thousand_workers_do_not_come_at_once():
    bench = Bench()
    lose(bench)
    times = []
    for _ in range(12):
        (order,) = only(bench.wait(bench.machine.next_deadline() - bench.at), OpenLink)
        times.append(bench.at)
        bench.step(LinkEnded(order.link, "nobody there"))
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] - 100 <= 0.1 and max(pauses) <= 5.0
    assert all(pause >= 2.5 for pause in pauses[-4:])
    assert len({round(pause, 6) for pause in pauses}) == len(pauses)


def test_after_a_return_the_first_pause_is_short_again():
    bench = Bench()
    lose(bench)
    for _ in range(8):
        (order,) = only(bench.wait(bench.machine.next_deadline() - bench.at), OpenLink)
        bench.step(LinkEnded(order.link, "nobody there"))
    hello = reopen(bench)
    welcome(bench, hello)
    before = bench.at
    bench.step(LinkEnded(hello.attempt, "reset"))
    assert bench.machine.next_deadline() - before <= 0.1


def test_an_answer_that_is_final_ends_the_worker():
    bench = Bench()
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    lose(bench)
    (order,) = only(bench.wait(1.0), OpenLink)
    effects = bench.step(LinkEnded(order.link, "this credential is not accepted", final=True))
    assert only(effects, SignalTasks)
    assert [end.code for end in only(bench.ended(1, status=-2), Exit)] == [1]


def test_a_server_that_does_not_want_it_back_ends_the_worker():
    bench = Bench()
    lose(bench)
    hello = reopen(bench)
    effects = bench.step(Heard(hello.attempt, (Rejected("it was told to stop"),)))
    assert [end.code for end in only(effects, Exit)] == [1]


@pytest.mark.parametrize(
    ("own", "idle", "patience_s"), [(None, None, 300), (None, 20.0, 20), (7.0, 20.0, 7)]
)
def test_its_patience_begins_when_it_has_nothing_left_to_do(own, idle, patience_s):
    bench = Bench(reconnect_timeout_s=own, idle_timeout_s=idle)
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    lose(bench)
    bench.step(LinkEnded(2, "nobody there"))
    bench.at += 1000
    bench.step(LinkEnded(3, "nobody there"))
    assert not only(bench.ended(1), Exit)
    ended_at = bench.at
    ends = []
    while not ends:
        effects = bench.wait(bench.machine.next_deadline() - bench.at)
        ends = only(effects, Exit)
        for order in only(effects, OpenLink):
            bench.step(LinkEnded(order.link, "nobody there"))
    assert bench.at - ended_at == pytest.approx(patience_s)
    assert ends[0].code == 1


def test_b26_a_signal_ends_a_worker_without_server_at_once():
    bench = Bench()
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    lose(bench)
    assert only(bench.step(StopAsked("received SIGINT")), SignalTasks)
    assert [end.code for end in only(bench.ended(1, status=-2), Exit)] == [0]


def test_b26_its_time_limit_ends_a_worker_without_server():
    bench = Bench(time_limit_s=30.0)
    lose(bench)
    ends = []
    while not ends:
        effects = bench.wait(bench.machine.next_deadline() - bench.at)
        ends = only(effects, Exit)
        for order in only(effects, OpenLink):
            bench.step(LinkEnded(order.link, "nobody there"))
    assert (bench.at, ends[0].code) == (130.0, 0)


def test_what_is_left_of_its_lifetime_is_stated():
    bench = Bench(time_limit_s=30.0)
    lose(bench)
    bench.at += 10
    hello = reopen(bench)
    assert hello.remaining_s == pytest.approx(130.0 - bench.at)


@pytest.mark.parametrize("policy", [OnServerLost.RECONNECT, OnServerLost.STOP])
def test_when_the_server_stops_such_workers_end_at_once(policy: OnServerLost):
    bench = Bench(on_server_lost=policy)
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    assert only(bench.server(ServerStops()), SignalTasks)
    assert [end.code for end in only(bench.ended(1, status=-2), Exit)] == [1]


# --- the exchange


def test_a_retract_of_the_old_connection_is_not_answered_on_the_new_one():
    bench = Bench()
    bench.server(grant(1), enqueue(0, 1, 2, 3, 4))
    bench.ended(0, lasted_s=0.001)
    bench.started(1)
    (order,) = only(bench.server(Retract(1, u64([t(3), t(4)]))), TakeBack)
    lose(bench)
    hello = reopen(bench)
    assert {t(3), t(4)} <= set(held(hello))
    welcome(bench, hello, 1, 2, 3, 4)
    bench.step(LauncherSaid(order.launcher, taken=((order.seq, order.tasks),)))
    assert bench.told.retracted == {}
    bench.ended(1)
    bench.ended(2)
    assert set(run_order(bench.step())) <= {t(3), t(4)}


def test_slots_that_were_drained_go_on_until_they_are_drained_again():
    bench = Bench()
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    bench.server(Drain(u32([1])))
    lose(bench)
    hello = reopen(bench)
    assert [slot.draining for slot in hello.held.slots] == [True]
    welcome(bench, hello, 1)
    bench.step(Heard(hello.attempt, (*define(), enqueue(2))))
    assert run_order(bench.ended(1)) == [t(2)]


def test_the_end_of_everything_that_must_not_go_on_is_reported():
    bench = Bench()
    bench.server(grant(1), enqueue(1, 2, 3))
    bench.started(1)
    lose(bench)
    hello = reopen(bench)
    welcome(bench, hello)
    bench.ended(1, status=-2)
    ends = dict(bench.told.ended)
    assert ends == {t(n): Ending.CANCELLED for n in (1, 2, 3)}


def test_r22_it_tells_how_its_last_tasks_ended_and_leaves():
    bench = Bench(on_server_lost=OnServerLost.FINISH_RUNNING)
    bench.server(grant(1), enqueue(1, 2))
    bench.started(1)
    lose(bench)
    hello = reopen(bench)
    assert held(hello) == [t(1)]
    welcome(bench, hello, 1)
    effects = bench.ended(1)
    assert [end.code for end in only(effects, Exit)] == [1]
    assert (t(1), Ending.FINISHED) in bench.told.ended
    assert bench.told.other[-1] == Goodbye(LossReason.CONNECTION_LOST)


@pytest.mark.parametrize("is_answered", [True, False])
def test_r22_a_server_that_is_about_to_answer_hears_how_its_last_tasks_ended(is_answered):
    bench = Bench(on_server_lost=OnServerLost.FINISH_RUNNING)
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    lose(bench)
    hello = reopen(bench)
    assert not only(bench.ended(1), Exit)
    if is_answered:
        welcome(bench, hello, 1)
        assert (t(1), Ending.FINISHED) in bench.told.ended
        assert bench.told.other[-1] == Goodbye(LossReason.CONNECTION_LOST)
    else:
        bench.step(LinkEnded(2, "reset"))
    assert bench.machine.next_deadline() == inf, "it has ended"


def test_r22_after_the_server_has_stopped_nobody_looks_for_it():
    bench = Bench(on_server_lost=OnServerLost.FINISH_RUNNING)
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    bench.server(ServerStops())
    lose(bench)
    assert not only(bench.wait(100.0), OpenLink)
    assert [end.code for end in only(bench.ended(1), Exit)] == [1]


def test_r22_what_had_started_unheard_is_finished_too():
    bench = Bench(on_server_lost=OnServerLost.FINISH_RUNNING)
    bench.server(grant(1), enqueue(1))
    (order,) = only(bench.step(LinkEnded(1, "reset")), TakeBack)
    bench.acknowledge = False
    bench.step(LauncherSaid(order.launcher, taken=((order.seq, ()),)))
    bench.started(1)
    hello = reopen(bench)
    assert held(hello) == [t(1)]
