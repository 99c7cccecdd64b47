"""What a scheduler's events and effects add up to: its view of the cluster, kept by somebody else.

Only what passes in and out of the machine is read. Every order is checked against what was known
when it was given: whose the task is, what is free, who is stopping, how long the worker lives.
"""

from __future__ import annotations

from math import inf

from ledger_entries import DrainEntry, SlotEntry, TaskEntry, WorkerEntry
from naive_pools import NaivePools

from hqtrio.messages.columns import read_u32, read_u64
from hqtrio.messages.scheduling import (
    AdmitWorker,
    ExpectWorker,
    NodeLost,
    StopWorker,
    TasksCancelled,
    TasksDropped,
    TasksReady,
    WorkerAbsent,
    WorkerGone,
)
from hqtrio.messages.worker import (
    Bounced,
    Cancel,
    Closed,
    DefineClass,
    Drain,
    Ended,
    Enqueue,
    Goodbye,
    Grant,
    Register,
    Registered,
    Report,
    Retract,
    Retracted,
    Started,
    Stop,
    Undrain,
)
from hqtrio.model.resources import UNIT, Variants
from hqtrio.model.worker import OnServerLost, WorkerConfig
from hqtrio.scheduling.events import (
    CloseLink,
    Fact,
    LinkClosed,
    LinkFree,
    LinkOpened,
    LinkStuck,
    ToLink,
    WorkerSaid,
)


class Ledger:
    """One scheduler's history."""

    def __init__(self) -> None:
        self.tasks: dict[int, TaskEntry] = {}
        self.workers: dict[int, WorkerEntry] = {}
        self.granted: list[SlotEntry] = []  # in the effects taken in last
        self._links: dict[int, WorkerEntry] = {}
        self._opened: dict[int, tuple[float, Register]] = {}
        self.absent: dict[int, WorkerEntry] = {}  # without connection, what they had is their own
        self._shipped: set[tuple[int, int]] = set()  # (task, instance) ever shipped and not back
        self._instances: dict[int, int] = {}
        self._dropped: dict[int, int] = {}  # what a worker is back without: instances

    # --- what is asked of it

    def ready(self) -> list[TaskEntry]:
        return [task for task in self.tasks.values() if not task.worker]

    def backlog(self, worker: int, variants: Variants) -> list[TaskEntry]:
        """Tasks that wait there for a slot, first to start first."""
        tasks = [
            task
            for task in self.workers[worker].held.values()
            if task.variants == variants and not (task.slot or task.asked_back or task.cancelled)
        ]
        return sorted(tasks, key=lambda task: (-task.priority, task.id))

    # --- events

    def take_event(self, event, now: float) -> None:
        match event:
            case TasksReady():
                self._announce(event, now)
            case TasksCancelled(runs):
                for first, count in runs:
                    for task in range(first, first + count):
                        self._cancel(task)
            case LinkOpened(link, hello):
                self._opened[link] = (now, hello)
            case AdmitWorker():
                self._admit(event)
            case ExpectWorker():
                self._expect(event)
            case StopWorker(worker):
                if worker in self.workers:
                    self.workers[worker].stopping = True
            case LinkStuck(link) | LinkFree(link):
                if link in self._links:
                    self._links[link].stuck = isinstance(event, LinkStuck)
            case LinkClosed(link):
                self._opened.pop(link, None)
            case WorkerSaid(link, messages):
                if link in self._links:
                    for message in messages:
                        self._hear(self._links[link], message)
            case _:
                pass

    def _announce(self, ready: TasksReady, now: float) -> None:
        for first, count in ready.runs:
            for task in range(first, first + count):
                old = self.tasks.get(task)
                # It may have failed at a worker that tells so on its return.
                assert old is None or old.worker in self.absent, ("announced twice", task)
                before = self._instances.get(task, -1)
                assert ready.instance > before, ("the instance does not grow", task)
                self._instances[task] = ready.instance
                entry = TaskEntry(task, ready.variants, ready.priority, ready.instance, now)
                self.tasks[task] = entry

    def _cancel(self, number: int) -> None:
        task = self.tasks.get(number)
        if task is None:
            return
        if task.worker:
            task.cancelled = True
        else:
            del self.tasks[number]

    def _admit(self, admit: AdmitWorker) -> None:
        if admit.link not in self._opened:
            return
        opened_at, hello = self._opened.pop(admit.link)
        config, remaining_s = hello.config, hello.remaining_s
        lifetime = config.time_limit_s if remaining_s is None else remaining_s
        deadline_at = inf if lifetime is None else opened_at + lifetime
        entry = WorkerEntry(
            admit.worker, admit.link, config, deadline_at, NaivePools(config.descriptor)
        )
        if admit.attachment > 1:
            self._take_up(entry, hello, admit)
        self.workers[admit.worker] = self._links[admit.link] = entry

    def _take_up(self, entry: WorkerEntry, hello: Register, admit: AdmitWorker) -> None:
        """The worker is back with what it states, and goes on with what is its own of that."""
        held = hello.held
        before = self.absent.pop(entry.id, None)
        owned = {} if before is None else before.held
        if held is not None:
            entry.leaves = config_leaves(hello.config)
            for slot in held.slots:
                assert not slot.nodes, "multi-node tasks are not followed across returns"
                entry.slots[slot.slot] = SlotEntry(
                    entry.id, slot.slot, slot.variants, slot.variant, slot.claim
                )
                entry.pools.hold(slot.claim)
            rows = zip(
                read_u64(held.tasks),
                read_u32(held.instances),
                read_u32(held.task_slots),
                held.running,
                strict=True,
            )
            allowed = {
                (task, ready.instance): ready
                for ready in admit.kept
                for first, count in ready.runs
                for task in range(first, first + count)
            }
            for number, instance, slot, runs in rows:
                task = owned.get(number)
                ready = allowed.get((number, instance))
                if task is None or task.instance != instance or ready is None:
                    entry.doomed.add(number)
                    continue
                task.variants, task.priority = ready.variants, ready.priority
                # The end of a second one in the same slot is held back for a moment.
                taken = any(other.slot == slot for other in entry.held.values())
                task.slot, task.asked_back = slot if runs and not taken else 0, 0
                if task.slot:
                    entry.last[slot] = task
                entry.held[number] = task
        self._dropped = {n: t.instance for n, t in owned.items() if n not in entry.held}
        for number in self._dropped:
            if self.tasks.get(number) is owned[number]:
                del self.tasks[number]

    def _expect(self, expected: ExpectWorker) -> None:
        """A worker of the journal; what it has nobody has announced here."""
        config = expected.config
        pools = NaivePools(config.descriptor)
        entry = self.absent[expected.worker] = WorkerEntry(expected.worker, 0, config, inf, pools)
        for number, instance in zip(
            read_u64(expected.tasks), read_u32(expected.instances), strict=True
        ):
            task = TaskEntry(number, (), 0, instance, 0.0, expected.worker)
            self.tasks[number] = entry.held[number] = task
            self._instances[number] = instance

    def _miss(self, number: int) -> None:
        """The worker has no connection."""
        if number not in self.absent:
            worker = self.absent[number] = self.workers.pop(number)
            del self._links[worker.link]

    # --- what a worker says

    def _hear(self, worker: WorkerEntry, message) -> None:
        match message:
            case Report(_, facts):
                for fact in facts:
                    self._learn(worker, fact)
            case Goodbye():
                worker.stopping = True
            case _:
                pass

    def _learn(self, worker: WorkerEntry, fact) -> None:
        if isinstance(fact, Ended | Bounced):
            worker.doomed.difference_update(read_u64(fact.tasks))
        match fact:
            case Started():
                columns = read_u64(fact.tasks), read_u32(fact.instances), read_u32(fact.slots)
                for number, instance, slot in zip(*columns, strict=True):
                    task = self._mine(worker, number, instance)
                    if task is not None:
                        # The end of the one before may be held back for a moment.
                        before = worker.last.get(slot, task)
                        if before is not task and before.slot == slot:
                            before.slot = 0
                        worker.last[slot] = task
                        task.slot, task.asked_back = slot, 0
            case Ended():
                rows = zip(read_u64(fact.tasks), read_u32(fact.instances), strict=True)
                for number, instance in rows:
                    if self._mine(worker, number, instance) is not None:
                        del self.tasks[number], worker.held[number]
            case Closed(slots):
                for number in read_u32(slots):
                    self._close(worker, number)
            case Bounced(tasks, instances, reason):
                for number, instance in zip(read_u64(tasks), read_u32(instances), strict=True):
                    task = self._mine(worker, number, instance)
                    if task is not None:
                        self._give_back(task)
                        if reason == "time":
                            worker.too_late.add(task.variants)
            case Retracted(seq, released):
                back = set(read_u64(released))
                for task in list(worker.held.values()):
                    if task.asked_back == seq:
                        task.asked_back = 0
                        if task.id in back:
                            self._give_back(task)

    def _mine(self, worker: WorkerEntry, number: int, instance: int) -> TaskEntry | None:
        task = self.tasks.get(number)
        if task is None or (task.worker, task.instance) != (worker.id, instance):
            return None
        return task

    def _give_back(self, task: TaskEntry) -> None:
        del self.workers[task.worker].held[task.id]
        if task.cancelled:
            del self.tasks[task.id]
        else:
            task.worker = task.slot = task.asked_back = 0

    def _close(self, worker: WorkerEntry, number: int) -> None:
        slot = worker.slots.pop(number, None)
        if slot is None:
            return
        worker.pools.free(slot.claim)
        for member in slot.gang:
            if member in self.workers:
                self.workers[member].gang = None
        drain = slot.drain
        if drain is None:
            return
        drain.slots.discard(number)
        if drain.left is not None:
            drain.left -= 1
            if drain.left == 0:
                for other in drain.slots:
                    worker.slots[other].drain = None

    # --- effects

    def take_effects(self, effects, now: float) -> None:
        self.granted = []
        for effect in effects:
            match effect:
                case ToLink(link, messages):
                    if link in self._links:
                        for message in messages:
                            self._order(self._links[link], message, now)
                case CloseLink(link):
                    self._opened.pop(link, None)
                    worker = self._links.pop(link, None)
                    assert worker is None or worker.id not in self.workers, "closed but not gone"
                case Fact(WorkerAbsent(worker)):
                    self._miss(worker)
                case Fact(TasksDropped(_, tasks)):
                    assert dict(tasks) == self._dropped, (tasks, self._dropped)
                    self._dropped = {}
                case Fact(WorkerGone(worker, _, running, shipped)):
                    self._forget(worker, running, shipped)
                case Fact(NodeLost(task, instance, worker)):
                    self._shrink(task, instance, worker)
                case _:
                    pass
        assert not self._dropped, ("not given back", self._dropped)
        for slot in sorted(self.granted, key=lambda slot: slot.number):
            worker = self.workers[slot.worker]
            if not slot.gang:
                worker.pools.check_claim(slot.request, slot.claim)  # I05
                worker.pools.hold(slot.claim)  # I01, I14

    def _order(self, worker: WorkerEntry, message, now: float) -> None:
        match message:
            case Registered(keep=keep):
                doomed = worker.doomed & set(read_u64(keep))
                assert not doomed, ("may go on with what is not its own", doomed)
            case DefineClass(number, variants):
                assert number not in worker.classes, ("class defined twice", number)
                worker.classes[number] = variants
            case Grant():
                self._grant(worker, message, now)
            case Enqueue():
                self._ship(worker, message, now)
            case Retract(seq, tasks):
                for number in read_u64(tasks):
                    task = self.tasks[number]
                    assert task.worker == worker.id, ("asked back from the wrong worker", number)
                    assert not task.asked_back, ("asked back twice", number)
                    task.asked_back = seq
            case Drain(slots, count):
                self._drain(worker, [n for n in read_u32(slots) if n in worker.slots], count)
            case Undrain(slots):
                self._undrain(worker, [n for n in read_u32(slots) if n in worker.slots])
            case Cancel(tasks):
                for number in read_u64(tasks):
                    task = self.tasks.get(number)
                    assert task is None or task.cancelled, ("cancels what nobody cancelled", number)
            case Stop():
                worker.stopping = True
            case _:
                pass

    def _drain(self, worker: WorkerEntry, slots: list[int], count: int) -> None:
        self._undrain(worker, slots)
        drain = DrainEntry(count or None, set(slots))
        for number in slots:
            worker.slots[number].drain = drain

    def _undrain(self, worker: WorkerEntry, slots: list[int]) -> None:
        for number in slots:
            slot = worker.slots[number]
            if slot.drain is not None:
                slot.drain.slots.discard(number)
                slot.drain = None

    def _grant(self, worker: WorkerEntry, grant: Grant, now: float) -> None:
        where = (worker.id, grant.slot)
        assert worker.in_use, ("grant for a worker that is not in use", where)  # I07
        variants = worker.classes[grant.klass]
        slot = SlotEntry(worker.id, grant.slot, variants, grant.variant, grant.claim)
        request = slot.request
        assert grant.slot not in worker.slots, ("slot granted twice", where)
        assert worker.lives_for(request, now), ("granted too late", where)  # I18
        assert variants not in worker.too_late or not request.time_s, ("had bounced", where)
        assert worker.gang is None, ("grant for a worker in a gang", where)  # G2
        if request.nodes:
            self._form_gang(worker, slot, grant.nodes, now)
        else:
            assert not grant.nodes, where
        worker.slots[grant.slot] = slot
        self.granted.append(slot)

    def _form_gang(self, root: WorkerEntry, slot: SlotEntry, nodes, now: float) -> None:  # I08
        by_host = {worker.config.hostname: worker for worker in self.workers.values()}
        members = [by_host[name] for name in nodes]
        request = slot.request
        assert not slot.claim.shares, slot
        assert len(members) == len(set(nodes)) == request.nodes, (nodes, request)
        assert members[0] is root, (nodes, root.config.hostname)
        for member in members:
            assert member.in_use, ("gang with a worker that is not in use", member.id)
            assert member.config.group == root.config.group, (nodes, member.config.group)
            assert not member.slots and member.gang is None, ("gang on a busy worker", member.id)
            assert not member.held, ("gang on a worker with tasks", member.id)
            assert member.lives_for(request, now), ("gang on a short-lived worker", member.id)
            member.gang = slot
        slot.gang = tuple(member.id for member in members)

    def _ship(self, worker: WorkerEntry, enqueue: Enqueue, now: float) -> None:
        variants = worker.classes[enqueue.klass]
        slots = worker.slots_of(variants)
        assert worker.in_use, ("tasks for a worker that is not in use", worker.id)  # I07
        assert slots, ("backlog without a slot", worker.id)  # I04
        assert worker.gang in (None, *slots), ("tasks for a worker in a gang", worker.id)  # G2
        late = [slot for slot in slots if not worker.lives_for(slot.request, now)]
        assert len(late) < len(slots), ("shipped too late", worker.id)  # I18
        rows = zip(
            read_u64(enqueue.firsts),
            read_u32(enqueue.counts),
            read_u32(enqueue.instances),
            strict=True,
        )
        for first, count, instance in rows:
            for number in range(first, first + count):
                task = self.tasks.get(number)
                assert task is not None, ("shipped but not to be run", number)  # G8, R11
                assert not task.worker, ("shipped but not ready", number, task.worker)  # G3, I06
                assert task.instance == instance, (number, task.instance, instance)
                assert (task.variants, task.priority) == (variants, enqueue.priority), number
                task.worker = worker.id
                worker.held[number] = task

    def _forget(self, number: int, running, shipped) -> None:
        """The worker is gone: what it had is nobody's now, and all of it has been named."""
        worker = self.absent.pop(number, None) or self.workers.pop(number, None)
        if worker is None:
            assert not (running or shipped), (number, running, shipped)
            return
        self._links.pop(worker.link, None)
        named = dict(running) | dict(shipped)
        assert len(named) == len(running) + len(shipped), ("named twice", running, shipped)
        for task in worker.held.values():
            instance = named.pop(task.id, None)
            assert instance == task.instance or (task.cancelled and instance is None), (
                "not given back",
                task,
                instance,
            )
            if self.tasks.get(task.id) is task:
                del self.tasks[task.id]
        assert not named, ("gave back what it had not", number, named)
        for slot in worker.slots.values():
            for member in slot.gang:
                if member in self.workers:
                    self.workers[member].gang = None

    def _shrink(self, number: int, instance: int, worker: int) -> None:
        task = self.tasks[number]
        root = self.workers[task.worker]
        assert task.instance == instance, (task, instance)
        (slot,) = [slot for slot in root.slots.values() if slot.gang]
        assert worker in slot.gang[1:], (slot, worker)
        slot.gang = tuple(member for member in slot.gang if member != worker)

    # --- what holds after every event

    def check(self) -> None:
        for worker in self.workers.values():
            gang = worker.gang
            if gang is not None:  # G2
                root = self.workers[gang.worker]
                assert gang is root.slots[gang.number], gang
                if worker is not root:
                    assert not worker.slots, (worker.id, gang)
                    assert not worker.held, (worker.id, gang)
                else:
                    assert len(worker.slots) == 1, (worker.id, gang)
                    lost = [member for member in gang.gang if member not in self.workers]
                    tasks = [task for task in worker.held.values() if not task.cancelled]
                    assert not (lost and tasks), ("not told of a lost node", gang)
            self._check_pools(worker)

    def _check_pools(self, worker: WorkerEntry) -> None:  # I01
        fresh = NaivePools(worker.config.descriptor)
        for slot in worker.slots.values():
            fresh.hold(slot.claim)
        assert fresh.used == worker.pools.used, worker.id
        for pool in worker.config.descriptor.pools:
            assert 0 <= fresh.free_amount(pool.resource) <= pool.size
            if pool.groups:
                assert max(fresh.used[pool.resource].values()) <= UNIT


def config_leaves(config: WorkerConfig) -> bool:
    """Whether such a worker is back only to finish what runs there."""
    return config.on_server_lost is OnServerLost.FINISH_RUNNING
