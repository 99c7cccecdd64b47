"""Clusters whose workers lose their connections and come back with what they have."""

from __future__ import annotations

from scheduling_cluster import Cluster
from scheduling_worker import FakeWorker, ended_fact

from hqtrio.messages.columns import f64, read_u32, read_u64, u32, u64
from hqtrio.messages.scheduling import (
    AdmitWorker,
    Receipt,
    TasksDropped,
    WorkerAbsent,
    WorkerArrived,
    WorkerGone,
)
from hqtrio.messages.worker import Ack, Ended, Held, HeldSlot, Register, Registered
from hqtrio.model.task import Ending
from hqtrio.model.worker import LossReason
from hqtrio.scheduling.absence import Grace
from hqtrio.scheduling.events import LinkClosed, LinkOpened

GRACE = Grace(3.0, 120.0)
HISTORY = b"history"


class ReturningWorker(FakeWorker):
    """It states what it has, and obeys the answer."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.kept_reports = []
        self.attachment = self.attempt = 0
        self.killed = []  # tasks that ran and were not to go on

    def report(self):
        before = self.seq
        said = super().report()
        if self.seq > before:
            self.kept_reports.append(self.reports[-1])
        return said

    def _obey(self, message):
        match message:
            case Registered(worker, _, _, attachment):
                known, self.id, self.attachment = self.id, worker, attachment
                self.orders.append(message)
                if known == worker:
                    self._keep(set(read_u64(message.keep)))
                elif known:
                    self._begin_anew()
            case Ack(_, durable):
                self.kept_reports = [r for r in self.kept_reports if r.seq > durable]
                super()._obey(message)
            case _:
                super()._obey(message)

    def _keep(self, kept):
        self.draining.clear()
        for waiting in self.backlog.values():
            for task in [t for t in waiting if t not in kept]:
                _, instance = waiting.pop(task)
                self._gone(task, instance)
        for task in [t for t in self.running if t not in kept]:
            self.killed.append(task)
            if self.dies_at_once:
                self.end(task, Ending.CANCELLED)

    def _begin_anew(self):
        """As another worker: what it had is killed, and nobody hears of it."""
        self.killed += self.running
        for slot in list(self.slots):
            self._close(slot)
        for rest in (self.running, self.backlog, self.draining, self.dead):
            rest.clear()
        self.facts, self.kept_reports, self.seq = [], [], 0
        self.reports.clear()

    def _gone(self, task, instance):
        self.facts.append(ended_fact([(task, instance, 0)], Ending.CANCELLED, started=-1.0))

    def hang_up(self):
        """The connection is gone, with all that was under way in either direction."""
        self.frames.clear()
        self.report()
        self.reports.clear()

    def hello(self, key, history=HISTORY):
        self.report()
        self.reports.clear()
        rows = [(t, i, 0, 0) for w in self.backlog.values() for t, (_, i) in w.items()]
        rows += [(task, i, slot, 1) for task, (slot, i) in self.running.items()]
        tasks, instances, slots, running = zip(*rows, strict=True) if rows else ((),) * 4
        held = Held(
            tuple(
                HeldSlot(
                    number,
                    self.classes[klass],
                    self.variants[number],
                    claim,
                    number in self.draining,
                    self.nodes.get(number, ()),
                )
                for number, (klass, claim, _) in self.slots.items()
            ),
            u64(tasks),
            u32(instances),
            u32(slots),
            bytes(running),
            f64([0.0] * len(rows)),
            tuple(self.kept_reports),
        )
        self.attempt += 1
        if not self.id:
            return Register(self.config, key, attempt=self.attempt)
        return Register(
            self.config, key, self.id, history, self.attachment, None, held, self.attempt
        )


class ReturningCluster(Cluster):
    """The pretended job book knows workers by their keys, as the real one does."""

    def __init__(self, grace=GRACE, **options):
        self.known = {}  # key: [id, attachment, is gone]
        self.away = {}  # worker: why
        self.links = 5000
        super().__init__(grace=grace, **options)

    def join(self, *args, **more):
        worker = super().join(*args, **more)
        worker.__class__ = ReturningWorker
        worker.kept_reports, worker.attachment, worker.attempt, worker.killed = [], 0, 0, []
        worker.key = b"key of %d" % worker.link
        return worker

    def cut(self, worker, reason=LossReason.CONNECTION_LOST):
        """Both sides notice; what was under way is lost."""
        worker.hang_up()
        self.lose(worker, reason)

    def back(self, worker, *, admit=True, history=HISTORY):
        """The worker opens another connection; the old one may be open still."""
        self.links += 1
        worker.frames.clear()
        hello = worker.hello(worker.key, history)
        self.workers.pop(worker.link, None)
        old, worker.link = worker.link, self.links
        self.workers[worker.link] = worker
        self.handle(LinkOpened(worker.link, hello))
        if admit:
            self._catch_up()
        return old

    def gone_link(self, link, reason=LossReason.CONNECTION_LOST):
        self.handle(LinkClosed(link, reason))

    def _learn(self, fact):
        match fact:
            case WorkerArrived(link, hello):
                self._arrive(link, hello, fact.seen)
            case WorkerAbsent(worker, reason):
                self.away[worker] = reason
            case WorkerGone(worker):
                for entry in self.known.values():
                    entry[2] = entry[2] or entry[0] == worker
                super()._learn(fact)
            case TasksDropped(_, tasks):
                for task, instance in tasks:
                    if task in self.live and self.instance[task] == instance:
                        self.instance[task] += 1
                        self.inbox.append(self._again(task))
            case _:
                super()._learn(fact)

    def _arrive(self, link, hello, seen):
        entry = self.known.get(hello.worker_key)
        known = entry is not None and not entry[2]
        named = not hello.worker or (entry and (entry[0], HISTORY) == (hello.worker, hello.history))
        if known and named:
            entry[1] += 1
            self.away.pop(entry[0], None)
            kept = self._take_in(hello, seen)
        else:
            self._worker_ids += 1
            entry = self.known[hello.worker_key] = [self._worker_ids, 1, False]
            kept = ()
        number, attachment, _ = entry
        if link in self.workers and not hello.worker:
            self.workers[link].id = number
        admit = AdmitWorker(link, number, attachment, hello.config, "uid", HISTORY, None, kept)
        self.inbox.append(admit)
        if entry[1] > 1 and hello.held and hello.held.reports:
            self.inbox.append(Receipt(number, attachment, hello.held.reports[-1].seq))

    def _take_in(self, hello, seen):
        held = hello.held
        if held is None:
            return ()
        for report in held.reports:
            for fact in report.facts if report.seq > seen else ():
                if isinstance(fact, Ended):
                    columns = read_u64(fact.tasks), read_u32(fact.instances), fact.endings
                    rows = zip(*columns, strict=True)
                    for task, instance, ending in rows:
                        self.gangs.pop(task, None)
                        if instance == self.instance[task] and self.live.pop(task, None):
                            self.ended.append((task, Ending(ending)))
        rows = zip(read_u64(held.tasks), read_u32(held.instances), strict=True)
        return [
            self._again(task)
            for task, instance in rows
            if task in self.live and self.instance[task] == instance
        ]
