"""What tasks say while they run: passed on to those who listen now, and kept nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hqtrio.ids import NUMBER_BITS, NUMBER_MASK
from hqtrio.jobs.job import RUNNING, WAITING
from hqtrio.jobs.tables import Tables
from hqtrio.messages.client import TaskNotice
from hqtrio.messages.worker import Note
from hqtrio.notifying import too_long


def notices_of(tables: Tables, worker: int, notes: Iterable[Note]) -> Iterator[TaskNotice]:
    """The notes of tasks that have not ended, for listeners.

    A task may still count as waiting: the row of its end tells of its start as well.
    """
    for note in notes:
        number = note.task & NUMBER_MASK
        job = tables.jobs.get(note.task >> NUMBER_BITS)
        position = -1 if job is None else job.numbering.position(number)
        if (
            job is not None
            and position >= 0
            and job.states[position] in (WAITING, RUNNING)
            and job.instances.get(position, 0) == note.instance
            and not too_long(note.text)
        ):
            yield TaskNotice(job.id, number, worker, note.text)
