"""Which tasks of a job are in given states: their numbers, as few ranges as there are runs."""

from __future__ import annotations

import re
from typing import Final

from hqtrio.errors import InputError
from hqtrio.jobs.job import Job
from hqtrio.messages.client import ListNumbers, TaskNumbers
from hqtrio.model.task import TaskState

_RUNS_MAX: Final = 10_000  # of one page: looking them up must not hold the server for long
_STATES: Final = frozenset(TaskState)


def numbers_page(job: Job, asked: ListNumbers) -> TaskNumbers:
    """The next runs. A position is the place in the job's tables where a page begins."""
    if not _STATES.issuperset(asked.states):
        raise InputError("There is no such state of tasks.")
    wanted = re.compile(b"[%b]+" % bytes(sorted(asked.states or _STATES)))
    runs: list[tuple[int, int]] = []
    for match in wanted.finditer(job.states, min(max(asked.position, 0), job.count)):
        position = match.start()
        for first, count in job.numbering.runs(position, match.end() - position):
            if len(runs) == _RUNS_MAX:
                return TaskNumbers(tuple(runs), position)
            runs.append((first, count))
            position += count
    return TaskNumbers(tuple(runs))
