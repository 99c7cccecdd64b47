"""A journal without what nobody needs any more: `survey` it, then write what `kept` gives.

Kept are the records of live jobs, of the workers that these or nobody's end speak of, and of the
servers; records about many tasks are filtered row by row. Ids that are no longer spoken of stay
used, and keys of submits stay known. Both passes see the same records in the same order; memory
goes with the live jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from msgspec.structs import replace

from hqtrio.ids import job_of
from hqtrio.journal.queues import QueueSurvey
from hqtrio.journal.shipments import Shipments
from hqtrio.messages.columns import read_u32, read_u64, u32, u64
from hqtrio.messages.records import (
    IdsUsed,
    JobCancelled,
    JobClosed,
    JobCompleted,
    JobOpened,
    JobsForgotten,
    NodeDropped,
    QueueRecord,
    Record,
    ServerStarted,
    SubmitBegun,
    SubmitCommitted,
    SubmitContinued,
    SubmitDropped,
    TasksEnded,
    TasksRepeated,
    TasksRequeued,
    TasksShipped,
    TasksStarted,
    TasksTakenBack,
    VariantsChosen,
    WorkerConnected,
    WorkerLost,
    WorkerStopping,
    WorkerTold,
)

_WIDTHS: Final = {
    "tasks": 8, "instances": 4, "states": 1, "started": 8, "ended": 8, "cpu_s": 4, "peak_kib": 4,
    "crashes": 4, "tries": 4, "at": 8,
}  # fmt: skip

# Of jobs that are gone: a client that lost its answer asks again within minutes.
KEYS_MAX: Final = 10_000

W = TypeVar("W", str, bytes)
T = TypeVar("T", TasksStarted, TasksEnded, TasksRequeued, TasksRepeated)


def compacted(survey: Survey, records: Iterable[Record]) -> Iterator[Record]:
    """What must be kept of the records that were surveyed, and which ids they have used."""
    yield IdsUsed(survey.jobs, survey.workers, survey.submissions, survey.old_keys())
    yield from survey.queues.used()
    for record in records:
        if isinstance(record, QueueRecord):
            yield from survey.queues.kept(record)
            continue
        if isinstance(record, TasksShipped):
            left: Record | None = survey.shipments.keeps(record)
        else:
            left = survey.keeps(record)
        if left is not None:
            yield left


class Survey:
    """What a first pass over the records finds out."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.jobs = self.workers = self.submissions = 0
        self._live: set[int] = set()
        self._needed: set[int] = set()
        self._speaking: dict[int, set[int]] = {}  # workers that tasks of a live job were on
        self._open: set[int] = set()  # submissions that may still be committed
        self._groups: dict[int, list[int]] = {}  # committed submissions of each live job
        self._committed: set[int] = set()  # the same, of all
        self._key_of: dict[int, bytes] = {}  # of open submissions
        self._keys: dict[int, list[bytes]] = {}  # of jobs that nobody has forgotten
        self.shipments = Shipments()
        self.queues = QueueSurvey()
        for record in records:
            if isinstance(record, QueueRecord):
                self.queues.see(record)
                continue
            self._see(record)
            self.shipments.see(record)
        for worker, tasks in self.shipments.needed():
            self._speak(worker, tasks)
        for workers in self._speaking.values():
            self._needed |= workers
        self._committed = {group for groups in self._groups.values() for group in groups}

    def _see(self, record: Record) -> None:
        match record:
            case JobOpened(job):
                self._begin(job)
            case SubmitBegun(submission, submit):
                self.submissions = max(self.submissions, submission)
                self._open.add(submission)
                self._key_of[submission] = submit.key
            case SubmitCommitted(submission, job):
                self._open.discard(submission)
                self._begin(job)
                self._groups.setdefault(job, []).append(submission)
                self._keys.setdefault(job, []).append(self._key_of.pop(submission, b""))
            case SubmitDropped(submission):
                self._open.discard(submission)
                self._key_of.pop(submission, None)
            case ServerStarted():
                self._open.clear()
                self._key_of.clear()
            case JobCompleted(job):
                self._end(job)
                self._drop_oldest_keys()
            case JobsForgotten(jobs):
                for job in jobs:
                    self._end(job)
                    self._keys.pop(job, None)
            case WorkerConnected(worker):
                self.workers = max(self.workers, worker)
                self._needed.add(worker)
            case WorkerLost(worker):
                self._needed.discard(worker)
            case IdsUsed(jobs, workers, submissions, keys):
                self.jobs, self.workers = max(self.jobs, jobs), max(self.workers, workers)
                self.submissions = max(self.submissions, submissions)
                for key, job in keys:
                    self._keys.setdefault(job, []).append(key)
            case TasksStarted(worker, tasks, gangs=gangs) | TasksEnded(
                worker, tasks=tasks, gangs=gangs
            ):
                self._speak(worker, read_u64(tasks))
                for task, nodes in gangs:
                    for node in nodes:
                        self._speak(node, (task,))
            case NodeDropped(task, worker=worker):
                self._speak(worker, (task,))
            case _:
                pass  # tells of what another record has begun

    def _begin(self, job: int) -> None:
        self.jobs = max(self.jobs, job)
        self._live.add(job)

    def _end(self, job: int) -> None:
        self._live.discard(job)
        self._speaking.pop(job, None)
        self._groups.pop(job, None)

    def _speak(self, worker: int, tasks: Iterable[int]) -> None:
        for job in {job_of(task) for task in tasks}:
            if job in self._live:
                self._speaking.setdefault(job, set()).add(worker)

    def _drop_oldest_keys(self) -> None:
        if len(self._keys) - len(self._live) > KEYS_MAX:
            del self._keys[next(job for job in self._keys if job not in self._live)]

    # --- what the second pass asks

    def old_keys(self) -> tuple[tuple[bytes, int], ...]:
        """Keys of submits to jobs of which nothing else is kept, with the job."""
        gone = ((job, keys) for job, keys in self._keys.items() if job not in self._live)
        return tuple((key, job) for job, keys in gone for key in keys if key)

    def is_live(self, task: int) -> bool:
        return job_of(task) in self._live

    def keeps(self, record: Record) -> Record | None:
        """The record, what is left of it, or None."""
        match record:
            case JobOpened(job) | JobClosed(job) | JobCancelled(job) | JobCompleted(job):
                return record if job in self._live else None
            case JobsForgotten() | SubmitDropped() | IdsUsed():
                return None
            case SubmitBegun(submission) | SubmitContinued(submission):
                known = submission in self._committed or submission in self._open
                return record if known else None
            case SubmitCommitted(submission):
                return record if submission in self._committed else None
            case (
                WorkerConnected(worker) | WorkerStopping(worker) | WorkerLost(worker)
                | WorkerTold(worker)
            ):  # fmt: skip
                return record if worker in self._needed else None
            case NodeDropped(task):
                return record if self.is_live(task) else None
            case VariantsChosen(tasks):
                chosen = tuple(row for row in tasks if self.is_live(row[0]))
                return VariantsChosen(chosen) if chosen else None
            case TasksEnded():
                return self._ended(record)
            case TasksStarted():
                begun = self._rows(record, read_u64(record.tasks))
                return begun and replace(begun, gangs=self._gangs(record.gangs))
            case TasksRepeated():
                numbers = read_u64(record.tasks)
                again = self._rows(record, numbers)
                return again and replace(again, errors=self._left(numbers, record.errors))
            case TasksRequeued():
                return self._rows(record, read_u64(record.tasks))
            case TasksTakenBack() | TasksShipped():
                return None  # see Shipments
            case _:
                return record

    def _ended(self, record: TasksEnded) -> TasksEnded | None:
        tasks = read_u64(record.tasks)
        runs = [
            run
            for run in zip(
                read_u64(record.aborted_firsts), read_u32(record.aborted_counts), strict=True
            )
            if self.is_live(run[0])
        ]
        swept = tuple(job for job in record.swept if job in self._live)
        if not runs and not swept and not any(map(self.is_live, tasks)):
            return None
        return replace(
            _cut(record, [row for row, task in enumerate(tasks) if self.is_live(task)]),
            errors=self._left(tasks, record.errors),
            results=self._left(tasks, record.results),
            gangs=self._gangs(record.gangs),
            aborted_firsts=u64(first for first, _ in runs),
            aborted_counts=u32(count for _, count in runs),
            swept=swept,
        )

    def _rows(self, record: T, tasks: Iterable[int]) -> T | None:
        rows = [row for row, task in enumerate(tasks) if self.is_live(task)]
        return _cut(record, rows) if rows else None

    def _gangs(
        self, gangs: tuple[tuple[int, tuple[int, ...]], ...]
    ) -> tuple[tuple[int, tuple[int, ...]], ...]:
        return tuple(gang for gang in gangs if self.is_live(gang[0]))

    def _left(
        self, tasks: Sequence[int], words: tuple[tuple[int, W], ...]
    ) -> tuple[tuple[int, W], ...]:
        """What is said of rows that are left, under the numbers that these have then."""
        if not words:
            return ()
        rows = (row for row, task in enumerate(tasks) if self.is_live(task))
        left = {row: new for new, row in enumerate(rows)}
        return tuple((left[row], word) for row, word in words if row in left)


def _cut(record: T, rows: Sequence[int]) -> T:
    """The record with these of its rows only."""
    columns: dict[str, bytes] = {}
    for name in record.__struct_fields__:
        width, column = _WIDTHS.get(name), getattr(record, name)
        if width is not None and isinstance(column, bytes):
            if len(column) == width * len(rows):
                return record  # all of them
            columns[name] = b"".join(column[row * width : (row + 1) * width] for row in rows)
    return replace(record, **columns)
