"""What the server knows of one worker: pools, slots, and the tasks it was shipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from math import inf
from typing import Final

from hqtrio.messages.worker import HeldSlot, Register, ToWorker
from hqtrio.model.resources import CPUS, UNIT, Descriptor, Need, Policy, Request, Variants
from hqtrio.model.worker import LossReason, WorkerConfig
from hqtrio.scheduling.events import Shipped
from hqtrio.scheduling.packing import Option, fill
from hqtrio.scheduling.policies import STRICT
from hqtrio.scheduling.pools import Layout, Pools, Taken
from hqtrio.scheduling.ready import Batch, ReadyQueue

Amounts = tuple[int, ...]  # of the resources of a shape, in its order

FORMER_MAX: Final = 64  # priorities of a class that are still in its heap although they are gone


class RequestClass:
    """All tasks with equal variants, wherever they are."""

    __slots__ = (
        "_order",
        "id",
        "mean_s",
        "nodes",
        "queues",
        "ready",
        "shipped",
        "shipped_at",
        "slots",
        "stakes",
        "started_at",
        "timed",
        "variants",
        "waits_since",
    )

    def __init__(self, number: int, variants: Variants) -> None:
        self.id: Final = number
        self.variants: Final = variants
        self.timed: Final = any(request.time_s > 0 for request in variants)
        self.nodes: Final = max(request.nodes for request in variants)  # 0: single node
        self.mean_s = -1.0  # moving average of the duration; negative: nothing ended yet
        self.queues: dict[int, ReadyQueue] = {}  # by priority, never empty
        self._order: Final[list[int]] = []  # heap of their priorities, negated; and of former ones
        self.stakes: dict[int, Stake] = {}  # by worker
        self.started_at = -inf  # when a slot was last opened for one of its tasks
        self.waits_since: dict[int, float] = {}  # by priority, since when nothing has started
        self.ready = 0
        self.shipped = 0  # at workers and not ended
        self.shipped_at: dict[int, int] = {}  # the same by priority, never 0
        self.slots = 0

    @property
    def is_idle(self) -> bool:
        """Whether it has no tasks anywhere, and nothing of it is left at a worker."""
        return not self.queues and not self.stakes

    @property
    def backlog(self) -> int:
        """Tasks that lie at workers and wait for a slot there."""
        left = self.shipped - self.slots
        return max(0, left)

    def backlog_levels(self, unused: Iterable[Mirror] = ()) -> list[tuple[int, int]]:
        """Priorities of the backlog with how many tasks each; slots serve the highest first.

        What lies at `unused` workers does not count: nobody else can have it.
        """
        shipped_at, slots = self.shipped_at, self.slots
        for stake in [mirror.stakes[self.id] for mirror in unused if self.id in mirror.stakes]:
            shipped_at = Counter(shipped_at) - Counter(stake.shipped_at)
            slots -= stake.slots
        levels, left = [], max(0, sum(shipped_at.values()) - slots)
        for priority in sorted(shipped_at):
            count = min(left, shipped_at[priority])
            if count == 0:
                break
            levels.append((priority, count))
            left -= count
        return levels

    def count_shipped(self, priority: int, count: int) -> None:
        """So many more (or, negative, fewer) tasks are at workers."""
        self.shipped += count
        _count(self.shipped_at, priority, count)

    @property
    def top(self) -> ReadyQueue | None:
        """The ready tasks of the highest priority."""
        order = self._order
        while order and -order[0] not in self.queues:
            heappop(order)
        return self.queues[-order[0]] if order else None

    def add_queue(self, queue: ReadyQueue) -> None:
        self.queues[queue.priority] = queue
        heappush(self._order, -queue.priority)
        if len(self._order) > 2 * len(self.queues) + FORMER_MAX:
            self._order[:] = sorted(-priority for priority in self.queues)


class Shape:
    """What workers with equal descriptors have in common."""

    __slots__ = (
        "_demands",
        "_usable",
        "_used",
        "descriptor",
        "layout",
        "resources",
        "sizes",
        "workers",
    )

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor: Final = descriptor
        self.layout: Final = Layout(descriptor)
        self.workers = 0  # that take work
        pools = sorted(descriptor.pools, key=lambda pool: (pool.resource != CPUS, pool.resource))
        self.resources: Final = tuple(pool.resource for pool in pools)
        self.sizes: Final = tuple(pool.size for pool in pools)
        self._usable: Final[dict[int, tuple[int, ...]]] = {}
        self._demands: Final[dict[tuple[int, int], Amounts]] = {}
        self._used: Final[dict[int, Amounts | None]] = {}

    def usable(self, klass: RequestClass) -> tuple[int, ...]:
        """Indices of the variants that fit on the empty worker."""
        known = self._usable.get(klass.id)
        if known is None:
            pools = Pools(self.layout)
            known = self._usable[klass.id] = tuple(
                index
                for index, request in enumerate(klass.variants)
                if request.needs and not request.nodes and pools.capable(request)
            )
        return known

    def demand(self, klass: RequestClass, variant: int) -> Amounts:
        """What a usable variant takes, in the order of `resources`."""
        known = self._demands.get((klass.id, variant))
        if known is None:
            needs = {need.resource: need for need in klass.variants[variant].needs}
            known = self._demands[klass.id, variant] = tuple(
                _amount(needs.get(name), size)
                for name, size in zip(self.resources, self.sizes, strict=True)
            )
        return known

    def used_by(self, klass: RequestClass) -> Amounts | None:
        """The most of each resource that tasks of the class can use of such a worker.

        None: all of it, for what is left over cannot be told from amounts alone.
        """
        if klass.id not in self._used:
            self._used[klass.id] = self._find_used(klass)
        return self._used[klass.id]

    def forget(self, classes: Iterable[RequestClass]) -> None:
        """Nobody asks for these any more."""
        for klass in classes:
            for variant in self._usable.pop(klass.id, ()):
                self._demands.pop((klass.id, variant), None)
            self._used.pop(klass.id, None)

    def _find_used(self, klass: RequestClass) -> Amounts | None:
        usable = self.usable(klass)
        grouped = {p.resource for p in self.descriptor.pools if len(p.groups) > 1}
        for variant in usable:
            for need in klass.variants[variant].needs:
                strict = need.policy in STRICT and need.resource in grouped
                if need.policy is Policy.ALL or strict:
                    return None
        if not usable:
            return None
        demands = [self.demand(klass, variant) for variant in usable]
        most = (sum(self.sizes) // UNIT + 1) * 10_000
        used = []
        for at in range(len(self.resources)):
            options = [Option(0, demand, demand[at]) for demand in demands if demand[at]]
            counts = fill(self.sizes, options, [most])
            used.append(
                sum(n * option.demand[at] for n, option in zip(counts, options, strict=True))
            )
        return tuple(used)


class Gang:
    """The workers of a multi-node task, root first."""

    __slots__ = ("instance", "members", "slot", "task")

    def __init__(self, members: list[Mirror], task: int, instance: int) -> None:
        self.members: Final = members
        self.task: Final = task
        self.instance: Final = instance
        self.slot = 0  # on the root

    @property
    def root(self) -> Mirror:
        return self.members[0]


class Slot:
    """A claim on one worker that serves one class in one variant.

    The slot of a gang claims nothing: its worker is not given to anybody else.
    """

    __slots__ = ("gang", "klass", "request", "taken", "variant")

    def __init__(
        self, klass: RequestClass, variant: int, taken: list[Taken], gang: Gang | None = None
    ) -> None:
        self.klass: Final = klass
        self.variant: Final = variant
        self.request: Final[Request] = klass.variants[variant]
        self.taken: Final = taken
        self.gang: Final = gang


class Stake:
    """What one worker has of one class: open slots, and tasks shipped and not ended."""

    __slots__ = ("klass", "mirror", "quiet_until", "retracting", "shipped", "shipped_at", "slots")

    def __init__(self, mirror: Mirror, klass: RequestClass) -> None:
        self.mirror: Final = mirror
        self.klass: Final = klass
        self.slots = 0
        self.shipped = 0
        self.shipped_at: Final[dict[int, int]] = {}  # the same by priority, never 0
        self.retracting = 0  # tasks asked back, unanswered
        self.quiet_until = -inf  # nothing is stolen from here before

    @property
    def backlog(self) -> int:
        """Tasks that wait here for a slot and are not being asked back."""
        left = self.shipped - self.slots - self.retracting
        return max(0, left)

    @property
    def lowest(self) -> int:
        """The lowest priority of what waits here; of what runs, if nothing waits."""
        if len(self.shipped_at) == 1:
            return next(iter(self.shipped_at))
        running = Counter(self._running())
        waiting = (level for level, n in self.shipped_at.items() if n > running[level])
        return min(waiting, default=min(self.shipped_at))

    def unserved(self, priority: int) -> int:
        """How many tasks of at least this priority wait here beyond those that have a slot."""
        if len(self.shipped_at) == 1:
            return self.backlog if next(iter(self.shipped_at)) >= priority else 0
        running = list(self._running())
        waiting = self.from_level(priority) - sum(level >= priority for level in running)
        return max(0, waiting - self.retracting - (self.slots - len(running)))

    def _running(self) -> Iterator[int]:
        """The priorities of its tasks that run."""
        held = self.mirror.held
        for batch in map(held.__getitem__, self.mirror.running):
            if batch.klass is self.klass:
                yield batch.priority

    def from_level(self, priority: int) -> int:
        """How many of its tasks have at least this priority."""
        return sum(count for level, count in self.shipped_at.items() if level >= priority)

    def count_shipped(self, priority: int, count: int) -> None:
        """So many more (or, negative, fewer) tasks are here."""
        self.shipped += count
        _count(self.shipped_at, priority, count)
        self.klass.count_shipped(priority, count)


class Unit:
    """Messages that belong into one frame, with what they ship and roughly how long they are."""

    __slots__ = ("messages", "shipped", "size")

    def __init__(
        self, messages: tuple[ToWorker, ...], size: int, shipped: Shipped | None = None
    ) -> None:
        self.messages: Final = messages
        self.size: Final = size
        self.shipped: Final = shipped


class Mirror:
    """One connected worker."""

    __slots__ = (
        "_free",
        "_last_retract",
        "_last_slot",
        "_talking",
        "attachment",
        "attempt",
        "bodies",
        "cancelled",
        "classes",
        "config",
        "deadline_at",
        "doomed",
        "drain_count",
        "drained",
        "durable",
        "gang",
        "gating",
        "had_past",
        "heard_out",
        "held",
        "id",
        "idle_timeout_s",
        "in_use",
        "is_stuck",
        "key",
        "last_ack",
        "least_cpus",
        "leaves",
        "link",
        "no_fit",
        "outbox",
        "pace_s",
        "pools",
        "retracting",
        "retracts",
        "running",
        "seen",
        "shape",
        "slots",
        "stakes",
        "stopping",
        "too_late",
        "unseen_rows",
        "urgent",
        "varied",
    )

    def __init__(
        self,
        number: int,
        link: int,
        attachment: int,
        hello: Register,
        shape: Shape,
        talking: dict[int, Mirror],
        free: dict[str, int],
    ) -> None:
        self.id: Final = number
        self.link: Final = link
        self.attachment: Final = attachment
        self.key: Final = hello.worker_key
        self.attempt: Final = hello.attempt
        self.config: Final[WorkerConfig] = hello.config
        self.shape: Final = shape
        # What such a worker still reports of its earlier attachment is not in these tables.
        self.had_past: Final = hello.held is not None
        self.varied = False  # a slot of another variant than the first was open at some time
        self.pools: Final = Pools(shape.layout)
        cpus = shape.sizes[0]  # a worker always has some
        self.least_cpus: Final = -(-round(hello.config.min_utilization * UNIT) * cpus // UNIT)
        self.deadline_at = inf
        self.idle_timeout_s = inf
        self.stopping: LossReason | None = None
        self.heard_out = False  # it has said goodbye
        self.in_use = False  # gets work, as long as it is fit for that
        self.is_stuck = False  # it does not read what it is sent
        self.doomed: Final[set[int]] = set()  # tasks that it had and has to be rid of first
        self.leaves = False  # it came back to finish what runs there, and starts nothing new

        self.gang: Gang | None = None  # has this worker for itself
        self.slots: Final[dict[int, Slot]] = {}
        # Slots told to close, or that so many of them are to close; 0: all.
        self.drained: dict[int, None] = {}
        self.drain_count = 0
        self.stakes: Final[dict[int, Stake]] = {}  # by class
        self.held: Final[dict[int, Batch]] = {}  # every task shipped here and not ended
        self.running: Final[dict[int, int]] = {}  # task to slot, of those reported as started
        self.cancelled: Final[set[int]] = set()  # held, but no more to be given to anybody
        self.retracting: Final[dict[int, int]] = {}  # held, and asked back in this retract
        self.retracts: Final[dict[int, tuple[int, ...]]] = {}

        self.no_fit: Final[set[int]] = set()  # classes without room in what is free now
        self.too_late: Final[set[int]] = set()  # classes the worker refused for lack of time
        self.classes: Final[set[int]] = set()  # defined on this connection
        self.bodies: Final[set[int]] = set()

        self.outbox: Final[list[Unit]] = []
        self._talking: Final = talking  # workers with something to send, by id
        self._free: Final = free  # of all workers that take single-node work
        self.seen = 0
        self.durable = 0
        self.last_ack = (0, 0)
        self.pace_s = 0.0  # how long it may hold back what it has to report
        self.gating = 0  # held tasks whose ends others may wait for
        # Since the last acknowledgement: ends reported, and whether others may wait for such ends.
        self.unseen_rows = 0
        self.urgent = False
        self._last_slot = 0
        self._last_retract = 0

    def post(self, unit: Unit) -> None:
        """Send these messages with the next frame."""
        self.outbox.append(unit)
        self._talking[self.id] = self

    @property
    def is_idle(self) -> bool:
        return not (self.slots or self.held or self.doomed) and self.gang is None

    @property
    def is_fit(self) -> bool:
        """Whether it may get work.

        Not before the end of what it must not go on with: the same task may be shipped to it
        again, and a worker knows a task by its id.
        """
        return not (self.is_stuck or self.doomed or self.leaves) and self.stopping is None

    def can_run(self, klass: RequestClass, now: float) -> bool:
        """Whether the class could start here if the worker were empty (worker is in F)."""
        if not self.in_use:
            return False
        if not klass.timed:
            return bool(self.shape.usable(klass))
        return klass.id not in self.too_late and bool(self.variants(klass, now))

    def can_join(self, klass: RequestClass, variant: int, now: float) -> bool:
        """Whether the worker could be part of a multi-node task if it had nothing to do."""
        if not self.in_use or klass.id in self.too_late:
            return False
        return now + klass.variants[variant].time_s <= self.deadline_at

    @property
    def takes_slots(self) -> bool:
        """Whether what is free here is there for single-node tasks."""
        return self.in_use and self.gang is None

    def free(self) -> Amounts:
        """What is free, in the order of the shape's resources."""
        pools = self.pools.by_name
        return tuple([pools[name].free for name in self.shape.resources])

    def variants(self, klass: RequestClass, now: float) -> Sequence[int]:
        """The variants of the class that could start here if the worker were empty."""
        usable = self.shape.usable(klass)
        if not klass.timed:
            return usable
        left = self.deadline_at - now
        return [index for index in usable if klass.variants[index].time_s <= left]

    def open_slot(self, klass: RequestClass, now: float) -> OpenedSlot | None:
        """Claim what the first fitting variant needs; None, and remembered, if there is no room."""
        for variant in self.variants(klass, now):
            opened = self.open_variant(klass, variant)
            if opened is not None:
                return opened
        self.no_fit.add(klass.id)
        return None

    def open_variant(self, klass: RequestClass, variant: int) -> OpenedSlot | None:
        """Claim what this variant needs, or None if there is no room."""
        request = klass.variants[variant]
        taken = self.pools.take(request)
        if taken is None:
            return None
        slot = Slot(klass, variant, taken)
        free = self._free
        for need, part in zip(request.needs, taken, strict=True):
            free[need.resource] -= part.amount
        return self._add_slot(slot), slot

    def open_gang(self, klass: RequestClass, variant: int, gang: Gang) -> OpenedSlot:
        """The slot of a gang whose root this is."""
        slot = Slot(klass, variant, [], gang)
        gang.slot = self._add_slot(slot)
        return gang.slot, slot

    def _add_slot(self, slot: Slot, number: int = 0) -> int:
        number = number or self._last_slot + 1
        self._last_slot = max(self._last_slot, number)
        self.slots[number] = slot
        self.varied |= slot.variant > 0
        self.stake(slot.klass).slots += 1
        slot.klass.slots += 1
        return number

    def restore_slot(self, held: HeldSlot, klass: RequestClass, gang: Gang | None) -> None:
        """The worker still has this slot, whose claim is known to fit; before it is in use."""
        taken: list[Taken] = []
        if gang is None:
            retaken = self.pools.retake(klass.variants[held.variant], held.claim)
            assert retaken is not None, (self.id, held.slot)
            taken = retaken
        else:
            gang.slot = held.slot
        self._add_slot(Slot(klass, held.variant, taken, gang), held.slot)

    def restore_task(self, task: int, batch: Batch) -> None:
        """The worker still has this task."""
        self.held[task] = batch
        self.gating += batch.gates
        self.stake(batch.klass).count_shipped(batch.priority, 1)

    def count_on(self, slot: int, retract: int) -> None:
        """Slots and retracts get higher numbers than these, which the worker has heard of."""
        self._last_slot = max(self._last_slot, slot)
        self._last_retract = max(self._last_retract, retract)

    @property
    def last_numbers(self) -> tuple[int, int]:
        """Of the last slot and the last retract."""
        return self._last_slot, self._last_retract

    def close_slot(self, number: int) -> Slot:
        """Free the claim of a slot that the worker has closed, or was never told of."""
        slot = self.slots.pop(number)
        if slot.gang is None:
            self.pools.release(slot.request, slot.taken)
            if self.takes_slots:
                free = self._free
                for need, part in zip(slot.request.needs, slot.taken, strict=True):
                    free[need.resource] += part.amount
        self.no_fit.clear()
        if number in self.drained:
            del self.drained[number]
            if self.drain_count:
                self.drain_count -= 1
                if not self.drain_count:
                    self.drained.clear()
        klass = slot.klass
        klass.slots -= 1
        stake = self.stakes[klass.id]
        stake.slots -= 1
        self._tidy(stake)
        return slot

    def stake(self, klass: RequestClass) -> Stake:
        stake = self.stakes.get(klass.id)
        if stake is None:
            stake = self.stakes[klass.id] = klass.stakes[self.id] = Stake(self, klass)
        return stake

    def drop_tasks(self, batch: Batch, count: int) -> None:
        """So many tasks of the batch are no longer held here."""
        if batch.gates:
            self.gating -= count
        stake = self.stakes[batch.klass.id]
        stake.count_shipped(batch.priority, -count)
        self._tidy(stake)

    def _tidy(self, stake: Stake) -> None:
        if not stake.slots and not stake.shipped:
            del self.stakes[stake.klass.id]
            del stake.klass.stakes[self.id]

    @property
    def hungry(self) -> bool:
        """Whether some of its slots have nothing to go on with."""
        return not self.stakes or any(s.slots and not s.backlog for s in self.stakes.values())

    def forget_everything(self) -> None:
        """Take this worker out of the figures of every class."""
        for batch, count in Counter(self.held.values()).items():
            batch.klass.count_shipped(batch.priority, -count)
        for stake in self.stakes.values():
            stake.klass.slots -= stake.slots
            del stake.klass.stakes[self.id]

    def forget_classes(self, numbers: set[int]) -> list[int]:
        """They will never be named again; returns those that the worker knows."""
        self.no_fit.difference_update(numbers)
        self.too_late.difference_update(numbers)
        known = sorted(self.classes & numbers)
        self.classes.difference_update(numbers)
        return known

    def is_waiting(self, task: int) -> bool:
        """Whether it makes sense to ask for the task."""
        return not (task in self.running or task in self.retracting or task in self.cancelled)

    def next_retract(self, tasks: tuple[int, ...]) -> int:
        """Remember that these held tasks are being asked back, and under which number."""
        self._last_retract += 1
        self.retracts[self._last_retract] = tasks
        for task in tasks:
            self.retracting[task] = self._last_retract
            self.stakes[self.held[task].klass.id].retracting += 1
        return self._last_retract

    def end_retracting(self, task: int) -> None:
        """The task ended, or its retract was answered."""
        if self.retracting.pop(task, 0):
            self.stakes[self.held[task].klass.id].retracting -= 1

    def room_for(self, klass: RequestClass) -> int:
        """About how many more slots of the class fit."""
        if klass.id in self.no_fit or self.gang is not None:
            return 0
        room = 0
        for index in self.shape.usable(klass):
            room = max(room, self.pools.room_for(klass.variants[index]))
        if not room:
            self.no_fit.add(klass.id)
        return room


def _amount(need: Need | None, size: int) -> int:
    if need is None:
        return 0
    return size if need.policy is Policy.ALL else need.amount


def _count(counts: dict[int, int], key: int, more: int) -> None:
    """Add to a counter that has no zeros."""
    total = counts.get(key, 0) + more
    if total:
        counts[key] = total
    else:
        counts.pop(key, None)


OpenedSlot = tuple[int, Slot]  # its number
