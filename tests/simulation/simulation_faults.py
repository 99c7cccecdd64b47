"""What goes wrong, how often, and for how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Final, Protocol

from simulated_client import Customer
from simulated_network import Connection
from simulated_server import Server
from simulated_time import Timeline
from simulated_worker import WorkerProcess

SUSPENDED_MAX_S: Final = 10.0  # longer than most silences that a server puts up with
STALL_S: Final = 0.5
CLOG_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Faults:
    """Mean seconds between two of each kind; inf: never. `until_s` ends them all."""

    until_s: float = 0.0
    death: float = inf  # a worker process is killed
    power: float = inf  # a node vanishes without a word
    suspension: float = inf  # a worker process stands still, often for longer than two heartbeats
    stop: float = inf  # a worker is asked to end, by a signal
    termination: float = inf  # SIGTERM to a whole node
    launcher_death: float = inf
    cut: float = inf  # a connection breaks
    clog: float = inf  # nothing passes for a while
    join: float = inf  # one more worker
    stall: float = inf  # the server's loop stands still
    session: float = inf  # a client's session breaks
    rebirth: float = inf  # another server, which knows nothing, takes over
    restart: float = inf  # the server is killed, and goes on from its journal


NO_FAULTS: Final = Faults()


class World(Protocol):
    """What faults are done to."""

    timeline: Timeline
    rng: Random
    customers: list[Customer]
    server: Server

    @property
    def alive(self) -> Sequence[WorkerProcess]: ...

    @property
    def links(self) -> Sequence[Connection]: ...

    def note(self, *what: object) -> None: ...
    def join(self) -> WorkerProcess: ...
    def replace_server(self) -> None: ...
    def restart_server(self) -> None: ...


class FaultMaker:
    """Does what `faults` say until their time is over, each kind at random times of its own."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world, self._rng, self._timeline = world, world.rng, world.timeline
        self._until_s = faults.until_s
        self.done: Counter[str] = Counter()
        for name in Faults.__dataclass_fields__:
            every_s = getattr(faults, name)
            if name != "until_s" and every_s < inf:
                self._plan(name, every_s)

    def _plan(self, name: str, every_s: float) -> None:
        at = self._timeline.now + self._rng.expovariate(1 / every_s)
        if at < self._until_s:
            self._timeline.at(at, self._do, name, every_s)

    def _do(self, name: str, every_s: float) -> None:
        self._plan(name, every_s)
        self._world.note("fault", name)
        self.done[name] += 1
        getattr(self, f"_{name}")()

    # --- to workers

    def _victim(self, call: Callable[[WorkerProcess], None]) -> None:
        if alive := self._world.alive:
            call(self._rng.choice(alive))

    def _death(self) -> None:
        self._victim(WorkerProcess.die)

    def _power(self) -> None:
        self._victim(lambda worker: worker.die(silently=True))

    def _suspension(self) -> None:
        def suspend(worker: WorkerProcess) -> None:
            if not worker.suspended:
                worker.suspend()
                self._timeline.after(self._rng.uniform(0.05, SUSPENDED_MAX_S), worker.resume)

        self._victim(suspend)

    def _stop(self) -> None:
        self._victim(lambda worker: worker.ask_to_stop("received SIGINT"))

    def _termination(self) -> None:
        self._victim(WorkerProcess.terminate_node)

    def _launcher_death(self) -> None:
        self._victim(WorkerProcess.kill_launcher)

    def _join(self) -> None:
        self._world.join()

    # --- to connections

    def _cut(self) -> None:
        if links := self._world.links:
            self._rng.choice(links).cut()

    def _clog(self) -> None:
        """Some connections stand still, one by one, and go on in another order."""
        links = self._world.links
        for connection in self._rng.sample(links, min(len(links), self._rng.randrange(1, 4))):
            begin_s = self._rng.uniform(0, 1)
            self._timeline.after(begin_s, connection.clog, True)
            end_s = begin_s + self._rng.expovariate(1 / CLOG_S)
            self._timeline.after(end_s, connection.clog, False)

    def _session(self) -> None:
        if self._world.customers:
            self._rng.choice(self._world.customers).break_off()

    # --- to the server

    def _stall(self) -> None:
        self._world.server.stall(self._rng.expovariate(1 / STALL_S))

    def _rebirth(self) -> None:
        self._world.replace_server()

    def _restart(self) -> None:
        self._world.restart_server()
