"""What a job book remembers of its past, as the records that a journal would have of it.

Of tasks that ran several times the last execution is known. What is told is how things stood when
it was asked for, however slowly it is read. Records of one job follow each other: they are not in
the order of time.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Generator, Iterator
from typing import Final

from msgspec.structs import replace

from hqtrio.ids import task_id
from hqtrio.jobs.blocks import ArrayBlock, GraphBlock
from hqtrio.jobs.executions import PAGE_BITS, ROW
from hqtrio.jobs.job import ABORTED, CANCELLED, FAILED, FINISHED, Job
from hqtrio.jobs.tables import Tables, name_runs
from hqtrio.messages.columns import f32, f64, u32, u64
from hqtrio.messages.records import (
    JobCancelled,
    JobClosed,
    JobCompleted,
    JobOpened,
    Record,
    ServerStarted,
    SubmitBegun,
    SubmitCommitted,
    SubmitContinued,
    TasksEnded,
    TasksStarted,
    VariantsChosen,
    WorkerConnected,
    WorkerLost,
)
from hqtrio.model.job import ArraySpec, GraphSpec, GraphTask, Submit

__all__ = ["remembered"]

_GRAPH_ROWS: Final = 2000
_ABORTED_RUN: Final = re.compile(bytes([ABORTED]) + b"+")
_TOLD: Final = 0xFF  # in place of the state of a task whose end is told

_Row = tuple[int, int, float, float, float, int, int, str, bytes]


def remembered(tables: Tables, started: ServerStarted) -> Iterator[list[Record]]:
    """Everything up to now, part by part. What may change is copied before this returns."""
    workers: list[Record] = [started]
    for entry in tables.workers.entries.values():
        workers.append(
            WorkerConnected(entry.id, entry.key, entry.attachment, entry.config, entry.started_at)
        )
        if entry.reason is not None and entry.ended_at is not None:
            workers.append(WorkerLost(entry.id, entry.reason, entry.ended_at))
    return _parts(workers, [_Past(job) for job in tables.jobs.values()])


def _parts(first: list[Record], jobs: list[_Past]) -> Iterator[list[Record]]:
    yield first
    submission = 0
    for past in jobs:
        submission = yield from past.submitted(submission)
        yield from past.executions()
        yield past.end()


class _Past:
    """How one job stands."""

    def __init__(self, job: Job) -> None:
        self._job = job  # of which only what never changes is read later
        self._states = bytearray(job.states)
        self._pages = [None if page is None else bytes(page) for page in job.executions.pages]
        instances = job.instances
        self._instances = (
            array("I", (instances.get(p, 0) for p in range(job.count)))
            if instances
            else array("I", bytes(4 * job.count))
        )
        self._errors, self._results = dict(job.errors), dict(job.results)
        self._gangs = dict(job.gangs)
        self._variants = dict(job.variants)
        self._sweeps = tuple(job.sweeps)
        self._submits = list(zip(job.submits, job.submit_dates, strict=True))
        self._is_open, self._closed_at = job.is_open, job.closed_at
        self._completed_at, self._reason = job.completed_at, job.cancel_reason

    # --- submits

    def submitted(self, submission: int) -> Generator[list[Record], None, int]:
        """The job and its submits; says the last number that one of them got."""
        job = self._job
        head = job.head
        if head.is_open:
            yield [JobOpened(job.id, head, job.submitted_at)]
        for (submit_dir, begin, end), at in self._submits:
            submission += 1
            blocks = job.blocks[begin:end]
            arrays = [block for block in blocks if isinstance(block, ArrayBlock)]
            specs = tuple(_spec(block) for block in arrays)
            new = None if head.is_open else head
            submit = Submit(b"", submit_dir, new, 0 if new else job.id, specs)
            yield [SubmitBegun(submission, submit)]
            for block in blocks:
                if isinstance(block, GraphBlock):
                    for part in self._graph(block):
                        yield [SubmitContinued(submission, graph=part)]
            numbers = tuple(block.ranges for block in arrays)
            yield [SubmitCommitted(submission, job.id, numbers, at)]
        return submission

    def _graph(self, block: GraphBlock) -> Iterator[GraphSpec]:
        number = self._job.numbering.number
        for first in range(0, block.count, _GRAPH_ROWS):
            places = range(first, min(first + _GRAPH_ROWS, block.count))
            tasks = tuple(GraphTask(number(block.first + place), 0, 0, 0) for place in places)
            yield GraphSpec((), (), (), tasks)

    # --- tasks

    def executions(self) -> Iterator[list[Record]]:
        """Starts, and the ends of those that have one of their own."""
        for index, page in enumerate(self._pages):
            if page is not None:
                yield self._page(index << PAGE_BITS, page)

    def _page(self, first: int, page: bytes) -> list[Record]:
        """What is told of the tasks of one page, worker by worker."""
        job, states = self._job, self._states
        started: dict[int, list[tuple[int, int, float]]] = {}
        ended: dict[int, list[_Row]] = {}
        aborted: dict[float, list[tuple[int, int]]] = {}
        rows = zip(ROW.iter_unpack(page), range(first, len(states)), strict=False)
        for (start, end, worker, cpu_s, peak_kib), position in rows:
            state = states[position]
            if not (start or end):
                continue
            task = task_id(job.id, job.numbering.number(position))
            instance = self._instances[position]
            if start:
                started.setdefault(worker, []).append((task, instance, start))
            if state in (FINISHED, FAILED):
                error, result = self._errors.get(position, ""), self._results.get(position, b"")
                row = (task, instance, start, end, cpu_s, peak_kib, state, error, result)
                ended.setdefault(worker, []).append(row)
            elif state == ABORTED:
                aborted.setdefault(end, []).append((position, 1))
                states[position] = _TOLD
        records: list[Record] = []
        if chosen := self._chosen(first):
            records.append(VariantsChosen(chosen))
        for worker, starts in started.items():
            tasks, instances, dates = zip(*starts, strict=True)
            gangs = self._gangs_of(tasks) if self._gangs else ()
            records.append(TasksStarted(worker, u64(tasks), u32(instances), f64(dates), gangs))
        records += [_ended(worker, ends) for worker, ends in ended.items()]
        records += [self._aborted(runs, at) for at, runs in aborted.items()]
        return records

    def _chosen(self, first: int) -> tuple[tuple[int, int], ...]:
        job = self._job
        return tuple(
            (task_id(job.id, job.numbering.number(position)), variant)
            for position, variant in self._variants.items()
            if position >> PAGE_BITS == first >> PAGE_BITS
        )

    def _gangs_of(self, tasks: tuple[int, ...]) -> tuple[tuple[int, tuple[int, ...]], ...]:
        job = self._job
        named = (
            (task_id(job.id, job.numbering.number(position)), workers)
            for position, workers in self._gangs.items()
        )
        wanted = set(tasks)
        return tuple((task, workers) for task, workers in named if task in wanted)

    def _aborted(self, runs: list[tuple[int, int]], at: float) -> TasksEnded:
        named = name_runs(self._job, runs)
        firsts, counts = (u64(first for first, _ in named), u32(count for _, count in named))
        nothing = b""
        return TasksEnded(
            0, at, nothing, nothing, nothing, nothing, nothing, nothing, nothing,
            aborted_firsts=firsts, aborted_counts=counts,
        )  # fmt: skip

    # --- the end of many, and of the job

    def end(self) -> list[Record]:
        """What has ended all tasks that were left, and the job."""
        job, states = self._job, self._states
        records: list[Record] = []
        for begin, end, at in self._sweeps:
            if states.find(CANCELLED, begin, end) >= 0:
                records.append(JobCancelled(job.id, self._reason or "", at))
            else:
                found = _ABORTED_RUN.finditer(states, begin, end)
                runs = [(match.start(), match.end() - match.start()) for match in found]
                if runs:
                    records.append(self._aborted(runs, at))
            states[begin:end] = bytes([_TOLD]) * (end - begin)
        if job.head.is_open and not self._is_open and self._closed_at is not None:
            records.append(JobClosed(job.id, self._closed_at))
        if self._completed_at is not None:
            records.append(JobCompleted(job.id, self._completed_at))
        return records


def _spec(block: ArrayBlock) -> ArraySpec:
    body = replace(block.body.content, stdin=b"", script=b"", matrix=None)
    return ArraySpec(
        body, block.count, block.ranges, block.variants, block.settings, group=block.group
    )


def _ended(worker: int, rows: list[_Row]) -> TasksEnded:
    tasks, instances, started, ended, cpu_s, peak_kib, states, errors, results = zip(
        *rows, strict=True
    )
    texts = tuple((row, text) for row, text in enumerate(errors) if text)
    return TasksEnded(
        worker,
        ended[-1],
        u64(tasks),
        u32(instances),
        bytes(states),
        f64(started),
        f64(ended),
        f32(cpu_s),
        u32(peak_kib),
        texts,
        results=tuple((row, data) for row, data in enumerate(results) if data),
    )
