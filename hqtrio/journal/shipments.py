"""Which shipments a compacted journal must tell of: those that a replay would ever ask for.

That is whatever a worker had, unstarted, when a server stopped or records may have been lost, or
has at the journal's end. What has started, ended, come back or been shipped anew since is told of
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from hqtrio.ids import job_of
from hqtrio.messages.columns import read_u32, read_u64, u32, u64
from hqtrio.messages.records import (
    InstancesRaised,
    JobCancelled,
    JobCompleted,
    Record,
    ServerStopped,
    TasksEnded,
    TasksRepeated,
    TasksRequeued,
    TasksShipped,
    TasksStarted,
    TasksTakenBack,
)

__all__ = ["Shipments"]


class Shipments:
    """Sees every record in a first pass, and shipments once more in a second one."""

    def __init__(self) -> None:
        self._seen = self._kept = 0  # shipments of each pass
        self._open: dict[int, tuple[int, int]] = {}  # by task: which shipment, and the worker
        self._needed: dict[int, set[int]] = {}  # tasks by shipment
        self._workers: dict[int, list[int]] = {}  # tasks by worker

    def see(self, record: Record) -> None:
        """The first pass."""
        match record:
            case TasksShipped(worker):
                self._seen += 1
                owner = self._seen, worker
                for first, count, _ in _rows(record):
                    self._open.update(dict.fromkeys(range(first, first + count), owner))
            case TasksStarted() | TasksRequeued() | TasksRepeated() | TasksTakenBack():
                self._drop(read_u64(record.tasks))
            case TasksEnded():
                self._drop(read_u64(record.tasks))
                runs = (read_u64(record.aborted_firsts), read_u32(record.aborted_counts))
                for first, count in zip(*runs, strict=True):
                    if count <= len(self._open):
                        self._drop(range(first, first + count))
                    else:
                        self._drop([t for t in self._open if first <= t < first + count])
            case JobCancelled(job) | JobCompleted(job):
                self._drop([task for task in self._open if job_of(task) == job])
            case ServerStopped():
                self._need_open()
                self._open.clear()
            case InstancesRaised(_, workers_keep):
                if workers_keep:
                    self._need_open()
                else:
                    self._open.clear()
            case _:
                pass  # moves nothing

    def needed(self) -> Iterator[tuple[int, list[int]]]:
        """After the first pass: workers, with their tasks whose shipment must be told of."""
        self._need_open()
        yield from self._workers.items()

    def keeps(self, record: TasksShipped) -> TasksShipped | None:
        """The second pass: what must be kept of the shipment."""
        self._kept += 1
        needed = self._needed.get(self._kept)
        if needed is None:
            return None
        rows = [
            (task, instance)
            for first, count, instance in _rows(record)
            for task in range(first, first + count)
            if task in needed
        ]
        return replace(
            record,
            firsts=u64(task for task, _ in rows),
            counts=u32([1] * len(rows)),
            instances=u32(instance for _, instance in rows),
        )

    def _drop(self, tasks: Iterable[int]) -> None:
        for task in tasks:
            self._open.pop(task, None)

    def _need_open(self) -> None:
        for task, (number, worker) in self._open.items():
            self._needed.setdefault(number, set()).add(task)
            self._workers.setdefault(worker, []).append(task)


def _rows(record: TasksShipped) -> Iterator[tuple[int, int, int]]:
    return zip(
        read_u64(record.firsts), read_u32(record.counts), read_u32(record.instances), strict=True
    )
