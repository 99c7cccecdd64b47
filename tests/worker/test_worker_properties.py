"""The worker machine against a naive server and naive launchers, in any order of events."""

from __future__ import annotations

from fake_launcher import FakeLauncher, tell_launchers
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from worker_bench import Bench, define, enqueue, gang, grant, t

from hqtrio.messages.columns import u32, u64
from hqtrio.messages.worker import Cancel, Drain, Retract, Undrain
from hqtrio.model.resources import Request
from hqtrio.model.task import Ending
from hqtrio.worker.orders import LauncherDied, LauncherReady

TWO_NODES = (Request(nodes=2),)


class Worker(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.launchers: dict[int, FakeLauncher] = {}
        self.bench = Bench(launchers=0)
        for number in (1, 2):
            self.bench.machine._lanes.crew.hire()
            self.launchers[number] = FakeLauncher(number)
            self.bench.step(LauncherReady(number))
        self.bench.server(*define(1), *define(2), *define(3, TWO_NODES))
        self.gangs: dict[int, int] = {}  # slot -> its task
        self.next_task = self.next_slot = self.next_seq = 1
        self.shipped: set[int] = set()
        self.retracts: dict[int, set[int]] = {}
        self.forbidden: set[int] = set()  # cancelled before they started

    def do(self, effects: list[object]) -> None:
        tell_launchers(self.launchers, self.bench, effects)

    @property
    def slots(self) -> list[int]:
        closed = set(self.bench.told.closed)
        return [slot for slot in range(1, self.next_slot) if slot not in closed]

    def gone(self) -> list[int]:
        told = self.bench.told
        gone = [task for task, _ in told.ended] + [task for task, _ in told.bounced]
        return gone + [task for released in told.retracted.values() for task in released]

    @property
    def open_tasks(self) -> list[int]:
        return sorted(self.shipped - set(self.gone()))

    @rule(klass=st.integers(1, 2), slots=st.integers(0, 3), tasks=st.integers(0, 8))
    def ship(self, klass: int, slots: int, tasks: int) -> None:
        messages: list[object] = []
        for _ in range(slots):
            messages.append(grant(self.next_slot, klass))
            self.next_slot += 1
        if tasks:
            numbers = range(self.next_task, self.next_task + tasks)
            self.next_task += tasks
            self.shipped.update(map(t, numbers))
            messages.append(enqueue(*numbers, klass=klass, priority=self.next_task % 3))
        self.do(self.bench.server(*messages))

    @rule()
    def ship_gang(self) -> None:
        slot, number = self.next_slot, self.next_task
        self.next_slot, self.next_task = slot + 1, number + 1
        self.shipped.add(t(number))
        self.gangs[slot] = t(number)
        self.do(self.bench.server(gang(slot, "a", "b"), enqueue(number, klass=3)))

    @precondition(lambda self: self.open_tasks)
    @rule(data=st.data())
    def retract(self, data: st.DataObject) -> None:
        tasks = data.draw(st.sets(st.sampled_from(self.open_tasks), min_size=1))
        self.retracts[self.next_seq] = tasks
        self.do(self.bench.server(Retract(self.next_seq, u64(sorted(tasks)))))
        self.next_seq += 1

    @precondition(lambda self: self.open_tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        tasks = data.draw(st.sets(st.sampled_from(self.open_tasks), min_size=1))
        self.do(self.bench.server(Cancel(u64(sorted(tasks)))))
        started = {task for one in self.launchers.values() for task in one.ever_started}
        self.forbidden |= tasks - started

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), undrain=st.booleans(), count=st.integers(0, 3))
    def drain(self, data: st.DataObject, undrain: bool, count: int) -> None:
        slots = data.draw(st.sets(st.sampled_from(self.slots), min_size=1))
        message = Undrain(u32(sorted(slots))) if undrain else Drain(u32(sorted(slots)), count)
        self.do(self.bench.server(message))

    @rule(data=st.data(), status=st.sampled_from([0, 0, 3, -11, -9]), short=st.booleans())
    def end(self, data: st.DataObject, status: int, short: bool) -> None:
        running = [(n, lane) for n, one in self.launchers.items() for lane in one.running]
        if running:
            number, lane = data.draw(st.sampled_from(running))
            self.launchers[number].end(lane, status, 0.001 if short else 0.02)

    @rule(data=st.data())
    def tell(self, data: st.DataObject) -> None:
        one = self.launchers[data.draw(st.sampled_from(sorted(self.launchers)))]
        self.do(self.bench.step(one.tell()))

    @rule(data=st.data())
    def kill_launcher(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.launchers)))
        del self.launchers[number]
        self.do(self.bench.step(LauncherDied(number)))

    @rule(seconds=st.sampled_from([0.01, 0.3, 2.0]))
    def wait(self, seconds: float) -> None:
        self.do(self.bench.wait(seconds))

    @invariant()
    def every_task_is_answered_once(self) -> None:
        gone = self.gone()
        assert len(gone) == len(set(gone)), sorted(gone)
        assert set(gone) <= self.shipped

    @invariant()
    def nothing_starts_twice_or_after_its_cancel(self) -> None:
        started = [task for one in self.launchers.values() for task in one.ever_started]
        assert len(started) == len(set(started))
        assert not set(started) & self.forbidden

    @invariant()
    def a_multi_node_slot_closes_with_the_answer_about_its_task(self) -> None:
        told = self.bench.told
        answered = set(self.gone())
        for slot, task in self.gangs.items():
            assert slot not in told.closed or task in answered, (slot, task)
            own = [number for started, number in told.started if started == task]
            assert set(own) <= set(self.gangs), (task, own)

    @invariant()
    def released_tasks_have_not_started(self) -> None:
        started = {task for one in self.launchers.values() for task in one.ever_started}
        for seq, released in self.bench.told.retracted.items():
            assert set(released) <= self.retracts[seq] - started

    def teardown(self) -> None:
        """Whatever happened: when all tasks end, all are answered and all slots are closed."""
        for _ in range(200):
            for one in list(self.launchers.values()):
                for lane in list(one.running):
                    one.end(lane, 0, 0.02)
                self.do(self.bench.step(one.tell()))
            if not self.open_tasks and not self.slots:
                break
            self.do(self.bench.wait(0.3))
        assert not self.open_tasks
        assert not self.slots
        assert set(self.bench.told.retracted) == set(self.retracts)
        assert {ending for _, ending in self.bench.told.ended} <= set(Ending)


Worker.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWorker = Worker.TestCase
