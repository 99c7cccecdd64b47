"""Results on standard output: as tables, as one JSON value, or as few plain words."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection, Mapping, Sequence
from typing import Protocol, TextIO

from hqtrio.cli.render.plan import JobPlan
from hqtrio.cli.render.reports import JobReport, TaskIds, TaskWriter
from hqtrio.client.views import Task
from hqtrio.messages.allocations import AllocationRow, QueueRow
from hqtrio.messages.client import JobRow, ServerDetails, TaskExplained, WorkerRow
from hqtrio.model.job import JobState
from hqtrio.model.resources import Descriptor
from hqtrio.streams.index import Summary


class Renderer(Protocol):
    """One method per result; a mode that does not show it prints nothing."""

    def server(self, details: ServerDetails, *, started: bool) -> None: ...

    def workers(self, rows: Sequence[WorkerRow]) -> None: ...

    def worker_info(self, rows: Sequence[WorkerRow]) -> None: ...

    def worker_started(self, row: WorkerRow) -> None: ...

    def hardware(self, descriptor: Descriptor) -> None: ...

    def submitted(self, job: int) -> None: ...

    def opened(self, job: int) -> None: ...

    def jobs(self, rows: Sequence[JobRow], *, total: int, verbose: bool) -> None: ...

    def job_summary(self, counts: Mapping[JobState, int]) -> None: ...

    async def job_info(self, reports: AsyncIterable[JobReport], *, now: float) -> None:
        """Print them one after another, as they come."""
        ...

    async def run_result(self, report: JobReport, *, now: float) -> None:
        """Print how a job that ran here has ended, failed tasks and where their outputs lie."""
        ...

    def task_ids(self, ids: TaskIds) -> None: ...

    def task_writer(self, jobs: Collection[int], *, verbose: bool, now: float) -> TaskWriter:
        """Prints tasks of these jobs as they come."""
        ...

    def task_info(self, tasks: Sequence[Task], *, verbose: bool, now: float) -> bool:
        """Print them; True if an error text had to be shortened."""
        ...

    def explanation(self, explained: TaskExplained) -> None: ...

    def plan(self, plan: JobPlan) -> None: ...

    def stream_summary(self, directory: str, summary: Summary) -> None: ...

    def queues(self, rows: Sequence[QueueRow]) -> None: ...

    def allocations(self, queue: QueueRow | None, rows: Sequence[AllocationRow]) -> None: ...

    def raw(self) -> None:
        """Take note that the command writes its data by itself."""
        ...

    def error(self, text: str) -> None: ...

    def finish(self) -> None: ...


def renderer_for(mode: str, out: TextIO, *, colors: bool) -> Renderer:
    """The renderer of an output mode."""
    if mode == "json":
        from hqtrio.cli.render.as_json import JsonRenderer

        return JsonRenderer(out)
    if mode == "quiet":
        from hqtrio.cli.render.quiet import QuietRenderer

        return QuietRenderer(out)
    from hqtrio.cli.render.tables import TableRenderer

    return TableRenderer(out, colors=colors)
