"""A node's launchers and task processes: what a worker machine's orders lead to.

Tasks tell by their arguments how they behave: `sim BATCH MEAN_S KIND`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Final, Protocol

from simulated_time import Alarm, Timeline

from hqtrio.model.resources import UNIT
from hqtrio.worker.orders import (
    CloseLane,
    DropBody,
    KillTasks,
    LauncherDied,
    LauncherReady,
    LauncherSaid,
    OpenLane,
    Order,
    RunTasks,
    SignalTasks,
    TakeBack,
    TaskRan,
    TaskRefused,
    UseBody,
)

SIGINT: Final = 2
SOCKET_S: Final = (0.00005, 0.0005)
COMPANY_S: Final = 0.005
READY_S: Final = (0.01, 0.05)
DEATH_NOTICED_S: Final = (0.001, 0.05)

REQUEST: Final = b"HQ_RESOURCE_REQUEST_"
VALUES: Final = b"HQ_RESOURCE_VALUES_"
UNITS: Final = float(UNIT)

Load = tuple[tuple[str, str, int], ...]  # (resource, label or "", amount) held while a task runs


class Witness(Protocol):
    """Sees every process begin and end, wherever it runs."""

    def started(self, node: str, batch: bytes, task: int, instance: int, load: Load) -> None: ...
    def ended(self, node: str, batch: bytes, task: int, instance: int, status: int) -> None: ...


@dataclass(slots=True, eq=False)
class Process:
    task: int
    instance: int
    lane: Lane
    batch: bytes
    kind: str
    started_at: float
    signalled: bool = False


@dataclass(slots=True, eq=False)
class Lane:
    number: int
    load: Load
    queue: deque[tuple[UseBody, int, int]] = field(default_factory=deque)
    running: Process | None = None


class Launcher:
    """One launcher process: obeys and answers over a socket to its worker.

    `say` delivers an answer that is made when it is read, so that its ages are right.
    """

    def __init__(
        self,
        number: int,
        node: str,
        timeline: Timeline,
        rng: Random,
        witness: Witness,
        say: Callable[[Callable[[], object]], None],
    ) -> None:
        self.number, self.node = number, node
        self._timeline, self._rng, self._witness, self._say = timeline, rng, witness, say
        self.alive = True
        self._ready = False
        self._orders: list[Order] = []
        self._obeying = Alarm(timeline, self._obey)
        self._telling = Alarm(timeline, self._tell)
        self._bodies: dict[int, UseBody] = {}
        self._lanes: dict[int, Lane] = {}
        self._running: dict[int, Process] = {}
        self._waiting: dict[int, list[Lane]] = {}
        self._started: dict[int, tuple[int, int, float]] = {}
        self._ended: list[tuple[int, int, float, float, int]] = []
        self._refused: list[tuple[int, int, bool, str, float]] = []
        self._taken: list[tuple[int, tuple[int, ...]]] = []
        self._said_at = 0.0
        timeline.after(rng.uniform(*READY_S), self._begin)

    def _begin(self) -> None:
        if self.alive:
            self._ready = True
            self._say(lambda: LauncherReady(self.number))

    # --- orders

    def tell(self, order: Order) -> None:
        """The order is in the socket."""
        if not self.alive:
            return
        assert self._ready, (self.node, self.number, order)
        if not self._orders:
            self._obeying.set(self._timeline.now + self._rng.uniform(*SOCKET_S))
        self._orders.append(order)

    def _obey(self) -> None:
        orders, self._orders = self._orders, []
        for order in orders:
            match order:
                case UseBody(key=key):
                    self._bodies[key] = order
                case DropBody(key=key):
                    self._bodies.pop(key, None)
                case OpenLane(lane=number, env=env):
                    assert number not in self._lanes, (self.node, number)
                    self._lanes[number] = Lane(number, _load(dict(env)))
                case CloseLane(lane=number):
                    del self._lanes[number]
                case RunTasks(lane=number, key=key, tasks=tasks, instances=instances):
                    lane, body = self._lanes[number], self._bodies[key]
                    for task, instance in zip(tasks, instances, strict=True):
                        lane.queue.append((body, task, instance))
                    self._advance(lane)
                case TakeBack(seq=seq, tasks=tasks):
                    self._take_back(seq, tasks)
                case SignalTasks(signal=signal, tasks=tasks):
                    for task in tasks:
                        if process := self._running.get(task):
                            assert signal == SIGINT
                            process.signalled = True
                            self._interrupt(process)
                case KillTasks(tasks=tasks):
                    for task in tasks:
                        process = self._running.get(task)
                        if process is not None and process.signalled:
                            self._end_in(self._rng.uniform(0.0001, 0.002), process, -9)

    def _take_back(self, seq: int, tasks: tuple[int, ...]) -> None:
        wanted = frozenset(tasks)
        taken: list[int] = []
        for lane in self._lanes.values():
            taken += [task for _, task, _ in lane.queue if task in wanted]
            lane.queue = deque(item for item in lane.queue if item[1] not in wanted)
        self._taken.append((seq, tuple(taken)))
        for lane in self._lanes.values():
            self._advance(lane)
        self._tell_at(self._timeline.now)

    # --- processes

    def _advance(self, lane: Lane) -> None:
        while lane.queue and lane.running is None:
            body, task, instance = lane.queue[0]
            if task in self._running:
                self._waiting.setdefault(task, []).append(lane)
                return
            lane.queue.popleft()
            _, batch, mean, kind = body.args
            self._start(lane, task, instance, batch, float(mean), kind.decode())

    def _start(
        self, lane: Lane, task: int, instance: int, batch: bytes, mean_s: float, kind: str
    ) -> None:
        now, rng = self._timeline.now, self._rng
        if kind in ("noprep", "nostart"):
            self._refused.append((task, lane.number, kind == "nostart", kind, now))
            self._tell_at(now)
            return
        process = lane.running = Process(task, instance, lane, batch, kind, now)
        self._running[task] = process
        self._witness.started(self.node, batch, task, instance, lane.load)
        self._started[task] = (task, lane.number, now)
        self._tell_at(now + COMPANY_S)
        status = 0
        if kind == "fail" or (kind == "flaky" and rng.random() < 0.2):
            status = rng.randrange(1, 128)
        elif kind == "oom":
            status = -9
        self._end_in(mean_s * rng.uniform(0.5, 1.5), process, status)

    def _interrupt(self, process: Process) -> None:
        """The first step of the kill ladder, as the program takes it."""
        if process.kind == "stubborn":
            return
        if process.kind == "tidy":
            self._end_in(self._rng.uniform(0.01, 2.0), process, 0)
        else:
            self._end_in(self._rng.uniform(0.0001, 0.01), process, -SIGINT)

    def terminate_all(self) -> None:
        """The batch manager sends SIGTERM to every process of the node."""
        for process in list(self._running.values()):
            self._end_in(self._rng.uniform(0.0001, 0.002), process, -15)

    def _end_in(self, delay_s: float, process: Process, status: int) -> None:
        self._timeline.after(delay_s, self._end, process, status)

    def _end(self, process: Process, status: int) -> None:
        if self._running.get(process.task) is not process:
            return
        now = self._timeline.now
        task, lane = process.task, process.lane
        self._forget(process, status)
        self._started.pop(task, None)
        self._ended.append((task, lane.number, process.started_at, now, status))
        waiting = self._waiting.pop(task, [])
        if waiting or (lane.queue and lane.queue[0][1] == task):
            self._tell()
        self._advance(lane)
        self._tell_at(now + COMPANY_S if lane.queue else now)
        for other in waiting:
            self._advance(other)

    def _forget(self, process: Process, status: int) -> None:
        del self._running[process.task]
        process.lane.running = None
        self._witness.ended(self.node, process.batch, process.task, process.instance, status)

    @property
    def idle(self) -> bool:
        return not self._running and not any(lane.queue for lane in self._lanes.values())

    # --- answers

    def _tell_at(self, at: float) -> None:
        self._telling.set(min(at, self._telling.at))

    def _tell(self) -> None:
        self._telling.set(inf)
        said = (tuple(self._started.values()), self._ended, self._refused, self._taken)
        if any(said):
            self._started, self._ended, self._refused, self._taken = {}, [], [], []
            self._say_in(self._rng.uniform(*SOCKET_S), lambda: self._answer(*said))

    def _say_in(self, delay_s: float, make: Callable[[], object]) -> None:
        """Answers stay in order."""
        self._said_at = max(self._said_at, self._timeline.now + delay_s)
        self._timeline.at(self._said_at, self._say, make)

    def _answer(
        self,
        started: tuple[tuple[int, int, float], ...],
        ended: list[tuple[int, int, float, float, int]],
        refused: list[tuple[int, int, bool, str, float]],
        taken: list[tuple[int, tuple[int, ...]]],
    ) -> LauncherSaid:
        now = self._timeline.now
        return LauncherSaid(
            self.number,
            tuple(TaskRan(task, lane, 1, now - at) for task, lane, at in started),
            tuple(
                TaskRan(task, lane, 1, now - began, now - at, status, 0.5, 1000)
                for task, lane, began, at, status in ended
            ),
            tuple(
                TaskRefused(task, lane, prepared, text, now - at)
                for task, lane, prepared, text, at in refused
            ),
            tuple(taken),
        )

    # --- death

    def die(self) -> None:
        """SIGKILL: what it runs is killed by the worker, which learns of it after that."""
        if not self.alive:
            return
        self.alive = False
        self._obeying.set(inf)
        self._telling.set(inf)
        noticed_s = self._rng.uniform(*DEATH_NOTICED_S)
        self._timeline.after(noticed_s * 0.9, self.kill_all)
        self._say_in(noticed_s, lambda: LauncherDied(self.number))

    def kill_all(self) -> None:
        """No process is left, and nobody is told; lanes do not go on."""
        self.alive = False
        self._obeying.set(inf)
        self._telling.set(inf)
        for process in list(self._running.values()):
            self._forget(process, -9)
        self._lanes.clear()


def _load(env: dict[bytes, bytes]) -> Load:
    """What a lane's tasks occupy, as they could tell from their own environment."""
    load: list[tuple[str, str, int]] = []
    for name, value in env.items():
        if not name.startswith(REQUEST):
            continue
        resource = name.removeprefix(REQUEST)
        labels = env.get(VALUES + resource, b"").decode()
        amount_text = value.decode().split()[0]
        amount = round(float(amount_text) * UNITS) if amount_text != "all" else -1
        if not labels:
            load.append((resource.decode(), "", amount))
            continue
        for label in labels.split(","):
            part = UNIT if amount < 0 else min(UNIT, amount)
            load.append((resource.decode(), label, part))
            amount -= part if amount >= 0 else 0
        assert amount <= 0, (resource, value, labels)
    return tuple(load)
