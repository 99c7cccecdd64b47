"""A whole cluster in virtual time, with faults; what must hold is asserted as it happens.

Everything random comes from one seed: a run can be repeated event by event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Any, Final

from simulated_client import ALL, PLAIN, Author, Customer, Mix
from simulated_launcher import Load
from simulated_network import Connection, Network
from simulated_server import Server
from simulated_time import Timeline
from simulated_worker import Link, WorkerProcess
from simulation_faults import NO_FAULTS, FaultMaker, Faults
from simulation_ledger import Ledger

from hqtrio.messages import client as ask
from hqtrio.messages.records import Record
from hqtrio.model.resources import CPUS, UNIT, Descriptor, Pool
from hqtrio.model.task import ENDED, UNLIMITED, TaskState
from hqtrio.model.worker import OnServerLost, WorkerConfig
from hqtrio.worker.orders import RunTasks

CALM_MAX_S: Final = 3600.0  # after the last fault everything must have ended
HEARTBEAT_S: Final = 2.0
RECEIPTS_S: Final = 2.0  # until the last report has its receipt


@dataclass(frozen=True, slots=True)
class Nodes:
    """What workers look like."""

    count: int
    sockets: tuple[int, ...] = (8,)  # cpus of each
    gpus: int = 0  # on every second worker
    policies: tuple[OnServerLost, ...] = (OnServerLost.RECONNECT,)
    time_limits_s: tuple[float | None, ...] = (None,)
    idle_timeouts_s: tuple[float | None, ...] = (None,)
    zero_cost: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    nodes: Nodes
    story: Callable[[Cluster], None]  # plans what clients do
    mix: Mix = PLAIN
    faults: Faults = NO_FAULTS
    check_every: int = 1


@dataclass(slots=True)
class Figures:
    events: int = 0
    frames: int = 0
    bytes: int = 0
    tasks: int = 0
    starts: int = 0
    virtual_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Node:
    """Resources of one node, and what runs there."""

    sizes: dict[tuple[str, str], int]
    used: Counter[tuple[str, str]] = field(default_factory=Counter)


class Cluster:
    """Server, workers and clients, and the witness of every process that runs anywhere."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.rng = Random(f"{scenario.name} {seed}")
        self.timeline = Timeline()
        self._digest = blake2b(digest_size=16)
        self.network = Network(self.timeline, self.rng, self._digest.update)
        self._checks = 0
        self.calm = False
        self.figures = Figures()
        self.ledgers: dict[str, Ledger] = {}  # by server
        self._journals: dict[str, list[Record]] = {}
        self._gone: set[int] = set()  # jobs that had ended before a restart
        self._servers = 0
        self.server = self._new_server()
        self.workers: list[WorkerProcess] = []
        self._nodes: dict[str, Node] = {}
        self._connections: list[tuple[Link, Connection]] = []
        self._running: dict[tuple[bytes, int, int], tuple[str, Load]] = {}
        self._done: dict[tuple[bytes, int], list[tuple[int, int]]] = {}  # (instance, status)
        self._started: set[tuple[bytes, int, int]] = set()
        self.customers: list[Customer] = []
        self.jobs: list[int] = []  # that clients know of

    # --- what parts of the simulation ask of the world

    def lag(self) -> float:
        return self.rng.uniform(0.00005, 0.0005)

    def due_for_check(self) -> bool:
        self._checks += 1
        return self._checks % self.scenario.check_every == 0

    def recorded(self, records: Sequence[Record]) -> None:
        self.note("record", *(type(record).__name__ for record in records))
        self.ledger.record(records)
        self._journals[self.batch.decode()] += records

    def note(self, *what: object) -> None:
        self._digest.update(repr((self.timeline.now, *what)).encode())

    def dial(self, link: Link) -> Connection | None:
        if not self.calm and self.rng.random() < 0.02:
            return None
        connection = Connection(self.network, "worker")
        self._connections.append((link, connection))
        self.timeline.after(self.network.latency(), self.server.accept_worker, connection)
        return connection

    def dial_client(self) -> Connection:
        connection = Connection(self.network, "client")
        self.server.accept_client(connection)
        return connection

    # --- the witness

    def ordered(self, worker: WorkerProcess, order: RunTasks) -> None:
        number, server = worker.joined[-1]
        ledger = self.ledgers[server]
        for task, instance in zip(order.tasks, order.instances, strict=True):
            assert task not in worker.cancelled, f"{worker.node} starts {task}, which is cancelled"
            shipped = ledger.shipped_to.get((task, instance), ())
            assert number in shipped, (worker.node, task, instance, shipped)

    def started(self, node: str, batch: bytes, task: int, instance: int, load: Load) -> None:
        self.note("start", node, task, instance)
        self.figures.starts += 1
        key = (batch, task, instance)
        other = self._running.get(key)
        assert other is None, f"{task}.{instance} runs on {node} and on {other}"
        self._running[key] = (node, load)
        assert key not in self._started, f"{task}.{instance} runs again on {node}"
        self._started.add(key)
        place = self._nodes[node]
        for resource, label, amount in load:
            size = place.sizes.get((resource, label))
            assert size is not None, f"{node} has no {resource} {label}"
            amount = size if amount < 0 else amount
            place.used[resource, label] += amount
            assert place.used[resource, label] <= size, f"{node}: {resource} {label} is taken twice"
        ledger = self.ledgers[batch.decode()]
        row = ledger.tasks.get(task)
        if row is not None:
            ledger.check_needs(task, row)

    def ended(self, node: str, batch: bytes, task: int, instance: int, status: int) -> None:
        self.note("end", node, task, instance, status)
        where, load = self._running.pop((batch, task, instance))
        assert where == node
        place = self._nodes[node]
        for resource, label, amount in load:
            size = place.sizes[resource, label]
            place.used[resource, label] -= size if amount < 0 else amount
        self._done.setdefault((batch, task), []).append((instance, status))

    # --- servers, workers, clients

    @property
    def batch(self) -> bytes:
        """Marks the tasks of the present server: another one has tasks of the same names."""
        return b"server-%d" % self._servers

    @property
    def ledger(self) -> Ledger:
        return self.ledgers[self.batch.decode()]

    def _new_server(self) -> Server:
        self._servers += 1
        name = self.batch.decode()
        self.ledgers[name] = Ledger()
        self._journals[name] = []
        self._gone = set()
        return Server(self, name)

    def author(self) -> Author:
        return Author(self.rng, self.scenario.mix, self.batch)

    def customer(self) -> Customer:
        self.customers.append(Customer(self))
        return self.customers[-1]

    def join(self, *, lasting: bool = False) -> WorkerProcess:
        """A new node with a worker on it; `lasting`: it stays until it is told otherwise."""
        nodes, rng = self.scenario.nodes, self.rng
        number = len(self.workers)
        groups, at = [], 0
        for cpus in nodes.sockets:
            groups.append(tuple(str(i) for i in range(at, at + cpus)))
            at += cpus
        pools = [Pool(CPUS, tuple(groups), UNIT * at)]
        if nodes.gpus and (number % 2 == 0 or lasting):
            labels = tuple(f"g{i}" for i in range(nodes.gpus))
            pools.append(Pool("gpus", (labels,), UNIT * nodes.gpus))
        name = f"node{number}"
        config = WorkerConfig(
            name,
            name,
            "/w",
            "default",
            Descriptor(tuple(pools)),
            heartbeat_s=HEARTBEAT_S,
            time_limit_s=None if lasting else rng.choice(nodes.time_limits_s),
            idle_timeout_s=None if lasting else rng.choice(nodes.idle_timeouts_s),
            on_server_lost=OnServerLost.RECONNECT if lasting else rng.choice(nodes.policies),
            zero_cost=nodes.zero_cost,
        )
        self._nodes[name] = Node(
            {
                (pool.resource, label): UNIT
                for pool in pools
                for group in pool.groups
                for label in group
            }
        )
        self.workers.append(WorkerProcess(self, name, config))
        return self.workers[-1]

    @property
    def alive(self) -> list[WorkerProcess]:
        return [worker for worker in self.workers if not worker.dead]

    @property
    def links(self) -> list[Connection]:
        """Connections of workers that both ends believe in."""
        self._connections = [(k, c) for k, c in self._connections if c.is_open and not k.over]
        return [connection for _, connection in self._connections]

    def replace_server(self) -> None:
        """Another server, which knows nothing, listens in the place of this one."""
        for connection in self.links:
            connection.cut()
        for customer in self.customers:
            customer.break_off()
        self._count_up()
        self.server.kill()
        self.server = self._new_server()
        self.jobs.clear()

    def restart_server(self) -> None:
        """The server is killed, and comes back with all that it had written."""
        for connection in self.links:
            connection.cut()
        for customer in self.customers:
            customer.break_off()
        self.server.kill()
        name = self.batch.decode()
        self.server = Server(self, name, list(self._journals[name]))
        self.server.begin()
        self._gone = {job for job, entry in self.ledger.jobs.items() if entry.completed}

    # --- the course of events

    def run(self) -> Figures:
        """Work under faults, then in calm; at the end nothing is left of anything."""
        scenario = self.scenario
        for _ in range(scenario.nodes.count):
            self.timeline.after(self.rng.uniform(0, 0.5), self.join)
        maker = FaultMaker(self, scenario.faults)
        self.timeline.at(0.1, scenario.story, self)
        while self.timeline.step(scenario.faults.until_s):
            pass
        self.timeline.now = max(self.timeline.now, scenario.faults.until_s)
        self._calm_down()
        self._run_until(self._all_over, "jobs do not end")
        self._check_books()
        self._check_leftovers()
        self._count_up()
        figures = self.figures
        figures.faults = maker.done
        figures.events, figures.virtual_s = self.timeline.events, self.timeline.now
        figures.frames, figures.bytes = self.network.traffic.frames, self.network.traffic.bytes
        return figures

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def _run_until(self, over: Callable[[], bool], what: str) -> None:
        limit = self.timeline.now + CALM_MAX_S
        while not over():
            # Asking costs more than an event does.
            for _ in range(200):
                if not self.timeline.step(limit):
                    break
            assert self.timeline.now < limit and self.timeline.step(limit), self._stuck(what)

    def _stuck(self, what: str) -> str:
        jobs = {j: self.ledger.counts(j) for j, e in self.ledger.jobs.items() if not e.completed}
        return f"{what}: {dict(list(jobs.items())[:5])}, {self.server.scheduling.statistics()}"

    def _calm_down(self) -> None:
        """No fault happens any more, what was held up goes on, and there are workers for all."""
        self.calm = True
        for worker in self.workers:
            worker.resume()
        for _, connection in self._connections:
            if connection.is_open:
                connection.clog(False)
        for _ in range(2):
            self.join(lasting=True)
        self._close_all()

    def _close_all(self) -> None:
        """Open jobs are closed until none is left."""
        self.customer().call(ask.CloseJobs(ALL))
        if any(entry.is_open for entry in self.ledger.jobs.values()) or not self._all_over():
            self.timeline.after(30.0, self._close_all)

    def _all_over(self) -> bool:
        return all(entry.completed for entry in self.ledger.jobs.values())

    # --- what must be true at the end

    def _check_books(self) -> None:
        """What clients read is what was recorded, and what was recorded has happened."""
        open_questions = set()

        def compare(job: int, rows: list[ask.TaskRow]) -> None:
            open_questions.discard(job)
            assert len(rows) == len(self.ledger.jobs[job].tasks), job
            for row in rows:
                task = self.ledger.tasks[job << 32 | row.number]
                assert (row.state, row.instance) == (task.state, task.instance), (job, row, task)

        customer = self.customer()
        for job in [job for job in self.ledger.jobs if job not in self._gone]:
            open_questions.add(job)
            customer.list_tasks(job, lambda rows, job=job: compare(job, rows))
        self._run_until(lambda: not open_questions, "lists are not answered")
        for job, entry in self.ledger.jobs.items():
            assert entry.completed and not entry.active
            for number in entry.tasks:
                self._check_task(job, number)
        for one in self.customers:
            for job, row in one.watched.items():
                if job in self._gone:
                    continue
                expected = self.ledger.counts(job)
                assert row.terminated and list(_counts(row)) == expected, (row, expected)

    def _check_task(self, job: int, number: int) -> None:
        task, entry = self.ledger.tasks[number], self.ledger.jobs[job]
        done = self._done.get((self.batch, number), [])
        needs = [self.ledger.tasks[need].state for need in task.needs]
        assert task.state in ENDED, (number, task.state)
        exceeded = entry.max_fails is not None and entry.failed > entry.max_fails
        match task.state:
            case TaskState.FINISHED:
                happened = (task.instance, 0) in done or self.scenario.nodes.zero_cost
                assert happened, (number, task.instance, done)
            case TaskState.FAILED:
                self._check_failure(number)
            case TaskState.ABORTED:
                bad = (TaskState.FAILED, TaskState.ABORTED, TaskState.CANCELLED)
                assert exceeded or any(state in bad for state in needs), number
            case TaskState.CANCELLED:
                assert entry.cancelled, number
        if task.state in (TaskState.FINISHED, TaskState.FAILED):
            assert all(state is TaskState.FINISHED for state in needs), (number, needs)

    def _check_failure(self, number: int) -> None:
        """A task fails for what it did, not for what was done to its worker."""
        task = self.ledger.tasks[number]
        done = self._done.get((self.batch, number), [])
        statuses = [status for instance, status in done if instance == task.instance]
        text = task.error
        if "lost" in text:
            assert task.settings.crash_limit != UNLIMITED, (number, text)
        elif text == "Time limit reached":
            pass
        elif text in ("noprep", "nostart"):
            assert task.kind == text, (number, text)
        elif "Received signal" in text:
            assert task.kind == "oom" and -9 in statuses, (number, task.kind, text)
        else:
            assert task.kind in ("fail", "flaky"), (number, task.kind, text)
            assert any(status > 0 for status in statuses), (number, statuses)

    def _check_leftovers(self) -> None:
        """No slot, claim, process or report is left anywhere."""

        def at_rest() -> bool:
            s = self.server.scheduling.statistics()
            nothing = not (s.ready or s.shipped or s.running or s.slots or self._running)
            return nothing and s.workers == len(self.alive) == sum(map(_at_rest, self.alive))

        self._run_until(at_rest, f"something goes on: {list(self._running.items())[:3]}")
        receipts_at = self.timeline.now + RECEIPTS_S
        self._run_until(lambda: self.timeline.now >= receipts_at, "time stands still")
        for place in self._nodes.values():
            assert not +place.used, place.used
        # A worker that comes back states everything that it still has.
        workers = self.alive
        for connection in self.links:
            connection.cut()
        for worker in workers:
            worker.last_hello = None
        self._run_until(lambda: all(w.last_hello or w.dead for w in workers), "nobody returns")
        for worker in workers:
            if worker.last_hello is not None:
                held = worker.last_hello.held
                assert held is not None
                assert not (held.slots or held.tasks or held.reports), (worker.node, held)
        self.server.book.check()
        self.server.scheduling.check()

    def _count_up(self) -> None:
        figures = self.figures
        figures.tasks += len(self.ledger.tasks)
        figures.states.update(task.state.name for task in self.ledger.tasks.values())
        figures.losses.update(self.ledger.losses)


def _at_rest(worker: WorkerProcess) -> bool:
    connected = worker.link is not None and worker.link.connection is not None
    return worker.idle and connected


def _counts(row: Any) -> tuple[int, ...]:
    counts = row.counts
    return (
        counts.waiting,
        counts.running,
        counts.finished,
        counts.failed,
        counts.cancelled,
        counts.aborted,
    )


def simulate(scenario: Scenario, seed: int) -> tuple[str, Figures]:
    """Run it; says what happened, as a digest of every event, and how much of it."""
    cluster = Cluster(scenario, seed)
    figures = cluster.run()
    return cluster.digest, figures
