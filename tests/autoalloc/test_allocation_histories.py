"""Whatever managers answer and whenever servers die: every job is known, and none is known twice.

HQTRIO_LONG=1 tells many more and longer stories.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from naive_manager import World

from hqtrio.autoalloc import events as act
from hqtrio.autoalloc.dialogues import Accepted, NotCancelled, Rejected, Running, Unsure, Waiting
from hqtrio.messages import allocations as ask
from hqtrio.messages.client import Failure
from hqtrio.model.allocation import Cause, Manager, QueueParams, Rejection
from hqtrio.model.worker import LossReason

IS_LONG = os.environ.get("HQTRIO_LONG") == "1"

ENDS = (
    Cause.COMPLETED, Cause.FAILED, Cause.TIME_LIMIT, Cause.CANCELLED, Cause.NODE_FAILED,
    Cause.PREEMPTED, Cause.OUT_OF_MEMORY,
)  # fmt: skip

queue_params = st.builds(
    QueueParams,
    manager=st.sampled_from(Manager),
    time_limit_s=st.sampled_from((600.0, 3600.0)),
    backlog=st.integers(1, 3),
    max_workers_per_alloc=st.integers(1, 3),
    max_worker_count=st.none() | st.integers(1, 6),
    max_node_hours=st.none() | st.sampled_from((0.5, 2.0, 8.0)),
)


class Stories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    def _pick(self, data: st.DataObject, choices: list):
        return data.draw(st.sampled_from(choices)) if choices else None

    def _job(self, data: st.DataObject, *statuses: type):
        jobs = [job for job in self.world.jobs.values() if isinstance(job.status, statuses)]
        return self._pick(data, jobs)

    def _queue(self, data: st.DataObject) -> int | None:
        return self._pick(data, list(self.world.books.queues))

    def _open(self, kind: type):
        return [one for one in self.world.open if isinstance(one, kind)]

    # --- time

    @rule(seconds=st.sampled_from((1.0, 5.0, 30.0, 61.0, 400.0, 2000.0)))
    def time_goes_by(self, seconds):
        self.world.advance(seconds)

    # --- clients

    @initialize(params=queue_params)
    def add_first(self, params):
        self.add(params)

    @precondition(lambda self: len(self.world.books.queues) < 3)
    @rule(params=queue_params)
    def add(self, params):
        self.world.ask(ask.AddQueue(params, trial=False))

    @precondition(lambda self: self.world.books.queues)
    @rule(data=st.data(), params=queue_params)
    def edit(self, data, params):
        self.world.ask(ask.EditQueue(self._queue(data), params))

    @precondition(lambda self: self.world.books.queues)
    @rule(data=st.data())
    def pause(self, data):
        self.world.ask(ask.PauseQueue(self._queue(data)))

    @precondition(lambda self: self.world.books.queues)
    @rule(data=st.data())
    def resume(self, data):
        self.world.ask(ask.ResumeQueue(self._queue(data)))

    @precondition(lambda self: self.world.books.queues)
    @rule(data=st.data(), force=st.booleans())
    def remove(self, data, force):
        self.world.ask(ask.RemoveQueue(self._queue(data), force))

    @rule()
    def look(self):
        world = self.world
        rows = world.ask(ask.ListQueues())
        for row in () if rows is None else rows.rows:
            shown = world.ask(ask.ListAllocations(row.id))
            assert not isinstance(shown, Failure)

    # --- commands

    @precondition(lambda self: self._open(act.AskDemand))
    @rule(data=st.data())
    def demand(self, data):
        world = self.world
        (effect,) = self._open(act.AskDemand)
        single = [data.draw(st.integers(0, query.max_sn_workers)) for query in effect.queries]
        gangs = {
            (at, data.draw(st.integers(1, query.max_workers_per_alloc))): data.draw(
                st.integers(1, 4)
            )
            for at, query in enumerate(effect.queries)
            if data.draw(st.booleans())
        }
        rows = tuple(sorted((*place, count) for place, count in gangs.items()))
        world.tell_demand(effect, act.DemandKnown(tuple(single), rows))

    @rule()
    def work(self):
        """Much of it: everything is wanted that may be."""
        world = self.world
        world.do(act.WorkSubmitted())
        world.advance(5.0)
        for effect in self._open(act.AskDemand):
            single = tuple(query.max_sn_workers for query in effect.queries)
            world.tell_demand(effect, act.DemandKnown(single))

    @precondition(lambda self: self._open(act.AskDemand))
    @rule()
    def no_demand_yet(self):
        (effect,) = self._open(act.AskDemand)
        self.world.open.remove(effect)
        self.world.do(act.DemandUnknown())

    @precondition(lambda self: self._open(act.Submit))
    @rule(data=st.data())
    def accepted(self, data):
        effect = self._pick(data, self._open(act.Submit))
        self.world.tell_submitted(effect, Accepted(self.world.submit(effect).id))

    @precondition(lambda self: self._open(act.Submit))
    @rule(data=st.data())
    def started_before_it_is_accepted(self, data):
        world, effect = self.world, self._pick(data, self._open(act.Submit))
        job = world.submit(effect)
        job.start(world.wall)
        world.come(job)
        if effect in world.open:
            world.tell_submitted(effect, Accepted(job.id))

    @precondition(lambda self: self._open(act.Submit))
    @rule(data=st.data(), rejection=st.sampled_from(Rejection))
    def rejected(self, data, rejection):
        effect = self._pick(data, self._open(act.Submit))
        self.world.tell_submitted(effect, Rejected(rejection, "no"))

    @precondition(lambda self: self._open(act.Submit))
    @rule(data=st.data(), jobs=st.integers(0, 2), hidden=st.booleans())
    def unsure(self, data, jobs, hidden):
        effect = self._pick(data, self._open(act.Submit))
        for _ in range(jobs):
            self.world.submit(effect, hidden=hidden)
        self.world.tell_submitted(effect, Unsure("timed out"))

    @precondition(lambda self: self._open(act.Submit))
    @rule(data=st.data(), hidden=st.booleans())
    def killed_while_it_submits(self, data, hidden):
        effect = self._pick(data, self._open(act.Submit))
        self.world.submit(effect, hidden=hidden)
        self.world.kill()

    @precondition(lambda self: self._open(act.Find))
    @rule(data=st.data(), answers=st.booleans())
    def looked_for(self, data, answers):
        effect = self._pick(data, self._open(act.Find))
        (self.world.tell_found if answers else self.world.tell_unanswered)(effect)

    @precondition(lambda self: self._open(act.AskStatus))
    @rule(data=st.data(), others=st.booleans())
    def statuses(self, data, others):
        effect = self._pick(data, self._open(act.AskStatus))
        self.world.tell_statuses(effect, others=others)

    @precondition(lambda self: self._open(act.AskStatus))
    @rule(data=st.data())
    def nonsense(self, data):
        effect = self._pick(data, self._open(act.AskStatus))
        some = st.frozensets(st.sampled_from(effect.ids)) if effect.ids else st.just(frozenset())
        self.world.tell_statuses(effect, unclear=data.draw(some), unknown=data.draw(some))

    @precondition(lambda self: self._open(act.AskStatus))
    @rule(data=st.data())
    def silence(self, data):
        self.world.tell_unanswered(self._pick(data, self._open(act.AskStatus)))

    @precondition(lambda self: self._open(act.Cancel))
    @rule(data=st.data(), stubborn=st.booleans())
    def cancelled(self, data, stubborn):
        effect = self._pick(data, self._open(act.Cancel))
        self.world.jobs[effect.id].is_stubborn = stubborn
        self.world.tell_cancelled(effect)

    @precondition(lambda self: self._open(act.Cancel))
    @rule(data=st.data())
    def not_cancelled(self, data):
        effect = self._pick(data, self._open(act.Cancel))
        self.world.open.remove(effect)
        self.world.do(act.CancelAnswered(effect.manager, effect.id, NotCancelled("no")))

    # --- the manager

    @rule(data=st.data(), workers=st.integers(0, 3))
    def job_starts(self, data, workers):
        world = self.world
        if job := self._job(data, Waiting):
            job.start(world.wall)
            for _ in range(workers):
                world.come(job)

    @rule(data=st.data())
    def worker_comes(self, data):
        if job := self._job(data, Running):
            self.world.come(job)

    @rule(data=st.data(), cause=st.sampled_from(ENDS), purged=st.booleans())
    def job_ends(self, data, cause, purged):
        if job := self._job(data, Running, Waiting):
            job.end(cause, self.world.wall)
            job.is_purged = purged

    @rule(data=st.data())
    def job_is_queued_again(self, data):
        if job := self._job(data, Running):
            job.queue_again(self.world.wall)

    @rule(data=st.data())
    def job_appears(self, data):
        if job := self._pick(data, [job for job in self.world.jobs.values() if job.is_hidden]):
            job.is_hidden = False

    # --- workers and servers

    @rule(data=st.data(), reason=st.sampled_from(LossReason))
    def worker_goes(self, data, reason):
        if worker := self._pick(data, list(self.world.workers)):
            self.world.go(worker, reason)

    @rule(gone=st.integers(0, 2))
    def kill(self, gone):
        self.world.kill(gone=gone)

    @rule(effects=st.integers(0, 4))
    def kill_soon(self, effects):
        """Perhaps between a record and what follows it."""
        self.world.fuse = effects

    @rule(answers=st.integers(0, 5))
    def ends_on_purpose(self, answers):
        self.world.end(answers)

    @invariant()
    def holds(self):
        self.world.check()

    def teardown(self):
        self.world.settle()
        self.world.check_settled()


Stories.TestCase.settings = settings(
    max_examples=1000 if IS_LONG else 80,
    stateful_step_count=80 if IS_LONG else 50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
test_stories = Stories.TestCase
