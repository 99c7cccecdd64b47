"""Stories of queues with everything that can go wrong in them, in any order; then the truth.

The manager here is honest and forgetful; the way to it is neither. When all faults have stopped,
the books and the manager must come to agree, whatever was said before, and whenever servers died.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import pytest
from allocation_desk import FOUR_CPUS, Desk

from hqtrio.autoalloc import events as act
from hqtrio.autoalloc.books import Books, Stage
from hqtrio.autoalloc.dialogues import (
    Accepted,
    Answered,
    Cancelled,
    Ended,
    Found,
    NotCancelled,
    Other,
    Rejected,
    Running,
    Status,
    Unanswered,
    Unclear,
    Unknown,
    Unsure,
    Waiting,
)
from hqtrio.messages import allocations as ask
from hqtrio.messages.records import AllocationPlanned
from hqtrio.model.allocation import Cause, Manager, Rejection
from hqtrio.model.worker import LossReason

STORIES = range(2000 if os.environ.get("HQTRIO_LONG") == "1" else 120)
STEPS = 150
QUIET_S = 3 * 3600.0


class Killed(Exception):
    """The server ends in the middle of its effects."""


class Story(Desk):
    """A desk at which answers may be late, wrong, lost, or never given."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.is_quiet = False
        self.late: list[act.Event] = []  # answers that are on their way
        self.planned: set[tuple[int, int]] = set()
        self.connected: dict[int, str] = {}  # job of each worker
        self.numbers = 0
        super().__init__(self.random.choice(list(Manager)))
        self.wanted = self._wanted
        self.demand = 0

    def _wanted(self, queries: Sequence[act.Query]) -> list[int]:
        left, counts = self.demand, []
        for query in queries:
            counts.append(min(left, query.max_sn_workers))
            left -= counts[-1]
        return counts

    def chance(self, part: float) -> bool:
        return not self.is_quiet and self.random.random() < part

    # --- effects, each of which may be the server's last

    def _perform(self, effects: Sequence[act.Effect]) -> None:
        for effect in effects:
            if self.chance(0.01):
                raise Killed
            match effect:
                case act.Record(records):
                    self.records += records
                    for record in records:
                        if isinstance(record, AllocationPlanned):
                            self.planned.add((record.queue, record.number))
                case act.Submit():
                    self._check(effect)
                    self.submitted.append(effect)
                    answer = act.Submitted(effect.queue, effect.number, self._hand_in(effect))
                    self._answer_later(answer)
                case act.AskStatus(manager, ids):
                    self._answer_later(act.StatusKnown(manager, self._told(ids)))
                case act.Find(queue, number, _, _, directory):
                    self._answer_later(act.LookedFor(queue, number, self._found(directory)))
                case act.Cancel(manager, job, _):
                    self._answer_later(act.CancelAnswered(manager, job, self._cancel(job)))
                case _:
                    super()._perform([effect])

    def _answer_later(self, event: act.Event) -> None:
        if self.chance(0.4):
            self.late.append(event)
        else:
            self.do(event)

    def _check(self, effect: act.Submit) -> None:
        """What is about to be handed in is allowed, and recorded."""
        place = effect.queue, effect.number
        assert place in self.planned
        queue = self.machine.books.queues[effect.queue]
        params, active = queue.params, list(queue.active.values())
        assert queue.paused is None
        waiting = sum(one.stage in (Stage.PLANNED, Stage.QUEUED) for one in active)
        assert waiting <= params.backlog
        if params.max_worker_count is not None:
            assert sum(one.nodes for one in active) <= params.max_worker_count

    def _hand_in(self, effect: act.Submit):
        if self.chance(0.15):
            return Rejected(self.random.choice(list(Rejection)), "no")
        if self.chance(0.15):
            if self.chance(0.5):
                self.make(effect.submission.directory)
            return Unsure("timed out")
        return Accepted(self.make(effect.submission.directory))

    def _told(self, ids: Sequence[str]) -> Answered | Unanswered:
        if self.chance(0.2):
            return Unanswered("down")
        statuses: dict[str, Status] = {}
        for job in ids:
            statuses[job] = Unclear("?") if self.chance(0.1) else self.jobs.get(job, Unknown())
        others = tuple(
            Other(job, self.places[job], status)
            for job, status in self.jobs.items()
            if job not in ids
        )
        return Answered(statuses, others)

    def _found(self, directory: str) -> Found | Unanswered:
        if self.chance(0.2):
            return Unanswered("down")
        return Found(
            tuple(
                Other(job, directory, self.jobs[job])
                for job, place in self.places.items()
                if place == directory and job in self.jobs
            )
        )

    def _cancel(self, job: str):
        if self.chance(0.2):
            return NotCancelled("not now")
        self.cancelled.append(job)
        if job in self.alive():
            self.finish(job, Cause.CANCELLED)
        return Cancelled()

    # --- what happens outside

    def finish(self, job: str, cause: Cause) -> None:
        """It ends, and so do its workers."""
        self.end(job, cause)
        for worker in [worker for worker, of in self.connected.items() if of == job]:
            self.lose(worker, LossReason.STOPPED)

    def lose(self, worker: int, reason: LossReason) -> None:
        del self.connected[worker]
        self.go(worker, reason)

    def step(self) -> None:
        """Anything may happen next."""
        pick, numbers = self.random.choice, list(self.machine.books.queues)
        alive = sorted(self.alive())
        running = [job for job in alive if isinstance(self.jobs[job], Running)]
        match self.random.randrange(16):
            case 0 if len(numbers) < 4:
                self.add(
                    backlog=self.random.randint(1, 3),
                    max_workers_per_alloc=self.random.randint(1, 3),
                    max_worker_count=pick([None, 4]),
                    max_node_hours=pick([None, 20.0]),
                )
            case 1 if numbers and self.chance(0.3):
                self.ask(ask.RemoveQueue(pick(numbers), True))
            case 2 if numbers:
                self.ask(pick([ask.PauseQueue, ask.ResumeQueue])(pick(numbers)))
            case 3:
                self.demand = self.random.randint(0, 6)
                self.do(act.WorkSubmitted())
            case 4 | 5 if alive:
                job = pick(alive)
                if isinstance(self.jobs[job], Waiting):
                    self.jobs[job] = Running(self.now().wall)
            case 6 | 7 | 8 if running:
                job = pick(running)
                self.numbers += 1
                self.connected[self.numbers] = job
                self.come(job, worker=self.numbers, descriptor=FOUR_CPUS)
            case 9 if self.connected:
                self.lose(pick(list(self.connected)), pick(list(LossReason)))
            case 10 if alive:
                self.finish(pick(alive), pick([c for c in Cause if c > Cause.WORKERS_CRASHED]))
            case 11 if running:
                job = pick(running)  # it is queued again
                for worker in [worker for worker, of in self.connected.items() if of == job]:
                    self.lose(worker, LossReason.CONNECTION_LOST)
                self.jobs[job] = Waiting("BeginTime")
            case 12 if self.jobs and self.chance(0.3):
                ended = [job for job, status in self.jobs.items() if isinstance(status, Ended)]
                for job in ended[: len(ended) // 2]:
                    del self.jobs[job], self.places[job]  # purged
            case 13 if self.late:
                self.random.shuffle(self.late)
                self.do(self.late.pop())
            case 14 if self.chance(0.15):
                raise Killed
            case _:
                self.advance(self.random.expovariate(1 / 200.0))

    def begin_anew(self) -> None:
        """Another server; what was on its way to the last one is lost."""
        self.late.clear()
        while True:
            try:
                self.restart(list(self.connected))
                for worker, job in list(self.connected.items()):
                    self.come(job, worker=worker)  # they are back
                return
            except Killed:
                pass

    def play(self) -> None:
        for _ in range(STEPS):
            try:
                self.step()
            except Killed:
                self.begin_anew()
            self.check_books()
        self.settle()

    def check_books(self) -> None:
        """What a server believes is what the next one would."""
        books = Books()
        for record in self.records:
            books.apply(record)
        for field in vars(books):
            assert getattr(books, field) == getattr(self.machine.books, field), field

    def settle(self) -> None:
        """No faults any more, and nothing new."""
        self.is_quiet, self.demand = True, 0
        for event in self.late:
            self.do(event)
        for worker in list(self.connected):
            if self.connected[worker] not in self.alive():
                self.lose(worker, LossReason.STOPPED)
        self.advance(QUIET_S)


@pytest.mark.parametrize("seed", STORIES)
def test_in_the_end_the_books_say_what_the_manager_says(seed: int) -> None:
    story = Story(seed)
    story.play()
    books, alive = story.machine.books, story.alive()
    known = list(books.active())
    assert not books.removed, "of a removed queue nothing is left"
    assert not [one for one in known if one.stage is Stage.PLANNED]
    assert sorted(one.id for one in known) == sorted(alive), (known, story.jobs)
    for one in known:
        running = isinstance(story.jobs[one.id], Running)
        assert (one.stage is Stage.RUNNING) == (running or bool(one.workers)), one
        assert one.queue in books.queues
    # Nobody has two jobs for one submission.
    places = [story.places[job] for job in alive]
    assert len(set(places)) == len(places)
    story.check_books()
