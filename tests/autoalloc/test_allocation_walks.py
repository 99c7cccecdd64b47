"""Long random stories of queues, managers and servers, in which much happens to few jobs.

HQTRIO_LONG=1 tells many times as many.
"""

from __future__ import annotations

import os
import random

import pytest
from naive_manager import World

from hqtrio.autoalloc import events as act
from hqtrio.autoalloc.dialogues import (
    Accepted,
    Ended,
    NotCancelled,
    Rejected,
    Running,
    Unsure,
    Waiting,
)
from hqtrio.messages import allocations as ask
from hqtrio.model.allocation import Cause, Manager, QueueParams, Rejection
from hqtrio.model.worker import LossReason

IS_LONG = os.environ.get("HQTRIO_LONG") == "1"
STORIES = 2000 if IS_LONG else 60  # of each kind
BY_THEMSELVES = (
    Cause.COMPLETED, Cause.FAILED, Cause.TIME_LIMIT, Cause.CANCELLED, Cause.NODE_FAILED,
    Cause.PREEMPTED, Cause.OUT_OF_MEMORY,
)  # fmt: skip
PASSING = (Rejection.LIMITS, Rejection.OTHER, Rejection.NO_DIRECTORY)


class Walk:
    """One story. `faults`: part of all answers that are not what they should be."""

    def __init__(self, seed: int, faults: float) -> None:
        self.random, self.faults = random.Random(seed), faults
        self.world = World()
        self.add()

    def tell(self, steps: int) -> None:
        acts = {
            self.time: 12, self.work: 12, self.answer: 40, self.start: 8, self.worker: 8,
            self.leave: 6, self.end: 5, self.client: 4,
        }  # fmt: skip
        if self.faults:
            acts |= {self.kill: 2, self.requeue: 2, self.purge: 1, self.appear: 2, self.stop: 1}
        for _ in range(steps):
            self.random.choices(list(acts), list(acts.values()))[0]()
            self.world.check()

    def pick(self, *statuses: type):
        jobs = [job for job in self.world.jobs.values() if isinstance(job.status, statuses)]
        return self.random.choice(jobs) if jobs else None

    @property
    def is_faulty(self) -> bool:
        return self.random.random() < self.faults

    # --- what happens

    def time(self) -> None:
        self.world.advance(self.random.choice((1.0, 5.0, 30.0, 61.0, 130.0, 1000.0)))

    def work(self) -> None:
        self.world.do(act.WorkSubmitted())
        self.world.advance(5.0)

    def answer(self) -> None:
        world = self.world
        if not world.open:
            return
        match effect := self.random.choice(world.open):
            case act.AskDemand():
                self.demand(effect)
            case act.Submit():
                self.submit(effect)
            case act.Find():
                (world.tell_unanswered if self.is_faulty else world.tell_found)(effect)
            case act.AskStatus():
                self.status(effect)
            case act.Cancel() if self.is_faulty:
                world.open.remove(effect)
                world.do(act.CancelAnswered(effect.manager, effect.id, NotCancelled("no")))
            case act.Cancel():
                world.jobs[effect.id].is_stubborn = self.is_faulty
                world.tell_cancelled(effect)

    def demand(self, effect: act.AskDemand) -> None:
        if self.is_faulty:
            self.world.open.remove(effect)
            self.world.do(act.DemandUnknown())
            return
        single = tuple(self.random.randint(0, query.max_sn_workers) for query in effect.queries)
        gangs = tuple(
            (at, self.random.randint(1, query.max_workers_per_alloc), self.random.randint(1, 3))
            for at, query in enumerate(effect.queries)
            if self.random.random() < 0.3
        )
        self.world.tell_demand(effect, act.DemandKnown(single, gangs))

    def submit(self, effect: act.Submit) -> None:
        world = self.world
        if not self.is_faulty:
            world.tell_submitted(effect, Accepted(world.submit(effect).id))
            return
        match self.random.randrange(4):
            case 0:
                world.tell_submitted(effect, Rejected(self.random.choice(PASSING), "no"))
            case 1:  # made any number of times
                for _ in range(self.random.choice((0, 1, 1, 2))):
                    world.submit(effect, hidden=self.random.random() < 0.5)
                world.tell_submitted(effect, Unsure("timed out"))
            case 2:  # starts before its id is known
                job = world.submit(effect)
                job.start(world.wall)
                world.come(job)
                if effect in world.open:
                    world.tell_submitted(effect, Accepted(job.id))
            case 3:
                world.submit(effect, hidden=self.random.random() < 0.5)
                world.kill()

    def status(self, effect: act.AskStatus) -> None:
        if not self.is_faulty:
            self.world.tell_statuses(effect)
            return
        if self.random.random() < 0.3:
            self.world.tell_unanswered(effect)
            return
        some = frozenset(job for job in effect.ids if self.random.random() < 0.5)
        if self.random.random() < 0.5:
            self.world.tell_statuses(effect, unknown=some, others=False)
        else:
            self.world.tell_statuses(effect, unclear=some)

    def start(self) -> None:
        if job := self.pick(Waiting):
            job.start(self.world.wall)

    def worker(self) -> None:
        if job := self.pick(Running):
            self.world.come(job)

    def leave(self) -> None:
        if self.world.workers:
            worker = self.random.choice(list(self.world.workers))
            self.world.go(worker, self.random.choice(list(LossReason)))

    def end(self) -> None:
        if job := self.pick(Running, Waiting):
            job.end(self.random.choice(BY_THEMSELVES), self.world.wall)

    def requeue(self) -> None:
        if job := self.pick(Running):
            job.queue_again(self.world.wall)

    def purge(self) -> None:
        if job := self.pick(Ended):
            job.is_purged = True

    def appear(self) -> None:
        for job in self.world.jobs.values():
            job.is_hidden = False

    def kill(self) -> None:
        if self.random.random() < 0.5:
            self.world.fuse = self.random.randrange(5)
        else:
            self.world.kill(gone=self.random.choice((0, 0, 1, 2)))

    def stop(self) -> None:
        self.world.end(self.random.randrange(6))

    # --- clients

    def params(self, manager: Manager) -> QueueParams:
        choose = self.random.choice
        return QueueParams(
            manager,
            choose((600.0, 3600.0)),
            backlog=self.random.randint(1, 4),
            max_workers_per_alloc=self.random.randint(1, 3),
            max_worker_count=choose((None, None, 1, 3, 6)),
            max_node_hours=choose((None, None, 2.0, 20.0)),
        )

    def add(self) -> None:
        manager = self.random.choice(list(Manager))
        self.world.ask(ask.AddQueue(self.params(manager), trial=False))

    def client(self) -> None:
        world = self.world
        if not world.books.queues:
            self.add()
            return
        number = self.random.choice(list(world.books.queues))
        match self.random.randrange(8):
            case 0 if len(world.books.queues) < 3:
                self.add()
            case 1:
                world.ask(ask.RemoveQueue(number, self.random.random() < 0.7))
            case 2:
                world.ask(ask.PauseQueue(number))
            case 3 | 4:
                world.ask(ask.ResumeQueue(number))
            case 5 | 6:
                manager = world.books.queues[number].params.manager
                world.ask(ask.EditQueue(number, self.params(manager)))
            case _:
                world.ask(ask.ListQueues())
                world.ask(ask.ListAllocations(number))


@pytest.mark.parametrize("faults", [0.05, 0.3])
def test_books_and_manager_agree_in_the_end(faults: float) -> None:
    jobs = 0
    for seed in range(STORIES):
        walk = Walk(seed, faults)
        try:
            walk.tell(120)
            walk.world.settle()
            walk.world.check_settled()
        except AssertionError as error:
            error.add_note(f"seed {seed}, faults {faults}")
            raise
        jobs += len(walk.world.jobs)
    assert jobs > STORIES, "stories in which nothing happens"


def test_without_faults_the_books_know_what_was_spent() -> None:
    """To the second, once the manager has told of every end."""
    spent_s = 0.0
    for seed in range(STORIES):
        walk = Walk(seed, 0.0)
        world = walk.world
        walk.tell(120)
        for job in world.jobs.values():
            job.end(Cause.COMPLETED, world.wall)
        world.settle()
        for number, queue in world.books.queues.items():
            mine = [
                job for job in world.jobs.values()
                if (place := world.books.directories.get(job.directory)) and place[0] == number
            ]  # fmt: skip
            true_s = sum(job.spent_s(world.wall) for job in mine)
            spent_s += true_s
            assert queue.spent_node_hours(world.wall) * 3600.0 == pytest.approx(true_s), seed
    assert spent_s > 1000.0 * STORIES
