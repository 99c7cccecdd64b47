"""Clients: what users ask for, at random times, and what they are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, count
from random import Random
from typing import Any, Final, Protocol

from simulated_network import Connection
from simulated_time import Timeline

from hqtrio.messages import client as ask
from hqtrio.messages.client import Call, JobNotice, JobRow, Said, Selector, Which
from hqtrio.messages.columns import u64
from hqtrio.model.job import ArraySpec, GraphSpec, GraphTask, JobHead, Submit
from hqtrio.model.resources import CPUS, UNIT, Need, Policy, Request, Variants
from hqtrio.model.task import Stdio, TaskBody, TaskSettings

Then = Callable[[Any], None]
ALL: Final = Selector(Which.ALL)
NOWHERE: Final = Stdio(None)
ENTRIES_MAX: Final = 5000  # more would have to come in parts


class Surroundings(Protocol):
    timeline: Timeline
    rng: Random

    @property
    def batch(self) -> bytes: ...

    def dial_client(self) -> Connection: ...


class Customer:
    """One client: a session that can break and come back, and calls answered exactly once."""

    def __init__(self, world: Surroundings) -> None:
        self.world = world
        self._connection: Connection | None = None
        self._calls: dict[int, tuple[Any, Then]] = {}
        self._numbers = count(1)
        self.watched: dict[int, JobRow] = {}
        self.terminated: dict[int, None] = {}
        self.answers = 0

    def call(self, request: Any, then: Then = lambda response: None) -> None:
        """Ask; `then` hears the answer, or None if the session broke before."""
        if self._connection is None:
            self._connection = self.world.dial_client()
            self._connection.to_dialer.listen(self)
        number = next(self._numbers)
        self._calls[number] = (request, then)
        self._connection.to_server.send((Call(number, request),))

    def break_off(self) -> None:
        """The session ends, whatever is under way."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.hang_up(by_server=False)
        calls, self._calls = self._calls, {}
        self.watched.clear()
        for _, then in calls.values():
            then(None)

    def receive(self, messages: list[Said]) -> None:
        for said in messages:
            if said.number == 0:
                self._notice(said.response)
                continue
            request, then = self._calls.pop(said.number)  # answered exactly once
            self.answers += 1
            assert not isinstance(said.response, ask.Failure) or _may_fail(request), (
                request,
                said.response,
            )
            then(said.response)

    def lose(self) -> None:
        self.break_off()

    def _notice(self, notice: Any) -> None:
        if isinstance(notice, JobNotice):
            assert notice.row.id in self.watched, notice.row.id
            self.watched[notice.row.id] = notice.row
            if notice.gone:
                del self.watched[notice.row.id]

    # --- submitting, however often the session breaks

    def submit(self, submit: Submit, then: Callable[[int], None], *, parts: int = 0) -> None:
        """Ask again with the same key until the answer comes; `then` hears the job's id."""

        batch = self.world.batch

        def again() -> None:
            if batch == self.world.batch:  # with another server, what was asked for is history
                self.submit(submit, then, parts=parts)

        def done(answer: Any) -> None:
            if isinstance(answer, ask.Submitted):
                then(answer.job)
            elif answer is None:
                self.world.timeline.after(self.world.rng.uniform(0.01, 1.0), again)

        if not parts or submit.graph is None:
            self.call(ask.SubmitJob(submit), done)
            return
        graph = submit.graph
        begun = Submit(submit.key, submit.submit_dir, submit.head, submit.job, submit.arrays)
        self.call(ask.SubmitBegin(begun))
        step = -(-len(graph.tasks) // parts)
        for at in range(0, len(graph.tasks), step):
            tables = (graph.bodies, graph.variants, graph.settings) if at == 0 else ((), (), ())
            part = GraphSpec(*tables, graph.tasks[at : at + step])
            self.call(ask.SubmitPart(submit.key, graph=part))
        self.call(ask.SubmitCommit(submit.key), done)

    def watch(self, job: int) -> None:
        def begin(rows: Any) -> None:
            if isinstance(rows, ask.JobRows) and rows.rows:
                self.watched[job] = rows.rows[0]

        self.watched.setdefault(job, JobRow(job, "", ask.Counts(), True, None, False))
        self.call(ask.Watch((job,)), begin)

    def list_tasks(self, job: int, then: Callable[[list[ask.TaskRow]], None]) -> None:
        """All tasks of the job, page by page."""
        rows: list[ask.TaskRow] = []

        def page(answer: Any) -> None:
            assert isinstance(answer, ask.TaskRows), answer
            rows.extend(answer.rows)
            if answer.next_position < 0:
                then(rows)
            else:
                self.call(ask.ListTasks(job, answer.next_position), page)

        self.call(ask.ListTasks(job), page)


def _may_fail(request: Any) -> bool:
    """Refusals that chance brings about; everything else that is asked here is proper."""
    match request:
        case ask.JobInfo() | ask.ListTasks():
            return True  # the job was forgotten
        case ask.SubmitJob(submit) | ask.SubmitBegin(submit):
            return submit.head is None  # the open job was closed or forgotten
        case ask.SubmitPart() | ask.SubmitCommit():
            return True  # the submit was refused, or begun on a session that broke
    return False


# --- what is submitted


@dataclass(frozen=True, slots=True)
class Mix:
    """How likely each kind of task behaviour and request is, as weights."""

    kinds: tuple[tuple[str, float], ...] = (("ok", 1.0),)
    mean_s: tuple[float, ...] = (0.01, 0.05, 0.3, 3.0)
    cpus: tuple[float, ...] = (1.0,)  # amounts; 0 means all
    gpus: float = 0.0  # share of arrays that need a gpu, too
    variants: float = 0.0  # share with a second variant
    time_request_s: float = 0.0  # share-less: asked by one in ten arrays when above 0
    time_limit: float = 0.0  # share of bodies with a time limit
    priorities: tuple[int, ...] = (0,)
    crash_limits: tuple[int, ...] = (0,)


PLAIN: Final = Mix()


class Author:
    """Writes submits at random."""

    def __init__(self, rng: Random, mix: Mix, batch: bytes) -> None:
        self._rng, self._mix, self._batch = rng, mix, batch

    def body(self) -> TaskBody:
        rng, mix = self._rng, self._mix
        kind = rng.choices([k for k, _ in mix.kinds], [w for _, w in mix.kinds])[0]
        mean_s = rng.choice(mix.mean_s)
        limit_s = mean_s * rng.uniform(0.4, 1.2) if rng.random() < mix.time_limit else 0.0
        args = (b"sim", self._batch, b"%r" % mean_s, kind.encode())
        return TaskBody(args, (), "/w", NOWHERE, NOWHERE, "/w", time_limit_s=limit_s)

    def settings(self) -> TaskSettings:
        rng, mix = self._rng, self._mix
        return TaskSettings(rng.choice(mix.priorities), rng.choice(mix.crash_limits))

    def variants(self) -> Variants:
        rng, mix = self._rng, self._mix
        requests = [self._request(rng.choice(mix.cpus), rng.random() < mix.gpus)]
        if rng.random() < mix.variants:
            other = self._request(rng.choice(mix.cpus), False)
            if other != requests[0]:
                requests.append(other)
        return tuple(requests)

    def _request(self, cpus: float, gpu: bool) -> Request:
        rng = self._rng
        needs = [Need(CPUS, round(cpus * UNIT)) if cpus else Need(CPUS, 0, Policy.ALL)]
        if gpu:
            needs.append(Need("gpus", rng.choice((UNIT, UNIT // 2))))
        asks_time = self._mix.time_request_s and rng.random() < 0.1
        return Request(tuple(needs), time_s=self._mix.time_request_s if asks_time else 0.0)

    def array(self, tasks: int, needs: tuple[int, ...] = ()) -> ArraySpec:
        rng = self._rng
        entries = entry_ends = b""
        if tasks <= ENTRIES_MAX and rng.random() < 0.2:
            each = [b"entry %d" % i for i in range(tasks)]
            entries, entry_ends = b"".join(each), u64(accumulate(map(len, each)))
        return ArraySpec(
            self.body(), tasks, (), self.variants(), self.settings(), entries, entry_ends, "", needs
        )

    def graph(self, tasks: int, width: int, first: int = 0) -> GraphSpec:
        """A graph in layers; each task needs up to three of the tasks shortly before it."""
        rng = self._rng
        bodies = tuple(self.body() for _ in range(min(tasks, 12)))
        variants = tuple(dict.fromkeys(self.variants() for _ in range(4)))
        settings = tuple(dict.fromkeys(self.settings() for _ in range(3)))
        rows = []
        for place in range(tasks):
            needs: tuple[int, ...] = ()
            if place >= width:
                near = range(max(0, place - 2 * width), place - width + 1)
                picked = rng.sample(near, min(len(near), rng.randrange(0, 4)))
                needs = tuple(first + p for p in sorted(picked))
            rows.append(
                GraphTask(
                    first + place,
                    rng.randrange(len(bodies)),
                    rng.randrange(len(variants)),
                    rng.randrange(len(settings)),
                    needs,
                )
            )
        return GraphSpec(bodies, variants, settings, tuple(rows))

    def groups(self, sizes: list[int]) -> tuple[ArraySpec, ...]:
        """Arrays that need some of the earlier ones, whole."""
        specs = []
        for index, size in enumerate(sizes):
            some = self._rng.sample(range(index), min(index, self._rng.randrange(0, 3)))
            specs.append(self.array(size, tuple(sorted(some))))
        return tuple(specs)

    def submit(self, head: JobHead | None = None, job: int = 0, **what: Any) -> Submit:
        return Submit(self._rng.randbytes(16), "/w", head, job, **what)
