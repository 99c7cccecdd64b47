"""The cli mode: tables and sentences."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection, Mapping, Sequence
from typing import Final, TextIO

from hqtrio.cli.render import (
    explain_table,
    frame,
    job_table,
    queue_table,
    task_table,
    worker_table,
)
from hqtrio.cli.render.frame import Cell
from hqtrio.cli.render.plan import HEADER, JobPlan, plan_rows
from hqtrio.cli.render.quiet import SUMMARY_ORDER
from hqtrio.cli.render.reports import JobReport, TaskIds
from hqtrio.cli.render.wording import JOB_STATES, date, pool_kind, summary, total
from hqtrio.client.views import Task
from hqtrio.ids import format_ids
from hqtrio.messages.allocations import AllocationRow, QueueRow
from hqtrio.messages.client import JobDetails, JobRow, ServerDetails, TaskExplained, WorkerRow
from hqtrio.model.job import JobState
from hqtrio.model.resources import Descriptor
from hqtrio.streams.index import Summary
from hqtrio.units import format_bytes, format_elapsed

NAME_CHARACTERS_MAX: Final = 50


def _journal(details: ServerDetails) -> str:
    path = details.journal_path or ""
    return f"{path} (degraded: {details.trouble})" if details.trouble else path


class TableRenderer:
    """Prints for people; scripts that read tables rely on their shapes all the same."""

    def __init__(self, out: TextIO, *, colors: bool) -> None:
        self._out = out
        self._colors = colors

    def _vertical(self, rows: Sequence[tuple[str, Cell | str]]) -> None:
        self._out.write(frame.vertical(rows, colors=self._colors))

    def _horizontal(self, header: Sequence[str], rows: Sequence[Sequence[Cell | str]]) -> None:
        self._out.write(frame.horizontal(header, rows, colors=self._colors))

    def server(self, details: ServerDetails, *, started: bool) -> None:
        rows = [
            ("Server UID", details.server_uid),
            ("Client host", details.client_host),
            ("Client port", str(details.client_port)),
            ("Worker host", details.worker_host),
            ("Worker port", str(details.worker_port)),
            ("Version", details.version),
            ("Pid", str(details.pid)),
            ("Start date", date(details.start_date)),
            ("Journal path", _journal(details)),
        ]
        self._vertical([("Server directory", details.server_dir), *rows] if started else rows)

    def workers(self, rows: Sequence[WorkerRow]) -> None:
        self._horizontal(worker_table.COLUMNS, [worker_table.line(row) for row in rows])

    def worker_info(self, rows: Sequence[WorkerRow]) -> None:
        for at, row in enumerate(rows):
            if at:
                self._out.write("\n")
            self._vertical(worker_table.rows(row, with_runtime=True))

    def worker_started(self, row: WorkerRow) -> None:
        self._vertical(worker_table.rows(row, with_runtime=False))

    def hardware(self, descriptor: Descriptor) -> None:
        kinds = [f"{pool.resource}: {pool_kind(pool)}" for pool in descriptor.pools]
        lines = ["Summary:", summary(descriptor, lines=True), "", "Full Description:", *kinds]
        self._out.write("\n".join(lines) + "\n")

    def stream_summary(self, directory: str, summary: Summary) -> None:
        self._vertical(
            [
                ("Path", directory),
                ("Files", str(summary.files)),
                ("Jobs", str(summary.jobs)),
                ("Tasks", str(summary.tasks)),
                ("Opened streams", str(summary.opened)),
                ("Stdout/stderr size", " / ".join(map(format_bytes, summary.sizes))),
                ("Superseded streams", str(summary.superseded)),
                (
                    "Superseded stdout/stderr size",
                    " / ".join(map(format_bytes, summary.superseded_sizes)),
                ),
            ]
        )

    def submitted(self, job: int) -> None:
        self._out.write(f"Job submitted successfully, job ID: {job}\n")

    def opened(self, job: int) -> None:
        self._out.write(f"Job {job} is open.\n")

    def jobs(self, rows: Sequence[JobRow], *, total: int, verbose: bool) -> None:
        header = ["ID", "Name", "State", "Tasks"] + ["Cancel Reason"] * verbose
        self._horizontal(header, [_job_line(row, verbose=verbose) for row in rows])
        if any(row.is_open for row in rows):
            self._out.write("* = Open jobs\n")
        if total > len(rows):
            are = "There is 1 job" if total == 1 else f"There are {total} jobs"
            self._out.write(f"{are} in total. Use `--all` to display all jobs.\n")

    def job_summary(self, counts: Mapping[JobState, int]) -> None:
        rows: list[list[Cell | str]] = [
            [job_table.state_cell(JOB_STATES[state]), str(counts.get(state, 0))]
            for state in SUMMARY_ORDER
        ]
        self._horizontal(["Status", "Count"], rows)

    async def job_info(self, reports: AsyncIterable[JobReport], *, now: float) -> None:
        async for report in reports:
            self._vertical(job_table.rows(report.details, now))
            failed = report.details.row.counts.failed
            if not failed:
                continue
            shown = report.failed[: job_table.FAILED_SHOWN_MAX]
            self._horizontal(
                ["Task ID", "Worker", "Error"],
                [
                    [str(task.number), "\n".join(task.hostnames), Cell(task.row.error, frame.RED)]
                    for task in shown
                ],
            )
            few = f" ({len(shown)} shown)" if len(shown) < failed else ""
            self._out.write(f"{failed} tasks failed.{few}\n")

    async def run_result(self, report: JobReport, *, now: float) -> None:
        details = report.details
        counts = details.row.counts
        if report.failed:
            rows: list[list[Cell | str]] = [
                [str(task.number), Cell(task.row.error, frame.RED), _outputs(task)]
                for task in report.failed
            ]
            self._horizontal(["Task ID", "Error", "Output"], rows)
            if len(rows) < counts.failed:
                self._out.write(f"{counts.failed} tasks failed. ({len(rows)} shown)\n")
        end = now if details.finished_at is None else details.finished_at
        shares = (
            ("finished", counts.finished),
            ("failed", counts.failed),
            ("aborted", counts.aborted),
            ("canceled", counts.cancelled),
        )
        words = ", ".join(f"{n} {name}" for name, n in shares if n) or "no tasks"
        took = format_elapsed(end - details.submitted_at)
        self._out.write(f"Job `{details.row.name}`: {words} in {took}\n")
        if folders := _output_folders(details):
            self._out.write(f"Outputs: {', '.join(folders)}\n")

    def task_ids(self, ids: TaskIds) -> None:
        if len(ids.jobs) == 1:
            (numbers,) = ids.jobs.values()
            self._out.write(f"{format_ids(numbers)}\n")
            return
        for job, numbers in ids.jobs.items():
            self._out.write(f"{job}: {format_ids(numbers)}\n")

    def task_writer(
        self, jobs: Collection[int], *, verbose: bool, now: float
    ) -> task_table.TaskTable:
        return task_table.TaskTable(
            self._out, colors=self._colors, with_job=len(jobs) != 1, verbose=verbose, now=now
        )

    def task_info(self, tasks: Sequence[Task], *, verbose: bool, now: float) -> bool:
        was_cut = False
        for task in tasks:
            rows, cut = task_table.rows(task, now, verbose=verbose)
            self._vertical(rows)
            was_cut |= cut
        return was_cut

    def explanation(self, explained: TaskExplained) -> None:
        self._out.write("".join(f"{line}\n" for line in explain_table.sentences(explained)))
        if explained.workers:
            self._horizontal(explain_table.COLUMNS, explain_table.rows(explained))

    def plan(self, plan: JobPlan) -> None:
        self._horizontal(HEADER, plan_rows(plan))
        name = f"Job `{plan.name}`" if plan.name else "The job"
        plural = "s" if plan.tasks != 1 else ""
        self._out.write(f"{name} has {plan.tasks} task{plural}, at most {plan.depth} in a row.\n")

    def queues(self, rows: Sequence[QueueRow]) -> None:
        self._horizontal(queue_table.QUEUE_COLUMNS, [queue_table.queue_line(row) for row in rows])

    def allocations(self, queue: QueueRow | None, rows: Sequence[AllocationRow]) -> None:
        lines = [queue_table.allocation_line(row) for row in queue_table.by_id(rows)]
        self._horizontal(queue_table.ALLOCATION_COLUMNS, lines)
        if queue is not None:
            self._out.write(queue_table.budget(queue))

    def raw(self) -> None:
        pass

    def error(self, text: str) -> None:
        pass

    def finish(self) -> None:
        pass


def _job_line(row: JobRow, *, verbose: bool) -> list[Cell | str]:
    name = row.name
    if len(name) > NAME_CHARACTERS_MAX:
        name = f"{name[:24]}...{name[-23:]}"
    line: list[Cell | str] = [
        Cell(f"*{row.id}" if row.is_open else str(row.id), right=True),
        name,
        job_table.state_cell(JOB_STATES[row.state]),
        str(total(row.counts)),
    ]
    return [*line, row.cancel_reason or ""] if verbose else line


def _outputs(task: Task) -> str:
    """Files of a task, one per line."""
    paths = task.paths
    if paths is None:
        return ""
    return "\n".join(path for path in (paths.stderr, paths.stdout) if path is not None)


def _output_folders(details: JobDetails) -> list[str]:
    """Directories of outputs that are known before a task starts."""
    paths = (
        stdio.path.partition("%{")[0]
        for submit in details.submits
        for array in submit.arrays
        for stdio in (array.body.stdout, array.body.stderr)
        if stdio.path is not None
    )
    folders = (path.rpartition("/")[0] for path in paths if path.startswith("/"))
    return list(dict.fromkeys(folder for folder in folders if folder))
