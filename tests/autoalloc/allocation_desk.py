"""The allocation machine at a desk: its time, its manager and its demand are the test's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from hqtrio.autoalloc import events as act
from hqtrio.autoalloc.books import Allocation, Books, Stage
from hqtrio.autoalloc.context import Settings
from hqtrio.autoalloc.dialogues import (
    Accepted,
    Answered,
    Cancelled,
    Ended,
    Found,
    Other,
    Rejected,
    Running,
    Status,
    SubmitAnswer,
    Unanswered,
    Unknown,
    Unsure,
    Waiting,
)
from hqtrio.autoalloc.limiter import Limits
from hqtrio.autoalloc.machine import Allocating
from hqtrio.messages import allocations as ask
from hqtrio.messages.client import Failure
from hqtrio.messages.records import QueueRecord
from hqtrio.model.allocation import Cause, Manager, QueueParams, Rejection
from hqtrio.model.resources import Descriptor, single_pool
from hqtrio.model.worker import LossReason
from hqtrio.now import Now

WALL = 1_000_000_000.0
SETTINGS = Settings("/srv/001", ("hqtrio",), limits=Limits())
FOUR_CPUS = Descriptor((single_pool("cpus", ("0", "1", "2", "3")),))
REFUSED = Rejected(Rejection.OTHER, "sbatch execution failed")


class Desk:
    """`wanted` says how many workers each query's queue could use; `gangs` is multi-node demand."""

    def __init__(self, manager: Manager = Manager.SLURM, **settings: Any) -> None:
        self.manager = manager
        self.settings = replace(SETTINGS, **settings)
        self.time = 0.0
        self.records: list[QueueRecord] = []
        self.jobs: dict[str, Status] = {}  # of the manager
        self.places: dict[str, str] = {}  # where each was submitted
        self.cancelled: list[str] = []
        self.submitted: list[act.Submit] = []
        self.said: list[act.Say] = []
        self.discarded: list[str] = []
        self.dismissed: list[tuple[int, ...]] = []
        self.asked = 0  # for states
        self.wanted: Callable[[Sequence[act.Query]], Sequence[int]] = lambda q: [0] * len(q)
        self.gangs: tuple[tuple[int, int, int], ...] = ()
        self.answers: list[SubmitAnswer] = []  # of the next submissions, instead of a job
        self.is_down = False
        self.machine = Allocating(self.settings)
        self._answered: Any = None
        self._last_job = self._last_worker = 0
        self._perform(self.machine.begin((), self.now()))

    def now(self) -> Now:
        return Now(self.time, WALL + self.time)

    # --- events

    def do(self, event: act.Event) -> None:
        self._perform(self.machine.handle(event, self.now()))

    def advance(self, seconds: float) -> None:
        """Everything that becomes due meanwhile is done when it is due."""
        until = self.time + seconds
        while self.machine.next_deadline() <= until:
            self.time = max(self.time, self.machine.next_deadline())
            self._perform(self.machine.tick(self.now()))
        self.time = until

    def restart(self, workers: Sequence[int] = ()) -> None:
        """Another server, which knows the records and nothing else."""
        books = Books()
        for record in self.records:
            books.apply(record)
        self.machine = Allocating(self.settings, books)
        self._perform(self.machine.begin(workers, self.now()))

    def ask(self, request: ask.QueueRequest) -> Any:
        """The answer; an AssertionError with the text if it is a failure."""
        self._answered = None
        self.do(act.Asked(7, request))
        answer = self._answered
        assert not isinstance(answer, Failure), answer.reason
        return answer

    def refusal(self, request: ask.QueueRequest) -> str:
        self._answered = None
        self.do(act.Asked(7, request))
        assert isinstance(self._answered, Failure), self._answered
        return self._answered.reason

    def add(self, **params: Any) -> int:
        """A queue with a time limit of an hour, without a trial."""
        given = {"manager": self.manager, "time_limit_s": 3600.0, **params}
        return self.ask(ask.AddQueue(QueueParams(**given), False)).queue

    def come(self, job: str, *, descriptor: Descriptor = FOUR_CPUS, worker: int = 0) -> int:
        """A worker connects that runs in the job."""
        if not worker:
            self._last_worker += 1
            worker = self._last_worker
        self.do(act.WorkerCame(worker, self.manager, job, descriptor))
        return worker

    def go(self, worker: int, reason: LossReason = LossReason.IDLE_TIMEOUT) -> None:
        self.do(act.WorkerWent(worker, reason))

    # --- what there is

    def row(self, queue: int = 1) -> ask.QueueRow:
        (row,) = (row for row in self.ask(ask.ListQueues()).rows if row.id == queue)
        return row

    def rows(self, queue: int = 1) -> list[ask.AllocationRow]:
        return list(self.ask(ask.ListAllocations(queue)).rows)

    def states(self, queue: int = 1) -> list[str]:
        return [row.state.name for row in self.rows(queue)]

    def allocation(self, number: int = 1, queue: int = 1) -> Allocation:
        found = self.machine.books.allocation((queue, number))
        assert found is not None
        return found

    def sizes(self, queue: int = 1) -> list[int]:
        """Nodes of everything that was submitted for the queue."""
        return [one.submission.nodes for one in self.submitted if one.queue == queue]

    def end(self, job: str, cause: Cause, words: str = "") -> None:
        self.jobs[job] = Ended(cause, words, None, WALL + self.time)

    def alive(self) -> set[str]:
        """Jobs that the manager has not seen the end of."""
        return {job for job, status in self.jobs.items() if isinstance(status, Waiting | Running)}

    # --- effects

    def _perform(self, effects: Sequence[act.Effect]) -> None:
        for effect in effects:
            match effect:
                case act.Record(records):
                    self.records += records
                case act.Answer(_, response):
                    self._answered = response
                case act.AskDemand(queries):
                    single = tuple(self.wanted(queries))
                    gangs = tuple(row for row in self.gangs if row[0] < len(queries))
                    self.do(act.DemandKnown(single, gangs))
                case act.Submit():
                    self.submitted.append(effect)
                    self.do(act.Submitted(effect.queue, effect.number, self._submit(effect)))
                case act.AskStatus(manager, ids):
                    self.asked += 1
                    self.do(act.StatusKnown(manager, self._statuses(ids)))
                case act.Cancel(manager, job, _):
                    self.cancelled.append(job)
                    if job in self.alive():
                        self.end(job, Cause.CANCELLED)
                    self.do(act.CancelAnswered(manager, job, Cancelled()))
                case act.Find(queue, number, _, _, directory):
                    jobs = tuple(
                        Other(job, directory, self.jobs[job])
                        for job, place in self.places.items()
                        if place == directory
                    )
                    found = Unanswered("down") if self.is_down else Found(jobs)
                    self.do(act.LookedFor(queue, number, found))
                case act.Trial(token):
                    self.do(act.Tried(token, ""))
                case act.Say():
                    self.said.append(effect)
                case act.Discard(directory):
                    self.discarded.append(directory)
                case act.DismissUseless(workers):
                    self.dismissed.append(workers)

    def _submit(self, effect: act.Submit) -> SubmitAnswer:
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Unsure) and answer.words == "made":
                self.make(effect.submission.directory)
            return answer
        return Accepted(self.make(effect.submission.directory))

    def make(self, directory: str) -> str:
        """A job of the manager that was submitted there."""
        self._last_job += 1
        job = f"{self._last_job}.job" if self.manager is Manager.PBS else str(self._last_job)
        self.jobs[job], self.places[job] = Waiting("Resources"), directory
        return job

    def _statuses(self, ids: Sequence[str]) -> Answered | Unanswered:
        if self.is_down:
            return Unanswered("Unable to contact slurm controller (connect failure)")
        unknown: Status = Unknown()
        others = tuple(
            Other(job, self.places[job], status)
            for job, status in self.jobs.items()
            if job not in ids
        )
        return Answered({job: self.jobs.get(job, unknown) for job in ids}, others)


def always(*counts: int) -> Callable[[Sequence[act.Query]], Sequence[int]]:
    """The same demand whatever there is; a queue behind the last one gets none."""
    return lambda queries: [counts[at] if at < len(counts) else 0 for at in range(len(queries))]


__all__ = ["FOUR_CPUS", "REFUSED", "SETTINGS", "WALL", "Desk", "Stage", "always"]
