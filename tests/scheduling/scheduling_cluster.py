"""A scheduling machine with pretended workers and a pretended job book around it."""

from __future__ import annotations

import sys
from collections import deque

from scheduling_worker import FakeWorker, ended_fact

from hqtrio.ids import number_of, task_id
from hqtrio.messages.columns import read_u32, read_u64, u64
from hqtrio.messages.scheduling import (
    AdmitWorker,
    Body,
    EntrySlice,
    NodeLost,
    Receipt,
    RefuseWorker,
    StopWorker,
    TasksBounced,
    TasksCancelled,
    TasksReady,
    TasksReported,
    WorkerArrived,
    WorkerGone,
)
from hqtrio.messages.worker import Register
from hqtrio.model.resources import CPUS, UNIT, Descriptor, Link, Need, Policy, Pool, Request
from hqtrio.model.task import Ending, Stdio, TaskBody
from hqtrio.model.worker import LossReason
from hqtrio.now import Now
from hqtrio.scheduling.events import (
    CloseLink,
    Fact,
    LinkClosed,
    LinkFree,
    LinkOpened,
    LinkStuck,
    Shipped,
    TakenBack,
    ToLink,
    WorkerSaid,
)
from hqtrio.scheduling.machine import Scheduling

__all__ = ["CONTENT", "Cluster", "ended_fact", "gang", "needs", "pools", "work_of"]

NULL = Stdio(None)
CONTENT = TaskBody((b"true",), (), "/", NULL, NULL, "/")


def needs(cpus=1, *, weight=1.0, time_s=0.0, nodes=0, policy=Policy.COMPACT, **others):
    """One variant: cpus and other resources by name; an amount, "all", or (amount, policy)."""
    entries = [need(CPUS, cpus, policy)] if cpus else []
    entries += [need(name, amount) for name, amount in sorted(others.items())]
    return Request(tuple(entries), nodes, time_s, round(weight * UNIT))


def need(resource, amount, policy=Policy.COMPACT):
    if amount == "all":
        return Need(resource, 0, Policy.ALL)
    if isinstance(amount, tuple):
        amount, policy = amount
    return Need(resource, round(amount * UNIT), policy)


def gang(nodes, **more):
    """A request for so many whole workers."""
    return needs(0, nodes=nodes, **more)


def pools(cpus, *, coupling=(), **others):
    """A descriptor. Pools are given by a number, or by the sizes of their groups.

    A number of cpus makes one group, of anything else a sum. A coupling is rows
    (pool, group, pool, group[, weight]).
    """
    made = [grouped(CPUS, (cpus,) if isinstance(cpus, int) else cpus)]
    for name, amount in others.items():
        if isinstance(amount, tuple):
            made.append(grouped(name, amount))
        else:
            made.append(Pool(name, (), round(amount * UNIT)))
    made.sort(key=lambda pool: pool.resource)
    at = {pool.resource: index for index, pool in enumerate(made)}
    links = tuple(Link(at[one], i, at[two], j, *weight) for one, i, two, j, *weight in coupling)
    return Descriptor(tuple(made), links)


def grouped(name, sizes):
    groups, at = [], 0
    for size in sizes:
        groups.append(tuple(str(i) for i in range(at, at + size)))
        at += size
    return Pool(name, tuple(groups), UNIT * at)


def work_of(action):
    """How many functions, built-in ones included, the action calls."""
    calls = 0

    def count(_frame, event, _what):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return calls


class Cluster:
    """Machine, workers and job book; frames travel when the test says so.

    `options` are those of the machine; without `checks` its tables are checked only on demand.
    """

    def __init__(self, *, checks=True, **options):
        self.machine = Scheduling(**options)
        self.checks = checks
        self.time = 100.0
        self.workers = {}  # by link
        self.facts = []
        self.records = []
        self.live = {}  # task: announcement, of those not ended
        self.instance = {}
        self.ended = []  # (task, ending)
        self.cancelled = set()
        self.gone = []
        self.refusals = []  # why links were closed
        self.starts = []  # tasks in the order in which they started, wherever that was
        self.gangs = {}  # running multi-node task: its workers, root first
        self._tasks_of = {}  # job: number of its tasks
        self._next_job = 1
        self._worker_ids = 0
        self._bodies = 0
        self.inbox = deque()  # commands of the job book, not yet handled

    # --- the job book's side

    def now(self):
        return Now(self.time, 1_000_000.0 + self.time)

    def submit(self, *variants, priority=0, count=1, entries=None, job=None, **more):
        """One array, as a new job or as more tasks of one; returns its task ids."""
        job = self._next_job if job is None else job
        self._next_job = max(self._next_job, job + 1)
        self._bodies += 1
        variants = tuple(v if isinstance(v, Request) else needs(v) for v in variants) or (needs(),)
        first = task_id(job, self._tasks_of.get(job, 0))
        piece = None
        if entries is not None:
            count = len(entries)
            ends, at = [], 0
            for entry in entries:
                at += len(entry)
                ends.append(at)
            piece = EntrySlice(b"".join(entries), memoryview(u64(ends)), 0)
        self._tasks_of[job] = number_of(first) + count
        body = Body(self._bodies, job, CONTENT)
        ready = TasksReady(variants, priority, body, ((first, count),), 0, piece, **more)
        tasks = list(range(first, first + count))
        for task in tasks:
            self.live[task] = ready
            self.instance[task] = 0
        self.handle(ready)
        return tasks

    def submit_all(self, *rows):
        """Rows (priority, cpus or request or variants[, count]), each a job; their task ids."""
        groups = []
        for priority, what, *count in rows:
            variants = what if isinstance(what, tuple) else (what,)
            groups.append(self.submit(*variants, priority=priority, count=sum(count or [1])))
        return groups

    def occupy(self, worker, *variants, count=1, priority=1000):
        """Tasks that run on this very worker."""
        others = [other.link for other in self.workers.values() if other is not worker]
        for link in others:
            self.handle(LinkStuck(link))
        tasks = self.submit(*variants, count=count, priority=priority)
        self.settle()
        for link in others:
            self.handle(LinkFree(link))
        self.settle()
        assert set(tasks) <= worker.running.keys(), "what was to run there does not"
        return tasks

    def cancel(self, tasks):
        self._catch_up()
        for task in tasks:
            self.live.pop(task, None)
            self.cancelled.add(task)
        self.handle(TasksCancelled(tuple((task, 1) for task in tasks)))

    def handle(self, event):
        self._perform(self.machine.handle(event, self.now()))
        self._check()

    def round(self):
        """End the batch, at a time when a round may run."""
        self._catch_up()
        self.time += 0.03
        self._perform(self.machine.end_batch(self.now()))
        self._check()

    def _catch_up(self):
        """The job book's commands are handled in its order."""
        while self.inbox:
            self.handle(self.inbox.popleft())

    def _check(self):
        if self.checks:
            self.machine.check()

    def _perform(self, effects):
        for effect in effects:
            match effect:
                case ToLink(link, messages):
                    if link in self.workers:
                        self.workers[link].frames.append(messages)
                case CloseLink(link, reason):
                    self.refusals.append(reason)
                    if link in self.workers:
                        self.workers.pop(link).closed = reason
                case Fact(value):
                    self.facts.append(value)
                    self._learn(value)
                case Shipped() | TakenBack():
                    self.records.append(effect)

    def _learn(self, fact):
        match fact:
            case WorkerArrived(link, _):
                self._worker_ids += 1
                self.workers[link].id = self._worker_ids
                config = fact.hello.config
                self.inbox.append(AdmitWorker(link, self._worker_ids, 1, config, "uid", b"", None))
            case TasksReported(worker, attachment, report, _, ended, gangs):
                for task, members in gangs:
                    assert members[0] == worker, "a root is the first of its gang"
                    assert set(members) <= {w.id for w in self.workers.values()}
                    self.gangs[task] = members
                for end in ended:
                    for task in read_u64(end.tasks):
                        self.gangs.pop(task, None)
                    tasks, instances = read_u64(end.tasks), read_u32(end.instances)
                    for task, instance, ending in zip(tasks, instances, end.endings, strict=True):
                        if instance == self.instance[task] and self.live.pop(task, None):
                            self.ended.append((task, Ending(ending)))
                self.inbox.append(Receipt(worker, attachment, report))
            case WorkerGone(worker, reason, running, shipped):
                self.gone.append((worker, reason))
                for task, members in list(self.gangs.items()):
                    if members[0] == worker:
                        del self.gangs[task]
                for task, instance in (*running, *shipped):
                    if task in self.live:
                        assert instance == self.instance[task]
                        self.instance[task] += 1
                        self.inbox.append(self._again(task))
            case NodeLost(task, instance, worker):
                assert instance == self.instance[task]
                if task in self.gangs:  # it may be lost before the task was heard to run
                    members = self.gangs[task]
                    assert worker in members[1:], (worker, members)
                    self.gangs[task] = tuple(member for member in members if member != worker)
            case TasksBounced():
                pass

    def _again(self, task):
        ready = self.live[task]
        piece = ready.entries
        if piece is not None:
            piece = EntrySlice(piece.blob, piece.ends, number_of(task))
        return TasksReady(
            ready.variants, ready.priority, ready.body, ((task, 1),), self.instance[task], piece
        )

    # --- workers

    def join(
        self,
        *args,
        admit=True,
        remaining_s=None,
        idle_timeout_s=None,
        group="g",
        key=None,
        **more,
    ):
        """A worker joins and is admitted; what is not named here is as for `pools`."""
        link = 1000 + len(self.facts) + len(self.workers)
        while link in self.workers:
            link += 1
        config = {"idle_timeout_s": idle_timeout_s}
        for name in ("min_utilization", "on_server_lost"):
            if name in more:
                config[name] = more.pop(name)
        worker = FakeWorker(
            link,
            pools(*args, **more),
            group=group,
            lives_s=remaining_s,
            now=lambda: self.time,
            **config,
        )
        worker.starts = self.starts
        self.workers[link] = worker
        key = b"key of %d" % link if key is None else key
        hello = Register(worker.config, key, remaining_s=remaining_s)
        self.handle(LinkOpened(link, hello))
        if admit:
            self._catch_up()
        return worker

    def join_all(self, *workers):
        """Workers given by their cpus, or as dictionaries for `join`."""
        return [
            self.join(w) if isinstance(w, int | tuple) else self.join(w["cpus"], **without_cpus(w))
            for w in workers
        ]

    def lose(self, worker, reason=LossReason.CONNECTION_LOST):
        self.workers.pop(worker.link)
        self.handle(LinkClosed(worker.link, reason))

    def stop(self, worker, reason=LossReason.STOPPED):
        self.handle(StopWorker(worker.id, reason))

    def refuse(self, worker, reason):
        self.handle(RefuseWorker(worker.link, reason))

    def say(self, worker, *messages):
        """Any messages, in one frame."""
        self.handle(WorkerSaid(worker.link, tuple(messages)))

    def hear(self, worker):
        """Handle the oldest report of a worker."""
        self.say(worker, worker.reports.popleft())

    def settle(self):
        """Run rounds and deliver frames until nothing moves."""
        for _ in range(1000):
            moved = bool(self.inbox)
            self.round()
            for worker in list(self.workers.values()):
                while worker.frames:
                    moved = True
                    worker.read_frame()
                if worker.report():
                    moved = True
                    while worker.reports and worker.link in self.workers:
                        self.hear(worker)
            if not moved:
                self._check_copies()
                return
        raise AssertionError("the cluster does not come to rest")

    def _check_copies(self):
        """No task is at two workers, and no worker of a gang has anything else (G2, G3)."""
        shipped = [
            task
            for worker in self.workers.values()
            for tasks in (worker.running, *worker.backlog.values())
            for task in tasks
        ]
        assert len(shipped) == len(set(shipped))
        members = [member for gang in self.gangs.values() for member in gang]
        assert len(members) == len(set(members)), self.gangs
        roots = {gang[0] for gang in self.gangs.values()}
        for worker in self.workers.values():
            if worker.id in members:
                assert len(worker.slots) == (worker.id in roots)
                assert not worker.waiting

    def advance(self, to):
        """Let time pass, deadlines included."""
        for _ in range(100_000):
            deadline = self.machine.next_deadline()
            if deadline > to:
                break
            self.time = max(self.time, deadline)
            self._perform(self.machine.tick(self.now()))
            self._check()
            self.settle()
        else:
            raise AssertionError("the machine has always something due")
        self.time = max(self.time, to)
        for worker in self.workers.values():
            worker.pump()
        if any(worker.facts for worker in self.workers.values()):
            self.settle()

    def finish_all(self):
        """End running tasks until none is left; returns how many ended."""
        before = len(self.ended)
        self.settle()
        while any(worker.running for worker in self.workers.values()):
            for worker in self.workers.values():
                for task in list(worker.running):
                    worker.end(task)
            self.settle()
        return len(self.ended) - before

    # --- what is the case

    def running(self):
        """Ids of running tasks per worker, in the order the workers joined."""
        return [sorted(worker.running) for worker in self.workers.values()]

    def loads(self):
        """Number of running tasks per worker."""
        return [len(worker.running) for worker in self.workers.values()]

    def started(self, *groups):
        """How many tasks of each submitted group run."""
        running = {task for tasks in self.running() for task in tasks}
        return [sum(task in running for task in tasks) for tasks in groups]

    def here(self, worker, *groups):
        """How many tasks of each submitted group run on this worker."""
        return [len(worker.running.keys() & set(tasks)) for tasks in groups]

    def chosen(self, tasks):
        """The variants in which those of the tasks run that run, ascending."""
        return sorted(
            worker.variants[slot]
            for worker in self.workers.values()
            for task, (slot, _) in worker.running.items()
            if task in tasks
        )

    def held(self):
        """Whether each worker is kept for waiting tasks."""
        return [self.is_held(worker) for worker in self.workers.values()]

    def is_held(self, worker):
        return self.machine.runtime_info(worker.id).reserved

    def end(self, tasks, ending=Ending.FINISHED, took=0.001):
        """These running tasks end, and the cluster comes to rest."""
        for task in tasks:
            [worker] = [w for w in self.workers.values() if task in w.running]
            worker.end(task, ending, took)
        self.settle()


def without_cpus(worker):
    return {name: value for name, value in worker.items() if name != "cpus"}
