"""Launchers that do what they are told, at once, and tell of it when the test says so."""

from __future__ import annotations

from collections import deque

from worker_bench import Bench

from hqtrio.worker.events import StartLauncher
from hqtrio.worker.orders import (
    CloseLane,
    KillTasks,
    LauncherReady,
    LauncherSaid,
    OpenLane,
    RunTasks,
    SignalTasks,
    TakeBack,
    TaskRan,
)


class FakeLauncher:
    """Lanes with queues; a lane runs its first task. What happened is told when asked."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lanes: dict[int, deque[int]] = {}
        self.running: dict[int, int] = {}  # lane -> task
        self.untold: set[int] = set()  # running, not yet told
        self.ended: list[TaskRan] = []
        self.taken: list[tuple[int, tuple[int, ...]]] = []
        self.ever_started: list[int] = []
        self.cpus: dict[int, str] = {}  # of each lane, as its tasks are told

    def obey(self, order: object) -> None:
        match order:
            case OpenLane(_, lane, env):
                self.lanes[lane] = deque()
                self.cpus[lane] = dict(env).get(b"HQ_CPUS", b"").decode()
            case CloseLane(_, lane):
                assert not self.lanes.pop(lane) and lane not in self.running
            case RunTasks(_, lane, _, tasks):
                self.lanes[lane].extend(tasks)
                self.advance(lane)
            case TakeBack(_, seq, tasks):
                taken = []
                for queue in self.lanes.values():
                    for task in [task for task in queue if task in tasks]:
                        queue.remove(task)
                        taken.append(task)
                self.taken.append((seq, tuple(taken)))
            case SignalTasks() | KillTasks():
                pass  # stubborn: only `end` ends a task

    def advance(self, lane: int) -> None:
        if lane not in self.running and self.lanes[lane]:
            task = self.running[lane] = self.lanes[lane].popleft()
            self.untold.add(task)
            self.ever_started.append(task)

    def end(self, lane: int, status: int, lasted_s: float) -> None:
        task = self.running.pop(lane)
        self.untold.discard(task)
        self.ended.append(TaskRan(task, lane, 1, lasted_s, 0.0, status))
        self.advance(lane)

    def tell(self) -> LauncherSaid:
        started = tuple(
            TaskRan(task, lane, 1, 0.0)
            for lane, task in self.running.items()
            if task in self.untold
        )
        said = LauncherSaid(self.number, started, tuple(self.ended), (), tuple(self.taken))
        self.untold.clear()
        self.ended, self.taken = [], []
        return said


def tell_launchers(launchers: dict[int, FakeLauncher], bench: Bench, effects: list[object]) -> None:
    """Perform the orders among the effects, the start of launchers included."""
    for effect in effects:
        if isinstance(effect, StartLauncher):
            launchers[effect.launcher] = FakeLauncher(effect.launcher)
            tell_launchers(launchers, bench, bench.step(LauncherReady(effect.launcher)))
        elif hasattr(effect, "launcher"):
            launchers[effect.launcher].obey(effect)
