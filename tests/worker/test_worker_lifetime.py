"""What a worker still starts when its time, or its server, is running out."""

from __future__ import annotations

from math import inf

import pytest
from fake_launcher import FakeLauncher, tell_launchers
from hypothesis import given
from hypothesis import strategies as st
from worker_bench import Bench, define, enqueue, gang, grant, only, span, t

from hqtrio.messages.columns import u32, u64
from hqtrio.messages.worker import Drain, Grant, Retract, ServerStops, Undrain
from hqtrio.model.resources import CPUS, UNIT, Need, Request
from hqtrio.model.task import Ending
from hqtrio.model.worker import OnServerLost
from hqtrio.worker.events import Exit, LinkEnded
from hqtrio.worker.filling import NO_SLOT, TOO_LATE
from hqtrio.worker.orders import LauncherReady, LauncherSaid, RunTasks, SignalTasks, TakeBack


def needing(time_s: float) -> Request:
    return Request((Need(CPUS, UNIT),), time_s=time_s)


def run_order(effects):
    return [task for order in only(effects, RunTasks) for task in order.tasks]


def bench_with_limit(limit_s: float, *variants: Request, **config: object) -> Bench:
    """Class 4 has these variants."""
    bench = Bench(time_limit_s=limit_s, **config)
    bench.server(*define(4, variants))
    return bench


# --- the worker's own lifetime


def test_r07_a_task_that_bounced_for_time_is_not_released_again():
    bench = bench_with_limit(10.0, needing(5.0))
    bench.server(grant(1, 4), enqueue(1, 2, klass=4))
    bench.started(1)
    bench.wait(5.0)
    assert bench.told.bounced == [(t(2), TOO_LATE)]
    bench.server(Retract(3, u64([t(2)])))
    assert bench.told.retracted == {3: []}
    assert bench.told.bounced == [(t(2), TOO_LATE)]


def test_r07_a_task_that_is_on_its_way_back_when_time_runs_out_is_released():
    bench = bench_with_limit(10.0, needing(5.0))
    effects = bench.server(grant(1, 4), enqueue(1, klass=4))
    assert run_order(effects) == [t(1)]
    (order,) = only(bench.server(Retract(3, u64([t(1)]))), TakeBack)
    bench.wait(6.0)
    bench.step(LauncherSaid(order.launcher, taken=((order.seq, (t(1),)),)))
    assert bench.told.retracted == {3: [t(1)]}
    assert bench.told.bounced == []


def test_r16_a_slot_whose_class_has_lost_its_time_gives_its_backlog_back_and_closes():
    bench = bench_with_limit(10.0, needing(5.0))
    bench.server(grant(1, 4), enqueue(1, 2, 3, klass=4))
    bench.started(1)
    bench.wait(4.9)
    assert bench.told.bounced == []
    bench.wait(0.1)
    assert bench.told.bounced == [(t(2), TOO_LATE), (t(3), TOO_LATE)]
    assert bench.told.closed == []
    assert run_order(bench.ended(1)) == []
    assert bench.told.ended == [(t(1), Ending.FINISHED)] and bench.told.closed == [1]


def test_r16_what_is_sent_to_such_a_slot_comes_back_at_once():
    bench = bench_with_limit(10.0, needing(5.0))
    bench.server(grant(1, 4), enqueue(1, klass=4))
    bench.started(1)
    bench.wait(6.0)
    bench.server(enqueue(2, klass=4))
    assert bench.told.bounced == [(t(2), TOO_LATE)]
    bench.server(grant(2, 4), enqueue(3, klass=4))
    assert bench.told.bounced == [(t(2), TOO_LATE), (t(3), TOO_LATE)]
    assert bench.told.closed == [2]


def test_r16_the_slots_of_a_shorter_variant_go_on():
    bench = bench_with_limit(10.0, needing(5.0), needing(1.0))
    bench.server(grant(1, 4), Grant(2, 4, 1, grant(2).claim), enqueue(1, 2, 3, klass=4))
    bench.started(1, 2)
    bench.wait(6.0)
    assert bench.told.bounced == []
    assert run_order(bench.ended(1)) == []
    assert bench.told.closed == [1]
    assert run_order(bench.ended(2)) == [t(3)]


def test_r16_a_task_taken_back_for_a_drain_bounces_when_it_has_no_time_any_more():
    bench = bench_with_limit(10.0, needing(5.0))
    bench.server(grant(1, 4), enqueue(1, klass=4))
    (order,) = only(bench.server(Drain(u32([1]))), TakeBack)
    bench.wait(6.0)
    bench.server(Undrain(u32([1])))
    bench.step(LauncherSaid(order.launcher, taken=((order.seq, (t(1),)),)))
    assert bench.told.bounced == [(t(1), TOO_LATE)] and bench.told.closed == [1]


def test_what_needs_time_never_lies_ahead_in_a_lane():
    """Whether it may still start is decided when it would."""
    bench = bench_with_limit(10.0, needing(5.0))
    bench.server(grant(1, 4), span(1, 50, 4))
    assert run_order(bench.ended(1, lasted_s=0.001)) == [t(2)]


def test_s86_backlog_comes_back_when_its_time_request_no_longer_fits():
    bench = bench_with_limit(20.0, needing(18.5))
    bench.server(grant(1, 4), enqueue(1, 2, klass=4))
    bench.started(1)
    bench.wait(1.4)
    assert bench.told.bounced == []
    bench.wait(0.2)
    assert bench.told.bounced == [(t(2), TOO_LATE)]


@given(
    limit_s=st.integers(1, 12),
    times=st.lists(st.integers(0, 8), min_size=1, max_size=3),
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=15),
)
def test_i18_nothing_is_started_that_the_rest_of_the_lifetime_is_too_short_for(
    limit_s: int, times: list[int], steps: list[tuple[int, int]]
) -> None:
    bench = bench_with_limit(float(limit_s), *map(needing, times), launchers=0)
    bench.machine._lanes.crew.hire()
    launcher = FakeLauncher(1)
    launchers = {1: launcher}
    ends_at, begun = bench.at + limit_s, bench.at
    need_of: dict[str, float] = {}
    looked_at: set[int] = set()

    def look() -> None:
        for lane, task in launcher.running.items():
            if task not in looked_at:
                assert bench.at + need_of[launcher.cpus[lane]] <= ends_at, (task, bench.at)
                looked_at.add(task)

    def do(effects: list[object]) -> None:
        tell_launchers(launchers, bench, effects)
        look()

    do(bench.step(LauncherReady(1)))
    number = 1
    for kind, amount in steps:
        if kind == 0:
            slot = len(need_of) + 1
            variant = amount % len(times)
            need_of[str(slot)] = times[variant]
            ship = (Grant(slot, 4, variant, grant(slot).claim), span(number, 3, 4))
            number += 3
            do(bench.server(*ship))
        elif kind == 1:
            for lane in list(launcher.running):
                launcher.end(lane, 0, 0.001 if amount else 2.0)
                look()
            do(bench.step(launcher.tell()))
        else:
            do(bench.wait(amount / 2))
        if bench.machine.next_deadline() == inf or bench.at >= begun + limit_s:
            return


# --- finish-running


def lost_while_running(*more: object) -> Bench:
    """Task 1 runs, 2 and 3 wait, and the server is gone."""
    bench = Bench(on_server_lost=OnServerLost.FINISH_RUNNING)
    bench.server(grant(1), enqueue(1, 2, 3), *more)
    bench.started(1)
    bench.step(LinkEnded(1, "reset"))
    return bench


def test_r22_finish_running_drops_its_backlog_and_finishes_what_runs():
    bench = lost_while_running()
    effects = bench.wait(100.0)
    assert not only(effects, SignalTasks) and not only(effects, Exit)
    effects = bench.ended(1)
    assert run_order(effects) == []
    assert [end.code for end in only(effects, Exit)] == [1]


def test_r22_what_lies_ahead_in_lanes_is_taken_back_and_never_starts():
    bench = Bench(on_server_lost=OnServerLost.FINISH_RUNNING)
    bench.server(grant(1), span(0, 9))
    bench.ended(0, lasted_s=0.001)
    bench.started(1)
    (order,) = only(bench.step(LinkEnded(1, "reset")), TakeBack)
    assert order.tasks == tuple(t(n) for n in range(2, 9))
    assert not only(bench.ended(1, lasted_s=0.001), Exit)  # the launcher has not answered yet
    effects = bench.step(LauncherSaid(order.launcher, taken=((order.seq, order.tasks),)))
    assert run_order(effects) == []
    assert [end.code for end in only(effects, Exit)] == [1]


@pytest.mark.parametrize("stops", [True, False])
def test_r22_nothing_that_still_arrives_is_started(stops: bool):
    bench = Bench(on_server_lost=OnServerLost.FINISH_RUNNING)
    bench.server(grant(1), enqueue(1, 2))
    bench.started(1)
    late = (grant(2), enqueue(3), gang(3, "a", "b", klass=1))
    effects = bench.server(ServerStops(), *late) if stops else bench.step(LinkEnded(1, "reset"))
    effects += bench.server(*late)
    assert run_order(effects) == []
    assert run_order(bench.ended(1)) == []
    assert NO_SLOT not in [reason for _, reason in bench.told.bounced]


def test_r22_a_drained_slot_that_is_spared_does_not_pull_either():
    bench = Bench(on_server_lost=OnServerLost.FINISH_RUNNING)
    bench.server(grant(1), grant(2), enqueue(1, 2, 3, 4))
    bench.started(1, 2)
    bench.server(Drain(u32([1, 2]), 1))
    bench.step(LinkEnded(1, "reset"))
    assert run_order(bench.ended(1)) == []
    effects = bench.ended(2)
    assert run_order(effects) == [] and only(effects, Exit)


def test_r22_a_new_launcher_gets_nothing_to_start():
    bench = lost_while_running()
    assert run_order(bench.step(LauncherReady(2))) == []
