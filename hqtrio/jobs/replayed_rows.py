"""What records tell of tasks, row by row, put into the tables of the job book.

As for reports, rows about tasks that have ended or are at another instance change nothing.
"""

from __future__ import annotations

from hqtrio.ids import NUMBER_BITS, NUMBER_MASK
from hqtrio.jobs.executions import PAGE_BITS, PAGE_MASK, ROW, ROW_BYTES, Execution
from hqtrio.jobs.gangs import form_gangs
from hqtrio.jobs.job import FAILED, FINISHED, RUNNING, WAITING, Job
from hqtrio.jobs.reports import Consequences, fail_task, finish_task, put_result
from hqtrio.jobs.tables import Tables
from hqtrio.messages.columns import read_f32, read_f64, read_u32, read_u64
from hqtrio.messages.records import TasksEnded, TasksRepeated, TasksRequeued, TasksStarted


def replay_started(tables: Tables, record: TasksStarted) -> None:
    """The tasks run."""
    worker = record.worker
    pack, width, bits, mask = ROW.pack_into, ROW_BYTES, PAGE_BITS, PAGE_MASK
    tasks, dates = read_u64(record.tasks), read_f64(record.at)
    job: Job | None = None
    number = -1
    started = 0
    for task, instance, at in zip(tasks, read_u32(record.instances), dates, strict=True):
        if task >> NUMBER_BITS != number:
            number = task >> NUMBER_BITS
            job = tables.jobs.get(number)
            if job is not None:
                states, counts, current = job.states, job.counts, job.instances
                pages, shift, total = job.executions.pages, job.numbering.shift, job.count
                job.ran[worker] = None
        if job is None:
            continue
        position = (task & NUMBER_MASK) - shift
        if shift < 0 or not 0 <= position < total:
            position = _position(job, task)
        if states[position] != WAITING or instance != (current.get(position, 0) if current else 0):
            continue
        states[position] = RUNNING
        counts[WAITING] -= 1
        counts[RUNNING] += 1
        page = pages[position >> bits] or job.executions.page(position)
        pack(page, (position & mask) * width, at, 0.0, worker, -1.0, 0)
        started += 1
    entry = tables.workers.entries.get(worker)
    if entry is not None and tasks:
        entry.running += started
        entry.last_task, entry.last_task_at = tasks[-1], dates[-1]
    form_gangs(tables, worker, record.gangs)


def replay_ended(tables: Tables, record: TasksEnded) -> None:
    """The tasks have ended, with everything that follows for others."""
    worker, wall = record.worker, record.at
    tasks, dates = read_u64(record.tasks), read_f64(record.started)
    columns = (
        tasks,
        read_u32(record.instances),
        record.states,
        dates,
        read_f64(record.ended),
        read_f32(record.cpu_s),
        read_u32(record.peak_kib),
    )
    errors = dict(record.errors)
    follow = Consequences()
    jobs, changed = tables.jobs, tables.changed
    pack, width, bits, mask = ROW.pack_into, ROW_BYTES, PAGE_BITS, PAGE_MASK
    job: Job | None = None
    number = -1
    ran = last = 0
    # One turn of this loop is what each task costs a start.
    for row, (task, instance, state, start, end, cpu_s, peak_kib) in enumerate(
        zip(*columns, strict=True)
    ):
        if task >> NUMBER_BITS != number:
            number = task >> NUMBER_BITS
            job = jobs.get(number)
            if job is not None:
                changed[number] = None
                states, counts, current = job.states, job.counts, job.instances
                pages, shift, total = job.executions.pages, job.numbering.shift, job.count
                ran_on, simple = job.ran, job.simple
        if job is None:
            continue
        position = (task & NUMBER_MASK) - shift
        if shift < 0 or not 0 <= position < total:
            position = _position(job, task)
        before = states[position]
        if before > RUNNING or instance != (current.get(position, 0) if current else 0):
            continue
        ran += before
        if start:
            page = pages[position >> bits] or job.executions.page(position)
            pack(page, (position & mask) * width, start, end, worker, cpu_s, peak_kib)
            ran_on[worker] = None
            last = row + 1
        else:
            job.executions.put(position, Execution(0.0, end))
        if state == FINISHED:
            states[position] = FINISHED
            counts[before] -= 1
            counts[FINISHED] += 1
            if not simple:
                finish_task(job, position, follow)
        elif state == FAILED:
            job.pauses.pop(position, None)
            fail_task(tables, job, position, errors.get(row, ""), wall, follow)
        else:
            raise ValueError(f"a task cannot end as {state}")
    for row, result in record.results:
        if tasks[row] >> NUMBER_BITS in jobs:
            put_result(tables, tasks[row], result)
    tables.workers.released(worker, ran)
    entry = tables.workers.entries.get(worker)
    if entry is not None and last and dates[last - 1] >= entry.last_task_at:
        entry.last_task, entry.last_task_at = tasks[last - 1], dates[last - 1]
    form_gangs(tables, worker, record.gangs)


def replay_requeued(tables: Tables, record: TasksRequeued) -> None:
    """The tasks wait again."""
    rows = zip(
        read_u64(record.tasks),
        read_u32(record.instances),
        read_u32(record.crashes),
        strict=True,
    )
    for task, instance, crashes in rows:
        job, position = _requeue(tables, task, instance)
        if job is not None and crashes:
            job.crashes[position] = crashes


def replay_repeated(tables: Tables, record: TasksRepeated) -> None:
    """The tasks wait again, some of them for the end of a pause."""
    texts = dict(record.errors)
    rows = zip(
        read_u64(record.tasks),
        read_u32(record.instances),
        read_u32(record.tries),
        read_f64(record.at),
        strict=True,
    )
    for row, (task, instance, tries, at) in enumerate(rows):
        job, position = _requeue(tables, task, instance)
        if job is not None:
            job.tries[position] = tries
            if row in texts:
                job.pauses[position] = (at, texts[row])


def _requeue(tables: Tables, task: int, instance: int) -> tuple[Job | None, int]:
    """The task waits again under this instance; nothing if it has ended."""
    job = tables.jobs.get(task >> NUMBER_BITS)
    if job is None:
        return None, -1
    position = _position(job, task)
    if job.states[position] > RUNNING:
        return None, -1
    if job.states[position] == RUNNING:
        tables.workers.released(job.executions.get(position).worker)
    job.requeue(position)
    job.instances[position] = instance
    job.pauses.pop(position, None)
    return job, position


def _position(job: Job, task: int) -> int:
    position = job.numbering.position(task & NUMBER_MASK)
    if position < 0:
        raise ValueError(f"job {job.id} has no task {task & NUMBER_MASK}")
    return position
