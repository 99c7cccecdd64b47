"""Multi-node tasks: which workers the last execution of each of them has, or had."""

from __future__ import annotations

from collections.abc import Sequence

from hqtrio.ids import NUMBER_BITS, NUMBER_MASK
from hqtrio.jobs.job import RUNNING, WAITING
from hqtrio.jobs.tables import Tables
from hqtrio.jobs.workers import WorkerEntry
from hqtrio.messages.records import NodeDropped
from hqtrio.messages.scheduling import NodeLost

Gangs = Sequence[tuple[int, tuple[int, ...]]]


def form_gangs(
    tables: Tables, worker: int, gangs: Gangs
) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Remember the workers of those tasks that this worker, as their root, reported as new."""
    formed = []
    for task, workers in gangs:
        job = tables.jobs.get(task >> NUMBER_BITS)
        position = -1 if job is None else job.numbering.position(task & NUMBER_MASK)
        if job is None or position < 0 or workers[:1] != (worker,):
            continue
        run = job.executions.get(position)
        # A gang that is known may have lost nodes since.
        if job.states[position] == WAITING or run.worker != worker or position in job.gangs:
            continue
        job.gangs[position] = workers
        formed.append((task, workers))
        for member in workers:
            job.ran[member] = None
            entry = tables.workers.entries.get(member)
            if entry is not None:
                entry.gang = entry.last_task = task
                entry.last_task_at = run.started
    return tuple(formed)


def drop_node(tables: Tables, lost: NodeLost) -> None:
    """The running task goes on without this worker; no news if it has ended or is not its own."""
    job = tables.jobs.get(lost.task >> NUMBER_BITS)
    position = -1 if job is None else job.numbering.position(lost.task & NUMBER_MASK)
    if job is None or position < 0 or job.states[position] != RUNNING:
        return
    workers = job.gangs.get(position, ())
    if job.instances.get(position, 0) != lost.instance or lost.worker not in workers[1:]:
        return
    job.gangs[position] = tuple(worker for worker in workers if worker != lost.worker)
    tables.out.record(NodeDropped(lost.task, lost.instance, lost.worker))


def part_in_gang(tables: Tables, entry: WorkerEntry) -> bool | None:
    """Whether the worker is the root of its multi-node task; None if it runs none."""
    job = tables.jobs.get(entry.gang >> NUMBER_BITS)
    position = -1 if job is None else job.numbering.position(entry.gang & NUMBER_MASK)
    if job is None or position < 0 or job.states[position] != RUNNING:
        return None
    workers = job.gangs.get(position, ())
    return workers[0] == entry.id if entry.id in workers else None
