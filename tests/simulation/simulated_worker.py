"""A worker process: the real machine, its link to the server, and its launchers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from random import Random
from typing import Any, Final, Protocol

from simulated_launcher import Launcher, Witness
from simulated_network import Connection
from simulated_time import Alarm, Core, Timeline

from hqtrio.messages.columns import read_u64
from hqtrio.messages.worker import Ack, Cancel, FromWorker, Heartbeat, Register, Report, ToWorker
from hqtrio.model.worker import WorkerConfig
from hqtrio.worker.events import (
    Began,
    CloseLink,
    Depart,
    Effect,
    Exit,
    Heard,
    Joined,
    LinkEnded,
    LinkOpened,
    OpenLink,
    Say,
    StartLauncher,
    StopAsked,
)
from hqtrio.worker.launch import Site
from hqtrio.worker.machine import WorkerMachine
from hqtrio.worker.orders import RunTasks

TRY_S: Final = 2.0
ANSWER_S: Final = 15.0
KILL_S: Final = (0.0, 0.05)  # from a worker's death to that of its last process

Dial = Callable[["Link"], Connection | None]


class Surroundings(Witness, Protocol):
    """What a worker process needs of the world around it."""

    timeline: Timeline
    rng: Random

    def lag(self) -> float: ...
    def dial(self, link: Link) -> Connection | None: ...
    def ordered(self, worker: WorkerProcess, order: RunTasks) -> None: ...
    def due_for_check(self) -> bool: ...


class Link:
    """The worker's edge: one connection with its number, from the first try to the last word."""

    def __init__(self, process: WorkerProcess, order: OpenLink) -> None:
        self._process, self.number, self._tries = process, order.link, order.tries
        self._world = process.world
        self._heartbeat_s = process.config.heartbeat_s
        self._connection: Connection | None = None
        self._sent = self._seen = 0
        self._heard = False
        self._heard_at = 0.0
        self.over = False
        self._beat = Alarm(self._world.timeline, self._heartbeat)
        self._patience = Alarm(self._world.timeline, self._lose_patience)
        self._world.timeline.after(self._world.rng.uniform(0.001, 0.01), self._try)

    @property
    def connection(self) -> Connection | None:
        return None if self.over else self._connection

    def _try(self) -> None:
        if self.over or self._process.dead:
            return
        connection = self._world.dial(self)
        self._tries -= 1
        if connection is not None:
            self._connection = connection
            connection.to_dialer.listen(self)
            self._process.put(lambda: LinkOpened(self.number))
            self._patience.set(self._world.timeline.now + ANSWER_S)
        elif self._tries > 0:
            self._world.timeline.after(TRY_S, self._try)
        else:
            self._end("nobody answers")

    def say(self, messages: Sequence[FromWorker]) -> None:
        connection = self.connection
        if connection is None:
            return
        for message in messages:
            if isinstance(message, Report):
                if self._seen == self._sent:
                    self._heard_at = self._world.timeline.now
                self._sent = message.seq
            connection.to_server.send((message,))
        self._beat.set(self._world.timeline.now + self._heartbeat_s)
        if self._heard and self._seen < self._sent:
            self._patience.set(self._heard_at + 2.5 * self._heartbeat_s)

    def _heartbeat(self) -> None:
        if self._process.suspended:
            self._process.when_awake(self._heartbeat)
        else:
            self.say((Heartbeat(),))

    def receive(self, messages: list[ToWorker]) -> None:
        if self._process.suspended:
            self._process.when_awake(lambda: self.receive(messages))
            return
        if self.over:
            return
        self._heard, self._heard_at = True, self._world.timeline.now
        for message in messages:
            if isinstance(message, Ack):
                self._seen = message.seen
        owed = self._seen < self._sent
        self._patience.set(self._heard_at + 2.5 * self._heartbeat_s if owed else inf)
        self._process.put(lambda: Heard(self.number, messages))

    def _lose_patience(self) -> None:
        if self._process.suspended:  # only time in which it could read counts
            self._heard_at = self._world.timeline.now
            self._process.when_awake(lambda: self._patience.set(self._world.timeline.now + 1.0))
        else:
            self._end("the server is silent")

    def lose(self) -> None:
        if self._process.suspended:
            self._process.when_awake(self.lose)
        else:
            self._end("closed")

    def close(self) -> None:
        """Say what is queued, then hang up."""
        self._end("closed")

    def _end(self, why: str) -> None:
        if self.over:
            return
        self.stop()
        self._process.put(lambda: LinkEnded(self.number, why))

    def stop(self) -> None:
        """The process is gone, or the link is: whoever listens on the other side hears of it."""
        connection, self.over = self._connection, True
        self._beat.set(inf)
        self._patience.set(inf)
        if connection is not None:
            connection.hang_up(by_server=False)


class WorkerProcess:
    """One life of one worker. `node` is where it runs; several never share one."""

    def __init__(self, world: Surroundings, node: str, config: WorkerConfig) -> None:
        self.world, self.node, self.config = world, node, config
        site = Site((), b"hq", "/work")
        key = world.rng.randbytes(16)
        self.machine = WorkerMachine(config, site, worker_key=key, launchers=2)
        self.launchers: dict[int, Launcher] = {}
        self.link: Link | None = None
        self.joined: list[tuple[int, str]] = []  # the ids it has had, and of which server
        self.exit: Exit | None = None
        self.dead = False  # its process is gone, for whatever reason
        self.suspended = False
        self.last_hello: Register | None = None
        self.cancelled: set[int] = set()
        self._held_up: list[Callable[[], None]] = []
        self._core = Core(world.timeline, self._turn, self.machine.next_deadline, world.lag)
        self._core.put(Began())

    # --- mail

    def put(self, make: Callable[[], object]) -> None:
        """Mail made by an edge of this process when its loop runs."""
        if self.suspended:
            self.when_awake(lambda: self.put(make))
        elif not self.dead:
            self._core.put(make())

    def when_awake(self, call: Callable[[], None]) -> None:
        self._held_up.append(call)

    def suspend(self) -> None:
        """SIGSTOP; launchers and tasks go on."""
        self.suspended = True
        self._core.sleep(inf)

    def resume(self) -> None:
        if self.suspended and not self.dead:
            self.suspended = False
            held_up, self._held_up = self._held_up, []
            for call in held_up:
                call()
            self._core.wake()

    def ask_to_stop(self, why: str) -> None:
        self.put(lambda: StopAsked(why))

    # --- the loop

    def _turn(self, batch: Sequence[Any]) -> None:
        now, machine = self.world.timeline.instant(), self.machine
        effects: list[Effect] = []
        for event in batch:
            effects += machine.handle(event, now)
            if isinstance(event, Heard):
                self._note_cancels(event)
        if machine.next_deadline() <= now.monotonic:
            effects += machine.tick(now)
            assert machine.next_deadline() > now.monotonic, "a tick must move the deadline"
        effects += machine.end_batch(now)
        if self.world.due_for_check():
            machine.check()
        for effect in effects:
            self._perform(effect)

    def _note_cancels(self, heard: Heard) -> None:
        if self.link is not None and heard.link == self.link.number:
            for message in heard.messages:
                if isinstance(message, Cancel):
                    self.cancelled.update(read_u64(message.tasks))

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Say(link, messages):
                if isinstance(messages[0], Register):
                    self.last_hello = messages[0]
                if self.link is not None and self.link.number == link:
                    self.link.say(messages)
            case OpenLink():
                assert self.link is None or self.link.over, "two links at once"
                self.link = Link(self, effect)
            case CloseLink(link):
                if self.link is not None and self.link.number == link:
                    self.link.close()
            case StartLauncher(launcher):
                assert launcher not in self.launchers
                self.launchers[launcher] = Launcher(
                    launcher, self.node, self.world.timeline, self.world.rng, self.world, self.put
                )
            case Joined():
                self.joined.append((effect.worker, effect.server_uid))
                self.cancelled.clear()  # of another attachment, or another server
            case Depart():
                pass
            case Exit():
                self.exit = effect
                self._end()
            case RunTasks():
                self.world.ordered(self, effect)
                self.launchers[effect.launcher].tell(effect)
            case _:
                self.launchers[effect.launcher].tell(effect)

    # --- the end

    def _end(self) -> None:
        """The process ends in order: its launchers kill what is left before it is gone."""
        self.dead = True
        self._core.stop()
        if self.link is not None:
            self.link.stop()
        for launcher in self.launchers.values():
            launcher.kill_all()

    def die(self, *, silently: bool = False) -> None:
        """SIGKILL, or (silently) the node loses its power."""
        if self.dead:
            return
        self.dead = True
        self._core.stop()
        if self.link is not None:
            connection = self.link.connection
            if connection is not None and silently:
                connection.vanish()
                connection.to_dialer.destroy()
            self.link.over = True
            if connection is not None and not silently:
                connection.cut()
        for launcher in self.launchers.values():
            delay_s = 0.0 if silently else self.world.rng.uniform(*KILL_S)
            self.world.timeline.after(delay_s, launcher.kill_all)

    def kill_launcher(self) -> None:
        alive = [launcher for launcher in self.launchers.values() if launcher.alive]
        if alive:
            self.world.rng.choice(alive).die()

    def terminate_node(self) -> None:
        """SIGTERM to everything at once, as batch managers do it."""
        for launcher in self.launchers.values():
            launcher.terminate_all()
        self.world.timeline.after(
            self.world.rng.uniform(0.0, 0.4), self.ask_to_stop, "received SIGTERM"
        )

    @property
    def idle(self) -> bool:
        """Whether no process of a task is left here."""
        return all(launcher.idle for launcher in self.launchers.values())
