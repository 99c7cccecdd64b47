"""Workers that come back: whether they are who they were, and what they may go on with.

A worker keeps its id as long as its loss has not been told. After that it gets a new one: crash
counters have moved and everybody has heard that the old one is gone, so that its story is over, and
everything that it had was given away.
"""

from __future__ import annotations

from collections.abc import Iterator

from hqtrio.jobs.effects import Command, Outbox
from hqtrio.jobs.release import announce
from hqtrio.jobs.reports import active
from hqtrio.jobs.tables import Tables
from hqtrio.jobs.workers import WorkerEntry
from hqtrio.messages.columns import read_u32, read_u64
from hqtrio.messages.scheduling import TasksReady
from hqtrio.messages.worker import Held, Register, Report


def returning(tables: Tables, hello: Register, history: bytes) -> WorkerEntry | None:
    """The worker that this is, if its loss has not been told.

    One that names no id never learnt that it was admitted.
    """
    entry = tables.workers.of_key(hello.worker_key)
    if entry is None or entry.reason is not None:
        return None
    known = (hello.worker, hello.history) == (entry.id, history)
    return entry if known or not hello.worker else None


def unheard(held: Held | None, seen: int) -> Iterator[Report]:
    """The reports that were not handled before."""
    return (report for report in (held.reports if held else ()) if report.seq > seen)


def kept(tables: Tables, held: Held | None) -> tuple[TasksReady, ...]:
    """Of the tasks that a worker has, those that have not ended, in the very instance that it has.

    They are announced as if they were ready: the scheduler has to know them again.
    """
    if held is None:
        return ()
    positions: dict[int, list[int]] = {}
    rows = zip(read_u64(held.tasks), read_u32(held.instances), strict=True)
    for job, position in active(tables, rows):
        positions.setdefault(job.id, []).append(position)
    out = Outbox()
    for number, some in positions.items():
        announce(tables.jobs[number], some, tables.bodies, out)
    ready = [effect.value for effect in out.take() if isinstance(effect, Command)]
    return tuple(value for value in ready if isinstance(value, TasksReady))
