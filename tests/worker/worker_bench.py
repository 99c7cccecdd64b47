"""A worker machine with a hand-driven clock, server and launchers, for stories."""

from __future__ import annotations

from dataclasses import dataclass, field

from hqtrio.ids import task_id
from hqtrio.messages.columns import read_f64, read_i32, read_u32, read_u64, u32, u64
from hqtrio.messages.worker import (
    Ack,
    Bounced,
    Closed,
    DefineBody,
    DefineClass,
    Ended,
    Enqueue,
    FromWorker,
    Grant,
    Registered,
    Report,
    Retracted,
    Started,
)
from hqtrio.model.resources import CPUS, UNIT, Claim, Descriptor, Need, Request, Share, single_pool
from hqtrio.model.task import Ending, Stdio, TaskBody
from hqtrio.model.worker import WorkerConfig
from hqtrio.now import Now
from hqtrio.worker.alarms import GRACE_S
from hqtrio.worker.events import Began, Effect, Event, Heard, LinkOpened, Say, StartLauncher
from hqtrio.worker.launch import Site
from hqtrio.worker.machine import WorkerMachine
from hqtrio.worker.orders import LauncherReady, LauncherSaid, TaskRan

ONE = (Request((Need(CPUS, UNIT),)),)
TWO = (Request((Need(CPUS, 2 * UNIT),)),)
BODY = TaskBody((b"true",), (), "/here", Stdio("out"), Stdio("err"), "/here")
CONFIG = WorkerConfig("node", "node", "/work", "default", Descriptor((single_pool(CPUS, ("0",)),)))
SITE = Site(
    ((b"PATH", b"/bin"),), b"/bin/hqtrio", "/work", notify_socket="/tmp/s", token_key=b"k" * 16
)


def t(number: int) -> int:
    """Task `number` of job 1."""
    return task_id(1, number)


def claim(*labels: str) -> Claim:
    return Claim((Share(CPUS, UNIT * len(labels), labels),))


def define(klass: int = 1, variants: tuple[Request, ...] = ONE, body: TaskBody = BODY):
    """Class and body of the same number."""
    return (DefineClass(klass, variants), DefineBody(klass, 1, body))


def grant(slot: int, klass: int = 1) -> Grant:
    return Grant(slot, klass, 0, claim(str(slot)))


def gang(slot: int, *nodes: str, klass: int = 3) -> Grant:
    """The slot of a multi-node task on its root."""
    return Grant(slot, klass, 0, Claim(), nodes)


def enqueue(*tasks: int, klass: int = 1, priority: int = 0, entries: tuple[bytes, ...] = ()):
    return Enqueue(
        klass,
        klass,
        priority,
        u64([t(task) for task in tasks]),
        u32([1] * len(tasks)),
        u32([0] * len(tasks)),
        entries,
    )


def span(first: int, count: int, klass: int = 1) -> Enqueue:
    return Enqueue(klass, klass, 0, u64([t(first)]), u32([count]), u32([0]))


@dataclass
class Told:
    """What the server has learned so far."""

    started: list[tuple[int, int]] = field(default_factory=list)  # task, slot
    ended: list[tuple[int, Ending]] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=dict)
    codes: dict[int, int] = field(default_factory=dict)
    never_started: set[int] = field(default_factory=set)
    closed: list[int] = field(default_factory=list)
    bounced: list[tuple[int, str]] = field(default_factory=list)
    retracted: dict[int, list[int]] = field(default_factory=dict)
    last: int = 0
    other: list[FromWorker] = field(default_factory=list)

    def hear(self, message: FromWorker) -> None:
        if not isinstance(message, Report):
            self.other.append(message)
            return
        assert message.seq == self.last + 1
        self.last = message.seq
        for fact in message.facts:
            match fact:
                case Started(tasks, _, slots, _):
                    self.started += zip(read_u64(tasks), read_u32(slots), strict=True)
                case Ended():
                    self._ended(fact)
                case Closed(slots):
                    self.closed += read_u32(slots)
                case Bounced(tasks, _, reason):
                    self.bounced += [(task, reason) for task in read_u64(tasks)]
                case Retracted(seq, released):
                    self.retracted[seq] = sorted(read_u64(released))

    def _ended(self, fact: Ended) -> None:
        tasks = read_u64(fact.tasks)
        assert 0 < len(tasks) <= 5000
        self.ended += zip(tasks, map(Ending, fact.endings), strict=True)
        self.codes.update(zip(tasks, read_i32(fact.codes), strict=True))
        self.texts.update((tasks[row], text) for row, text in fact.texts)
        started = read_f64(fact.started_ages)
        self.never_started |= {x for x, age in zip(tasks, started, strict=True) if age < 0}


class Bench:
    """Steps the machine as its actor does: events, alarms, end of batch."""

    def __init__(
        self,
        *,
        launchers: int = 1,
        at: float = 100.0,
        joined: bool = True,
        site: Site = SITE,
        grace_s: float = GRACE_S,
        reconnect_timeout_s: float | None = None,
        **config: object,
    ) -> None:
        settings = {name: getattr(CONFIG, name) for name in CONFIG.__struct_fields__}
        self.machine = WorkerMachine(
            WorkerConfig(**{**settings, **config}),
            site,
            worker_key=b"key",
            launchers=launchers,
            grace_s=grace_s,
            reconnect_timeout_s=reconnect_timeout_s,
        )
        self.at = at
        self.told = Told()
        self.acknowledge = True
        effects = self.step(Began())
        for effect in effects:
            if isinstance(effect, StartLauncher):
                self.step(LauncherReady(effect.launcher))
        if joined:
            self.step(LinkOpened(1))
            self.server(Registered(7, "abcdef", b"history", 1))
            self.server(*define())

    def step(self, *events: Event) -> list[Effect]:
        now = Now(self.at, 0.0)
        effects: list[Effect] = []
        for event in events:
            effects += self.machine.handle(event, now)
        if self.machine.next_deadline() <= self.at:
            effects += self.machine.tick(now)
            assert self.machine.next_deadline() > self.at
        effects += self.machine.end_batch(now)
        self.machine.check()
        for effect in effects:
            if isinstance(effect, Say):
                for message in effect.messages:
                    self.told.hear(message)
        if self.acknowledge and any(isinstance(effect, Say) for effect in effects):
            effects += self.step(Heard(1, (Ack(self.told.last, self.told.last),)))
        return effects

    def server(self, *messages: object) -> list[Effect]:
        return self.step(Heard(1, messages))  # type: ignore[arg-type]

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass, alarm by alarm."""
        end, effects = self.at + seconds, []
        while self.machine.next_deadline() <= end:
            self.at = max(self.at, self.machine.next_deadline())
            effects += self.step()
        self.at = end
        return effects + self.step()

    def started(self, *tasks: int, launcher: int = 1, age_s: float = 0.0) -> list[Effect]:
        rows = tuple(TaskRan(t(task), 0, 1000 + task, age_s) for task in tasks)
        return self.step(LauncherSaid(launcher, started=rows))

    def ended(
        self,
        *tasks: int,
        launcher: int = 1,
        status: int = 0,
        lasted_s: float = 1.0,
        error: str = "",
    ) -> list[Effect]:
        rows = tuple(
            TaskRan(t(task), 0, 1000 + task, lasted_s, 0.0, status, 0.1, 0, error) for task in tasks
        )
        return self.step(LauncherSaid(launcher, ended=rows))


def only(effects: list[Effect], kind: type) -> list[Effect]:
    return [effect for effect in effects if type(effect) is kind]


def with_body(**changes: object) -> TaskBody:
    fields = {name: getattr(BODY, name) for name in BODY.__struct_fields__}
    return TaskBody(**{**fields, **changes})
