"""A pretended worker: it obeys orders, and its tasks run until the test ends them."""

from __future__ import annotations

from collections import Counter, deque
from math import inf

from hqtrio.messages.columns import f32, f64, i32, read_u32, read_u64, u32, u64
from hqtrio.messages.worker import (
    Ack,
    Bounced,
    Cancel,
    Closed,
    DefineBody,
    DefineClass,
    Drain,
    Ended,
    Enqueue,
    Forget,
    Grant,
    Registered,
    Rejected,
    Report,
    Retract,
    Retracted,
    Started,
    Stop,
    Undrain,
)
from hqtrio.model.resources import UNIT
from hqtrio.model.task import Ending
from hqtrio.model.worker import WorkerConfig


class Draining:
    """Open slots of one drain order, and how many of them are still to close."""

    def __init__(self, left):
        self.left = left
        self.slots = set()

    @property
    def takes_all(self):
        return self.left >= len(self.slots)


class FakeWorker:
    """Obeys like a worker; tasks run until `end` is called. `now` is its own clock."""

    def __init__(self, link, descriptor, *, group="g", lives_s=None, now=lambda: 0.0, **config):
        self.link = link
        host = f"node{link}"
        self.config = WorkerConfig(host, host, "/tmp", group, descriptor, **config)
        self.now = now
        self.sizes = {pool.resource: pool.size for pool in descriptor.pools}
        self.labels = {
            pool.resource: {label for group in pool.groups for label in group}
            for pool in descriptor.pools
        }
        self.ends_at = inf if lives_s is None else now() + lives_s
        self.id = 0
        self.frames = deque()  # from the server, not yet read
        self.orders = []  # every message read, in order
        self.facts = []  # not yet reported
        self.reports = deque()  # reported, not yet handled
        self.seq = 0
        self.classes, self.bodies = {}, {}
        self.slots = {}  # slot: (class, claim, task or None)
        self.variants = {}  # slot: variant
        self.nodes = {}  # slot of a multi-node task: host names
        self.spent = set()  # such slots that have had their task
        self.draining = {}  # slot: Draining
        self.used = Counter()  # (resource, label): amount; label None for sums
        self.backlog = {}  # class: {task: (priority, instance, entry)}
        self.running = {}  # task: (slot, instance)
        self.ran = []  # (task, instance), in order of start
        self.starts = []  # tasks in order of start; a cluster's workers share it
        self.entries = {}
        self.dead = set()  # tasks whose cancel was read
        self.dies_at_once = True  # else a cancelled task runs on until the test ends it
        self.acks = []
        self.closed = self.stopped = None

    # --- orders

    def read_frame(self):
        """Apply one frame from the server, as a whole."""
        for message in self.frames.popleft():
            self._obey(message)
        self.pump()

    def _obey(self, message):
        self.orders.append(message)
        match message:
            case Registered(worker):
                self.id = worker
            case Rejected(reason):
                self.closed = reason
            case DefineClass(number, variants):
                self.classes[number] = variants
            case DefineBody(number, _, content):
                self.bodies[number] = content
            case Forget(bodies, classes):
                for body in read_u32(bodies):
                    del self.bodies[body]
                for klass in read_u32(classes):
                    del self.classes[klass]
            case Grant():
                self._open(message)
            case Enqueue(klass, body, priority, firsts, counts, instances, entries):
                assert body in self.bodies
                entry = iter(entries)
                rows = zip(read_u64(firsts), read_u32(counts), read_u32(instances), strict=True)
                for first, count, instance in rows:
                    for task in range(first, first + count):
                        assert task not in self.running
                        assert task not in self.dead  # G8
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
            case Drain(slots, count):
                self._drain(read_u32(slots), count)
            case Undrain(slots):
                for slot in read_u32(slots):
                    self._undrain(slot)
            case Cancel(tasks):
                for task in read_u64(tasks):
                    self._cancel(task)
            case Ack(seen, durable):
                self.acks.append((seen, durable))
            case Stop(reason):
                self.stopped = reason
            case _:
                raise AssertionError(message)

    def _open(self, grant):
        slot = grant.slot
        assert slot not in self.slots
        assert self.stopped is None  # I07
        assert len(self.classes[grant.klass]) > grant.variant
        if grant.nodes:
            assert grant.nodes[0] == self.config.hostname
            assert len(set(grant.nodes)) == len(grant.nodes)
            assert grant.claim.shares == ()
            assert not self.slots, "a multi-node task shares its root"  # G2
            assert not any(self.backlog.values()), "a root has backlog"  # G2
            self.nodes[slot] = grant.nodes
        else:
            assert not self.nodes, "a root of a multi-node task got a slot"  # G2
        self._count(grant.claim, 1)
        self.slots[slot] = (grant.klass, grant.claim, None)
        self.variants[slot] = grant.variant

    def _count(self, claim, sign):
        """Add or remove what a claim uses; no pool is used beyond its size (G1)."""
        for share in claim.shares:
            if not share.labels:
                self.used[share.resource, None] += sign * share.amount
                assert 0 <= self.used[share.resource, None] <= self.sizes[share.resource]
                continue
            assert self.labels[share.resource].issuperset(share.labels)
            for label in share.labels:
                partly = share.fraction and label == share.labels[-1]
                self.used[share.resource, label] += sign * (share.fraction if partly else UNIT)
                assert 0 <= self.used[share.resource, label] <= UNIT, (share.resource, label)

    def _close(self, slot):
        _, claim, _ = self.slots.pop(slot)
        self._count(claim, -1)
        self.nodes.pop(slot, None)
        self.spent.discard(slot)
        del self.variants[slot]
        order = self.draining.get(slot)
        if order is not None:
            order.left -= 1
            self._undrain(slot)
            if order.left == 0:
                for other in list(order.slots):
                    self._undrain(other)

    def _drain(self, slots, count):
        """Slots that have closed before the order came count as closed by it."""
        still_open = [slot for slot in slots if slot in self.slots]
        for slot in still_open:
            self._undrain(slot)
        order = Draining((count or len(slots)) - (len(slots) - len(still_open)))
        if order.left > 0:
            for slot in still_open:
                self.draining[slot] = order
                order.slots.add(slot)

    def _undrain(self, slot):
        order = self.draining.pop(slot, None)
        if order is not None:
            order.slots.discard(slot)

    def _cancel(self, task):
        self.dead.add(task)
        for waiting in self.backlog.values():
            if task in waiting:
                _, instance = waiting.pop(task)
                self.facts.append(ended_fact([(task, instance, 0)], Ending.CANCELLED, started=-1.0))
                return
        if task in self.running and self.dies_at_once:
            self.end(task, Ending.CANCELLED)

    # --- work

    def too_late(self, klass, variant):
        """Whether a task of this variant may not start any more."""
        return self.now() + self.classes[klass][variant].time_s > self.ends_at

    def pump(self):
        """Slots take what waits for them, or close; what cannot start here goes back."""
        started, closed, late = [], [], set()
        for slot, (klass, claim, task) in list(self.slots.items()):
            is_late = self.too_late(klass, self.variants[slot])
            if is_late:
                late.add(klass)
            if task is not None:
                continue
            waiting = self.backlog.get(klass)
            if not waiting or is_late or slot in self.draining or slot in self.spent:
                self._close(slot)
                closed.append(slot)
                continue
            task = min(waiting, key=lambda t: (-waiting[t][0], t))
            _, instance = waiting.pop(task)
            self.slots[slot] = (klass, claim, task)
            self.running[task] = (slot, instance)
            self.ran.append((task, instance))
            self.starts.append(task)
            if slot in self.nodes:
                self.spent.add(slot)
            started.append((task, instance, slot))
        if started:
            tasks, instances, slots = zip(*started, strict=True)
            ages = f64([0.0] * len(tasks))
            self.facts.append(Started(u64(tasks), u32(instances), u32(slots), ages))
        if closed:
            self.facts.append(Closed(u32(closed)))
        for klass, waiting in self.backlog.items():
            if not waiting or self._goes_on(klass):
                continue
            if klass not in late and self.frames:
                continue  # a slot for what has none may be on its way; a real worker waits for it
            instances = [instance for _, instance in waiting.values()]
            reason = "time" if klass in late else "no_slot"
            self.facts.append(Bounced(u64(waiting), u32(instances), reason))
            waiting.clear()

    def _goes_on(self, klass):
        """Whether some slot of the class will take another task."""
        for slot, (of, _, _) in self.slots.items():
            order = self.draining.get(slot)
            stays = order is None or not order.takes_all
            if of == klass and stays and not self.too_late(klass, self.variants[slot]):
                return slot not in self.spent
        return False

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

    def orders_of(self, kind):
        """All messages of one kind, the frames under way included."""
        under_way = [message for frame in self.frames for message in frame]
        return [message for message in (*self.orders, *under_way) if isinstance(message, kind)]

    @property
    def cpus(self):
        """Cpus in use."""
        amount = sum(used for (name, _), used in self.used.items() if name == "cpus")
        return amount / UNIT

    @property
    def waiting(self):
        """How many tasks lie in its backlog."""
        return sum(map(len, self.backlog.values()))


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
