"""Drains of some of the named slots, whichever become empty first."""

from __future__ import annotations

from fake_launcher import FakeLauncher, tell_launchers
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from worker_bench import Bench, define, enqueue, grant, only, span, t

from hqtrio.messages.columns import u32
from hqtrio.messages.worker import Drain, Undrain
from hqtrio.model.resources import CPUS, UNIT, Need, Request
from hqtrio.worker.filling import NO_SLOT, TOO_LATE
from hqtrio.worker.orders import (
    CloseLane,
    LauncherDied,
    LauncherReady,
    LauncherSaid,
    RunTasks,
    TakeBack,
)


def run_order(effects):
    return [task for order in only(effects, RunTasks) for task in order.tasks]


def busy_bench(slots: int, backlog: int = 10, **config: object) -> Bench:
    """Slots 1, 2, ... run tasks 1, 2, ... ; tasks 101, 102, ... wait."""
    bench = Bench(**config)
    bench.server(*(grant(n) for n in range(1, slots + 1)), span(1, slots), span(101, backlog))
    bench.started(*range(1, slots + 1))
    return bench


def test_s57_the_first_to_become_empty_close_and_the_others_go_on():
    bench = busy_bench(4)
    bench.server(Drain(u32([1, 2, 3, 4]), 2))
    assert run_order(bench.ended(3)) == []
    assert bench.told.closed == [3]
    assert run_order(bench.ended(1)) == []
    assert bench.told.closed == [3, 1]
    assert run_order(bench.ended(2, 4)) == [t(101), t(102)]
    assert bench.told.closed == [3, 1]
    assert bench.told.bounced == []


def test_slots_that_are_not_named_go_on_all_the_time():
    bench = busy_bench(3)
    bench.server(Drain(u32([1, 2]), 1))
    assert run_order(bench.ended(3)) == [t(101)]
    assert run_order(bench.ended(1)) == []
    assert run_order(bench.ended(2)) == [t(102)]
    assert bench.told.closed == [1]


def test_a_count_of_zero_or_of_more_than_there_are_closes_all():
    for count in (0, 2, 7):
        bench = busy_bench(2)
        bench.server(Drain(u32([1, 2]), count))
        assert len(bench.told.bounced) == 10  # no slot is going to take them
        bench.ended(1, 2)
        assert bench.told.closed == [1, 2]


def test_two_that_become_empty_at_once_do_not_both_close():
    bench = busy_bench(2)
    bench.server(Drain(u32([1, 2]), 1))
    assert run_order(bench.ended(1, 2)) == [t(101)]
    assert len(bench.told.closed) == 1


def test_a_slot_that_is_spared_has_its_lane_filled_again():
    """What lay ahead in it was taken back for the drain."""
    bench = Bench()
    bench.server(grant(1), span(0, 1))
    bench.ended(0, lasted_s=0.001)
    bench.server(grant(2), grant(3), span(1, 8))  # 1-4 and 5-8
    bench.started(1, 5)
    effects = bench.server(Drain(u32([2, 3]), 1))
    asked = only(effects, TakeBack)
    assert sorted(task for order in asked for task in order.tasks) == [
        t(n) for n in (2, 3, 4, 6, 7, 8)
    ]
    taken = tuple((order.seq, order.tasks) for order in asked)
    assert run_order(bench.step(LauncherSaid(1, taken=taken))) == []
    assert bench.told.bounced == []
    effects = bench.ended(1, lasted_s=0.001)
    assert bench.told.closed == [1, 2]
    assert sorted(run_order(effects)) == [t(n) for n in (2, 3, 4, 6, 7, 8)]
    assert len(only(effects, CloseLane)) == 1


def test_a_group_may_span_classes():
    bench = Bench()
    bench.server(*define(2, (Request((Need(CPUS, UNIT), Need("x", UNIT))),)))
    bench.server(grant(1), grant(2, 2), enqueue(1, 3), enqueue(2, 4, klass=2))
    bench.started(1, 2)
    bench.server(Drain(u32([1, 2]), 1))
    assert run_order(bench.ended(2)) == []
    assert bench.told.closed == [2]
    assert run_order(bench.ended(1)) == [t(3)]
    bench.wait(0.3)
    assert bench.told.bounced == [(t(4), NO_SLOT)]


def test_an_undrained_slot_is_out_of_its_group():
    bench = busy_bench(3)
    bench.server(Drain(u32([1, 2, 3]), 2))
    bench.server(Undrain(u32([1])))
    assert run_order(bench.ended(1)) == [t(101)]
    bench.ended(2, 3)
    assert bench.told.closed == [2, 3]


def test_a_later_drain_takes_the_slot_out_of_its_earlier_group():
    bench = busy_bench(3)
    bench.server(Drain(u32([1, 2, 3]), 1))
    bench.server(Drain(u32([1])))
    bench.ended(1)
    assert bench.told.closed == [1]
    assert run_order(bench.ended(2)) == []
    assert bench.told.closed == [1, 2]
    assert run_order(bench.ended(3)) == [t(101)]


def test_a_slot_that_closed_while_the_drain_was_under_way_counts():
    bench = busy_bench(3, backlog=0)
    bench.ended(1)
    assert bench.told.closed == [1]
    bench.server(Drain(u32([1, 2, 3]), 2), span(101, 5))
    assert run_order(bench.ended(2)) == []
    assert run_order(bench.ended(3)) == [t(101)]
    assert bench.told.closed == [1, 2]


def test_a_drain_that_was_satisfied_before_it_came_drains_nothing():
    bench = busy_bench(2, backlog=0)
    bench.ended(1)
    bench.server(Drain(u32([1, 2]), 1), span(101, 5))
    assert run_order(bench.ended(2)) == [t(101)]
    assert bench.told.closed == [1]


def test_a_held_back_end_keeps_its_slot_open_and_another_closes_first():
    bench = busy_bench(2)
    bench.server(Drain(u32([1, 2]), 1))
    bench.ended(1, status=-9)
    assert bench.told.closed == []
    bench.ended(2)
    assert bench.told.closed == [2]
    assert run_order(bench.wait(0.6)) == []


def test_backlog_that_waits_for_a_spared_slot_bounces_when_it_is_too_late():
    bench = Bench(time_limit_s=4.0)
    bench.server(*define(4, (Request((Need(CPUS, UNIT),), time_s=2.0),)))
    bench.server(grant(1, 4), grant(2, 4), enqueue(1, 2, 3, klass=4))
    bench.started(1, 2)
    bench.server(Drain(u32([1, 2]), 1))
    bench.wait(1.9)
    assert bench.told.bounced == []
    bench.wait(0.2)
    assert bench.told.bounced == [(t(3), TOO_LATE)]


def test_a_worker_without_cost_ends_nothing_in_a_slot_that_is_to_close():
    bench = Bench(zero_cost=True)
    bench.acknowledge = False
    bench.server(grant(1), grant(2), span(0, 30_000))
    bench.server(Drain(u32([1, 2]), 1))
    assert len(bench.told.closed) == 1
    bench.acknowledge = True
    bench.wait(1.0)


def test_a_returning_worker_states_which_slots_may_close():
    bench = busy_bench(2)
    bench.server(Drain(u32([2]), 1))
    held = bench.machine._lanes.held((), bench.at)
    assert [(slot.slot, slot.draining) for slot in held.slots] == [(1, False), (2, True)]


# --- any order of events


LASTED_S = 0.01  # so that a few tasks lie ahead in a lane
ENOUGH = 240  # tasks of a class: more than all lanes together can hold


class Group:
    """What the server expects of one Drain."""

    def __init__(self, slots: set[int], wanted: int) -> None:
        self.slots, self.wanted = slots, wanted


class Drains(RuleBasedStateMachine):
    """There is always more work: slots close only because they were told to."""

    def __init__(self) -> None:
        super().__init__()
        self.launchers: dict[int, FakeLauncher] = {}
        self.bench = Bench(launchers=0)
        for number in (1, 2):
            self.bench.machine._lanes.crew.hire()
            self.launchers[number] = FakeLauncher(number)
            self.bench.step(LauncherReady(number))
        self.bench.server(*define(1), *define(2, (Request((Need("x", UNIT),)),)))
        self.next_task = self.next_slot = 1
        self.klass: dict[int, int] = {}
        self.groups: list[Group] = []
        self.closed = 0
        self.shipped: dict[int, set[int]] = {1: set(), 2: set()}

    @property
    def open(self) -> list[int]:
        return [slot for slot in self.klass if slot not in self.bench.told.closed]

    def answered(self) -> list[int]:
        told = self.bench.told
        return [task for task, _ in told.ended] + [task for task, _ in told.bounced]

    def server(self, *messages: object) -> None:
        self.do(self.bench.server(*messages))

    def do(self, effects: list[object]) -> None:
        tell_launchers(self.launchers, self.bench, effects)
        self.follow()
        answered = set(self.answered())
        for klass, shipped in self.shipped.items():
            if any(self.klass[slot] == klass and self.may_go_on(slot) for slot in self.open):
                missing = ENOUGH - len(shipped - answered)
                if missing > ENOUGH // 3:
                    self.send(klass, missing)

    def may_go_on(self, slot: int) -> bool:
        group = next((one for one in self.groups if slot in one.slots), None)
        return group is None or group.wanted < len(group.slots)

    def send(self, klass: int, count: int) -> None:
        first, self.next_task = self.next_task, self.next_task + count
        self.shipped[klass].update(t(number) for number in range(first, first + count))
        self.do(self.bench.server(span(first, count, klass)))

    def follow(self) -> None:
        """Every slot that has closed was one of those that were still wanted."""
        for slot in self.bench.told.closed[self.closed :]:
            group = next((one for one in self.groups if slot in one.slots), None)
            assert group is not None, f"slot {slot} closed by itself"
            group.slots.discard(slot)
            group.wanted -= 1
            if not group.wanted or not group.slots:
                self.groups.remove(group)
        self.closed = len(self.bench.told.closed)

    def leave(self, slots: set[int]) -> None:
        for group in self.groups:
            group.slots -= slots
        self.groups = [group for group in self.groups if group.slots]

    @precondition(lambda self: len(self.open) < 12)
    @rule(klass=st.integers(1, 2), count=st.integers(1, 4))
    def open_slots(self, klass: int, count: int) -> None:
        slots = range(self.next_slot, self.next_slot + count)
        self.next_slot += count
        self.klass.update(dict.fromkeys(slots, klass))
        first, self.next_task = self.next_task, self.next_task + 5
        self.shipped[klass].update(t(number) for number in range(first, first + 5))
        self.server(*(grant(slot, klass) for slot in slots), span(first, 5, klass))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), count=st.integers(0, 5))
    def drain(self, data: st.DataObject, count: int) -> None:
        slots = data.draw(st.sets(st.sampled_from(self.open), min_size=1))
        self.leave(slots)
        self.groups.append(Group(set(slots), count or len(slots)))
        self.server(Drain(u32(sorted(slots)), count))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def undrain(self, data: st.DataObject) -> None:
        slots = data.draw(st.sets(st.sampled_from(self.open), min_size=1))
        self.leave(slots)
        self.server(Undrain(u32(sorted(slots))))

    @precondition(lambda self: any(one.running for one in self.launchers.values()))
    @rule(data=st.data(), status=st.sampled_from([0, 0, 0, 3, -9]))
    def end(self, data: st.DataObject, status: int) -> None:
        running = [(n, lane) for n, one in self.launchers.items() for lane in one.running]
        for number, lane in data.draw(st.lists(st.sampled_from(running), max_size=4, unique=True)):
            self.launchers[number].end(lane, status, LASTED_S)

    @rule(number=st.integers(0, 1))
    def tell(self, number: int) -> None:
        one = self.launchers[sorted(self.launchers)[number]]
        self.do(self.bench.step(one.tell()))

    @rule(number=st.integers(0, 1))
    def kill_launcher(self, number: int) -> None:
        killed = sorted(self.launchers)[number]
        del self.launchers[killed]
        self.do(self.bench.step(LauncherDied(killed)))

    @rule(seconds=st.sampled_from([0.01, 0.6]))
    def wait(self, seconds: float) -> None:
        self.do(self.bench.wait(seconds))

    @invariant()
    def nothing_waits_in_front_of_a_slot_that_may_close(self) -> None:
        draining = {str(slot) for group in self.groups for slot in group.slots}
        for one in self.launchers.values():
            for lane, queue in one.lanes.items():
                assert not queue or one.cpus[lane] not in draining

    @invariant()
    def every_task_is_answered_once(self) -> None:
        answered = self.answered()
        assert len(answered) == len(set(answered))

    def let_everything_end(self) -> None:
        for _ in range(3):
            for one in list(self.launchers.values()):
                for lane in list(one.running):
                    one.end(lane, 0, LASTED_S)
                self.do(self.bench.step(one.tell()))
            self.do(self.bench.wait(0.6))

    def teardown(self) -> None:
        """When everything that runs has ended once, every drain has what it wanted."""
        self.let_everything_end()
        assert not self.groups
        if self.open:
            self.groups.append(Group(set(self.open), len(self.open)))
            self.server(Drain(u32(self.open)))
        self.let_everything_end()
        assert not self.open
        assert set(self.answered()) == self.shipped[1] | self.shipped[2]


Drains.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDrains = Drains.TestCase
