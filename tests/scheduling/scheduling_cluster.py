"""A scheduling machine with pretended workers and a pretended job book around it."""

from __future__ import annotations

from collections import deque

from hqtrio.ids import number_of, task_id
from hqtrio.messages.columns import f32, f64, i32, read_u32, read_u64, u32, u64
from hqtrio.messages.scheduling import (
    AdmitWorker,
    Body,
    EntrySlice,
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
from hqtrio.messages.worker import (
    Ack,
    Bounced,
    Cancel,
    Closed,
    DefineBody,
    DefineClass,
    Ended,
    Enqueue,
    Forget,
    Grant,
    Register,
    Registered,
    Rejected,
    Report,
    Retract,
    Retracted,
    Started,
    Stop,
)
from hqtrio.model.resources import CPUS, UNIT, Descriptor, Need, Policy, Pool, Request
from hqtrio.model.task import Ending, Stdio, TaskBody
from hqtrio.model.worker import LossReason, WorkerConfig
from hqtrio.now import Now
from hqtrio.scheduling.events import (
    CloseLink,
    Fact,
    LinkClosed,
    LinkOpened,
    Shipped,
    TakenBack,
    ToLink,
    WorkerSaid,
)
from hqtrio.scheduling.machine import Scheduling

NULL = Stdio(None)
CONTENT = TaskBody((b"true",), (), "/", NULL, NULL, "/")


def needs(cpus=1, *, weight=1.0, time_s=0.0, nodes=0, policy=Policy.COMPACT, **others):
    """One variant: cpus and other resources by name."""
    entries = []
    if cpus == "all":
        entries.append(Need(CPUS, 0, Policy.ALL))
    elif cpus:
        entries.append(Need(CPUS, round(cpus * UNIT), policy))
    entries += [Need(name, round(amount * UNIT)) for name, amount in sorted(others.items())]
    return Request(tuple(entries), nodes, time_s, round(weight * UNIT))


def pools(cpus, **sums):
    """A descriptor: cpus as a number, or as sizes of sockets; everything else is a sum."""
    sizes = (cpus,) if isinstance(cpus, int) else cpus
    groups, at = [], 0
    for size in sizes:
        groups.append(tuple(str(i) for i in range(at, at + size)))
        at += size
    made = [Pool(CPUS, tuple(groups), UNIT * at)]
    made += [Pool(name, (), round(amount * UNIT)) for name, amount in sums.items()]
    return Descriptor(tuple(sorted(made, key=lambda pool: pool.resource)))


class FakeWorker:
    """Obeys like a worker; tasks run until `end` is called."""

    def __init__(self, link, descriptor, **config):
        self.link = link
        self.config = WorkerConfig("node", "node", "/tmp", "g", descriptor, **config)
        self.id = 0
        self.frames = deque()  # from the server, not yet read
        self.facts = []  # not yet reported
        self.reports = deque()  # reported, not yet handled
        self.seq = 0
        self.classes, self.bodies = {}, {}
        self.slots = {}  # slot: (class, claim, task or None)
        self.backlog = {}  # class: {task: (priority, instance, entry)}
        self.running = {}  # task: (slot, instance)
        self.ran = []  # (task, instance), in order of start
        self.entries = {}
        self.acks = []
        self.closed = self.stopped = None

    # --- orders

    def read_frame(self):
        """Apply one frame from the server, as a whole."""
        for message in self.frames.popleft():
            self._obey(message)
        self.pump()

    def _obey(self, message):
        match message:
            case Registered(worker):
                self.id = worker
            case Rejected(reason):
                self.closed = reason
            case DefineClass(number, variants):
                self.classes[number] = variants
            case DefineBody(number, _, content):
                self.bodies[number] = content
            case Forget(bodies):
                for body in read_u32(bodies):
                    del self.bodies[body]
            case Grant(slot, klass, variant, claim):
                assert slot not in self.slots
                assert len(self.classes[klass]) > variant
                self._check_claim(claim)
                self.slots[slot] = (klass, claim, None)
            case Enqueue(klass, body, priority, firsts, counts, instances, entries):
                assert body in self.bodies
                entry = iter(entries)
                rows = zip(read_u64(firsts), read_u32(counts), read_u32(instances), strict=True)
                for first, count, instance in rows:
                    for task in range(first, first + count):
                        assert task not in self.running
                        self.entries[task] = next(entry, None)
                        self.backlog.setdefault(klass, {})[task] = (priority, instance)
                assert next(entry, None) is None
            case Retract(seq, tasks):
                released = [
                    task
                    for task in read_u64(tasks)
                    for waiting in self.backlog.values()
                    if waiting.pop(task, None)
                ]
                self.facts.append(Retracted(seq, u64(released)))
            case Cancel(tasks):
                for task in read_u64(tasks):
                    self._cancel(task)
            case Ack(seen, durable):
                self.acks.append((seen, durable))
            case Stop(reason):
                self.stopped = reason
            case _:
                raise AssertionError(message)

    def _check_claim(self, claim):
        for share in claim.shares:
            whole = share.labels[:-1] if share.fraction else share.labels
            for _, other, _ in self.slots.values():
                for held in other.shares:
                    if held.resource == share.resource:
                        whole_held = held.labels[:-1] if held.fraction else held.labels
                        assert not set(whole) & set(held.labels)
                        assert not set(whole_held) & set(share.labels)

    def _cancel(self, task):
        for waiting in self.backlog.values():
            if task in waiting:
                _, instance = waiting.pop(task)
                self.facts.append(ended_fact([(task, instance, 0)], Ending.CANCELLED, started=-1.0))
                return
        if task in self.running:
            self.end(task, Ending.CANCELLED)

    # --- work

    def pump(self):
        """Slots take what waits for them, or close."""
        started, closed = [], []
        for slot, (klass, claim, task) in list(self.slots.items()):
            if task is not None:
                continue
            waiting = self.backlog.get(klass)
            if not waiting:
                del self.slots[slot]
                closed.append(slot)
                continue
            task = min(waiting, key=lambda t: (-waiting[t][0], t))
            _, instance = waiting.pop(task)
            self.slots[slot] = (klass, claim, task)
            self.running[task] = (slot, instance)
            self.ran.append((task, instance))
            started.append((task, instance, slot))
        if started:
            tasks, instances, slots = zip(*started, strict=True)
            ages = f64([0.0] * len(tasks))
            self.facts.append(Started(u64(tasks), u32(instances), u32(slots), ages))
        if closed:
            self.facts.append(Closed(u32(closed)))
        for klass, waiting in self.backlog.items():
            if self.frames:
                break  # a slot for what has none may be on its way; a real worker waits for it
            if waiting and not any(slot[0] == klass for slot in self.slots.values()):
                instances = [instance for _, instance in waiting.values()]
                self.facts.append(Bounced(u64(waiting), u32(instances), "no_slot"))
                waiting.clear()

    def end(self, task, ending=Ending.FINISHED, took=0.001):
        """A running task ends; its slot goes on or closes."""
        slot, instance = self.running.pop(task)
        klass, claim, _ = self.slots[slot]
        self.slots[slot] = (klass, claim, None)
        self.facts.append(ended_fact([(task, instance, slot)], ending, started=took))
        self.pump()

    def report(self):
        """Put everything that happened into one report; False if there is nothing to say."""
        if self.facts:
            self.seq += 1
            self.reports.append(Report(self.seq, tuple(self.facts)))
            self.facts = []
        return bool(self.reports)


def ended_fact(rows, ending=Ending.FINISHED, started=0.001):
    """An Ended of rows (task, instance, slot)."""
    tasks, instances, slots = zip(*rows, strict=True)
    n = len(rows)
    return Ended(
        u64(tasks),
        u32(instances),
        u32(slots),
        bytes([ending]) * n,
        i32([0] * n),
        f64([started] * n),
        f64([0.0] * n),
        f32([-1.0] * n),
        u32([0] * n),
    )


class Cluster:
    """Machine, workers and job book; frames travel when the test says so."""

    def __init__(self):
        self.machine = Scheduling()
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
        self._next_job = 1
        self._worker_ids = 0
        self._bodies = 0
        self.inbox = deque()  # commands of the job book, not yet handled

    # --- the job book's side

    def now(self):
        return Now(self.time, 1_000_000.0 + self.time)

    def submit(self, *variants, priority=0, count=1, entries=None):
        """One array as a new job; returns its task ids."""
        job, self._next_job = self._next_job, self._next_job + 1
        self._bodies += 1
        variants = tuple(v if isinstance(v, Request) else needs(v) for v in variants) or (needs(),)
        first = task_id(job, 0)
        piece = None
        if entries is not None:
            count = len(entries)
            ends, at = [], 0
            for entry in entries:
                at += len(entry)
                ends.append(at)
            piece = EntrySlice(b"".join(entries), memoryview(u64(ends)), 0)
        body = Body(self._bodies, job, CONTENT)
        ready = TasksReady(variants, priority, body, ((first, count),), 0, piece)
        tasks = list(range(first, first + count))
        for task in tasks:
            self.live[task] = ready
            self.instance[task] = 0
        self.handle(ready)
        return tasks

    def cancel(self, tasks):
        for task in tasks:
            self.live.pop(task, None)
            self.cancelled.add(task)
        self.handle(TasksCancelled(tuple((task, 1) for task in tasks)))

    def handle(self, event):
        self._perform(self.machine.handle(event, self.now()))
        self.machine.check()

    def round(self):
        """End the batch, at a time when a round may run."""
        while self.inbox:
            self.handle(self.inbox.popleft())
        self.time += 0.03
        self._perform(self.machine.end_batch(self.now()))
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
            case TasksReported(worker, attachment, report, _, ended):
                for end in ended:
                    tasks, instances = read_u64(end.tasks), read_u32(end.instances)
                    for task, instance, ending in zip(tasks, instances, end.endings, strict=True):
                        if instance == self.instance[task] and self.live.pop(task, None):
                            self.ended.append((task, Ending(ending)))
                self.inbox.append(Receipt(worker, attachment, report))
            case WorkerGone(worker, reason, running, shipped):
                self.gone.append((worker, reason))
                for task, instance in (*running, *shipped):
                    if task in self.live:
                        assert instance == self.instance[task]
                        self.instance[task] += 1
                        self.inbox.append(self._again(task))
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

    def join(self, *args, admit=True, remaining_s=None, idle_timeout_s=None, **sums):
        """A worker joins and is admitted; `args` as for `pools`."""
        link = 1000 + len(self.facts) + len(self.workers)
        while link in self.workers:
            link += 1
        worker = FakeWorker(link, pools(*args, **sums), idle_timeout_s=idle_timeout_s)
        self.workers[link] = worker
        hello = Register(worker.config, b"key", remaining_s=remaining_s)
        self.handle(LinkOpened(link, hello))
        if admit:
            while self.inbox:
                self.handle(self.inbox.popleft())
        return worker

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
                return
        raise AssertionError("the cluster does not come to rest")

    def advance(self, to):
        """Let time pass, deadlines included."""
        while (deadline := self.machine.next_deadline()) <= to:
            self.time = max(self.time, deadline)
            self._perform(self.machine.tick(self.now()))
            self.machine.check()
            self.settle()
        self.time = max(self.time, to)

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

    def running(self):
        """Ids of running tasks per worker, in the order the workers joined."""
        return [sorted(worker.running) for worker in self.workers.values()]

    def loads(self):
        """Number of running tasks per worker."""
        return [len(worker.running) for worker in self.workers.values()]
