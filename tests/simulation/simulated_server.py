"""The server process: both real machines, glued as the server's actors glue them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import count
from math import inf
from random import Random
from typing import Any, Final, Protocol

from simulated_network import Connection
from simulated_time import Alarm, Core, Timeline
from watched_scheduling import RecordedScheduling

from hqtrio.jobs.effects import (
    Answer,
    Append,
    ClientAsked,
    Command,
    Notify,
    Receipted,
    SessionEnded,
    StopServer,
)
from hqtrio.jobs.machine import JobBook
from hqtrio.jobs.replay import Replay
from hqtrio.messages.client import Call, Said, ServerDetails
from hqtrio.messages.records import Record, TasksShipped, TasksTakenBack
from hqtrio.messages.worker import FromWorker, Heartbeat, Pulse, Register
from hqtrio.model.worker import LossReason
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

REGISTRATION_S: Final = 15.0
DURABLE_S: Final = (0.0002, 0.02)  # until a group of records is on the disk
GRACE: Final = Grace(3.0, 12.0)
RESUMED_S: Final = 20.0
ROUND_S: Final = (0.0001, 0.002)


class Surroundings(Protocol):
    timeline: Timeline
    rng: Random

    def lag(self) -> float: ...
    def recorded(self, records: Sequence[Record]) -> None: ...
    def due_for_check(self) -> bool: ...


class Proxy:
    """The server's edge towards one worker."""

    def __init__(self, server: Server, link: int, connection: Connection) -> None:
        self._server, self.link, self._connection = server, link, connection
        connection.to_server.listen(self)
        self._silence_s = REGISTRATION_S
        self._registered = self._over = False
        self._silence = Alarm(server.world.timeline, self._silent)
        self._listen()

    def _listen(self) -> None:
        self._silence.set(self._server.world.timeline.now + self._silence_s)

    def receive(self, messages: list[FromWorker]) -> None:
        if self._over:
            return
        if self._registered:
            said = tuple(m for m in messages if not isinstance(m, Heartbeat))
            if len(said) < len(messages):
                self.send((Pulse(),))
            if said:
                self._server.scheduling_core.put(WorkerSaid(self.link, said))
        else:
            (hello,) = messages
            assert isinstance(hello, Register), hello
            self._registered, self._silence_s = True, 2 * hello.config.heartbeat_s
            self._server.proxies[self.link] = self
            self._server.scheduling_core.put(LinkOpened(self.link, hello))
        self._listen()

    def send(self, messages: Sequence[Any]) -> None:
        self._connection.to_dialer.send(messages)

    def _silent(self) -> None:
        if self._server.busy:  # only time in which the loop could read counts
            self._silence.set(self._server.world.timeline.now + self._silence_s / 4)
        else:
            self._end(LossReason.HEARTBEAT_LOST)

    def lose(self) -> None:
        self._end(LossReason.CONNECTION_LOST)

    def close(self) -> None:
        """Say what is queued, then hang up."""
        self._end(LossReason.CONNECTION_LOST)

    def _end(self, reason: LossReason) -> None:
        if self._over:
            return
        self._over = True
        self._silence.set(inf)
        self._connection.hang_up(by_server=True)
        if self._registered:
            self._server.scheduling_core.put(LinkClosed(self.link, reason))


class Session:
    """The server's edge towards one client."""

    def __init__(self, server: Server, number: int, connection: Connection) -> None:
        self._server, self._number, self._connection = server, number, connection
        connection.to_server.listen(self)

    def receive(self, messages: list[Call]) -> None:
        for call in messages:
            self._server.book_core.put(ClientAsked(self._number, call.number, call.request))

    def send(self, said: Said) -> None:
        self._connection.to_dialer.send((said,))

    def lose(self) -> None:
        self._connection.hang_up(by_server=True)
        self._server.book_core.put(SessionEnded(self._number))


class Server:
    """Both cores, a journal that keeps nothing but says when it is durable, and all edges."""

    def __init__(self, world: Surroundings, name: str, journal: Sequence[Record] = ()) -> None:
        self.world = world
        details = ServerDetails(name, "host", 1, "host", 2, "0", 1, 0.0)
        replay = Replay(name)
        for record in journal:
            replay.apply(record)
        self.book = JobBook(name, name.encode(), details, replayed=replay if journal else None)
        self.scheduling = RecordedScheduling(grace=GRACE)
        self.proxies: dict[int, Proxy] = {}
        self._sessions: dict[int, Session] = {}
        self._links, self._numbers = count(1), count(1)
        self._groups = self._durable = 0
        self._waiting: deque[tuple[int, Answer | Receipted]] = deque()
        self._busy_until = 0.0
        self.book_core = Core(world.timeline, self._turn_book, self.book.next_deadline, world.lag)
        self.scheduling_core = Core(
            world.timeline, self._turn_scheduling, self.scheduling.next_deadline, world.lag
        )

    def begin(self) -> None:
        """Its first words; workers of the journal have a while to come back."""
        self._perform(self.book.begin(self.world.timeline.instant(), RESUMED_S))

    # --- edges

    def accept_worker(self, connection: Connection) -> None:
        Proxy(self, next(self._links), connection)

    def accept_client(self, connection: Connection) -> None:
        number = next(self._numbers)
        self._sessions[number] = Session(self, number, connection)

    def stall(self, seconds: float) -> None:
        """The loop stands still: a slow disk, a suspended process."""
        self._busy_until = self.world.timeline.now + seconds
        self.book_core.sleep(self._busy_until)
        self.scheduling_core.sleep(self._busy_until)

    def kill(self) -> None:
        """SIGKILL: whatever it knew is gone with it."""
        self.book_core.stop()
        self.scheduling_core.stop()

    @property
    def busy(self) -> bool:
        return self.world.timeline.now < self._busy_until

    # --- the journal

    def _append(self, records: Sequence[Record]) -> int:
        """Written when this returns, durable a little later."""
        self._groups += 1
        self.world.recorded(records)
        world = self.world
        world.timeline.after(world.rng.uniform(*DURABLE_S), self._make_durable, self._groups)
        return self._groups

    def _make_durable(self, group: int) -> None:
        self._durable = max(self._durable, group)
        if self._waiting and self._waiting[0][0] <= group:
            self.book_core.put(None)

    # --- the job book's core

    def _turn_book(self, batch: Sequence[Any]) -> None:
        now, book = self.world.timeline.instant(), self.book
        effects: list[Any] = []
        for mail in batch:
            if mail is None:
                continue
            if isinstance(mail, SessionEnded):
                del self._sessions[mail.session]
            effects += book.handle(mail, now)
            if self.world.due_for_check():
                book.check()
        if book.next_deadline() <= now.monotonic:
            effects += book.tick(now)
        effects += book.end_batch(now)
        self._perform(effects)

    def _perform(self, effects: Sequence[Any]) -> None:
        records = [r for e in effects if isinstance(e, Append) for r in e.records]
        group = self._append(records) if records else self._groups
        commands: list[Any] = []
        for effect in effects:
            match effect:
                case Command(command):
                    commands.append(command)
                case Answer(durable=True) | Receipted():
                    self._waiting.append((group, effect))
                case Answer():
                    self._answer(effect)
                case Notify(session, notice):
                    if session in self._sessions:
                        self._sessions[session].send(Said(0, notice))
                case Append():
                    pass
                case StopServer():
                    raise AssertionError("nobody has asked for that")
        self.scheduling_core.put(*commands)
        self._release()

    def _release(self) -> None:
        receipts: list[Any] = []
        while self._waiting and self._waiting[0][0] <= self._durable:
            _, effect = self._waiting.popleft()
            match effect:
                case Answer():
                    self._answer(effect)
                case Receipted(receipt):
                    receipts.append(receipt)
        self.scheduling_core.put(*receipts)

    def _answer(self, answer: Answer) -> None:
        if answer.session in self._sessions:
            self._sessions[answer.session].send(Said(answer.number, answer.response))

    # --- the scheduler's core

    def _turn_scheduling(self, batch: Sequence[Any]) -> None:
        now, machine = self.world.timeline.instant(), self.scheduling
        effects: list[Any] = []
        for mail in batch:
            if isinstance(mail, LinkClosed):
                self.proxies.pop(mail.link, None)
            effects += machine.handle(mail, now)
            if self.world.due_for_check():
                machine.check()
        if machine.next_deadline() <= now.monotonic:
            effects += machine.tick(now)
        effects += machine.end_batch(now)
        machine.round_took(self.world.rng.uniform(*ROUND_S))
        if self.world.due_for_check():
            machine.check()
        records: list[Record] = []
        for effect in effects:
            match effect:
                case Shipped(worker, firsts, counts, instances):
                    records.append(TasksShipped(worker, firsts, counts, instances))
                case TakenBack(worker, tasks):
                    records.append(TasksTakenBack(worker, tasks))
        if records:
            self._append(records)
        for effect in effects:
            match effect:
                case ToLink(link, messages):
                    if link in self.proxies:
                        self.proxies[link].send(messages)
                case CloseLink(link, reason):
                    self._close_link(link, reason)
                case Fact(fact):
                    self.book_core.put(fact)

    def _close_link(self, link: int, reason: str) -> None:
        """The machine has closed a link: the workers here are honest, so only for good reasons."""
        good = ("did not end in time after being told", "the worker has a later connection")
        assert reason in good, reason
        proxy = self.proxies.pop(link, None)
        if proxy is not None:
            proxy.close()
