"""Multi-node tasks on their root: one task in the slot, and what it is told of its nodes."""

from __future__ import annotations

import signal

import pytest
from worker_bench import Bench, define, enqueue, gang, grant, only, span, t, with_body

from hqtrio.messages.columns import u32, u64
from hqtrio.messages.worker import (
    Cancel,
    DefineBody,
    Drain,
    Register,
    Retract,
    Stop,
    Undrain,
)
from hqtrio.model.resources import CPUS, UNIT, Claim, Need, Request
from hqtrio.model.task import Ending, PinMode
from hqtrio.model.worker import LossReason
from hqtrio.worker.events import LinkEnded, LinkOpened, OpenLink
from hqtrio.worker.filling import NO_SLOT, TOO_LATE
from hqtrio.worker.gangs import node_files, short_name
from hqtrio.worker.orders import (
    CloseLane,
    KillTasks,
    LauncherDied,
    LauncherSaid,
    OpenLane,
    RunTasks,
    SignalTasks,
    TakeBack,
    TaskFile,
)

TWO_NODES = (Request(nodes=2),)


def gang_bench(**config: object) -> Bench:
    """Class 3 wants two nodes."""
    bench = Bench(**config)
    bench.server(*define(3, TWO_NODES))
    return bench


def run_order(effects):
    return [task for order in only(effects, RunTasks) for task in order.tasks]


# --- what the task is told


def test_s7_09_node_files_have_short_and_full_names_root_first():
    assert node_files(("cn690.karolina.it4i.cz", "cn710.karolina.it4i.cz")) == (
        TaskFile(
            b"HQ_HOST_FILE", b"hq-hostfile", b"cn690.karolina.it4i.cz\ncn710.karolina.it4i.cz\n"
        ),
        TaskFile(b"HQ_NODE_FILE", b"hq-nodefile", b"cn690\ncn710\n"),
    )
    assert node_files(()) == ()


@pytest.mark.parametrize(
    ("host", "short"),
    [
        ("node", "node"),
        ("node.a.b", "node"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.3.nip.io", "10"),
        ("300.1.2.3", "300"),
        ("::ffff:10.1.2.3", "::ffff:10.1.2.3"),
        ("fe80::1%eth0.5", "fe80::1%eth0.5"),
        ("", ""),
    ],
)
def test_addresses_are_not_shortened(host: str, short: str):
    assert short_name(host) == short


def test_the_lane_of_a_multi_node_task_brings_files_and_a_directory():
    bench = gang_bench()
    effects = bench.server(gang(1, "a.x", "b.x"), enqueue(1, klass=3))
    (lane,) = only(effects, OpenLane)
    assert dict(lane.env) == {b"HQ_NUM_NODES": b"2"}
    assert lane.user_wins == () and lane.prefix == ()
    assert lane.task_dir_root == "/work" and lane.files == node_files(("a.x", "b.x"))
    assert run_order(effects) == [t(1)]


def test_other_resources_of_its_request_are_not_told():
    bench = Bench()
    bench.server(*define(3, (Request((Need(CPUS, 2 * UNIT), Need("gpus/nvidia", UNIT)), nodes=2),)))
    (lane,) = only(bench.server(gang(1, "a", "b"), enqueue(1, klass=3)), OpenLane)
    assert dict(lane.env) == {b"HQ_NUM_NODES": b"2"} and lane.user_wins == ()


def test_a_single_node_lane_has_no_files_and_no_directory_of_its_own():
    bench = Bench()
    (lane,) = only(bench.server(grant(1), enqueue(1)), OpenLane)
    assert lane.files == () and lane.task_dir_root == ""


# --- one task, then the slot is over


def test_the_slot_closes_with_the_end_of_its_task():
    bench = gang_bench()
    bench.server(gang(1, "a", "b"), enqueue(1, klass=3))
    bench.started(1)
    assert bench.told.started == [(t(1), 1)]
    report = bench.told.last
    effects = bench.ended(1, status=3)
    assert bench.told.ended == [(t(1), Ending.EXITED)]
    assert bench.told.closed == [1] and bench.told.last == report + 1
    assert only(effects, CloseLane)


def test_the_slot_takes_one_task_however_many_wait_and_however_short_they_are():
    bench = gang_bench()
    effects = bench.server(gang(1, "a", "b"), span(1, 50, klass=3))
    assert run_order(effects) == [t(1)]
    assert run_order(bench.ended(1, lasted_s=0.001)) == []
    assert bench.told.closed == [1]
    bench.wait(0.3)
    assert bench.told.bounced == [(t(n), NO_SLOT) for n in range(2, 51)]


def test_the_next_multi_node_task_has_a_slot_of_its_own():
    bench = gang_bench()
    bench.server(gang(1, "a", "b"), enqueue(1, klass=3))
    bench.ended(1, lasted_s=0.001)
    effects = bench.server(gang(2, "a", "c"), enqueue(2, klass=3))
    (lane,) = only(effects, OpenLane)
    assert lane.files == node_files(("a", "c")) and run_order(effects) == [t(2)]


def test_a_task_that_arrives_a_frame_later_is_waited_for():
    bench = gang_bench()
    bench.server(gang(1, "a", "b"))
    assert bench.told.closed == []
    assert run_order(bench.server(enqueue(1, klass=3))) == [t(1)]


def test_undrain_does_not_make_it_take_another():
    bench = gang_bench()
    bench.server(gang(1, "a", "b"), enqueue(1, 2, klass=3))
    bench.server(Drain(u32([1])))
    bench.server(Undrain(u32([1])), enqueue(3, klass=3))
    assert run_order(bench.ended(1)) == []
    assert bench.told.closed == [1]


def test_a_worker_without_cost_ends_one_task_in_each_slot():
    bench = gang_bench(zero_cost=True)
    bench.server(gang(1, "a", "b"), gang(2, "a", "c"), enqueue(1, 2, 3, klass=3))
    assert bench.told.ended == [(t(1), Ending.FINISHED), (t(2), Ending.FINISHED)]
    assert bench.told.closed == [1, 2]
    bench.wait(0.3)
    assert bench.told.bounced == [(t(3), NO_SLOT)]


def test_pinning_without_cpu_ids_fails_the_task_and_frees_the_slot():
    bench = gang_bench()
    bench.server(DefineBody(3, 1, with_body(pin=PinMode.TASKSET)))
    bench.server(gang(1, "a", "b"), enqueue(1, 2, klass=3))
    assert bench.told.ended == [(t(1), Ending.NOT_PREPARED)]
    assert bench.told.closed == [1]
    bench.wait(0.3)
    assert bench.told.bounced == [(t(2), NO_SLOT)]


# --- its end, ordered or not


def test_s7_04_cancel_keeps_the_slot_until_the_process_is_gone():
    bench = gang_bench()
    bench.server(gang(1, "a", "b"), enqueue(1, klass=3))
    bench.started(1)
    effects = bench.server(Cancel(u64([t(1)])))
    assert only(effects, SignalTasks) == [SignalTasks(1, signal.SIGINT, (t(1),))]
    assert only(bench.wait(1.0), KillTasks) == [KillTasks(1, (t(1),))]
    assert bench.told.closed == []
    bench.ended(1, status=-9)
    assert bench.told.ended == [(t(1), Ending.CANCELLED)] and bench.told.closed == [1]


def test_a_cancel_before_the_start_frees_the_slot():
    bench = gang_bench(launchers=0)
    bench.server(gang(1, "a", "b"), enqueue(1, klass=3))
    bench.server(Cancel(u64([t(1)])))
    assert bench.told.ended == [(t(1), Ending.CANCELLED)] and bench.told.closed == [1]


def test_a_time_limit_is_the_outcome():
    bench = gang_bench()
    bench.server(DefineBody(3, 1, with_body(time_limit_s=5.0)))
    bench.server(gang(1, "a", "b"), enqueue(1, klass=3))
    bench.started(1)
    assert only(bench.wait(5.0), SignalTasks)
    bench.ended(1, status=-2)
    assert bench.told.ended == [(t(1), Ending.TIME_LIMIT)] and bench.told.closed == [1]


def test_a_retracted_task_leaves_its_slot_closed():
    bench = gang_bench()
    effects = bench.server(gang(1, "a", "b"), enqueue(1, klass=3))
    (order,) = only(bench.server(Retract(5, u64([t(1)]))), TakeBack)
    assert bench.told.closed == []
    bench.step(LauncherSaid(order.launcher, taken=((order.seq, (t(1),)),)))
    assert bench.told.retracted == {5: [t(1)]} and bench.told.closed == [1]
    assert run_order(effects) == [t(1)]


def test_a_dead_launcher_loses_the_task_and_closes_the_slot():
    bench = gang_bench()
    bench.server(gang(1, "a", "b"), enqueue(1, klass=3))
    bench.started(1)
    bench.step(LauncherDied(1))
    assert bench.told.ended == [(t(1), Ending.LOST)] and bench.told.closed == [1]


def test_a_multi_node_task_without_the_time_it_needs_bounces():
    bench = Bench(time_limit_s=4.0)
    bench.server(*define(3, (Request(nodes=2, time_s=5.0),)))
    bench.server(gang(1, "a", "b"), enqueue(1, klass=3))
    assert bench.told.bounced == [(t(1), TOO_LATE)] and bench.told.closed == [1]


def test_stop_kills_it_with_the_worker():
    bench = gang_bench()
    bench.server(gang(1, "a", "b"), enqueue(1, klass=3))
    bench.started(1)
    effects = bench.server(Stop(LossReason.STOPPED))
    assert only(effects, SignalTasks) == [SignalTasks(1, signal.SIGINT, (t(1),))]


def test_a_returning_root_states_the_nodes_of_its_task():
    bench = gang_bench()
    bench.server(gang(1, "a.x", "b.x"), grant(2), enqueue(1, klass=3), enqueue(2))
    bench.started(1, 2)
    bench.step(LinkEnded(1, "reset"))
    (order,) = only(bench.wait(2.0), OpenLink)
    bench.acknowledge = False
    bench.step(LinkOpened(order.link))
    hello = bench.told.other[-1]
    assert isinstance(hello, Register) and hello.held is not None
    nodes = {slot.slot: slot.nodes for slot in hello.held.slots}
    assert nodes == {1: ("a.x", "b.x"), 2: ()}
    assert hello.held.slots[0].variants == TWO_NODES and hello.held.slots[0].claim == Claim()
