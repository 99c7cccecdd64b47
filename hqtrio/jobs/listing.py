"""What clients see of jobs and tasks."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Final

from hqtrio.jobs.blocks import ArrayBlock, GraphBlock
from hqtrio.jobs.bodies import shorten, shown_bytes
from hqtrio.jobs.job import FINISHED, WAITING, Job
from hqtrio.jobs.numbering import Numbering, check_ranges
from hqtrio.jobs.state import counts_of
from hqtrio.jobs.workers import Register
from hqtrio.messages.client import (
    PAGE_ROWS,
    ArrayPart,
    JobDetails,
    JobRow,
    ListTasks,
    SubmitPartInfo,
    TaskRow,
    TaskRows,
)
from hqtrio.model.job import Ranges
from hqtrio.model.resources import Variants
from hqtrio.model.task import TaskBody, TaskSettings

_PAGE_BYTES: Final = 512 * 1024  # of entries, errors and bodies: a page fits one frame
_SCAN_MAX: Final = 50_000  # tasks looked at for one page
_RANGES_SHOWN: Final = 50_000


def job_row(job: Job) -> JobRow:
    return JobRow(
        id=job.id,
        name=job.head.name,
        counts=counts_of(job.counts),
        is_open=job.is_open,
        cancel_reason=job.cancel_reason,
        terminated=job.terminated,
    )


def job_details(job: Job, workers: Register, wall: float) -> JobDetails:
    """Everything about the job but its tasks; an idle open job finishes at every moment anew."""
    finished_at = job.completed_at
    if finished_at is None and not job.active:
        finished_at = wall
    ran = tuple(sorted(job.ran))
    return JobDetails(
        row=job_row(job),
        max_fails=job.head.max_fails,
        submitted_at=job.submitted_at,
        finished_at=finished_at,
        submits=tuple(_submits(job)),
        ids=_ids(job),
        workers=ran,
        hostnames=tuple(workers.hostname(worker) for worker in ran),
    )


def _ids(job: Job) -> Ranges:
    if len(job.blocks) == 1 and isinstance(job.blocks[0], ArrayBlock):
        return job.blocks[0].ranges[:_RANGES_SHOWN]
    return job.numbering.merged()[:_RANGES_SHOWN]


def _submits(job: Job) -> Iterator[SubmitPartInfo]:
    room = _PAGE_BYTES
    for submit_dir, begin, end in job.submits:
        arrays = []
        graph_tasks = 0
        for block in job.blocks[begin:end]:
            # Arrays for which there is no room are shown task by task, as those of graphs are.
            if isinstance(block, GraphBlock) or room < 0:
                graph_tasks += block.count
                continue
            body = shorten(block.body.content)
            room -= shown_bytes(body) + 20 * len(block.ranges) + 4 * len(block.group)
            room -= 60 * len(block.variants) + 40
            ranges = block.ranges[:_RANGES_SHOWN]
            arrays.append(ArrayPart(body, ranges, block.variants, block.settings, block.group))
        yield SubmitPartInfo(submit_dir, tuple(arrays), graph_tasks)
        room -= 100
        if room < 0:
            return


class _Interned:
    """Tables that the rows of one page index."""

    def __init__(self) -> None:
        self.bodies: list[TaskBody] = []
        self.variants: list[Variants] = []
        self.settings: list[TaskSettings] = []
        self.bytes = 0
        self._known: dict[tuple[str, int, int], int] = {}
        self._of_array: dict[int, tuple[int, int, int]] = {}

    def of(self, job: Job, block: ArrayBlock | GraphBlock, place: int) -> tuple[int, int, int]:
        """The indices of a task's body, variants and settings."""
        if isinstance(block, ArrayBlock):
            found = self._of_array.get(block.first)
            if found is None:
                found = self._of_array[block.first] = self._indices(block, 0, 0, 0)
            return found
        return self._indices(
            block, block.body_of[place], block.variants_of[place], block.settings_of[place]
        )

    def _indices(
        self, block: ArrayBlock | GraphBlock, body: int, variants: int, settings: int
    ) -> tuple[int, int, int]:
        return (
            self._index("body", block, body),
            self._index("variants", block, variants),
            self._index("settings", block, settings),
        )

    def _index(self, kind: str, block: ArrayBlock | GraphBlock, which: int) -> int:
        key = (kind, block.first, which)
        found = self._known.get(key)
        if found is not None:
            return found
        if kind == "body":
            content = block.body.content if isinstance(block, ArrayBlock) else block.content(which)
            self.bodies.append(shorten(content))
            self.bytes += shown_bytes(self.bodies[-1])
            found = len(self.bodies) - 1
        elif kind == "variants":
            one = block.variants if isinstance(block, ArrayBlock) else block.variants[which]
            self.variants.append(one)
            self.bytes += 60 * len(one)
            found = len(self.variants) - 1
        else:
            self.settings.append(
                block.settings if isinstance(block, ArrayBlock) else block.settings[which]
            )
            found = len(self.settings) - 1
        self._known[key] = found
        return found


def task_page(job: Job, asked: ListTasks, workers: Register) -> TaskRows:
    """The next rows in order of number. A position is the number at which a page begins."""
    only: Numbering | None = None
    unknown: tuple[int, ...] = ()
    start = max(asked.position, 0)
    if asked.numbers:
        only = _wanted(asked.numbers)
        if asked.position <= 0:
            unknown = _unknown(job, only)
        start = max(start, min((first for first, _, _ in only.segments), default=0))
    states = frozenset(asked.states)
    limit = max(1, min(asked.limit, PAGE_ROWS))
    rows: list[TaskRow] = []
    tables = _Interned()
    named: dict[int, str] = {}
    spent = seen = 0
    next_position = -1
    for number, position in _candidates(job, only, start):
        seen += 1
        if len(rows) == limit or seen > _SCAN_MAX or spent + tables.bytes > _PAGE_BYTES:
            next_position = number
            break
        if position < 0 or (states and job.states[position] not in states):
            continue
        row = _task_row(job, number, position, tables)
        rows.append(row)
        spent += len(row.error) * 2 + len(row.entry or b"") + len(row.needs) * 5 + len(row.group)
        for worker in row.workers:
            named[worker] = workers.hostname(worker)
    return TaskRows(
        tuple(rows),
        tuple(tables.bodies),
        tuple(tables.variants),
        tuple(tables.settings),
        tuple(named.items()),
        next_position,
        unknown,
    )


def _wanted(ranges: Ranges) -> Numbering:
    check_ranges(ranges)
    wanted = Numbering()
    wanted.accept(ranges)
    for start, count, step in sorted(ranges):
        if wanted.clash([(start, count, step)]) < 0:
            wanted.add(start, count, step)
        else:
            for number in range(start, start + min(count, _SCAN_MAX) * step, step):
                if wanted.position(number) < 0:
                    wanted.add(number)
    return wanted


def _unknown(job: Job, wanted: Numbering) -> tuple[int, ...]:
    unknown: list[int] = []
    for seen, (number, _) in enumerate(wanted.walk(0)):
        if seen == _SCAN_MAX or len(unknown) == PAGE_ROWS:
            break
        if job.numbering.position(number) < 0:
            unknown.append(number)
    return tuple(unknown)


def _candidates(job: Job, only: Numbering | None, start: int) -> Iterator[tuple[int, int]]:
    """(number, position) of what may be listed from `start` on; position -1: not in the choice."""
    if only is None:
        return job.numbering.walk(start)
    if only.count < job.count:
        known = job.numbering
        return ((number, known.position(number)) for number, _ in only.walk(start))
    wanted = only
    return (
        (number, position if wanted.position(number) >= 0 else -1)
        for number, position in job.numbering.walk(start)
    )


def _task_row(job: Job, number: int, position: int, tables: _Interned) -> TaskRow:
    block = job.block_at(position)
    place = position - block.first
    state = job.states[position]
    run = job.executions.get(position)
    pause: tuple[float | None, str] = job.pauses.get(position, (None, ""))
    ended = run.ended or (job.swept_at(position) or 0.0 if state > FINISHED else 0.0)
    body, variants, settings = tables.of(job, block, place)
    array = block if isinstance(block, ArrayBlock) else None
    return TaskRow(
        number=number,
        state=state,
        instance=job.instances.get(position, 0),
        workers=job.gangs.get(position) or ((run.worker,) if run.worker else ()),
        started_at=run.started if run.worker else None,
        ended_at=ended if state > WAITING + 1 and ended else None,
        error=job.errors.get(position, "") or pause[1],
        body=body,
        variants=variants,
        settings=settings,
        needs=block.needs_of(place) if isinstance(block, GraphBlock) else (),
        cpu_s=run.cpu_s if run.worker and isfinite(run.cpu_s) and run.cpu_s >= 0 else None,
        peak_kib=run.peak_kib or None,
        entry=None if array is None else array.entry(place),
        group="" if array is None else array.group,
        tries=job.tries.get(position, 0),
        retry_at=pause[0],
    )
