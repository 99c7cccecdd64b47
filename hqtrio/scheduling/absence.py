"""Workers without a connection: what was shipped to them is their own until their grace is over.

The scheduler drops its mirror of such a worker at once, so that no round, hold, retract or drain
counts on it, and keeps only what decides about its tasks. When it is back the mirror is made anew
from what the worker states. Of a multi-node task all workers stay together meanwhile, for its
processes reach each other without the server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from hqtrio.messages.columns import read_u32, read_u64
from hqtrio.messages.scheduling import ExpectWorker, TasksReady
from hqtrio.messages.worker import Register
from hqtrio.model.worker import LossReason, OnServerLost
from hqtrio.scheduling.mirror import Gang, Mirror, Shape
from hqtrio.scheduling.ready import Batch
from hqtrio.scheduling.statement import Statement
from hqtrio.scheduling.tables import Tables


@dataclass(frozen=True, slots=True)
class Grace:
    """How long a worker may be away: after its connection broke, and after it was silent."""

    after_close_s: float = 0.0
    after_silence_s: float = 0.0

    def of(self, mirror: Mirror, reason: LossReason) -> float:
        """Seconds; 0 for a worker that is not going to come back with anything."""
        if mirror.config.on_server_lost is OnServerLost.STOP:
            return 0.0
        silent = reason is LossReason.HEARTBEAT_LOST
        return self.after_silence_s if silent else self.after_close_s


NO_GRACE: Final = Grace()
DEFAULT_GRACE: Final = Grace(3.0, 120.0)


@dataclass(slots=True)
class Absent:
    """One worker that may come back. `mirror` is out of all tables, and stands in its gang.

    `link` is the connection over which it asks to be admitted, or 0; then its grace runs.
    """

    mirror: Mirror
    reason: LossReason
    grace_s: float
    tasks: dict[int, int] = field(default_factory=dict)  # instances
    running: frozenset[int] = frozenset()
    link: int = 0

    @property
    def id(self) -> int:
        return self.mirror.id

    def rows(self, *, running: bool) -> tuple[tuple[int, int], ...]:
        """Tasks with their instances: those that ran, or those that were not known to."""
        return tuple(row for row in self.tasks.items() if (row[0] in self.running) == running)


class Absences:
    """All of them, by id and by the key that names the worker."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._by_id: dict[int, Absent] = {}
        self._by_key: dict[bytes, Absent] = {}

    def __iter__(self) -> Iterator[Absent]:
        return iter(self._by_id.values())

    def get(self, worker: int) -> Absent | None:
        return self._by_id.get(worker)

    def of_key(self, key: bytes) -> Absent | None:
        return self._by_key.get(key)

    def of_link(self, link: int) -> Absent | None:
        """Whoever asks to be admitted over this connection."""
        return next((absent for absent in self if absent.link == link), None)

    def add(self, absent: Absent) -> None:
        self._by_id[absent.id] = self._by_key[absent.mirror.key] = absent

    def miss(self, mirror: Mirror, reason: LossReason, grace_s: float) -> Absent:
        """The worker, which gets no work any more, has lost its connection."""
        self._tables.drop_worker(mirror)
        tasks = {task: batch.instance for task, batch in mirror.held.items()}
        absent = Absent(mirror, reason, grace_s, tasks, frozenset(mirror.running))
        self.add(absent)
        return absent

    def expect(self, worker: ExpectWorker) -> Absent:
        """A worker of the journal."""
        hello = Register(worker.config, worker.key)
        shape = Shape(worker.config.descriptor)
        mirror = Mirror(worker.worker, 0, worker.attachment, hello, shape, {}, {})
        tasks, instances = read_u64(worker.tasks), read_u32(worker.instances)
        running = frozenset(t for t, runs in zip(tasks, worker.running, strict=True) if runs)
        absent = Absent(
            mirror,
            LossReason.CONNECTION_LOST,
            worker.grace_s,
            dict(zip(tasks, instances, strict=True)),
            running,
        )
        self.add(absent)
        return absent

    def expect_gang(self, task: int, instance: int, workers: Sequence[int]) -> None:
        """Those of the workers that are absent are in the gang; nothing without its root."""
        members = [absent.mirror for worker in workers if (absent := self.get(worker))]
        if members and members[0].id == workers[0]:
            gang = Gang(members, task, instance)
            for member in members:
                member.gang = gang

    def remove(self, absent: Absent) -> None:
        """It is back, or gone."""
        del self._by_id[absent.id], self._by_key[absent.mirror.key]

    def check(self) -> None:
        """None of them is in the tables, and nobody else has what is theirs."""
        tables = self._tables
        theirs: set[tuple[int, int]] = set()
        for absent in self:
            assert absent.id not in tables.workers, absent.id
            assert self._by_key[absent.mirror.key] is absent, absent.id
            assert not theirs.intersection(absent.tasks.items()), absent.id
            theirs.update(absent.tasks.items())
        assert len(self._by_key) == len(self._by_id)
        for mirror in tables.workers.values():
            for task, batch in mirror.held.items():
                assert (task, batch.instance) not in theirs, (mirror.id, task)
        for task, instance in _ready(tables) if theirs else ():
            assert (task, instance) not in theirs, task


def _ready(tables: Tables) -> Iterator[tuple[int, int]]:
    for level in tables.levels.values():
        for queue in level.values():
            for first, count, _, batch in queue.runs():
                yield from ((task, batch.instance) for task in range(first, first + count))


def rebuild(
    tables: Tables,
    mirror: Mirror,
    statement: Statement,
    kept: Sequence[TasksReady],
    absent: Absent | None,
) -> list[int]:
    """Fill the mirror of a worker that is back, and say which tasks it may go on with.

    Those are what it names, the job book lets it keep, and was its own when it left.
    """
    owned = {} if absent is None else absent.tasks
    batches: dict[int, Batch] = {}
    for ready in kept:
        batch = tables.batch(ready)
        for first, count in ready.runs:
            batches.update(dict.fromkeys(range(first, first + count), batch))
    going_on: list[int] = []
    for row in statement.tasks:
        held = batches.get(row.task)
        if held is None or not row.instance == held.instance == owned.get(row.task):
            mirror.doomed.add(row.task)
            continue
        mirror.restore_task(row.task, held)
        going_on.append(row.task)
        if row.running:
            mirror.running[row.task] = row.slot
    for slot in statement.slots:
        gang = None
        if slot.nodes:
            gang = mirror.gang or _gang_of(mirror, statement)
        mirror.restore_slot(slot, tables.klass(slot.variants), gang)
    mirror.seen = statement.last_report
    if absent is not None:
        mirror.count_on(*absent.mirror.last_numbers)
        mirror.seen = max(mirror.seen, absent.mirror.seen)
        mirror.durable = absent.mirror.durable
    return going_on


def take_place(mirror: Mirror, statement: Statement, old: Mirror) -> bool:
    """Whether the worker is in its gang again, if it was in one: as its root with the slot, or as
    another member with nothing."""
    gang = old.gang
    if gang is None:
        return True
    is_root = gang.root is old
    if is_root != any(slot.nodes for slot in statement.slots) or len(statement.slots) != is_root:
        return False
    gang.members[gang.members.index(old)] = mirror
    mirror.gang, old.gang = gang, None
    return True


def _gang_of(root: Mirror, statement: Statement) -> Gang:
    """A gang of its root alone: nobody remembers which workers its nodes were.

    That is so if the server was killed before it heard of the start. They may get other work.
    """
    task, instance = next(((row.task, row.instance) for row in statement.tasks), (0, 0))
    root.gang = Gang([root], task, instance)
    return root.gang
