"""Workers coming, resting, stopping and getting lost, and what they may not say."""

from __future__ import annotations

import msgspec
import pytest
from scheduling_cluster import CONTENT, Cluster, ended_fact, needs

from hqtrio.messages.columns import f64, u32, u64
from hqtrio.messages.scheduling import (
    BodiesDone,
    Receipt,
    TasksReported,
    WorkerBusy,
    WorkerGone,
)
from hqtrio.messages.worker import (
    Bounced,
    Closed,
    Ended,
    Goodbye,
    Heartbeat,
    Overview,
    Register,
    Report,
    Retracted,
    Started,
)
from hqtrio.model.load import DeviceLoad, NodeLoad
from hqtrio.model.resources import UNIT, Descriptor, Link, Pool
from hqtrio.model.worker import LossReason, WorkerConfig
from hqtrio.scheduling.events import Fact, LinkOpened, Shipped


def test_a_lost_worker_names_what_ran_and_what_had_not_started():
    cluster = Cluster()
    worker = cluster.join(2)
    tasks = cluster.submit(1, count=4)
    cluster.settle()
    cluster.lose(worker)
    [gone] = [fact for fact in cluster.facts if isinstance(fact, WorkerGone)]
    assert [task for task, _ in gone.running] == tasks[:2]
    assert sorted(task for task, _ in gone.shipped) == tasks[2:]
    assert gone.reason is LossReason.CONNECTION_LOST
    other = cluster.join(4)
    assert cluster.finish_all() == 4
    assert all(instance == 1 for _, instance in other.ran)


def test_r19_the_first_reason_of_a_loss_wins():
    cluster = Cluster()
    worker = cluster.join(2)
    cluster.submit(1)
    cluster.settle()
    cluster.stop(worker)
    cluster.stop(worker, LossReason.IDLE_TIMEOUT)
    cluster.settle()
    assert worker.stopped is LossReason.STOPPED
    cluster.lose(worker, LossReason.HEARTBEAT_LOST)
    assert cluster.gone == [(worker.id, LossReason.STOPPED)]


def test_a_goodbye_fixes_the_reason_and_ends_the_flow_of_work():
    cluster = Cluster()
    worker = cluster.join(2)
    cluster.say(worker, Goodbye(LossReason.TIME_LIMIT_REACHED))
    cluster.submit(1)
    cluster.settle()
    assert worker.ran == []
    cluster.lose(worker)
    assert cluster.gone == [(worker.id, LossReason.TIME_LIMIT_REACHED)]


def test_a_stop_that_is_not_obeyed_ends_the_link_after_a_minute():
    cluster = Cluster()
    worker = cluster.join(2)
    cluster.submit(1)
    cluster.settle()
    cluster.stop(worker)
    cluster.advance(cluster.time + 59)
    assert worker.closed is None
    cluster.advance(cluster.time + 2)
    assert worker.closed == "did not end in time after being told"
    assert cluster.gone == [(worker.id, LossReason.STOPPED)]


def test_a_worker_that_rests_too_long_is_stopped_and_a_busy_one_is_not():
    cluster = Cluster()
    worker = cluster.join(1, idle_timeout_s=5.0)
    cluster.advance(cluster.time + 4)
    [task] = cluster.submit(1)
    cluster.settle()
    cluster.advance(cluster.time + 30)
    assert worker.stopped is None
    worker.end(task)
    cluster.settle()
    cluster.advance(cluster.time + 4)
    assert worker.stopped is None
    cluster.advance(cluster.time + 2)
    assert worker.stopped is LossReason.IDLE_TIMEOUT


def test_a_worker_with_only_impossible_tasks_rests():
    cluster = Cluster()
    worker = cluster.join(1, idle_timeout_s=5.0)
    cluster.submit(2, count=10)
    cluster.settle()
    cluster.advance(cluster.time + 6)
    assert worker.stopped is LossReason.IDLE_TIMEOUT


def test_a_link_that_closes_before_the_answer_is_a_worker_that_was_lost():
    cluster = Cluster()
    worker = cluster.join(1, admit=False)
    cluster.lose(worker, LossReason.HEARTBEAT_LOST)
    cluster.settle()
    assert cluster.gone == [(1, LossReason.HEARTBEAT_LOST)]


def test_a_refused_worker_is_told_why():
    cluster = Cluster()
    worker = cluster.join(1, admit=False)
    cluster.inbox.clear()
    cluster.refuse(worker, "another server")
    worker.read_frame()
    assert worker.closed == "another server"


@pytest.mark.parametrize(
    ("pools", "text"),
    [
        ((Pool("cpus", (("0",),), 5 * UNIT),), "size and items disagree"),
        ((Pool("cpus", (("0", "0"),), 2 * UNIT),), "unique"),
        ((Pool("cpus", (), 0),), "empty"),
        ((Pool("mem", (), 5), Pool("mem", (), 5)), "defined twice"),
    ],
)
def test_an_impossible_descriptor_is_refused(pools, text):
    cluster = Cluster()
    worker = cluster.join(1)
    hello = Register(worker.config.__class__("h", "h", "/", "g", Descriptor(pools)), b"k")
    effects = cluster.machine.handle(LinkOpened(5, hello), cluster.now())
    assert not any(isinstance(effect, Fact) for effect in effects)
    assert text in effects[-1].reason


def registration(**changes) -> Register:
    config = WorkerConfig("h", "h", "/", "g", Descriptor((Pool("cpus", (("0",),), UNIT),)))
    return Register(msgspec.structs.replace(config, **changes), b"k")


@pytest.mark.parametrize("link", [Link(0, 0, 1, 0), Link(0, 1, 0, 0), Link(-1, 0, 0, 0)])
def test_a_coupling_of_groups_that_do_not_exist_is_refused(link):
    cluster = Cluster()
    hello = registration(descriptor=Descriptor((Pool("cpus", (("0",),), UNIT),), (link,)))
    effects = cluster.machine.handle(LinkOpened(5, hello), cluster.now())
    assert not any(isinstance(effect, Fact) for effect in effects)
    assert "the coupling of a worker" in effects[-1].reason


@pytest.mark.parametrize("name", ["hostname", "listen_address", "work_dir", "group", "version"])
def test_a_worker_cannot_fill_the_server_with_its_name(name):
    cluster = Cluster()
    hello = registration(**{name: "x" * 100_000})
    effects = cluster.machine.handle(LinkOpened(5, hello), cluster.now())
    assert not any(isinstance(effect, Fact) for effect in effects)
    assert "at most 4096 characters" in effects[-1].reason


ONE = u64([1])
BAD = {
    "a task that was never shipped": ended_fact([(7, 0, 0)]),
    "a slot that was never open": Closed(u32([9])),
    "a retract nobody asked": Retracted(3, b""),
    "half a row": Closed(b"abc"),
    "columns of different length": Started(ONE, u32([0, 0]), u32([1]), f64([0])),
    "a bounce of a stranger": Bounced(ONE, u32([0]), "time"),
    "too many rows": Closed(u32(range(5001))),
}


@pytest.mark.parametrize("fact", BAD.values(), ids=BAD.keys())
def test_a_worker_that_says_what_cannot_be_loses_its_link_only(fact):
    cluster = Cluster()
    worker, other = cluster.join(1), cluster.join(1)
    cluster.submit(1, count=2)
    cluster.settle()
    cluster.say(worker, Report(worker.seq + 1, (fact,)))
    assert worker.closed
    assert cluster.gone == [(worker.id, LossReason.CONNECTION_LOST)]
    cluster.say(worker, Heartbeat())
    assert cluster.finish_all() == 2
    assert other.closed is None


@pytest.mark.parametrize(
    "changes",
    [
        {"endings": b"\x09"},
        {"started_ages": f64([float("nan")])},
        {"ended_ages": f64([float("inf")])},
        {"codes": b""},
        {"texts": ((1, "beyond"),)},
        {"slots": u32([77])},
        {"instances": u32([3])},
    ],
)
def test_a_bad_column_changes_nothing_and_loses_no_task(changes):
    cluster = Cluster()
    worker = cluster.join(1)
    [task] = cluster.submit(1)
    cluster.settle()
    good = ended_fact([(task, 0, 1)])
    columns = {name: getattr(good, name) for name in Ended.__struct_fields__} | changes
    cluster.say(worker, Report(worker.seq + 1, (Ended(**columns),)))
    assert worker.closed
    assert cluster.ended == []
    cluster.join(1)
    assert cluster.finish_all() == 1


def test_facts_before_a_bad_one_are_kept():
    cluster = Cluster()
    worker = cluster.join(1)
    [task] = cluster.submit(1)
    cluster.settle()
    facts = (ended_fact([(task, 0, 1)]), Closed(u32([44])))
    cluster.say(worker, Report(worker.seq + 1, facts))
    assert [t for t, _ in cluster.ended] == [task]
    assert worker.closed


def test_reports_are_acknowledged_with_the_next_frame_or_after_a_tenth_of_a_second():
    cluster = Cluster()
    worker = cluster.join(1)
    [task] = cluster.submit(1)
    cluster.settle()
    cluster.advance(cluster.time + 1)
    seen = worker.acks[-1]
    worker.end(task)
    worker.report()
    cluster.hear(worker)
    cluster._perform(cluster.machine.end_batch(cluster.now()))
    assert not worker.frames
    deadline = cluster.machine.next_deadline()
    assert deadline <= cluster.time + 0.1
    cluster.advance(cluster.time + 1)
    assert worker.acks[-1] == (worker.seq, worker.seq) != seen


def test_two_reports_are_acknowledged_at_once():
    cluster = Cluster()
    worker = cluster.join(2)
    tasks = cluster.submit(1, count=2)
    cluster.settle()
    cluster.advance(cluster.time + 1)
    for task in tasks:
        worker.end(task)
        worker.report()
        cluster.hear(worker)
    cluster._perform(cluster.machine.end_batch(cluster.now()))
    worker.read_frame()
    assert worker.acks[-1][0] == worker.seq


def test_receipts_of_another_attachment_are_ignored():
    cluster = Cluster()
    worker = cluster.join(1)
    cluster.submit(1)
    cluster.settle()
    cluster.handle(Receipt(worker.id, 7, 99))
    cluster.advance(cluster.time + 1)
    assert worker.acks[-1][1] < 99


def test_every_report_asks_for_a_receipt_also_one_that_changes_nothing():
    cluster = Cluster()
    worker = cluster.join(1)
    cluster.say(worker, Report(1, ()))
    [report] = [fact for fact in cluster.facts if isinstance(fact, TasksReported)]
    assert (report.worker, report.report, report.started, report.ended) == (1, 1, (), ())


def test_bodies_are_forgotten_where_they_were_defined():
    cluster = Cluster()
    worker, other = cluster.join(1), cluster.join(1)
    cluster.submit(1)
    cluster.finish_all()
    assert worker.bodies == {1: CONTENT}
    cluster.handle(BodiesDone((1, 2)))
    cluster.settle()
    assert (worker.bodies, other.bodies) == ({}, {})


def test_shipments_are_recorded_before_their_frame():
    cluster = Cluster()
    cluster.join(1)
    cluster.submit(1, count=3)
    cluster.time += 1
    effects = cluster.machine.end_batch(cluster.now())
    assert [type(effect).__name__ for effect in effects] == ["Shipped", "ToLink"]
    assert isinstance(effects[0], Shipped)
    assert effects[0].worker == 1


def test_entries_travel_with_their_tasks_also_a_second_time():
    cluster = Cluster()
    worker = cluster.join(2)
    entries = [b"", b"one", b"two", b"three" * 50_000, b"four", b"five"]
    tasks = cluster.submit(1, entries=entries)
    cluster.settle()
    cluster.lose(worker)
    other = cluster.join(1)
    cluster.finish_all()
    assert [other.entries[task] for task in tasks] == entries


def test_a_frame_stays_near_a_quarter_of_a_mebibyte():
    cluster = Cluster()
    worker = cluster.join(64)
    cluster.submit(1, entries=[b"x" * 10_000] * 300)
    cluster.time += 1
    cluster.round()
    assert len(worker.frames) > 1
    for frame in worker.frames:
        assert sum(len(e) for m in frame for e in getattr(m, "entries", ())) <= 300_000
    assert cluster.finish_all() == 300
    assert not any(isinstance(m, Bounced) for m in worker.facts)


def test_rounds_are_spaced_by_what_they_cost():
    cluster = Cluster()
    worker = cluster.join(2)
    cluster.settle()
    cluster.submit(1)
    cluster.round()
    cluster.machine.round_took(0.002)
    cluster.submit(2, priority=1)
    worker.frames.clear()
    effects = cluster.machine.end_batch(cluster.now())
    assert effects == []
    assert cluster.machine.next_deadline() == pytest.approx(cluster.time + 0.008)
    cluster.machine.round_took(5.0)
    assert cluster.machine.next_deadline() <= cluster.time + 0.02


def test_a_class_with_time_request_is_not_sent_again_where_it_came_too_late():
    cluster = Cluster()
    worker = cluster.join(1, remaining_s=100.0)
    [task] = cluster.submit(needs(1, time_s=50.0))
    cluster.round()
    while worker.frames:
        frame = worker.frames.popleft()
        for message in frame:
            worker._obey(message)
    worker.backlog.clear()
    cluster.say(worker, Report(1, (Bounced(u64([task]), u32([0]), "time"), Closed(u32([1])))))
    cluster.settle()
    assert worker.ran == []
    other = cluster.join(1)
    cluster.settle()
    assert [t for t, _ in other.ran] == [task]


def test_how_busy_a_node_is_reaches_the_job_book():
    cluster = Cluster()
    worker = cluster.join(2)
    load = NodeLoad((12.5, 0.0), 1 << 30, 1 << 29, nvidia=(DeviceLoad("0", 1.0, 2.0),))
    cluster.say(worker, Heartbeat(), Overview(load))
    assert cluster.facts[-1] == WorkerBusy(worker.id, load)


@pytest.mark.parametrize(
    "load",
    [
        NodeLoad((float("nan"),), 1, 1),
        NodeLoad((float("inf"),), 1, 1),
        NodeLoad((-1.0,), 1, 1),
        NodeLoad((0.0,) * 20_000, 1, 1),
        NodeLoad((), -1, 0),
        NodeLoad((), 1, 1, received_bytes=1 << 64),
        NodeLoad((), 1, 1, amd=(DeviceLoad("0", float("nan"), 0.0),)),
        NodeLoad((), 1, 1, nvidia=(DeviceLoad("0" * 5000, 0.0, 0.0),)),
    ],
)
def test_a_load_that_nobody_could_have_measured_ends_the_connection(load):
    cluster = Cluster()
    worker = cluster.join(2)
    cluster.say(worker, Overview(load))
    assert "the load of a node" in worker.closed or "the name of a GPU" in worker.closed
    assert not any(isinstance(fact, WorkerBusy) for fact in cluster.facts)
