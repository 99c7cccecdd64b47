"""A batch manager that is a dictionary, and a world in which the allocation machine meets it.

Nothing is answered before the story says so and how: commands stay open, may be lost with the
server that gave them, and may have been carried out all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hqtrio.autoalloc import events as act
from hqtrio.autoalloc.books import Books, Stage, is_active
from hqtrio.autoalloc.context import Settings
from hqtrio.autoalloc.dialogues import (
    Accepted,
    Answered,
    Cancelled,
    Ended,
    Found,
    Other,
    Running,
    Status,
    SubmitAnswer,
    Unanswered,
    Unclear,
    Unknown,
    Waiting,
)
from hqtrio.autoalloc.machine import Allocating
from hqtrio.messages import allocations as ask
from hqtrio.messages.client import Done, Failure
from hqtrio.messages.records import QueueRecord
from hqtrio.model.allocation import Cause, Manager
from hqtrio.model.resources import Descriptor, single_pool
from hqtrio.model.worker import LossReason
from hqtrio.now import Now

WALL = 1_000_000_000.0
SETTINGS = Settings("/srv/001", ("hqtrio",), kept_directories=3)
TWO_CPUS = Descriptor((single_pool("cpus", ("0", "1")),))
Open = act.Submit | act.Find | act.AskStatus | act.Cancel | act.AskDemand


@dataclass
class Job:
    """One job of the manager, and all that is true of it. Dates are Unix seconds."""

    id: str
    manager: Manager
    directory: str
    nodes: int
    status: Status = field(default_factory=lambda: Waiting("Resources"))
    is_hidden: bool = False  # the manager has not got round to it yet
    is_purged: bool = False  # it has ended, and the manager has forgotten it
    is_stubborn: bool = False  # it does not end although it was cancelled
    node_s: float = 0.0  # of runs that are over
    runs: int = 0

    @property
    def is_alive(self) -> bool:
        return isinstance(self.status, Waiting | Running)

    @property
    def is_shown(self) -> bool:
        return not self.is_hidden and not self.is_purged

    def start(self, at: float) -> None:
        self.status = Running(at)
        self.runs += 1

    def stop(self, at: float) -> float | None:
        """The run is over, if there is one; when it began."""
        began = self.status.started_at if isinstance(self.status, Running) else None
        if began is not None:
            self.node_s += self.nodes * (at - began)
        return began

    def end(self, cause: Cause, at: float) -> None:
        if self.is_alive:
            self.status = Ended(cause, cause.name, self.stop(at), at)

    def spent_s(self, at: float) -> float:
        """Seconds of one node up to now."""
        running = isinstance(self.status, Running) and self.nodes * (at - self.status.started_at)
        return self.node_s + running

    def queue_again(self, at: float) -> None:
        self.stop(at)
        self.status = Waiting("BeginTime")


class World:
    """The machine, its records, its open commands, the manager's jobs and the connected workers."""

    def __init__(self) -> None:
        self.time = 0.0
        self.records: list[QueueRecord] = []
        self.told = Books()  # what they tell
        self.jobs: dict[str, Job] = {}
        self.open: list[Open] = []
        self.workers: dict[int, str] = {}  # job of each connected one
        self.answers: dict[int, object] = {}
        self.submitted: list[tuple[int, int]] = []
        self.fuse: int | None = None  # effects until the server is killed
        self.kills = 0
        self.is_ending = False
        self._tokens = self._last_worker = 0
        self.machine = Allocating(SETTINGS)
        self.perform(self.machine.begin((), self.now()))

    def now(self) -> Now:
        return Now(self.time, WALL + self.time)

    @property
    def wall(self) -> float:
        return WALL + self.time

    @property
    def books(self) -> Books:
        return self.machine.books

    # --- the machine

    def do(self, event: act.Event) -> None:
        self.perform(self.machine.handle(event, self.now()))

    def advance(self, seconds: float, steps: int = 100_000) -> None:
        until = self.time + seconds
        while self.machine.next_deadline() <= until:
            steps -= 1
            assert steps, "the machine is never done"
            self.time = max(self.time, self.machine.next_deadline())
            kills = self.kills
            self.perform(self.machine.tick(self.now()))
            assert self.kills > kills or self.machine.next_deadline() > self.time, "not done"
        self.time = until

    def perform(self, effects: Sequence[act.Effect]) -> None:
        for effect in effects:
            if self.fuse is not None:
                if not self.fuse:
                    self.kill()
                    return
                self.fuse -= 1
            match effect:
                case act.Record(records):
                    self.records += records
                    for record in records:
                        self.told.apply(record)
                case act.Answer(token, response):
                    assert token not in self.answers, "answered twice"
                    self.answers[token] = response
                case act.Submit():
                    self.check_submission(effect)
                    self.open.append(effect)
                case act.Find() | act.AskStatus() | act.Cancel() | act.AskDemand():
                    self.open.append(effect)
                case act.Discard(directory):
                    place = self.books.directories.get(directory)
                    one = place and self.books.allocation(place)
                    assert not one or not is_active(one), "its output is still written there"
                case act.Trial(token):
                    raise AssertionError(f"nobody wants a trial: {token}")
                case act.Say() | act.DismissUseless():
                    pass

    def kill(self, *, gone: int = 0) -> None:
        """Another server, which knows the records; `gone` workers never find it."""
        self.fuse = None
        self.is_ending = False
        self.kills += 1
        self.open = []
        for worker in list(self.workers)[:gone]:
            del self.workers[worker]
        books = self.replayed()
        assert vars(books) == vars(self.told)
        self.machine = Allocating(SETTINGS, books)
        self.perform(self.machine.begin(self.workers, self.now()))
        for worker, job in list(self.workers.items()):
            self.do(act.WorkerCame(worker, self.jobs[job].manager, job, TWO_CPUS))

    def end(self, answers: int) -> None:
        """The server ends on purpose, and is killed after so many answers; another one begins."""
        self.is_ending = True
        kills = self.kills
        self.do(act.ServerEnds())
        for _ in range(answers):
            if self.open and self.kills == kills:
                self._answer_first()
        if self.kills == kills:
            self.kill()

    def replayed(self) -> Books:
        books = Books()
        for record in self.records:
            books.apply(record)
        return books

    # --- clients

    def ask(self, request: ask.QueueRequest) -> ask.QueueResponse | Done | Failure | None:
        """None if the server was killed over it."""
        self._tokens += 1
        kills = self.kills
        self.do(act.Asked(self._tokens, request))
        response = self.answers.pop(self._tokens, None)
        assert response is not None or self.kills > kills, "no answer"
        return response  # type: ignore[return-value]

    # --- what must hold

    def check_submission(self, effect: act.Submit) -> None:
        """It is on record, its queue may submit, and keeps what it was told to keep."""
        assert not self.is_ending, "submitted by a server that ends"
        place = effect.queue, effect.number
        assert place not in self.submitted, "submitted twice"
        self.submitted.append(place)
        assert self.told.allocation(place) is not None, "submitted before it is on record"
        queue = self.books.queues[effect.queue]
        params, active = queue.params, list(queue.active.values())
        assert queue.paused is None
        assert effect.submission.nodes <= params.max_workers_per_alloc
        waiting = [one for one in active if one.stage in (Stage.PLANNED, Stage.QUEUED)]
        assert len(waiting) <= params.backlog
        if params.max_worker_count is not None:
            assert sum(one.nodes for one in active) <= params.max_worker_count
        if params.max_node_hours is not None:
            used = queue.spent_node_hours(self.wall) + queue.committed_node_hours(self.wall)
            assert used <= params.max_node_hours + 1e-6

    def check(self) -> None:
        """What is true at any time."""
        books = self.books
        assert vars(self.told) == vars(books), "the records tell another story"
        active = list(books.active())
        named = [(books.queue(one.queue).params.manager, one.id) for one in active if one.id]
        assert len(named) == len(set(named)), "one job is counted twice"
        directories = [one.directory for one in active]
        assert len(directories) == len(set(directories))
        for queue in books.all_queues():
            for number, one in queue.allocations.items():
                assert (number in queue.active) == is_active(one)
                assert (number in queue.ended) != is_active(one)
            total = sum(one.node_s for one in queue.allocations.values() if not is_active(one))
            assert abs(total - queue.ended_node_s) < 1e-6
        for worker, place in books.workers.items():
            one = books.allocation(place)
            assert one is not None and worker in one.workers

    # --- commands

    def submit(self, effect: act.Submit, *, hidden: bool = False) -> Job:
        """The manager makes the job."""
        number = len(self.jobs) + 1
        manager = effect.submission.params.manager
        job_id = f"{number}.pbs" if manager is Manager.PBS else f"{number}"
        job = Job(job_id, manager, effect.submission.directory, effect.submission.nodes)
        job.is_hidden = hidden
        self.jobs[job_id] = job
        return job

    def tell_submitted(self, effect: act.Submit, answer: SubmitAnswer) -> None:
        self.open.remove(effect)
        self.do(act.Submitted(effect.queue, effect.number, answer))

    def status(self, job_id: str) -> Status:
        job = self.jobs.get(job_id)
        return job.status if job is not None and job.is_shown else Unknown()

    def tell_statuses(
        self,
        effect: act.AskStatus,
        *,
        unclear: frozenset[str] = frozenset(),
        unknown: frozenset[str] = frozenset(),
        others: bool = True,
    ) -> None:
        """The truth, but for those of which the manager talks nonsense."""
        self.open.remove(effect)
        statuses: dict[str, Status] = {}
        for job_id in effect.ids:
            statuses[job_id] = self.status(job_id)
            if job_id in unclear:
                statuses[job_id] = Unclear("what?")
            if job_id in unknown:
                statuses[job_id] = Unknown()
        rest = tuple(
            Other(job.id, job.directory, job.status)
            for job in self.jobs.values()
            if others and job.manager is effect.manager and job.is_shown
            and job.id not in effect.ids
        )  # fmt: skip
        self.do(act.StatusKnown(effect.manager, Answered(statuses, rest)))

    def tell_found(self, effect: act.Find) -> None:
        self.open.remove(effect)
        jobs = tuple(
            Other(job.id, job.directory, job.status)
            for job in self.jobs.values()
            if job.directory == effect.directory and job.is_shown
        )
        self.do(act.LookedFor(effect.queue, effect.number, Found(jobs)))

    def tell_unanswered(self, effect: act.Find | act.AskStatus) -> None:
        self.open.remove(effect)
        silence = Unanswered("connection refused")
        if isinstance(effect, act.Find):
            self.do(act.LookedFor(effect.queue, effect.number, silence))
        else:
            self.do(act.StatusKnown(effect.manager, silence))

    def tell_cancelled(self, effect: act.Cancel) -> None:
        self.open.remove(effect)
        job = self.jobs[effect.id]
        if not job.is_stubborn:
            job.end(Cause.CANCELLED, self.wall)
        self.do(act.CancelAnswered(effect.manager, effect.id, Cancelled()))

    def tell_demand(self, effect: act.AskDemand, answer: act.DemandKnown) -> None:
        self.open.remove(effect)
        self.do(answer)

    # --- workers

    def come(self, job: Job) -> int:
        self._last_worker += 1
        self.workers[self._last_worker] = job.id
        self.do(act.WorkerCame(self._last_worker, job.manager, job.id, TWO_CPUS))
        return self._last_worker

    def go(self, worker: int, reason: LossReason) -> None:
        del self.workers[worker]
        self.do(act.WorkerWent(worker, reason))

    # --- peace

    def answer_truly(self) -> None:
        """Whatever is open, and nothing wants more workers."""
        while self.open:
            self._answer_first()

    def _answer_first(self) -> None:
        match effect := self.open[0]:
            case act.Submit():
                self.tell_submitted(effect, Accepted(self.submit(effect).id))
            case act.Find():
                self.tell_found(effect)
            case act.AskStatus():
                self.tell_statuses(effect)
            case act.Cancel():
                self.tell_cancelled(effect)
            case act.AskDemand(queries):
                self.tell_demand(effect, act.DemandKnown((0,) * len(queries)))

    def settle(self, hours: float = 2.0) -> None:
        """Faults stop; the manager answers at once and truly for some hours."""
        self.fuse = None
        for job in self.jobs.values():
            job.is_hidden = job.is_stubborn = False
        for worker, job_id in list(self.workers.items()):
            if not isinstance(self.jobs[job_id].status, Running):
                self.go(worker, LossReason.HEARTBEAT_LOST)
        self._wait(hours)
        known = {one.id for one in self.books.active()}
        for job in self.jobs.values():
            if job.is_alive and job.id not in known:
                # It was made when nobody asked any more: its worker tells of it.
                if isinstance(job.status, Waiting):
                    job.start(self.wall)
                self.come(job)
        self._wait(hours)

    def _wait(self, hours: float) -> None:
        self.answer_truly()
        for _ in range(round(hours * 120)):
            self.advance(30.0)
            self.answer_truly()

    def check_settled(self) -> None:
        """The books and the manager agree on what there is."""
        self.check()
        alive = {job.id: job for job in self.jobs.values() if job.is_alive}
        active = {one.id: one for one in self.books.active()}
        for worker, job_id in list(self.workers.items()):
            if job_id not in alive:
                self.go(worker, LossReason.CONNECTION_LOST)
        assert set(alive) == set(active)
        for job_id, one in active.items():
            job = alive[job_id]
            assert not one.is_cancelled, "it was to end"
            assert one.queue in self.books.queues, "its queue was removed"
            assert one.stage is (Stage.RUNNING if isinstance(job.status, Running) else Stage.QUEUED)
            assert one.nodes == job.nodes and one.directory == job.directory
