"""Restarts of a job book from its records, with the test as the journal."""

from copy import copy
from dataclasses import dataclass, field

from job_book_story import Story
from same_book import same_tables

from hqtrio.jobs.effects import Command
from hqtrio.jobs.machine import JobBook
from hqtrio.jobs.replay import Replay
from hqtrio.messages.columns import read_u32, read_u64, u32, u64
from hqtrio.messages.records import (
    InstancesRaised,
    Record,
    ServerStopped,
    TasksShipped,
    TasksTakenBack,
)
from hqtrio.messages.scheduling import ExpectGang, ExpectWorker
from hqtrio.model.worker import LossReason

GRACE_S = 120.0


def replay(records: list[Record]) -> Replay:
    replayed = Replay("uid123")
    for record in records:
        replayed.apply(record)
    return replayed


@dataclass
class Expected:
    """What the scheduler was told to expect of one worker: tasks with instances."""

    running: dict[tuple[int, int], int] = field(default_factory=dict)
    shipped: dict[tuple[int, int], int] = field(default_factory=dict)
    gangs: dict[tuple[int, int], tuple[int, ...]] = field(default_factory=dict)
    attachment: int = 0
    key: bytes = b""


class RestartStory(Story):
    """`shipped` are those of the ready tasks that a worker has, by task."""

    def __init__(self) -> None:
        super().__init__()
        self.shipped: dict[tuple[int, int], int] = {}
        self.expected: dict[int, Expected] = {}
        self.take(list(self.book.begin(self.now, GRACE_S)))

    # --- the scheduler's records

    def ship(self, worker: int, *tasks: tuple[int, int]) -> None:
        """These ready tasks (default: all) are the worker's from now on."""
        for key in tasks or sorted(self.ready.keys() - self.shipped.keys()):
            packed, instance = key[0] << 32 | key[1], self.ready[key]
            self.records.append(TasksShipped(worker, u64([packed]), u32([1]), u32([instance])))
            self.shipped[key] = worker

    def take_back(self, *tasks: tuple[int, int]) -> None:
        for key in tasks:
            worker = self.shipped.pop(key)
            self.records.append(TasksTakenBack(worker, u64([key[0] << 32 | key[1]])))

    def start(self, worker: int, *tasks: tuple[int, int], nodes: tuple[int, ...] = ()) -> None:
        chosen = tasks or tuple(self.ready)
        self.ship(worker, *(task for task in chosen if self.shipped.get(task) != worker))
        for task in chosen:
            del self.shipped[task]
        super().start(worker, *chosen, nodes=nodes)

    def tell(self, event) -> list:
        effects = super().tell(event)
        self.shipped = {key: w for key, w in self.shipped.items() if key in self.ready}
        return effects

    def lose(self, worker, reason=LossReason.CONNECTION_LOST, shipped=None) -> None:
        """With everything that was shipped to it."""
        if shipped is None:
            shipped = tuple(key for key, owner in self.shipped.items() if owner == worker)
        for key in shipped:
            self.shipped.pop(key, None)
        super().lose(worker, reason, shipped)

    def report_ends(self, worker: int, *rows: tuple[tuple[int, int], int]) -> None:
        """Tasks that run there, or were shipped there, have ended; all told in one report."""
        ended = []
        for key, ending in rows:
            held = self.running[worker] if key in self.running[worker] else self.ready
            ended.append((key, held.pop(key), ending, 1, 1.0))
            self.shipped.pop(key, None)
        self.report(worker, ended=ended)

    # --- servers

    def replayed(self) -> Replay:
        """The tables as the records so far restore them; they are those of the living book."""
        replayed = replay(self.records)
        same_tables(replayed.tables, self.book._tables, self.now.wall)
        return replayed

    def left_behind(self) -> Replay:
        """What a server that dies leaves to the next one."""
        return self.replayed()

    def kill(self) -> None:
        """The server dies and another one takes its place; workers go on."""
        ready = {key: n for key, n in self.ready.items() if key not in self.shipped}
        self._restart(self.left_behind())
        assert {key: n for key, n in self.ready.items() if key not in self.shipped} == ready
        for worker, running in self.running.items():
            expected = self.expected[worker]
            assert expected.running == running, worker
            mine = {k: self.ready[k] for k, owner in self.shipped.items() if owner == worker}
            assert expected.shipped == mine, worker

    def fork(self) -> "RestartStory":
        """The story as it goes on after a restart; this one goes on without."""
        twin = copy(self)
        twin.ready, twin.shipped = dict(self.ready), dict(self.shipped)
        twin.running = {worker: dict(tasks) for worker, tasks in self.running.items()}
        twin.bodies, twin.responses = {}, {}
        twin.records = list(self.records)
        twin.seen_by_tasks = dict(self.seen_by_tasks)
        twin.kill()
        # Only a restart leaves out an id.
        self.book._tables.workers.next = twin.book._tables.workers.next
        return twin

    def stop(self) -> None:
        """`server stop`, and another start: no worker is left."""
        self.replayed()
        self.records.append(ServerStopped(self.now.wall))
        self._leave_workers()
        self._restart(replay(self.records))
        assert not self.expected

    def tear(self, lost: int = 0) -> None:
        """The server dies, and its machine; so many records and a part of one are lost."""
        self.replayed()
        del self.records[len(self.records) - lost :]
        self.records.append(InstancesRaised(self.now.wall))
        self._leave_workers()
        self._restart(replay(self.records))
        assert not any(e.running or e.shipped for e in self.expected.values())

    def lose_power(self, lost: int = 0) -> None:
        """The server's machine dies, and so many records with it; workers go on."""
        self.replayed()
        del self.records[len(self.records) - lost :]
        self.records.append(InstancesRaised(self.now.wall, workers_keep=True))
        self.shipped.clear()
        self._restart(replay(self.records))
        for worker, expected in self.expected.items():
            self.running[worker] = expected.running
            self.shipped |= dict.fromkeys(expected.shipped, worker)
            self.ready |= expected.shipped

    def _leave_workers(self) -> None:
        self.running = {worker: {} for worker in self.running}
        self.shipped.clear()

    def _restart(self, replayed: Replay) -> None:
        self.book = JobBook("uid123", b"history", self.details, replayed=replayed)
        before = {key: self.ready[key] for key in self.shipped}
        self.ready = dict(before)
        self.bodies.clear()
        self.expected = {}
        effects = list(self.book.begin(self.now, GRACE_S))
        while self.book.next_deadline() <= self.now.monotonic + 1e-3:
            self.wait(0.001)
            effects += self.book.tick(self.now)
        others = []
        for effect in effects:
            match effect:
                case Command(ExpectWorker() as expect):
                    self.expected[expect.worker] = _expected(expect)
                case Command(ExpectGang(task, _, workers)):
                    self.expected[workers[0]].gangs[task >> 32, task & 0xFFFFFFFF] = workers
                case _:
                    others.append(effect)
        self.take(others)
        self.running = {w: r for w, r in self.running.items() if w in self.expected}
        if self.checked:
            self.book.check()


def _expected(expect: ExpectWorker) -> Expected:
    assert expect.grace_s == GRACE_S
    expected = Expected(attachment=expect.attachment, key=expect.key)
    rows = zip(read_u64(expect.tasks), read_u32(expect.instances), expect.running, strict=True)
    for task, instance, runs in rows:
        held = expected.running if runs else expected.shipped
        held[task >> 32, task & 0xFFFFFFFF] = instance
    return expected
