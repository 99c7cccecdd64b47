"""What the records of the job book mean for allocations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hqtrio.autoalloc.events import WorkerCame, WorkerWent, WorkSubmitted
from hqtrio.messages.records import (
    Record,
    SubmitCommitted,
    TasksRepeated,
    WorkerConnected,
    WorkerLost,
)
from hqtrio.model.allocation import Manager

_MANAGERS: Final = {manager.name: manager for manager in Manager}


def allocation_events(
    records: Sequence[Record],
) -> Iterator[WorkerCame | WorkerWent | WorkSubmitted]:
    """In order; that there is work is said once."""
    has_work = False
    for record in records:
        match record:
            case WorkerConnected(worker, config=config) if config.manager in _MANAGERS:
                manager = _MANAGERS[config.manager]
                yield WorkerCame(worker, manager, config.manager_job_id, config.descriptor)
            case WorkerLost(worker, reason):
                yield WorkerWent(worker, reason)
            case SubmitCommitted() | TasksRepeated():
                has_work = True
    if has_work:
        yield WorkSubmitted()
