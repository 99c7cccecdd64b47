"""The scheduler's tables, and the elementary changes that keep them consistent."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from math import inf

from hqtrio.messages.scheduling import TasksReady
from hqtrio.model.resources import Descriptor, Variants
from hqtrio.scheduling.mirror import Mirror, RequestClass, Shape
from hqtrio.scheduling.ready import Batch, ReadyQueue, Run, Spans, runs_of


class Hold:
    """Workers kept for waiting tasks of a class; None: every worker that could ever run them."""

    __slots__ = ("klass", "priority", "workers")

    def __init__(self, klass: RequestClass, priority: int) -> None:
        self.klass = klass
        self.priority = priority
        self.workers: dict[int, None] | None = {}

    def keeps(self, mirror: Mirror, now: float) -> bool:
        if self.workers is None:
            return mirror.can_run(self.klass, now)
        return mirror.id in self.workers


class Tables:
    """Ready queues, classes and workers, and what the next round has to look at."""

    def __init__(self) -> None:
        self.workers: dict[int, Mirror] = {}  # ascending by id
        self.shapes: dict[Descriptor, Shape] = {}
        self.classes: dict[Variants, RequestClass] = {}
        self.levels: dict[int, dict[int, ReadyQueue]] = {}  # priority, class; never empty
        self.holds: dict[tuple[int, int], Hold] = {}  # (priority, class)
        self.totals: dict[str, int] = {}  # amount of each resource over all workers

        self.talking: dict[int, Mirror] = {}  # with messages to send; the mirrors share it

        # Why a round is needed.
        self.freed: dict[int, None] = {}  # workers with more room than in the last round
        self.fresh: dict[int, None] = {}  # classes with more ready tasks than in the last round
        self.thin: dict[tuple[int, int], None] = {}  # (worker, class) whose backlog has shrunk
        self.review = False  # every class must look at every worker again

    @property
    def dirty(self) -> bool:
        return bool(self.review or self.freed or self.fresh or self.thin)

    def clean(self) -> None:
        """Nothing is to be looked at any more."""
        self.freed, self.fresh, self.thin, self.review = {}, {}, {}, False

    # --- ready tasks

    def klass(self, variants: Variants) -> RequestClass:
        klass = self.classes.get(variants)
        if klass is None:
            klass = self.classes[variants] = RequestClass(len(self.classes) + 1, variants)
        return klass

    def announce(self, ready: TasksReady) -> None:
        """Queue what may start from now on."""
        batch = Batch(
            self.klass(ready.variants),
            ready.priority,
            ready.body,
            ready.instance,
            ready.runs,
            ready.entries,
            ready.gates,
        )
        runs, position = [], 0 if ready.entries is None else ready.entries.first_position
        for first, count in ready.runs:
            if count > 0:
                runs.append((first, count, position, batch))
                position += count
        self.queue(batch.klass, batch.priority, runs)

    def queue(self, klass: RequestClass, priority: int, runs: list[Run]) -> None:
        """Queue these runs of one class and priority."""
        if not runs:
            return
        queue = klass.queues.get(priority)
        if queue is None:
            queue = klass.queues[priority] = ReadyQueue(klass, priority)
            self.levels.setdefault(priority, {})[klass.id] = queue
        before = queue.count
        queue.push(runs)
        klass.ready += queue.count - before
        self.fresh[klass.id] = None

    def requeue(self, tasks: Iterable[tuple[int, Batch]]) -> None:
        """Tasks that came back from a worker unstarted are ready again."""
        by_queue: dict[tuple[int, int], list[tuple[int, Batch]]] = {}
        for task, batch in sorted(tasks, key=lambda pair: pair[0]):
            by_queue.setdefault((batch.priority, batch.klass.id), []).append((task, batch))
        for (priority, _), rows in by_queue.items():
            klass = rows[0][1].klass
            self.queue(klass, priority, runs_of(rows))

    def take(self, queue: ReadyQueue, count: int) -> list[Run]:
        """Remove the first `count` tasks of a queue."""
        runs = queue.take(count)
        queue.klass.ready -= count
        self._prune(queue)
        return runs

    def unqueue(self, spans: Spans) -> int:
        """Remove these tasks from all queues; returns how many were ready."""
        removed = 0
        for level in list(self.levels.values()):
            for queue in list(level.values()):
                gone = queue.remove(spans)
                removed += gone
                queue.klass.ready -= gone
                self._prune(queue)
        return removed

    def _prune(self, queue: ReadyQueue) -> None:
        if queue.count:
            return
        del queue.klass.queues[queue.priority]
        level = self.levels[queue.priority]
        del level[queue.klass.id]
        if not level:
            del self.levels[queue.priority]

    # --- workers

    def shape(self, descriptor: Descriptor) -> Shape:
        shape = self.shapes.get(descriptor)
        if shape is None:
            shape = self.shapes[descriptor] = Shape(descriptor)
        return shape

    def add_worker(self, mirror: Mirror) -> None:
        self.workers[mirror.id] = mirror
        self.use(mirror)

    def use(self, mirror: Mirror) -> None:
        """The worker gets work from now on."""
        if not mirror.in_use:
            mirror.in_use = True
            self.freed[mirror.id] = None
            self.thin.update(((mirror.id, number), None) for number in mirror.stakes)
            self._count(mirror, 1)

    def stop_using(self, mirror: Mirror) -> None:
        """The worker gets no more work; what lies there may be given to others."""
        if mirror.in_use:
            mirror.in_use = False
            self.freed.pop(mirror.id, None)
            self.review = True
            self._count(mirror, -1)

    def drop_worker(self, mirror: Mirror) -> None:
        assert not mirror.in_use, mirror.id
        del self.workers[mirror.id]
        self.talking.pop(mirror.id, None)
        mirror.forget_everything()
        if mirror.shape.workers == 0 and not any(
            other.shape is mirror.shape for other in self.workers.values()
        ):
            del self.shapes[mirror.shape.descriptor]

    def _count(self, mirror: Mirror, sign: int) -> None:
        mirror.shape.workers += sign
        for pool in mirror.shape.descriptor.pools:
            self.totals[pool.resource] = self.totals.get(pool.resource, 0) + sign * pool.size

    def ship(self, mirror: Mirror, queue: ReadyQueue, count: int) -> list[Run]:
        """Move the first `count` tasks of the queue to the worker."""
        runs = self.take(queue, count)
        held = mirror.held
        for first, length, _, batch in runs:
            if length == 1:
                held[first] = batch
            else:
                held.update(zip(range(first, first + length), repeat(batch)))
        klass = queue.klass
        mirror.stake(klass).shipped += count
        klass.count_shipped(queue.priority, count)
        return runs

    def could_run(self, klass: RequestClass, now: float) -> int:
        """On how many workers the class could start if they were empty: |F|."""
        if klass.timed:
            return sum(mirror.can_run(klass, now) for mirror in self.workers.values())
        return sum(shape.workers for shape in self.shapes.values() if shape.usable(klass))

    def next_crossing(self, klass: RequestClass, now: float) -> float:
        """When the next worker becomes too short-lived for a variant of the class."""
        if not klass.timed:
            return inf
        crossings = (
            mirror.deadline_at - request.time_s
            for mirror in self.workers.values()
            for request in klass.variants
            if mirror.in_use
        )
        return min((at for at in crossings if at >= now), default=inf)
