"""The scheduler's tables, and the elementary changes that keep them consistent."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from math import inf
from typing import Final

from hqtrio.ids import NUMBER_BITS
from hqtrio.messages.scheduling import TasksReady
from hqtrio.model.resources import Descriptor, Variants
from hqtrio.scheduling.holds import Hold
from hqtrio.scheduling.mirror import Gang, Mirror, RequestClass, Shape
from hqtrio.scheduling.ready import Batch, ReadyQueue, Run, Spans, runs_of

DEPTH_JOBS: Final = 256  # so many jobs older counts a task for each step of depth
IDLE_CLASSES_MAX: Final = 256  # that are remembered with what was learned of them


class Tables:
    """Ready queues, classes and workers, and what the next round has to look at."""

    def __init__(self) -> None:
        self.workers: dict[int, Mirror] = {}  # ascending by id
        self.shapes: dict[Descriptor, Shape] = {}
        self.classes: dict[Variants, RequestClass] = {}
        self._last_class = 0
        self._classes_max = 2 * IDLE_CLASSES_MAX  # with more, idle ones are looked for
        self.levels: dict[int, dict[int, ReadyQueue]] = {}  # priority, class; never empty
        self.holds: dict[int, Hold] = {}  # by class
        self.free: dict[str, int] = {}  # amounts on all workers that take single-node tasks
        self.unused: dict[int, Mirror] = {}  # workers that get no more work, at least for now
        self.demanding: dict[int, Mirror] = {}  # workers with a minimal utilization
        self.groups: dict[str, dict[int, Mirror]] = {}  # workers by group, ascending by id

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
            self._last_class += 1
            klass = self.classes[variants] = RequestClass(self._last_class, variants)
        return klass

    def forget_idle_classes(self) -> set[int]:
        """Of the classes without tasks few are left, those that were served last.

        Returns the numbers of the others.
        """
        if len(self.classes) <= self._classes_max:
            return set()
        idle = [k for k in self.classes.values() if k.is_idle and k.id not in self.holds]
        idle.sort(key=lambda klass: (klass.started_at, klass.id))
        gone = idle[: max(0, len(idle) - IDLE_CLASSES_MAX)]
        for klass in gone:
            del self.classes[klass.variants]
        for shape in self.shapes.values():
            shape.forget(gone)
        self._classes_max = len(self.classes) + IDLE_CLASSES_MAX
        return {klass.id for klass in gone}

    def batch(self, ready: TasksReady) -> Batch:
        """What the tasks of the announcement share."""
        return Batch(
            self.klass(ready.variants),
            ready.priority,
            ready.body,
            ready.instance,
            ready.runs,
            ready.entries,
            ready.gates,
            ready.depth * DEPTH_JOBS << NUMBER_BITS,
            ready.alone,
        )

    def announce(self, ready: TasksReady) -> None:
        """Queue what may start from now on."""
        batch = self.batch(ready)
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
            queue = ReadyQueue(klass, priority)
            klass.add_queue(queue)
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
        queue.klass.waits_since.pop(queue.priority, None)
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
        self.groups.setdefault(mirror.config.group, {})[mirror.id] = mirror
        if mirror.config.min_utilization:
            self.demanding[mirror.id] = mirror
        self.unused[mirror.id] = mirror
        if mirror.is_fit:
            self.use(mirror)

    def reconsider(self, mirror: Mirror) -> None:
        """Whether the worker gets work has perhaps changed."""
        if mirror.is_fit:
            self.use(mirror)
        else:
            self.stop_using(mirror)

    def use(self, mirror: Mirror) -> None:
        """The worker gets work from now on."""
        if not mirror.in_use:
            mirror.in_use = True
            self.unused.pop(mirror.id, None)
            mirror.shape.workers += 1
            self.freed[mirror.id] = None
            self.thin.update(((mirror.id, number), None) for number in mirror.stakes)
            if mirror.gang is None:
                self._count_free(mirror, 1)

    def stop_using(self, mirror: Mirror) -> None:
        """The worker gets no more work; what lies there may be given to others."""
        if mirror.in_use:
            if mirror.gang is None:
                self._count_free(mirror, -1)
            mirror.in_use = False
            self.unused[mirror.id] = mirror
            mirror.shape.workers -= 1
            self.freed.pop(mirror.id, None)
            self.review = True

    def drop_worker(self, mirror: Mirror) -> None:
        assert not mirror.in_use, mirror.id
        del self.workers[mirror.id], self.unused[mirror.id]
        self.demanding.pop(mirror.id, None)
        group = self.groups[mirror.config.group]
        del group[mirror.id]
        if not group:
            del self.groups[mirror.config.group]
        self.talking.pop(mirror.id, None)
        mirror.forget_everything()
        if mirror.shape.workers == 0 and not any(
            other.shape is mirror.shape for other in self.workers.values()
        ):
            del self.shapes[mirror.shape.descriptor]

    def join_gang(self, gang: Gang) -> None:
        """The members are for its task alone."""
        for mirror in gang.members:
            assert mirror.is_idle, mirror.id
            self._count_free(mirror, -1)
            mirror.gang = gang

    def leave_gang(self, mirror: Mirror) -> None:
        """The worker is no more, or its gang has ended."""
        mirror.gang = None
        if mirror.in_use:
            self._count_free(mirror, 1)
            self.freed[mirror.id] = None

    def _count_free(self, mirror: Mirror, sign: int) -> None:
        free = self.free
        for name, pool in mirror.pools.by_name.items():
            free[name] = free.get(name, 0) + sign * pool.free

    def ship(self, mirror: Mirror, queue: ReadyQueue, count: int) -> list[Run]:
        """Move the first `count` tasks of the queue to the worker."""
        runs = self.take(queue, count)
        held = mirror.held
        for first, length, _, batch in runs:
            if batch.gates:
                mirror.gating += length
            if length == 1:
                held[first] = batch
            else:
                held.update(zip(range(first, first + length), repeat(batch)))
        mirror.stake(queue.klass).count_shipped(queue.priority, count)
        queue.klass.waits_since.pop(queue.priority, None)
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
