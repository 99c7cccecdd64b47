"""What workers report about tasks, and what follows from the loss of a worker.

Rows about tasks that have ended, that nobody knows, or of an older instance change nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, compress
from math import isfinite
from typing import Final

from hqtrio.errors import RemoteFault
from hqtrio.ids import NUMBER_BITS, NUMBER_MASK, task_id
from hqtrio.jobs.aborts import abort_consumers
from hqtrio.jobs.blocks import ArrayBlock
from hqtrio.jobs.endings import NEVER_RESTART_TEXT, crash_text, error_text
from hqtrio.jobs.executions import PAGE_BITS, PAGE_MASK, ROW, ROW_BYTES, Execution
from hqtrio.jobs.gangs import Gangs, form_gangs
from hqtrio.jobs.job import FAILED, FINISHED, RUNNING, WAITING, Job, Runs
from hqtrio.jobs.release import announce, release
from hqtrio.jobs.retries import next_pause_s
from hqtrio.jobs.tables import Tables, name_runs
from hqtrio.messages.columns import (
    f32,
    f64,
    read_f32,
    read_f64,
    read_i32,
    read_u32,
    read_u64,
    u32,
    u64,
)
from hqtrio.messages.records import TasksEnded, TasksRepeated, TasksRequeued, TasksStarted
from hqtrio.messages.worker import Ended, Started
from hqtrio.model.task import NEVER_RESTART, UNLIMITED, Ending

_FINISHED: Final = int(Ending.FINISHED)
_LOST: Final = int(Ending.LOST)
_CANCELLED: Final = int(Ending.CANCELLED)
_AGE_MAX: Final = 1e9  # seconds
_STATES: Final = bytes([FINISHED]) + bytes([FAILED]) * 255  # by ending
_NOTHING: Final = Ended(b"", b"", b"", b"", b"", b"", b"", b"", b"")


class Consequences:
    """What the rows of one event drag along; told and recorded when all rows are through."""

    __slots__ = (
        "aborted",
        "again",
        "done",
        "errors",
        "failed",
        "freed",
        "repeated",
        "swept",
        "woken",
    )

    def __init__(self) -> None:
        self.aborted: Runs = []  # packed ids
        self.swept: list[int] = []  # jobs
        self.failed: list[int] = []  # packed ids of tasks that failed without a row
        self.errors: list[tuple[int, str]] = []  # of rows
        self.woken: dict[int, list[int]] = {}
        self.freed: list[tuple[Job, ArrayBlock]] = []
        self.again: dict[int, list[int]] = {}
        # Task, instance, tries, when, and why if it pauses until then.
        self.repeated: list[tuple[int, int, int, float, str]] = []
        self.done: list[int] = []


# --- started


def apply_started(
    tables: Tables, worker: int, fact: Started, wall: float, gangs: Gangs = ()
) -> None:
    """The tasks run; those of the `gangs` on all of their workers."""
    try:
        tasks, instances = read_u64(fact.tasks), read_u32(fact.instances)
        dates = _dates(read_f64(fact.ages), wall)
    except RemoteFault:
        return
    if not len(tasks) == len(instances) == len(dates):
        return
    kept = bytearray(len(tasks))
    pack, width, bits, mask = ROW.pack_into, ROW_BYTES, PAGE_BITS, PAGE_MASK
    job: Job | None = None
    number = -1
    last = -1
    for row, (task, instance, at) in enumerate(zip(tasks, instances, dates, strict=False)):
        if task >> NUMBER_BITS != number:
            number = task >> NUMBER_BITS
            job = tables.jobs.get(number)
            if job is not None:
                states, counts, current = job.states, job.counts, job.instances
                pages, shift, total = job.executions.pages, job.numbering.shift, job.count
                job.ran[worker] = None
                tables.changed[number] = None
        if job is None:
            continue
        position = (task & NUMBER_MASK) - shift
        if shift < 0 or not 0 <= position < total:
            position = job.numbering.position(task & NUMBER_MASK)
            if position < 0:
                continue
        if states[position] != WAITING or instance != (current.get(position, 0) if current else 0):
            continue
        states[position] = RUNNING
        counts[WAITING] -= 1
        counts[RUNNING] += 1
        page = pages[position >> bits] or job.executions.page(position)
        pack(page, (position & mask) * width, at, 0.0, worker, -1.0, 0)
        kept[row] = 1
        last = row
    if last < 0:
        return
    entry = tables.workers.entries.get(worker)
    if entry is not None:
        entry.running += sum(kept)
        entry.last_task, entry.last_task_at = tasks[last], dates[last]
    tables.out.record(
        TasksStarted(
            worker,
            u64(compress(tasks, kept)),
            u32(compress(instances, kept)),
            f64(compress(dates, kept)),
            form_gangs(tables, worker, gangs),
        )
    )


# --- ended


def apply_ended(tables: Tables, worker: int, fact: Ended, wall: float, gangs: Gangs = ()) -> None:
    """The executions are over, with everything that follows for others."""
    try:
        tasks, instances = read_u64(fact.tasks), read_u32(fact.instances)
        codes = read_i32(fact.codes)
        started_ages = read_f64(fact.started_ages)
        started, ended = _dates(started_ages, wall), _dates(read_f64(fact.ended_ages), wall)
        cpu, peak = read_f32(fact.cpu_s), read_u32(fact.peak_kib)
    except RemoteFault:
        return
    columns = (tasks, instances, fact.endings, codes, started_ages, started, ended, cpu, peak)
    if len(set(map(len, columns))) > 1:
        return
    kept = bytearray(b"\x01") * len(tasks)
    texts = dict(fact.texts)
    follow = Consequences()
    ran = last = 0

    jobs, changed = tables.jobs, tables.changed
    pack, width, bits, mask = ROW.pack_into, ROW_BYTES, PAGE_BITS, PAGE_MASK
    number_of_job = -1
    job: Job | None = None
    # One turn of this loop is what each task costs the job book.
    for row, (task, instance, ending, code, age, start, end, cpu_s, peak_kib) in enumerate(
        zip(*columns, strict=False)
    ):
        if task >> NUMBER_BITS != number_of_job:
            number_of_job = task >> NUMBER_BITS
            job = jobs.get(number_of_job)
            if job is not None:
                changed[number_of_job] = None
                states, counts, current = job.states, job.counts, job.instances
                pages, shift, total = job.executions.pages, job.numbering.shift, job.count
                ran_on, simple = job.ran, job.simple
        if job is None:
            kept[row] = 0
            continue
        position = (task & NUMBER_MASK) - shift
        if shift < 0 or not 0 <= position < total:
            position = job.numbering.position(task & NUMBER_MASK)
            if position < 0:
                kept[row] = 0
                continue
        state = states[position]
        if state > RUNNING or instance != (current.get(position, 0) if current else 0):
            kept[row] = 0
            continue
        ran += state
        if age >= 0.0:
            page = pages[position >> bits] or job.executions.page(position)
            pack(page, (position & mask) * width, start, end, worker, cpu_s, peak_kib)
            ran_on[worker] = None
            last = row + 1
        else:
            started[row] = 0.0
            job.executions.put(position, Execution(0.0, end))
        if ending == _FINISHED:
            states[position] = FINISHED
            counts[state] -= 1
            counts[FINISHED] += 1
            if not simple:
                finish_task(job, position, follow)
        elif ending in (_LOST, _CANCELLED):
            crashed = ending == _LOST and (state == RUNNING or age >= 0.0)
            text = _crash(tables, job, position, crashed, crashed, wall, follow)
            if text:
                ended[row] = wall
                follow.errors.append((row, text))
            else:
                kept[row] = 0
        else:
            text = error_text(ending, code, texts.get(row, ""))
            if _repeat(tables, job, position, (ending, code, text), wall, follow):
                kept[row] = 0
            else:
                follow.errors.append((row, text))
                fail_task(tables, job, position, text, wall, follow)

    for row, result in fact.results:
        if _counts(kept, row):
            put_result(tables, tasks[row], result)
    tables.workers.released(worker, ran)
    entry = tables.workers.entries.get(worker)
    if entry is not None and last and started[last - 1] >= entry.last_task_at:
        entry.last_task, entry.last_task_at = tasks[last - 1], started[last - 1]
    _record_again(tables, follow)
    if any(kept) or follow.failed:
        formed = form_gangs(tables, worker, gangs)
        _record_ended(tables, worker, fact, kept, started, ended, follow, wall, formed)
    _tell(tables, follow)


def put_result(tables: Tables, task: int, result: bytes) -> None:
    """The task, which has ended, has this result."""
    job = tables.jobs[task >> NUMBER_BITS]
    job.results[job.numbering.position(task & NUMBER_MASK)] = result


def finish_task(job: Job, position: int, follow: Consequences) -> None:
    """A task of a job that is not simple has finished: note what may start for it."""
    freed: list[ArrayBlock] = []
    job.finish(position, follow.woken.setdefault(job.id, []), freed, follow.done)
    follow.freed += [(job, block) for block in freed]


def fail_task(
    tables: Tables, job: Job, position: int, text: str, wall: float, follow: Consequences
) -> None:
    """The task's consumers are aborted, then it fails, then perhaps everything else goes."""
    follow.aborted += name_runs(job, abort_consumers(job, position, wall, follow.done))
    job.counts[job.states[position]] -= 1
    job.counts[FAILED] += 1
    job.states[position] = FAILED
    job.errors[position] = text
    if not job.simple:
        job.leave(position, follow.done)
        job.ended_badly(position)
    if tables.exceeded(job) and job.active and tables.abort_rest(job, wall):
        follow.swept.append(job.id)


def _repeat(
    tables: Tables,
    job: Job,
    position: int,
    failure: tuple[int, int, str],
    wall: float,
    follow: Consequences,
) -> bool:
    """If the failed task has tries left, it waits for the next one, as a new instance."""
    ending, code, text = failure
    pause_s = next_pause_s(job, position, ending, code)
    if pause_s is None:
        return False
    instance = job.requeue(position)
    task = task_id(job.id, job.numbering.number(position))
    reason = text if pause_s > 0 else ""
    follow.repeated.append((task, instance, job.tries[position], wall + pause_s, reason))
    if pause_s > 0:
        job.pauses[position] = (wall + pause_s, text)
        tables.retries.pause(job, position, pause_s)
    else:
        follow.woken.setdefault(job.id, []).append(position)
    return True


def _crash(
    tables: Tables,
    job: Job,
    position: int,
    ran: bool,
    crashed: bool,
    wall: float,
    follow: Consequences,
) -> str:
    """The execution is void: the task waits again, or fails with the text that is returned."""
    text = ""
    if ran:
        limit = job.settings_at(position).crash_limit
        if crashed:
            job.crashes[position] = job.crashes.get(position, 0) + 1
        if limit == NEVER_RESTART:
            text = NEVER_RESTART_TEXT
        elif crashed and limit != UNLIMITED and job.crashes[position] >= limit:
            text = crash_text(job.crashes[position], limit)
    if text:
        job.put_ended(position, wall)
        fail_task(tables, job, position, text, wall, follow)
    else:
        job.requeue(position)
        follow.again.setdefault(job.id, []).append(position)
    return text


def _record_ended(
    tables: Tables,
    worker: int,
    fact: Ended,
    kept: bytearray,
    started: array[float],
    ended: array[float],
    follow: Consequences,
    wall: float,
    gangs: tuple[tuple[int, tuple[int, ...]], ...] = (),
) -> None:
    """One record of the rows that counted and of all that follows from them."""
    if follow.failed or kept.count(0):
        tasks = array("Q", compress(read_u64(fact.tasks), kept))
        instances = array("I", compress(read_u32(fact.instances), kept))
        states = bytearray(compress(fact.endings.translate(_STATES), kept))
        started = array("d", compress(started, kept))
        ended = array("d", compress(ended, kept))
        cpu = array("f", compress(read_f32(fact.cpu_s), kept))
        peak = array("I", compress(read_u32(fact.peak_kib), kept))
        places = [0, *accumulate(kept)]
        errors = [(places[row], text) for row, text in follow.errors]
        results = tuple((places[row], data) for row, data in fact.results if _counts(kept, row))
        for task in follow.failed:
            job = tables.jobs[task >> NUMBER_BITS]
            position = job.numbering.position(task & NUMBER_MASK)
            row = job.executions.get(position)
            errors.append((len(tasks), job.errors[position]))
            tasks.append(task)
            instances.append(job.instances.get(position, 0))
            states.append(FAILED)
            started.append(row.started)
            ended.append(row.ended)
            cpu.append(row.cpu_s)
            peak.append(row.peak_kib)
        columns = (u64(tasks), u32(instances), bytes(states))
        usage = (f32(cpu), u32(peak))
    else:
        errors = follow.errors
        results = tuple(row for row in fact.results if _counts(kept, row[0]))
        columns = (fact.tasks, fact.instances, fact.endings.translate(_STATES))
        usage = (fact.cpu_s, fact.peak_kib)
    tables.out.record(
        TasksEnded(
            worker,
            wall,
            *columns,
            f64(started),
            f64(ended),
            *usage,
            tuple(errors),
            u64(first for first, _ in follow.aborted),
            u32(count for _, count in follow.aborted),
            tuple(follow.swept),
            gangs,
            results,
        )
    )


def _counts(kept: bytearray, row: int) -> bool:
    """Whether there is such a row, and it was believed."""
    return 0 <= row < len(kept) and bool(kept[row])


def _record_again(tables: Tables, follow: Consequences) -> None:
    """Record what waits again before what ended: some of it has ended since."""
    if follow.repeated:
        columns = list(zip(*follow.repeated, strict=True))
        errors = tuple((row, text) for row, text in enumerate(columns[4]) if text)
        tables.out.record(
            TasksRepeated(
                u64(columns[0]), u32(columns[1]), u32(columns[2]), f64(columns[3]), errors
            )
        )
    tasks: list[int] = []
    instances: list[int] = []
    crashes: list[int] = []
    for number, positions in follow.again.items():
        job = tables.jobs[number]
        tasks += [task_id(number, job.numbering.number(p)) for p in positions]
        instances += [job.instances[p] for p in positions]
        crashes += [job.crashes.get(p, 0) for p in positions]
    if tasks:
        tables.out.record(TasksRequeued(u64(tasks), u32(instances), u32(crashes)))


def _tell(tables: Tables, follow: Consequences) -> None:
    """Announce what may start now, except what a later row has ended."""
    tables.bodies_done(follow.done)
    for number, positions in follow.again.items():
        follow.woken[number] = follow.woken.get(number, []) + positions
    for number, positions in follow.woken.items():
        job = tables.jobs[number]
        if follow.swept or follow.failed or follow.errors or follow.repeated:
            positions = [p for p in positions if job.states[p] == WAITING]
        announce(job, positions, tables.bodies, tables.out)
    for job, block in follow.freed:
        if not block.dead:
            tables.start(release(job, block, tables.bodies, tables.out))


# --- lost


def apply_loss(
    tables: Tables,
    worker: int,
    running: Sequence[tuple[int, int]],
    shipped: Sequence[tuple[int, int]],
    crashed: bool,
    heard_out: bool,
    wall: float,
) -> None:
    """What ran there waits again or fails; what was merely shipped waits under a new instance.

    Unless the worker was heard out it may have started what was shipped: what must not start twice
    fails then.
    """
    follow = Consequences()
    for ran, rows in ((True, running), (False, shipped)):
        for job, position in active(tables, rows):
            tables.changed[job.id] = None
            started = ran or job.states[position] == RUNNING
            if not heard_out and job.settings_at(position).crash_limit == NEVER_RESTART:
                started = True
            if _crash(tables, job, position, started, started and crashed, wall, follow):
                follow.failed.append(task_id(job.id, job.numbering.number(position)))
    _record_again(tables, follow)
    if follow.failed:
        _record_ended(tables, worker, _NOTHING, bytearray(), array("d"), array("d"), follow, wall)
    _tell(tables, follow)


def abort_doomed(tables: Tables, job: Job, positions: Sequence[int], wall: float) -> None:
    """Abort tasks that need one which has ended badly already, and their consumers."""
    follow = Consequences()
    for position in positions:
        if job.states[position] == WAITING:
            job.abort_waiting(position, wall, follow.done)
            runs = [(position, 1), *abort_consumers(job, position, wall, follow.done)]
            follow.aborted += name_runs(job, runs)
    _record_ended(tables, 0, _NOTHING, bytearray(), array("d"), array("d"), follow, wall)


def active(tables: Tables, rows: Iterable[tuple[int, int]]) -> Iterable[tuple[Job, int]]:
    """Those of the (task, instance) rows that are still active, looked at one by one."""
    for task, instance in rows:
        job = tables.jobs.get(task >> NUMBER_BITS)
        position = -1 if job is None else job.numbering.position(task & NUMBER_MASK)
        if job is None or position < 0 or job.states[position] > RUNNING:
            continue
        if job.instances.get(position, 0) == instance:
            yield job, position


def _dates(ages: array[float], wall: float) -> array[float]:
    """When something was that was so long ago; impossible ages count as now."""
    total = sum(ages)
    if not (isfinite(total) and -_AGE_MAX < total < _AGE_MAX):
        ages = array("d", [age if -_AGE_MAX < age < _AGE_MAX else 0.0 for age in ages])
    return array("d", [wall - age for age in ages])
