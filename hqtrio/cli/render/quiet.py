"""Quiet mode: ids and states, for scripts."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection, Mapping, Sequence
from typing import TextIO

from hqtrio.cli.render.plan import JobPlan
from hqtrio.cli.render.reports import JobReport, TaskIds
from hqtrio.cli.render.wording import JOB_STATES, worker_state
from hqtrio.client.views import Task
from hqtrio.messages.allocations import AllocationRow, QueueRow
from hqtrio.messages.client import JobRow, ServerDetails, TaskExplained, WorkerRow
from hqtrio.model.job import JobState
from hqtrio.model.resources import Descriptor
from hqtrio.streams.index import Summary

SUMMARY_ORDER = (
    JobState.RUNNING,
    JobState.WAITING,
    JobState.FINISHED,
    JobState.FAILED,
    JobState.ABORTED,
    JobState.CANCELLED,
)


class QuietRenderer:
    """Prints lines of few words; most commands print nothing."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def _line(self, text: object) -> None:
        self._out.write(f"{text}\n")

    def server(self, details: ServerDetails, *, started: bool) -> None:
        if started:
            self._line(details.server_dir)

    def workers(self, rows: Sequence[WorkerRow]) -> None:
        for row in rows:
            self._line(f"{row.id} {worker_state(row)}")

    def worker_info(self, rows: Sequence[WorkerRow]) -> None:
        pass

    def worker_started(self, row: WorkerRow) -> None:
        pass

    def hardware(self, descriptor: Descriptor) -> None:
        pass

    def stream_summary(self, directory: str, summary: Summary) -> None:
        pass

    def submitted(self, job: int) -> None:
        self._line(job)

    def opened(self, job: int) -> None:
        self._line(job)

    def jobs(self, rows: Sequence[JobRow], *, total: int, verbose: bool) -> None:
        for row in rows:
            self._line(f"{row.id} {JOB_STATES[row.state]}")

    def job_summary(self, counts: Mapping[JobState, int]) -> None:
        for state in SUMMARY_ORDER:
            self._line(f"{JOB_STATES[state]} {counts.get(state, 0)}")

    async def job_info(self, reports: AsyncIterable[JobReport], *, now: float) -> None:
        async for _ in reports:
            pass  # to learn which jobs there are

    async def run_result(self, report: JobReport, *, now: float) -> None:
        pass

    def task_ids(self, ids: TaskIds) -> None:
        pass

    def task_writer(self, jobs: Collection[int], *, verbose: bool, now: float) -> _NoTasks:
        return _NoTasks()

    def task_info(self, tasks: Sequence[Task], *, verbose: bool, now: float) -> bool:
        return False

    def explanation(self, explained: TaskExplained) -> None:
        pass

    def plan(self, plan: JobPlan) -> None:
        pass

    def queues(self, rows: Sequence[QueueRow]) -> None:
        pass

    def allocations(self, queue: QueueRow | None, rows: Sequence[AllocationRow]) -> None:
        pass

    def raw(self) -> None:
        pass

    def error(self, text: str) -> None:
        pass

    def finish(self) -> None:
        pass


class _NoTasks:
    """A listing that nobody reads."""

    def add(self, job: int, tasks: Sequence[Task]) -> None:
        pass

    def close(self) -> bool:
        return False
