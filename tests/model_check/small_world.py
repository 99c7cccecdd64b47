"""A server and a few workers on their real machines, where the search decides what happens next.

The glue is that of the server's and the worker's actors. Time stands still but for what short
timers need, and for `grace`. Every other step is a choice: a core takes its mail, a frame arrives,
records reach the disk, a task ends, a connection breaks, somebody dies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hqtrio.ids import format_task, job_of, number_of, task_id
from hqtrio.jobs.effects import (
    Answer,
    Append,
    ClientAsked,
    Command,
    Notify,
    Receipted,
)
from hqtrio.jobs.machine import JobBook
from hqtrio.jobs.replay import Replay
from hqtrio.messages.client import ServerDetails, SubmitJob, Submitted
from hqtrio.messages.columns import read_u32, read_u64
from hqtrio.messages.records import (
    InstancesRaised,
    Record,
    TasksEnded,
    TasksShipped,
    TasksTakenBack,
)
from hqtrio.messages.worker import Ack, Ended, Register, Registered, Report
from hqtrio.model.job import ArraySpec, JobHead, Submit
from hqtrio.model.resources import CPUS, UNIT, Descriptor, Pool
from hqtrio.model.task import UNLIMITED, Ending, Stdio, TaskBody, TaskSettings, TaskState
from hqtrio.model.worker import LossReason, OnServerLost, WorkerConfig
from hqtrio.now import Now
from hqtrio.scheduling.absence import Grace
from hqtrio.scheduling.events import (
    CloseLink,
    Fact,
    LinkClosed,
    LinkOpened,
    Shipped,
    TakenBack,
    ToLink,
    WorkerSaid,
)
from hqtrio.scheduling.machine import Scheduling
from hqtrio.worker import events as worker_events
from hqtrio.worker.launch import Site
from hqtrio.worker.machine import WorkerMachine
from hqtrio.worker.orders import (
    LauncherReady,
    LauncherSaid,
    OpenLane,
    RunTasks,
    SignalTasks,
    TakeBack,
    TaskRan,
)

HISTORY: Final = b"history of sixt."
GRACE_S: Final = 10_000.0  # much more than all short timers together take
SHORT_S: Final = 10.0  # timers up to here are part of the next step
NOWHERE: Final = Stdio(None)
END: Final = "end"  # of a connection, as its reader learns of it


class Violation(AssertionError):
    """Something that must never be."""


@dataclass(eq=False)
class Wire:
    """One connection: frames on their way, and then perhaps its end."""

    link: int
    up: deque[Any] = field(default_factory=deque)
    down: deque[Any] = field(default_factory=deque)
    is_cut: bool = False

    def cut(self) -> None:
        """What is under way is lost; both ends will notice."""
        if not self.is_cut:
            self.is_cut = True
            self.up, self.down = deque([END]), deque([END])


class Server:
    """Both cores, with what was written as their only past."""

    def __init__(self, journal: Sequence[Record], now: float) -> None:
        replay = Replay("uid")
        for record in journal:
            replay.apply(record)
        details = ServerDetails("uid", "host", 1, "host", 2, "0", 1, 0.0)
        self.book = JobBook("uid", HISTORY, details, replayed=replay if journal else None)
        self.scheduling = Scheduling(grace=Grace(GRACE_S, GRACE_S))
        self.book_mail: deque[Any] = deque()
        self.scheduling_mail: deque[Any] = deque()
        self.wires: dict[int, Wire] = {}
        self.known: dict[int, bool] = {}  # links, and whether they have registered
        self.waiting: deque[tuple[int, Any]] = deque()
        self.written = 0  # the last group of the book's core


class Node:
    """One worker process and its launcher, which starts what it is told at once."""

    def __init__(self, number: int) -> None:
        pool = Pool(CPUS, (("0",),), UNIT)
        self.number = number
        self.config = WorkerConfig(
            f"n{number}", f"n{number}:1", "/w", "g", Descriptor((pool,)),
            on_server_lost=OnServerLost.RECONNECT,
        )  # fmt: skip
        self.machine = WorkerMachine(
            self.config, Site((), b"hq", "/w"), worker_key=bytes([number]) * 16, launchers=1,
            reconnect_timeout_s=1e12,
        )  # fmt: skip
        self.is_alive = True
        self.wire: Wire | None = None
        self.wanted = 0  # the link that it wants to open
        self.lanes: dict[int, deque[tuple[int, int]]] = {}  # tasks with instances; the first runs
        self.told: dict[int, list[tuple[int, int]]] = {}  # what finished, by report without receipt
        self.id = 0


@dataclass
class Budget:
    """How much may go wrong."""

    server_kills: int = 0
    power_cuts: int = 0
    worker_kills: int = 0
    cuts: int = 0
    graces: int = 0


class World:
    def __init__(self, workers: int, tasks: int, budget: Budget) -> None:
        self.now, self.tasks, self.budget = 0.0, tasks, budget
        self.groups: list[list[Record]] = []  # what was written
        self.durable = 0  # so many of the groups are on the disk
        self.links = 0
        self.nodes: dict[int, Node] = {}
        self.begun: set[tuple[int, int]] = set()
        self.finished: set[tuple[int, int]] = set()  # processes that came to their end
        self.receipted: set[int] = set()  # tasks whose end a worker need not remember
        self.answered, self.job = False, 0  # the submit, and what it made
        self.is_calm = True  # nothing has happened that may void an execution
        self.server: Server | None = Server((), 0.0)
        self._perform_book(self.server.book.begin(self._now(), GRACE_S))
        body = TaskBody((b"t",), (), "/", NOWHERE, NOWHERE, "/")
        arrays = (ArraySpec(body, tasks, settings=TaskSettings(crash_limit=UNLIMITED)),)
        self._submit = Submit(b"k" * 16, "/", JobHead("j"), arrays=arrays)
        for number in range(1, workers + 1):
            self._add_node(number)
        # Up to here nothing is of interest: the workers are there.
        while choices := [c for c in self.choices() if not c.startswith(("kill", "cut", "grace"))]:
            self.do(choices[0])
        self._ask()

    # --- what may happen

    def choices(self) -> list[str]:
        """Names of the steps that are possible now, in a fixed order."""
        found = []
        server, budget = self.server, self.budget
        if server is None:
            found.append("start server")
        else:
            if self._can_turn(server):
                found.append("turn")
            if self.durable < len(self.groups):
                found.append("sync")
            if budget.server_kills:
                found.append("kill server")
            if budget.power_cuts:
                found.append("cut power")
        for node in self.nodes.values():
            name, wire = node.number, node.wire
            if not node.is_alive:
                if wire is not None and wire.up and server is not None:
                    found.append(f"up {name}")
                continue
            if node.wanted and server is not None:
                found.append(f"dial {name}")
            if any(node.lanes.values()):
                found.append(f"end {name}")
            if wire is not None:
                if wire.up and server is not None and wire.link in server.known:
                    found.append(f"up {name}")
                if wire.down:
                    found.append(f"down {name}")
                if budget.cuts and not wire.is_cut:
                    found.append(f"cut {name}")
            if budget.worker_kills:
                found.append(f"kill {name}")
        if budget.graces and server is not None and not self.is_settled():
            found.append("grace")
        return found

    def do(self, choice: str) -> None:
        """Take the step; Violation if something is wrong afterwards."""
        what, _, name = choice.rpartition(" ")
        node = self.nodes.get(int(name)) if name.isdigit() else None
        match what if node else choice:
            case "start server":
                self._start_server()
            case "turn":
                self._turn()
            case "sync":
                self.durable = len(self.groups)
                self._release()
            case "kill server":
                self.budget.server_kills -= 1
                self._lose_server()
            case "cut power":
                self.budget.power_cuts -= 1
                self.is_calm = False
                self._lose_server()
                del self.groups[self.durable :]
                self._record(self._after_power_cut())
                self.durable = len(self.groups)
            case "grace":
                self.budget.graces -= 1
                self.is_calm = False
                self.now += 2 * GRACE_S
            case "dial":
                self._dial(node)
            case "end":
                self._end_first(node)
            case "up":
                self._up(node)
            case "down":
                self._down(node)
            case "cut":
                self.budget.cuts -= 1
                node.wire.cut()
            case "kill":
                self.budget.worker_kills -= 1
                self.is_calm = False
                self._kill(node)
            case _:
                raise ValueError(choice)
        self._run_timers()
        self.check()

    def is_settled(self) -> bool:
        """Whether every task has its outcome."""
        server = self.server
        if server is None:
            return False
        return self.answered and not any(job.active for job in server.book._tables.jobs.values())

    # --- what must hold

    def check(self) -> None:
        if self.server is not None:
            try:
                self.server.book.check()
                self.server.scheduling.check()
            except AssertionError as error:
                raise Violation(f"a machine's own check: {error!r}") from error

    def check_end(self) -> None:
        """Nothing more happens: every task has one outcome, and some execution has had it."""
        outcomes: dict[int, list[tuple[int, int]]] = {}
        for group in self.groups:
            for task, instance, state in _ended_in(group):
                outcomes.setdefault(task, []).append((instance, state))
        for task in (task_id(self.job, number) for number in range(self.tasks)):
            told = outcomes.get(task, [])
            if len(told) != 1:
                raise Violation(f"task {format_task(task)} has {len(told)} outcomes")
            [(instance, state)] = told
            if state != TaskState.FINISHED or (task, instance) not in self.finished:
                raise Violation(f"task {format_task(task)} ended as {state} without having run")

    def _receipt(self, task: int, instance: int) -> None:
        """The worker forgets this end: it is on the disk, or it is not the end of the task."""
        ended = {row[0] for group in self.groups[: self.durable] for row in _ended_in(group)}
        if task in ended:
            self.receipted.add(task)
        elif self.server is not None and self._instance(task) == instance:
            raise Violation(f"the end of task {format_task(task)} is receipted and not on the disk")

    def _instance(self, task: int) -> int:
        """Which instance of the task is the one that counts; of forgotten jobs none does."""
        assert self.server is not None
        job = self.server.book._tables.jobs.get(job_of(task))
        if job is None:
            return -1
        return job.instances.get(job.numbering.position(number_of(task)), 0)

    def _begin(self, task: int, instance: int) -> None:
        if (task, instance) in self.begun:
            raise Violation(f"instance {instance} of task {format_task(task)} is begun twice")
        if task in self.receipted:
            raise Violation(f"task {format_task(task)} is begun after the receipt of its end")
        if self.is_calm and any((task, earlier) in self.begun for earlier in range(instance)):
            raise Violation(f"task {format_task(task)} is begun again for no reason")
        self.begun.add((task, instance))

    # --- the server

    def _ask(self) -> None:
        """A client submits, and asks again as long as it has no answer."""
        assert self.server is not None
        if not self.answered:
            self.server.book_mail.append(ClientAsked(1, 1, SubmitJob(self._submit)))

    def _now(self) -> Now:
        return Now(self.now, 1e6 + self.now)

    def _record(self, records: Sequence[Record]) -> int:
        self.groups.append(list(records))
        return len(self.groups)

    def _after_power_cut(self) -> list[Record]:
        return [InstancesRaised(self.now, workers_keep=True)]

    def _start_server(self) -> None:
        records = [record for group in self.groups for record in group]
        self.server = Server(records, self.now)
        self.durable = len(self.groups)
        self._perform_book(self.server.book.begin(self._now(), GRACE_S))
        self._ask()

    def _lose_server(self) -> None:
        self.server = None
        for node in self.nodes.values():
            if node.wire is not None:
                node.wire.cut()

    def _can_turn(self, server: Server) -> bool:
        soon = self.now + SHORT_S
        deadlines = server.book.next_deadline(), server.scheduling.next_deadline()
        return bool(server.book_mail or server.scheduling_mail) or min(deadlines) <= soon

    def _turn(self) -> None:
        """The job book's core takes its mail, else the scheduler's, else a timer is due."""
        server = self.server
        assert server is not None
        if server.book_mail:
            mail, server.book_mail = server.book_mail, deque()
            self._turn_book(server, mail)
        elif server.scheduling_mail:
            mail, server.scheduling_mail = server.scheduling_mail, deque()
            self._turn_scheduling(server, mail)
        elif server.book.next_deadline() <= server.scheduling.next_deadline():
            self.now = max(self.now, server.book.next_deadline())
            self._turn_book(server, [])
        else:
            self.now = max(self.now, server.scheduling.next_deadline())
            self._turn_scheduling(server, [])

    def _turn_book(self, server: Server, mail: Sequence[Any]) -> None:
        effects: list[Any] = []
        for message in mail:
            effects += server.book.handle(message, self._now())
        if server.book.next_deadline() <= self.now:
            effects += server.book.tick(self._now())
        effects += server.book.end_batch(self._now())
        self._perform_book(effects)

    def _perform_book(self, effects: Sequence[Any]) -> None:
        server = self.server
        assert server is not None
        if records := [r for e in effects if isinstance(e, Append) for r in e.records]:
            server.written = self._record(records)
        for effect in effects:
            match effect:
                case Command(command):
                    server.scheduling_mail.append(command)
                case Answer() | Receipted():
                    server.waiting.append((server.written, effect))
                case Append() | Notify():
                    pass
        self._release()

    def _release(self) -> None:
        server = self.server
        while server is not None and server.waiting and self._is_durable(server.waiting[0][0]):
            _, effect = server.waiting.popleft()
            match effect:
                case Answer(response=Submitted(job)):
                    self.answered, self.job = True, job
                case Receipted(receipt):
                    server.scheduling_mail.append(receipt)

    def _is_durable(self, group: int) -> bool:
        return group <= self.durable

    def _turn_scheduling(self, server: Server, mail: Sequence[Any]) -> None:
        machine = server.scheduling
        effects: list[Any] = []
        for message in mail:
            effects += machine.handle(message, self._now())
        if machine.next_deadline() <= self.now:
            effects += machine.tick(self._now())
        effects += machine.end_batch(self._now())
        if records := list(self._shipments(effects)):
            self._record(records)
        for effect in effects:
            match effect:
                case ToLink(link, messages):
                    if (wire := server.wires.get(link)) is not None and not wire.is_cut:
                        wire.down.append(messages)
                case CloseLink(link):
                    if (wire := server.wires.pop(link, None)) is not None:
                        wire.is_cut = True
                        wire.down.append(END)
                        wire.up.clear()
                        server.known.pop(link)
                        server.scheduling_mail.append(LinkClosed(link, LossReason.CONNECTION_LOST))
                case Fact(fact):
                    server.book_mail.append(fact)

    def _shipments(self, effects: Sequence[Any]) -> Iterator[Record]:
        for effect in effects:
            match effect:
                case Shipped(worker, firsts, counts, instances):
                    yield TasksShipped(worker, firsts, counts, instances)
                case TakenBack(worker, tasks):
                    yield TasksTakenBack(worker, tasks)

    # --- connections

    def _dial(self, node: Node) -> None:
        assert self.server is not None
        self.links += 1
        wire = node.wire = Wire(self.links)
        self.server.wires[wire.link] = wire
        self.server.known[wire.link] = False
        link, node.wanted = node.wanted, 0
        self._tell(node, worker_events.LinkOpened(link))

    def _up(self, node: Node) -> None:
        server, wire = self.server, node.wire
        assert server is not None and wire is not None
        frame = wire.up.popleft()
        if frame == END:
            server.wires.pop(wire.link, None)
            if server.known.pop(wire.link, False):
                server.scheduling_mail.append(LinkClosed(wire.link, LossReason.CONNECTION_LOST))
            if not node.is_alive:
                node.wire = None
        elif isinstance(frame[0], Register):
            server.known[wire.link] = True
            server.scheduling_mail.append(LinkOpened(wire.link, frame[0]))
        elif wire.link in server.wires:
            server.scheduling_mail.append(WorkerSaid(wire.link, frame))

    def _down(self, node: Node) -> None:
        wire = node.wire
        assert wire is not None
        frame = wire.down.popleft()
        if frame == END:
            if not wire.up or self.server is None or wire.link not in self.server.known:
                node.wire = None
            else:
                node.wire = None
                self._orphan(wire)
            self._tell(node, worker_events.LinkEnded(node.machine._link, "closed"))
            return
        for message in frame:
            if isinstance(message, Ack):
                for seq in [seq for seq in node.told if seq <= message.durable]:
                    for task, instance in node.told.pop(seq):
                        self._receipt(task, instance)
            if isinstance(message, Registered):
                node.id = message.worker
        self._tell(node, worker_events.Heard(node.machine._link, frame))

    def _orphan(self, wire: Wire) -> None:
        """The server has yet to learn that the connection is gone; it does so at once."""
        server = self.server
        assert server is not None
        server.wires.pop(wire.link, None)
        if server.known.pop(wire.link, False):
            server.scheduling_mail.append(LinkClosed(wire.link, LossReason.CONNECTION_LOST))

    # --- workers

    def _add_node(self, number: int) -> None:
        node = self.nodes[number] = Node(number)
        self._tell(node, worker_events.Began())

    def _kill(self, node: Node) -> None:
        node.is_alive = False
        node.lanes.clear()
        node.wanted = 0
        if node.wire is not None:
            node.wire.down.clear()
            node.wire.up.append(END)  # what it had sent arrives before
            node.wire.is_cut = True

    def _tell(self, node: Node, event: Any) -> None:
        events = deque([event])
        while events:
            effects: list[Any] = list(node.machine.handle(events.popleft(), self._now()))
            if node.machine.next_deadline() <= self.now:
                effects += node.machine.tick(self._now())
            effects += node.machine.end_batch(self._now())
            for effect in effects:
                events.extend(self._obey(node, effect))

    def _obey(self, node: Node, effect: Any) -> Iterator[Any]:
        match effect:
            case worker_events.OpenLink(link):
                node.wanted = link
            case worker_events.CloseLink():
                if node.wire is not None:
                    node.wire.cut()
            case worker_events.Say(_, messages):
                self._send(node, messages)
            case worker_events.StartLauncher(number):
                yield LauncherReady(number)
            case worker_events.Exit():
                raise Violation(f"worker {node.number} has ended: {effect.why}")
            case OpenLane(_, lane):
                node.lanes.setdefault(lane, deque())
            case RunTasks(launcher, lane, _, tasks, instances):
                queue = node.lanes.setdefault(lane, deque())
                is_idle = not queue
                queue.extend(zip(tasks, instances, strict=True))
                if is_idle:
                    yield self._start(launcher, lane, queue)
            case TakeBack(launcher, seq, tasks):
                taken = []
                for lane, queue in node.lanes.items():
                    waiting = list(queue)[1:]
                    taken += [task for task, _ in waiting if task in tasks]
                    kept = [row for row in waiting if row[0] not in tasks]
                    node.lanes[lane] = deque([*list(queue)[:1], *kept])
                yield LauncherSaid(launcher, taken=((seq, tuple(taken)),))
            case SignalTasks(launcher, _, tasks):  # they end at once, and need not be killed
                for lane, queue in node.lanes.items():
                    if queue and queue[0][0] in tasks:
                        yield self._stop_first(launcher, lane, queue, -2)
                        if queue:
                            yield self._start(launcher, lane, queue)
            case _:
                pass

    def _start(self, launcher: int, lane: int, queue: deque[tuple[int, int]]) -> LauncherSaid:
        self._begin(*queue[0])
        return LauncherSaid(launcher, started=(TaskRan(queue[0][0], lane, 1, 0.0),))

    def _stop_first(
        self, launcher: int, lane: int, queue: deque[tuple[int, int]], status: int
    ) -> LauncherSaid:
        task, instance = queue.popleft()
        if status == 0:
            self.finished.add((task, instance))
        return LauncherSaid(launcher, ended=(TaskRan(task, lane, 1, 0.0, 0.0, status),))

    def _end_first(self, node: Node) -> None:
        lane, queue = next((lane, queue) for lane, queue in node.lanes.items() if queue)
        said = self._stop_first(1, lane, queue, 0)
        if queue:
            more = self._start(1, lane, queue)
            said = LauncherSaid(1, started=more.started, ended=said.ended)
        self._tell(node, said)

    def _send(self, node: Node, messages: Sequence[Any]) -> None:
        for message in messages:
            held = message.held.reports if isinstance(message, Register) and message.held else ()
            for report in (message,) if isinstance(message, Report) else held:
                rows = [
                    (task, instance)
                    for fact in report.facts
                    if isinstance(fact, Ended)
                    for task, instance, ending in zip(
                        read_u64(fact.tasks), read_u32(fact.instances), fact.endings, strict=True
                    )
                    if ending == Ending.FINISHED
                ]
                node.told[report.seq] = rows
        if node.wire is not None and not node.wire.is_cut:
            for message in messages:
                node.wire.up.append((message,))

    def _run_timers(self) -> None:
        for node in self.nodes.values():
            while node.is_alive and node.machine.next_deadline() <= self.now + SHORT_S:
                self.now = max(self.now, node.machine.next_deadline())
                effects = [*node.machine.tick(self._now()), *node.machine.end_batch(self._now())]
                for effect in effects:
                    for event in self._obey(node, effect):
                        self._tell(node, event)


def _ended_in(records: Sequence[Record]) -> Iterator[tuple[int, int, int]]:
    """Task, instance and state of every end that these records tell of."""
    for record in records:
        if isinstance(record, TasksEnded):
            yield from zip(
                read_u64(record.tasks), read_u32(record.instances), record.states, strict=True
            )
