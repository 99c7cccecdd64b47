from __future__ import annotations

import signal

import pytest
from worker_bench import BODY, Bench, claim, define, enqueue, grant, only, span, t, with_body

from hqtrio.messages.columns import read_u64, u32, u64
from hqtrio.messages.worker import (
    Ack,
    Cancel,
    DefineBody,
    DefineClass,
    Drain,
    Forget,
    Goodbye,
    Grant,
    Register,
    Registered,
    Rejected,
    Retract,
    ServerStops,
    Stop,
    Undrain,
)
from hqtrio.model.resources import CPUS, UNIT, Claim, Need, Request, Share
from hqtrio.model.task import Ending, PinMode
from hqtrio.model.worker import LossReason, OnServerLost
from hqtrio.wire.codec import FRAME_MAX, encode
from hqtrio.worker.events import (
    CloseLink,
    Exit,
    Heard,
    LinkEnded,
    LinkOpened,
    OpenLink,
    StartLauncher,
    StopAsked,
)
from hqtrio.worker.filling import NO_SLOT, TOO_LATE
from hqtrio.worker.orders import (
    CloseLane,
    DropBody,
    KillTasks,
    LauncherDied,
    LauncherReady,
    LauncherSaid,
    OpenLane,
    RunTasks,
    SignalTasks,
    TakeBack,
    TaskRefused,
    UseBody,
)
from hqtrio.worker.reports import Reports


def run_order(effects):
    return [task for order in only(effects, RunTasks) for task in order.tasks]


def taken(order: TakeBack, *tasks: int) -> LauncherSaid:
    """The launcher's answer: these had not started."""
    return LauncherSaid(order.launcher, taken=((order.seq, tuple(t(task) for task in tasks)),))


# --- slots, lanes, reports


def test_grant_and_first_tasks_in_one_frame_start_in_one_lane():
    bench = Bench()
    effects = bench.server(grant(1), enqueue(3, 1, 2))
    assert [type(e) for e in effects[:3]] == [OpenLane, UseBody, RunTasks]
    assert run_order(effects) == [t(1)]  # durations unknown: nothing lies ahead
    assert bench.ended(1, lasted_s=2.0)
    assert bench.told.ended == [(t(1), Ending.FINISHED)] and bench.told.started == []


def test_the_slot_goes_on_and_closes_in_the_report_of_its_last_end():
    bench = Bench()
    bench.server(grant(1), enqueue(1, 2))
    effects = bench.ended(1)
    assert run_order(effects) == [t(2)] and bench.told.closed == []
    bench.started(2)
    assert bench.told.started == [(t(2), 1)]
    report = bench.told.last
    effects = bench.ended(2)
    assert bench.told.closed == [1] and bench.told.last == report + 1
    assert only(effects, CloseLane)


def test_higher_priority_first_then_smaller_id():
    bench = Bench()
    bench.server(grant(1), enqueue(5), enqueue(9, 4, priority=2), enqueue(1, priority=-1))
    order = [t(4)]
    for task in (4, 9, 5):
        order += run_order(bench.ended(task))
    assert order == [t(4), t(9), t(5), t(1)]


def test_short_tasks_lie_ahead_long_ones_do_not():
    bench = Bench()
    bench.server(grant(1), span(0, 100))
    assert len(run_order(bench.ended(0, lasted_s=0.001))) > 8
    bench = Bench()
    bench.server(grant(1), span(0, 100))
    assert len(run_order(bench.ended(0, lasted_s=10.0))) == 1


def test_a_small_backlog_is_shared_by_the_slots():
    bench = Bench()
    bench.server(grant(1), span(0, 1))
    bench.ended(0, lasted_s=0.001)
    effects = bench.server(grant(2), grant(3), span(1, 6))
    assert sorted(len(order.tasks) for order in only(effects, RunTasks)) == [3, 3]


def test_a_dry_slot_takes_what_lies_ahead_of_another():
    bench = Bench()
    bench.server(grant(1), span(0, 1))
    bench.ended(0, lasted_s=0.001)
    bench.server(grant(2), grant(3), span(1, 8))  # 1-4 and 5-8
    bench.started(1, 5)
    effects = bench.ended(5, 6, 7, 8, lasted_s=0.001)
    (order,) = only(effects, TakeBack)
    assert bench.told.closed == [1]  # the dry slot stays
    effects = bench.step(taken(order, 3, 4))
    assert run_order(effects) == [t(3), t(4)]
    assert len({order.lane for order in only(effects, RunTasks)}) == 1


def test_entries_travel_with_their_tasks_also_after_a_take_back():
    bench = Bench(launchers=1)
    bench.server(grant(1), enqueue(1, 2, 3, entries=(b"a", b"b", b"c")))
    (run,) = only(bench.ended(1), RunTasks)
    assert run.tasks == (t(2),) and run.entries == (b"b",)
    (order,) = only(bench.server(Drain(u32([1]))), TakeBack)
    bench.server(Undrain(u32([1])), grant(2))
    effects = bench.step(taken(order, 2))
    assert {run.tasks: run.entries for run in only(effects, RunTasks)} == {(t(2),): (b"b",)}


def test_lanes_go_to_the_launcher_with_the_fewest():
    bench = Bench(launchers=2)
    effects = bench.server(grant(1), grant(2), grant(3), grant(4), span(0, 4))
    assert sorted(order.launcher for order in only(effects, OpenLane)) == [1, 1, 2, 2]
    assert sorted(order.launcher for order in only(effects, UseBody)) == [1, 2]


def test_a_lane_changes_its_pin_mode_only_when_it_is_empty():
    bench = Bench()
    pinned = with_body(pin=PinMode.TASKSET)
    bench.server(DefineBody(2, 1, pinned), grant(1), enqueue(1))
    bench.ended(1, lasted_s=0.001)
    effects = bench.server(grant(2), enqueue(2), _with_body(2, 3), enqueue(4))
    assert run_order(effects) == [t(2)]
    effects = bench.ended(2, lasted_s=0.001)
    assert [type(e) for e in effects if not isinstance(e, UseBody)][:3] == [
        CloseLane,
        OpenLane,
        RunTasks,
    ]
    assert only(effects, OpenLane)[0].prefix == (b"taskset", b"-c", b"2")


def _with_body(body: int, *tasks: int):
    message = enqueue(*tasks)
    return type(message)(
        message.klass, body, message.priority, message.firsts, message.counts, message.instances
    )


def test_pinning_without_cpu_ids_fails_the_task_and_not_the_slot():
    bench = Bench()
    bench.server(DefineBody(2, 1, with_body(pin=PinMode.OMP)))
    bench.server(Grant(1, 1, 0, Claim((Share("x", UNIT),))), _with_body(2, 1), enqueue(2))
    assert bench.told.ended == [(t(1), Ending.NOT_PREPARED)]
    assert bench.told.texts[t(1)].startswith("Pinning failed")
    assert bench.told.never_started == {t(1)}
    assert bench.ended(2) and bench.told.closed == [1]


def test_refusals_tell_the_phase_and_the_reason():
    bench = Bench()
    bench.server(grant(1), enqueue(1, 2))
    bench.step(LauncherSaid(1, refused=(TaskRefused(t(1), 0, False, "no directory", 0.0),)))
    bench.step(LauncherSaid(1, refused=(TaskRefused(t(2), 0, True, "no program", 0.0),)))
    assert bench.told.ended == [(t(1), Ending.NOT_PREPARED), (t(2), Ending.NOT_STARTED)]
    assert bench.told.texts == {t(1): "no directory", t(2): "no program"}
    assert bench.told.never_started == {t(1)}


def test_exit_codes_signals_and_error_files():
    bench = Bench()
    bench.server(grant(1), span(1, 3))
    bench.ended(1, status=3)
    bench.ended(2, status=-11)
    bench.ended(3, status=1, error="boom")
    assert [ending for _, ending in bench.told.ended] == [
        Ending.EXITED,
        Ending.SIGNALLED,
        Ending.EXITED,
    ]
    assert bench.told.codes == {t(1): 3, t(2): 11, t(3): 1} and bench.told.texts == {t(3): "boom"}


def test_reports_collect_while_four_are_unseen():
    bench = Bench()
    bench.server(grant(1), span(1, 20))
    bench.acknowledge = False
    for task in range(1, 11):
        bench.ended(task)
    assert [task for task, _ in bench.told.ended] == [t(n) for n in range(1, 5)]
    bench.server(Ack(1, 0))
    assert [task for task, _ in bench.told.ended] == [t(n) for n in range(1, 11)]
    assert bench.told.last == 5


def test_a_zero_cost_worker_ends_a_million_tasks_in_frames_of_5000_rows():
    bench = Bench(zero_cost=True)
    bench.server(grant(1), grant(2), span(0, 12_000))
    assert len(bench.told.ended) == 12_000 and sorted(bench.told.closed) == [1, 2]
    assert bench.told.last == 3


def test_bodies_are_dropped_when_nothing_needs_them_any_more():
    bench = Bench()
    bench.server(grant(1), enqueue(1, 2))
    assert not only(bench.server(Forget(u32([1]))), DropBody)
    bench.ended(1)
    assert only(bench.ended(2), DropBody)


def test_a_slot_without_first_task_waits_for_the_next_frame_then_closes():
    bench = Bench()
    bench.server(grant(1))
    assert bench.told.closed == []
    assert run_order(bench.server(enqueue(1))) == [t(1)]
    bench.server(grant(2))
    bench.wait(1.0)
    assert bench.told.closed == [2]


# --- races (scheduling.md 5.6)


def test_r09_tasks_of_a_class_without_slot_bounce():
    bench = Bench()
    bench.server(enqueue(1, 2))
    bench.wait(0.3)
    assert bench.told.bounced == [(t(1), NO_SLOT), (t(2), NO_SLOT)]


def test_tasks_that_cross_the_closing_of_the_last_slot_run_in_the_next_one():
    bench = Bench()
    bench.server(grant(1), span(0, 1))
    bench.ended(0, lasted_s=0.001)
    assert bench.told.closed == [1]
    bench.server(enqueue(1, 2))
    bench.server(grant(2))
    bench.started(1)
    bench.ended(1)
    bench.wait(0.3)
    assert bench.told.bounced == []


def test_r10_a_drained_slot_gives_back_what_lies_ahead_and_closes_after_its_task():
    bench = Bench()
    bench.server(grant(1), span(0, 9))
    bench.ended(0, lasted_s=0.001)
    bench.started(1)
    effects = bench.server(Drain(u32([1])))
    (order,) = only(effects, TakeBack)
    assert order.tasks == tuple(t(n) for n in range(2, 9))
    bench.step(taken(order, *range(2, 9)))
    assert [task for task, _ in bench.told.bounced] == [t(n) for n in range(2, 9)]
    assert bench.told.closed == []
    bench.ended(1)
    assert bench.told.closed == [1]


def test_an_undrained_slot_goes_on():
    bench = Bench()
    bench.server(grant(1), grant(2), enqueue(1, 2, 3))
    bench.server(Drain(u32([1])))
    bench.server(Undrain(u32([1, 99])))
    assert run_order(bench.ended(1)) == [t(3)]


def test_r01_r02_a_task_that_started_is_not_released():
    bench = Bench()
    bench.server(grant(1), span(0, 5))
    bench.ended(0, lasted_s=0.001)
    effects = bench.server(Retract(4, u64([t(2), t(4)])))
    (order,) = only(effects, TakeBack)
    assert bench.told.retracted == {}
    bench.ended(1, 2, lasted_s=0.001)
    bench.step(taken(order, 4))
    assert bench.told.retracted == {4: [t(4)]}


def test_a_retract_of_backlog_is_answered_at_once():
    bench = Bench()
    bench.server(grant(1), enqueue(1, 2, 3))
    bench.server(Retract(1, u64([t(3), t(1), t(77)])))
    bench.step(taken(TakeBack(1, 1, ())))
    assert bench.told.retracted == {1: [t(3)]}


def test_r04_cancel_beats_retract():
    bench = Bench()
    bench.server(grant(1), span(0, 5))
    bench.ended(0, lasted_s=0.001)
    (first,) = only(bench.server(Retract(1, u64([t(3)]))), TakeBack)
    bench.server(Cancel(u64([t(3)])))
    bench.step(taken(first, 3))
    assert (t(3), Ending.CANCELLED) in bench.told.ended
    assert bench.told.retracted == {1: []}


def test_r11_a_cancelled_backlog_task_never_starts():
    bench = Bench()
    bench.server(grant(1), enqueue(1, 2, 3))
    bench.server(Cancel(u64([t(2), t(55)])))
    assert bench.told.ended == [(t(2), Ending.CANCELLED)]
    assert bench.told.never_started == {t(2)}
    assert run_order(bench.ended(1)) == [t(3)]


def test_r12_a_cancelled_running_task_is_interrupted_then_killed_and_keeps_its_slot():
    bench = Bench()
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    effects = bench.server(Cancel(u64([t(1)])))
    assert only(effects, SignalTasks) == [SignalTasks(1, signal.SIGINT, (t(1),))]
    assert not only(effects, TakeBack)
    bench.server(Cancel(u64([t(1)])))  # once more changes nothing
    effects = bench.wait(1.0)
    assert only(effects, KillTasks) == [KillTasks(1, (t(1),))]
    assert bench.told.closed == []
    bench.ended(1, status=-9)
    assert bench.told.ended == [(t(1), Ending.CANCELLED)] and bench.told.closed == [1]


def test_what_a_cancelled_task_leaves_behind_is_killed_after_the_grace():
    bench = Bench()
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    bench.server(Cancel(u64([t(1)])))
    bench.ended(1, status=-2)
    assert only(bench.wait(1.0), KillTasks) == [KillTasks(1, (t(1),))]


def test_cancel_reaches_into_lanes():
    bench = Bench()
    bench.server(grant(1), span(0, 5))
    bench.ended(0, lasted_s=0.001)
    effects = bench.server(Cancel(u64([t(3)])))
    (order,) = only(effects, TakeBack)
    assert order.tasks == (t(3),) and only(effects, SignalTasks)
    bench.step(taken(order, 3))
    assert bench.told.ended[-1] == (t(3), Ending.CANCELLED) and t(3) in bench.told.never_started


# --- time


def test_s1_20_time_limit_is_the_outcome_whatever_the_exit_status():
    bench = Bench()
    bench.server(DefineBody(2, 1, with_body(time_limit_s=5.0)), grant(1), _with_body(2, 1))
    bench.started(1, age_s=1.0)
    assert not only(bench.wait(3.9), SignalTasks)
    assert only(bench.wait(0.1), SignalTasks)
    bench.ended(1, status=0)
    assert bench.told.ended == [(t(1), Ending.TIME_LIMIT)]


def test_s1_22_a_task_that_needs_more_time_than_is_left_bounces():
    bench = Bench(time_limit_s=4.0)
    bench.server(*define(3, (Request((Need(CPUS, UNIT),), time_s=2.0),)))
    bench.server(grant(1, 3), enqueue(1, 2, klass=3))
    bench.started(1)
    bench.wait(1.9)
    assert bench.told.bounced == []
    bench.wait(0.2)
    assert bench.told.bounced == [(t(2), TOO_LATE)]


def test_the_worker_leaves_at_its_time_limit_with_a_goodbye():
    bench = Bench(time_limit_s=10.0)
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    effects = bench.wait(10.0)
    assert bench.told.other[-1] == Goodbye(LossReason.TIME_LIMIT_REACHED)
    assert only(effects, SignalTasks) and not only(effects, Exit)
    effects = bench.ended(1, status=-2)
    assert [e.code for e in only(effects, Exit)] == [0]
    assert bench.told.ended == []  # what was killed with the worker is the server's to judge


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (-signal.SIGTERM, Ending.SIGNALLED),
        (-signal.SIGKILL, Ending.SIGNALLED),
        (-signal.SIGXCPU, Ending.SIGNALLED),
        (128 + signal.SIGTERM, Ending.EXITED),
    ],
)
def test_an_unordered_death_is_held_back_and_then_reported(status: int, ending: Ending):
    bench = Bench()
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    bench.ended(1, status=status)
    assert bench.told.ended == [] and bench.told.closed == []
    bench.wait(0.6)
    assert bench.told.ended == [(t(1), ending)] and bench.told.closed == [1]


def test_in_an_allocation_every_failure_is_held_back():
    """A shell may outlive what it has waited for, and fail with any code before it is ended."""
    for manager, told in (("", [(t(1), Ending.EXITED)]), ("SLURM", [])):
        bench = Bench(manager=manager)
        bench.server(grant(1), span(1, 2))
        bench.started(1)
        bench.ended(1, status=2)
        assert bench.told.ended == told
        bench.started(2)  # its slot goes on
        bench.ended(2)
        assert bench.told.ended == [*told, (t(2), Ending.FINISHED)]
        bench.wait(0.6)
        assert sorted(bench.told.ended) == [(t(1), Ending.EXITED), (t(2), Ending.FINISHED)]


@pytest.mark.parametrize("status", [-signal.SIGTERM, 143, 1])
def test_scancel_of_the_whole_step_fails_no_task(status: int):
    bench = Bench(manager="SLURM")
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    bench.ended(1, status=status)
    bench.at += 0.3
    effects = bench.step(StopAsked("received SIGTERM"))
    assert bench.told.other[-1] == Goodbye(LossReason.CONNECTION_LOST)
    assert [e.code for e in only(effects, Exit)] == [0] and bench.told.ended == []


# --- launchers


def test_a_dead_launcher_loses_what_lay_there_and_the_rest_runs_elsewhere():
    """What waited in its lane may have started unheard: no instance is ever started twice."""
    bench = Bench(launchers=2)
    bench.server(grant(1), span(0, 1))
    bench.ended(0, lasted_s=0.001)
    effects = bench.server(grant(2), span(1, 100))
    (lane,) = only(effects, OpenLane)
    lying = run_order(effects)
    bench.started(1, launcher=lane.launcher)
    effects = bench.step(LauncherDied(lane.launcher))
    assert bench.told.ended[1:] == [(task, Ending.LOST) for task in lying]
    assert [e.launcher for e in only(effects, StartLauncher)] == [3]
    assert run_order(effects)[0] == t(1 + len(lying))
    assert all(order.launcher not in (lane.launcher, 0) for order in only(effects, RunTasks))


def test_the_only_launcher_dies_and_its_successor_goes_on():
    bench = Bench(launchers=1)
    bench.server(grant(1), enqueue(1, 2))
    bench.started(1)
    effects = bench.step(LauncherDied(1))
    assert not only(effects, RunTasks)
    assert run_order(bench.step(LauncherReady(2))) == [t(2)]


def test_a_dead_launcher_answers_its_retracts():
    bench = Bench(launchers=2)
    bench.server(grant(1), span(0, 1))
    bench.ended(0, lasted_s=0.001)
    bench.server(grant(2), span(1, 4))
    bench.server(Retract(9, u64([t(3), t(4)])))
    bench.step(LauncherDied(1))
    bench.step(LauncherDied(2))
    assert bench.told.retracted == {9: []}
    assert bench.told.ended[1:] == [(t(n), Ending.LOST) for n in (1, 2, 3, 4)]


def test_launchers_that_cannot_start_end_the_worker():
    bench = Bench(launchers=1)
    bench.step(LauncherDied(1))
    bench.step(LauncherDied(2))
    bench.step(LauncherDied(3))
    assert [e.code for e in only(bench.step(LauncherDied(4)), Exit)] == [1]


# --- the end


def test_stop_kills_in_parallel_says_nothing_more_and_exits_0():
    bench = Bench()
    bench.server(grant(1), grant(2), enqueue(1, 2, 3))
    bench.started(1, 2)
    effects = bench.server(Stop(LossReason.STOPPED))
    assert only(effects, SignalTasks) == [SignalTasks(1, signal.SIGINT, (t(1), t(2)))]
    report = bench.told.last
    bench.ended(1, status=-2)
    assert only(bench.wait(1.0), KillTasks) == [KillTasks(1, (t(1), t(2)))]
    effects = bench.ended(2, status=-9)
    assert [e.code for e in only(effects, Exit)] == [0]
    assert bench.told.last == report


def test_an_ending_worker_takes_back_what_lies_ahead_before_it_signals():
    """Else the end of one task would start the next."""
    bench = Bench()
    bench.server(grant(1), span(0, 5))
    bench.ended(0, lasted_s=0.001)
    effects = bench.server(Stop(LossReason.STOPPED))
    kinds = [type(e) for e in effects]
    assert kinds.index(TakeBack) < kinds.index(SignalTasks)
    (order,) = only(effects, TakeBack)
    bench.step(taken(order, 2, 3, 4))
    assert [e.code for e in only(bench.ended(1, status=-2), Exit)] == [0]


def test_a_task_that_cannot_be_killed_does_not_keep_the_worker():
    bench = Bench()
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    bench.server(Stop(LossReason.STOPPED))
    assert [e.code for e in only(bench.wait(5.0), Exit)] == [0]


@pytest.mark.parametrize("policy", [OnServerLost.STOP, OnServerLost.RECONNECT])
def test_a_server_that_stops_ends_the_worker(policy: OnServerLost):
    bench = Bench(on_server_lost=policy)
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    assert only(bench.server(ServerStops()), SignalTasks)
    assert [e.code for e in only(bench.ended(1, status=-2), Exit)] == [1]


def test_s3_09_policy_stop_exits_1_when_the_server_is_lost():
    bench = Bench(on_server_lost=OnServerLost.STOP)
    assert [e.code for e in only(bench.step(LinkEnded(1, "reset")), Exit)] == [1]


def test_s3_11_finish_running_starts_nothing_and_exits_1_after_the_last_task():
    bench = Bench(on_server_lost=OnServerLost.FINISH_RUNNING)
    bench.server(grant(1), enqueue(1, 2))
    bench.started(1)
    effects = bench.step(LinkEnded(1, "reset"))
    assert not only(effects, SignalTasks) and not only(effects, Exit)
    effects = bench.ended(1)
    assert not only(effects, RunTasks) and [e.code for e in only(effects, Exit)] == [1]


def test_finish_running_still_obeys_signals():
    bench = Bench(on_server_lost=OnServerLost.FINISH_RUNNING)
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    bench.server(ServerStops())
    assert only(bench.step(StopAsked("SIGTERM")), SignalTasks)
    assert [e.code for e in only(bench.ended(1, status=-2), Exit)] == [0]


# --- the link


def test_the_first_words_are_the_registration():
    bench = Bench(joined=False, time_limit_s=60.0)
    bench.at += 10
    bench.step(LinkOpened(1))
    (hello,) = bench.told.other
    assert isinstance(hello, Register)
    assert hello.held is None and hello.worker == 0 and hello.remaining_s == 50.0


def test_registration_is_tried_eight_times_and_a_refusal_is_final():
    bench = Bench(joined=False)
    for link in range(1, 8):
        assert not only(bench.step(LinkEnded(link, "busy")), Exit)
        assert [e.link for e in only(bench.wait(10.0), OpenLink)] == [link + 1]
    assert [e.code for e in only(bench.step(LinkEnded(8, "busy")), Exit)] == [1]
    bench = Bench(joined=False)
    assert [e.code for e in only(bench.step(LinkEnded(1, "no", final=True)), Exit)] == [1]
    bench = Bench(joined=False)
    bench.step(LinkOpened(1))
    assert [e.code for e in only(bench.server(Rejected("no")), Exit)] == [1]


def lose_and_return(bench: Bench) -> Register:
    bench.step(LinkEnded(1, "reset"))
    (order,) = only(bench.wait(2.0), OpenLink)
    bench.acknowledge = False
    bench.step(LinkOpened(order.link))
    hello = bench.told.other[-1]
    assert isinstance(hello, Register) and order.link == 2
    return hello


def test_a_returning_worker_states_what_it_holds_and_goes_on():
    bench = Bench()
    bench.acknowledge = False
    bench.server(grant(1), enqueue(1, 2))
    bench.started(1)
    bench.step(LinkEnded(1, "reset"))
    assert run_order(bench.ended(1)) == [t(2)]  # slots with backlog keep going
    bench.started(2)
    bench.at += 2
    (order,) = only(bench.step(), OpenLink)
    bench.step(LinkOpened(order.link))
    hello = bench.told.other[-1]
    assert isinstance(hello, Register) and hello.held is not None
    assert (hello.worker, hello.history, hello.attachment) == (7, b"history", 1)
    held = hello.held
    assert [slot.slot for slot in held.slots] == [1] and held.tasks == u64([t(2)])
    assert held.running == b"\1" and held.task_slots == u32([1])
    assert [report.seq for report in held.reports] == [1, 2]
    effects = bench.step(Heard(2, (Registered(7, "abcdef", b"history", 2, keep=u64([t(2)])),)))
    assert not only(effects, SignalTasks)


def test_what_the_server_does_not_keep_is_killed_or_dropped():
    bench = Bench()
    bench.server(grant(1), grant(2), enqueue(1, 2, 3, 4))
    bench.started(1, 2)
    lose_and_return(bench)
    welcome = Registered(7, "abcdef", b"history", 2, keep=u64([t(2), t(4)]))
    effects = bench.step(Heard(2, (welcome,)))
    assert only(effects, SignalTasks) == [SignalTasks(1, signal.SIGINT, (t(1),))]
    assert run_order(bench.ended(2)) == [t(4)]


@pytest.mark.parametrize(
    "welcome",
    [Registered(7, "abcdef", b"another", 1), Registered(8, "abcdef", b"history", 1)],
    ids=["another history", "another id"],
)
def test_as_a_new_worker_it_kills_what_it_had_before_it_starts_anything(welcome: Registered):
    bench = Bench()
    bench.server(grant(1), enqueue(1, 2))
    bench.started(1)
    lose_and_return(bench)
    bench.told.last = 0
    effects = bench.step(Heard(2, (welcome, *define(), grant(1), enqueue(1))))
    assert only(effects, SignalTasks) and not only(effects, RunTasks)
    effects = bench.ended(1, status=-2)
    assert run_order(effects) == [t(1)]
    bench.ended(1)
    assert bench.told.ended[-1] == (t(1), Ending.FINISHED)


def test_nothing_counts_that_comes_over_an_old_connection():
    bench = Bench()
    lose_and_return(bench)
    assert not bench.step(Heard(1, (grant(5), Stop(LossReason.STOPPED))))


def test_an_idle_worker_gives_up_a_lost_server():
    bench = Bench(idle_timeout_s=10.0)
    bench.step(LinkEnded(1, "reset"))
    tries, ends = 0, []
    while not ends:
        assert bench.machine.next_deadline() <= 110.0
        effects = bench.wait(bench.machine.next_deadline() - bench.at)
        ends = only(effects, Exit)
        for order in only(effects, OpenLink):
            tries += 1
            bench.step(LinkEnded(order.link, "nobody there"))
    assert [end.code for end in ends] == [1] and bench.at == 110.0
    assert 4 < tries < 12


def test_orders_that_make_no_sense_cost_the_connection_and_nothing_else():
    bench = Bench()
    effects = bench.server(enqueue(1, klass=55))
    assert [type(e).__name__ for e in effects] == ["CloseLink"]
    assert [e.link for e in only(bench.wait(2.0), OpenLink)] == [2]
    assert BODY.args and claim("0")


def test_a_class_that_is_forgotten_is_unknown_and_what_it_had_goes_on():
    bench = Bench()
    bench.server(grant(1), enqueue(1, 2))
    bench.server(Forget(b"", u32([1])))
    bench.ended(1)
    bench.ended(2)
    assert [task for task, _ in bench.told.ended] == [t(1), t(2)]
    assert only(bench.server(grant(2)), CloseLink)  # a server that names it has lost the thread


def test_forgotten_classes_leave_nothing_behind():
    bench = Bench()
    classes = bench.machine._lanes._held.classes
    before = len(classes)
    for number in range(10, 60):
        request = Request((Need(CPUS, UNIT + number),))
        bench.server(DefineClass(number, (request,)), Forget(b"", u32([number])))
    assert len(classes) == before


def test_reports_fit_their_frames_however_many_words_there_are():
    """5,000 tasks that failed with long error texts while the server was away, for instance."""
    reports = Reports()
    for number in range(3000):
        reports.end(
            t(number), 0, 1, Ending.EXITED, 1.0, code=1, text="x" * 2048, result=b"E" * 2048
        )
    told = reports.flush_all(2.0)
    assert max(len(encode([report])) for report in told) < FRAME_MAX / 2
    rows = [row for report in told for fact in report.facts for row in read_u64(fact.tasks)]
    assert rows == [t(number) for number in range(3000)]
    for report in told:
        (fact,) = report.facts
        every = list(range(len(fact.endings)))
        assert [row for row, _ in fact.texts] == [row for row, _ in fact.results] == every
