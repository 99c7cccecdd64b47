"""The end of a task of which nothing that is told can be handled."""

from __future__ import annotations

from hqtrio.ids import NUMBER_BITS, NUMBER_MASK
from hqtrio.jobs.job import FAILED, RUNNING
from hqtrio.jobs.reports import Consequences, fail_task
from hqtrio.jobs.tables import Tables
from hqtrio.messages.columns import f32, f64, u32, u64
from hqtrio.messages.records import TasksEnded
from hqtrio.messages.scheduling import TasksCancelled


def set_aside(tables: Tables, task: int, text: str, wall: float) -> None:
    """The task fails with the text, however often it may be tried, and stops where it runs.

    Nothing happens if it has ended.
    """
    job = tables.jobs.get(task >> NUMBER_BITS)
    position = -1 if job is None else job.numbering.position(task & NUMBER_MASK)
    if job is None or position < 0 or job.states[position] > RUNNING:
        return
    run = job.executions.get(position)
    if job.states[position] == RUNNING:
        tables.workers.released(run.worker)
    job.put_ended(position, wall)
    job.pauses.pop(position, None)
    tables.changed[job.id] = None
    tables.out.command(TasksCancelled(((task, 1),)))
    follow = Consequences()
    fail_task(tables, job, position, text, wall, follow)
    tables.out.record(
        TasksEnded(
            run.worker,
            wall,
            u64([task]),
            u32([job.instances.get(position, 0)]),
            bytes([FAILED]),
            f64([run.started]),
            f64([wall]),
            f32([run.cpu_s]),
            u32([run.peak_kib]),
            ((0, text),),
            u64(first for first, _ in follow.aborted),
            u32(count for _, count in follow.aborted),
            tuple(follow.swept),
        )
    )
    tables.bodies_done(follow.done)
