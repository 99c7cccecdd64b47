"""What the server knows of one worker: pools, slots, and the tasks it was shipped."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import Final

from hqtrio.messages.worker import Register, ToWorker
from hqtrio.model.resources import Claim, Descriptor, Request, Variants
from hqtrio.model.worker import LossReason, WorkerConfig
from hqtrio.scheduling.events import Shipped
from hqtrio.scheduling.pools import Layout, Pools, Taken
from hqtrio.scheduling.ready import Batch, ReadyQueue


class RequestClass:
    """All tasks with equal variants, wherever they are."""

    __slots__ = (
        "id",
        "mean_s",
        "queues",
        "ready",
        "shipped",
        "shipped_at",
        "slots",
        "stakes",
        "timed",
        "variants",
    )

    def __init__(self, number: int, variants: Variants) -> None:
        self.id: Final = number
        self.variants: Final = variants
        self.timed: Final = any(request.time_s > 0 for request in variants)
        self.mean_s = -1.0  # moving average of the duration; negative: nothing ended yet
        self.queues: dict[int, ReadyQueue] = {}  # by priority, never empty
        self.stakes: dict[int, Stake] = {}  # by worker
        self.ready = 0
        self.shipped = 0  # at workers and not ended
        self.shipped_at: dict[int, int] = {}  # the same by priority, never 0
        self.slots = 0

    @property
    def backlog(self) -> int:
        """Tasks that lie at workers and wait for a slot there."""
        return max(0, self.shipped - self.slots)

    def backlog_levels(self) -> list[tuple[int, int]]:
        """Priorities of the backlog with how many tasks each; slots serve the highest first."""
        levels, left = [], self.backlog
        for priority in sorted(self.shipped_at):
            count = min(left, self.shipped_at[priority])
            if count == 0:
                break
            levels.append((priority, count))
            left -= count
        return levels

    def count_shipped(self, priority: int, count: int) -> None:
        """So many more (or, negative, fewer) tasks are at workers."""
        self.shipped += count
        total = self.shipped_at.get(priority, 0) + count
        if total:
            self.shipped_at[priority] = total
        else:
            self.shipped_at.pop(priority, None)

    @property
    def top(self) -> ReadyQueue | None:
        """The ready tasks of the highest priority."""
        if not self.queues:
            return None
        return self.queues[max(self.queues)]


class Shape:
    """What workers with equal descriptors have in common."""

    __slots__ = ("_usable", "descriptor", "layout", "workers")

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor: Final = descriptor
        self.layout: Final = Layout(descriptor)
        self.workers = 0  # that take work
        self._usable: dict[int, tuple[int, ...]] = {}

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


class Slot:
    """A claim on one worker that serves one class in one variant."""

    __slots__ = ("klass", "request", "taken", "variant")

    def __init__(self, klass: RequestClass, variant: int, taken: list[Taken]) -> None:
        self.klass: Final = klass
        self.variant: Final = variant
        self.request: Final[Request] = klass.variants[variant]
        self.taken: Final = taken


class Stake:
    """What one worker has of one class: open slots, and tasks shipped and not ended."""

    __slots__ = ("klass", "mirror", "quiet_until", "retracting", "shipped", "slots")

    def __init__(self, mirror: Mirror, klass: RequestClass) -> None:
        self.mirror: Final = mirror
        self.klass: Final = klass
        self.slots = 0
        self.shipped = 0
        self.retracting = 0  # tasks asked back, unanswered
        self.quiet_until = -inf  # nothing is stolen from here before

    @property
    def backlog(self) -> int:
        """Tasks that wait here for a slot and are not being asked back."""
        return max(0, self.shipped - self.slots - self.retracting)


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
        "_last_retract",
        "_last_slot",
        "_talking",
        "attachment",
        "bodies",
        "cancelled",
        "classes",
        "config",
        "deadline_at",
        "durable",
        "had_past",
        "held",
        "id",
        "idle_timeout_s",
        "in_use",
        "last_ack",
        "link",
        "no_fit",
        "outbox",
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
    )

    def __init__(
        self,
        number: int,
        link: int,
        attachment: int,
        hello: Register,
        shape: Shape,
        talking: dict[int, Mirror],
    ) -> None:
        self.id: Final = number
        self.link: Final = link
        self.attachment: Final = attachment
        self.config: Final[WorkerConfig] = hello.config
        self.shape: Final = shape
        # What such a worker still reports of its earlier attachment is not in these tables.
        self.had_past: Final = hello.held is not None
        self.pools: Final = Pools(shape.layout)
        self.deadline_at = inf
        self.idle_timeout_s = inf
        self.stopping: LossReason | None = None
        self.in_use = False  # gets work: it is not stopping, and reads what it is sent

        self.slots: Final[dict[int, Slot]] = {}
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
        self.seen = 0
        self.durable = 0
        self.last_ack = (0, 0)
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
        return not self.slots and not self.held

    def can_run(self, klass: RequestClass, now: float) -> bool:
        """Whether the class could start here if the worker were empty (worker is in F)."""
        if not self.in_use:
            return False
        usable = self.shape.usable(klass)
        if not klass.timed:
            return bool(usable)
        if klass.id in self.too_late:
            return False
        return any(now + klass.variants[i].time_s <= self.deadline_at for i in usable)

    def open_slot(self, klass: RequestClass, now: float) -> tuple[int, Slot, Claim] | None:
        """Claim what the first fitting variant needs; None, and remembered, if there is no room."""
        for variant in self.shape.usable(klass):
            request = klass.variants[variant]
            if klass.timed and now + request.time_s > self.deadline_at:
                continue
            taken = self.pools.take(request)
            if taken is None:
                continue
            self._last_slot += 1
            slot = self.slots[self._last_slot] = Slot(klass, variant, taken)
            self.stake(klass).slots += 1
            klass.slots += 1
            return self._last_slot, slot, self.pools.claim(request, taken)
        self.no_fit.add(klass.id)
        return None

    def close_slot(self, number: int) -> Slot:
        """Free the claim of a slot that the worker has closed."""
        slot = self.slots.pop(number)
        self.pools.release(slot.request, slot.taken)
        self.no_fit.clear()
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
        stake = self.stakes[batch.klass.id]
        stake.shipped -= count
        batch.klass.count_shipped(batch.priority, -count)
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
        if klass.id in self.no_fit:
            return 0
        requests = [klass.variants[i] for i in self.shape.usable(klass)]
        return max((self.pools.room_for(request) for request in requests), default=0)
