"""JSON mode: exactly one value per command."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TextIO

from hqtrio.cli.render.json_text import Array, indented, json_text
from hqtrio.cli.render.json_values import (
    condition_json,
    description_json,
    descriptor_json,
    job_json,
    retry_json,
    task_json,
    worker_json,
)
from hqtrio.cli.render.plan import JobPlan, plan_json
from hqtrio.cli.render.queue_table import allocation_json, by_id, queue_json
from hqtrio.cli.render.reports import JobReport, TaskIds
from hqtrio.cli.render.wording import (
    JOB_STATES,
    rfc3339,
)
from hqtrio.client.views import Task
from hqtrio.ids import IdArray
from hqtrio.messages.allocations import AllocationRow, QueueRow
from hqtrio.messages.client import (
    ArrayPart,
    JobDetails,
    JobRow,
    ServerDetails,
    TaskExplained,
    WorkerRow,
)
from hqtrio.model.job import JobState
from hqtrio.model.resources import Descriptor
from hqtrio.streams.index import Summary


class JsonRenderer:
    """Prints one value; a command that had nothing to print prints `{}`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._printed = False
        self._incomplete = False

    def _complete(self) -> None:
        self._out.write("\n")
        self._printed, self._incomplete = True, False

    def _print(self, value: object) -> None:
        self._out.write(f"{json_text(value)}\n")
        self._printed = True

    def server(self, details: ServerDetails, *, started: bool) -> None:
        self._print(
            {
                "server_dir": details.server_dir if started else None,
                "server_uid": details.server_uid,
                "client_host": details.client_host,
                "worker_host": details.worker_host,
                "client_port": details.client_port,
                "worker_port": details.worker_port,
                "version": details.version,
                "pid": details.pid,
                "start_date": rfc3339(details.start_date),
                "journal_path": details.journal_path,
                **({"trouble": details.trouble} if details.trouble else {}),
            }
        )

    def workers(self, rows: Sequence[WorkerRow]) -> None:
        self._print([worker_json(row, with_runtime=False) for row in rows])

    def worker_info(self, rows: Sequence[WorkerRow]) -> None:
        self._print([worker_json(row, with_runtime=True) for row in rows])

    def worker_started(self, row: WorkerRow) -> None:
        self._print(worker_json(row, with_runtime=False))

    def hardware(self, descriptor: Descriptor) -> None:
        self._print(descriptor_json(descriptor))

    def stream_summary(self, directory: str, summary: Summary) -> None:
        value = {
            "n_files": summary.files,
            "n_jobs": summary.jobs,
            "n_tasks": summary.tasks,
            "n_streams": summary.streams,
            "n_opened": summary.opened,
            "stdout_size": summary.sizes[0],
            "stderr_size": summary.sizes[1],
            "n_superseded": summary.superseded,
            "superseded_stdout_size": summary.superseded_sizes[0],
            "superseded_stderr_size": summary.superseded_sizes[1],
        }
        self._print({"filename": directory, "summary": value})

    def submitted(self, job: int) -> None:
        self._print({"id": job})

    def opened(self, job: int) -> None:
        self._print({"id": job})

    def jobs(self, rows: Sequence[JobRow], *, total: int, verbose: bool) -> None:
        self._print([job_json(row) for row in rows])

    def job_summary(self, counts: Mapping[JobState, int]) -> None:
        value = {
            JOB_STATES[state].capitalize(): counts.get(state, 0)
            for state in JobState
            if state is not JobState.OPENED or counts.get(state)
        }
        self._print(value)

    async def job_info(self, reports: AsyncIterable[JobReport], *, now: float) -> None:
        self._incomplete = True
        jobs = Array(self._out, 0)
        async for report in reports:
            jobs.begin()
            await _write_details(self._out, report, 1)
        jobs.close()
        self._complete()

    async def run_result(self, report: JobReport, *, now: float) -> None:
        self._incomplete = True
        await _write_details(self._out, report, 0)
        self._complete()

    def task_ids(self, ids: TaskIds) -> None:
        self._print({str(job): list(numbers) for job, numbers in ids.jobs.items()})

    def task_writer(self, jobs: Collection[int], *, verbose: bool, now: float) -> _TaskLists:
        self._incomplete = True
        return _TaskLists(self._out, jobs, self._complete)

    def task_info(self, tasks: Sequence[Task], *, verbose: bool, now: float) -> bool:
        self._print([task_json(task) for task in tasks])
        return False

    def explanation(self, explained: TaskExplained) -> None:
        self._print(
            {
                "task_id": {"job_id": explained.job, "job_task_id": explained.number},
                "explanation": {
                    "n_task_deps": explained.needs,
                    "n_waiting_deps": explained.unfinished,
                    "workers": [
                        {
                            "worker_id": fit.worker,
                            "variants": [
                                [condition_json(one) for one in conditions]
                                for conditions in fit.variants
                            ],
                        }
                        for fit in explained.workers
                    ],
                    **retry_json(explained.tries, explained.retry_at),
                },
            }
        )

    def plan(self, plan: JobPlan) -> None:
        self._print(plan_json(plan))

    def queues(self, rows: Sequence[QueueRow]) -> None:
        self._print([queue_json(row) for row in rows])

    def allocations(self, queue: QueueRow | None, rows: Sequence[AllocationRow]) -> None:
        self._print([allocation_json(row) for row in by_id(rows)])

    def raw(self) -> None:
        self._printed = True

    def error(self, text: str) -> None:
        if self._incomplete:
            # What is printed can only be given up; another value behind it would not be read.
            self._out.write("\n")
            sys.stderr.write(f"{text}\n")
            return
        self._print({"error": text})

    def finish(self) -> None:
        if not self._printed:
            self._print({})


class _TaskLists:
    """Tasks of each job in a list of its own, printed as they come."""

    def __init__(self, out: TextIO, jobs: Collection[int], complete: Callable[[], None]) -> None:
        self._out = out
        self._jobs = iter(jobs)
        self._complete = complete
        self._job: int | None = None
        self._tasks: Array | None = None

    def add(self, job: int, tasks: Sequence[Task]) -> None:
        while self._job != job:
            self._next(next(self._jobs))
        assert self._tasks is not None
        self._tasks.add([task_json(task) for task in tasks])

    def close(self) -> bool:
        for job in self._jobs:
            self._next(job)
        if self._tasks is None:
            self._out.write("{}")
        else:
            self._tasks.close()
            self._out.write("\n}")
        self._complete()
        return False

    def _next(self, job: int) -> None:
        if self._tasks is None:
            self._out.write("{")
        else:
            self._tasks.close()
            self._out.write(",")
        self._out.write(f'\n  "{job}": ')
        self._job, self._tasks = job, Array(self._out, 1)


async def _write_details(out: TextIO, report: JobReport, depth: int) -> None:
    """One job, at a depth of nesting; its tasks come last, page by page."""
    details = report.details
    finished = details.finished_at
    head: dict[str, Any] = {
        "info": job_json(details.row),
        "max_fails": details.max_fails,
        "started_at": rfc3339(details.submitted_at),
        "finished_at": None if finished is None else rfc3339(finished),
    }
    inner = "\n" + "  " * (depth + 1)
    out.write(indented(json_text(head), depth)[: -len(inner) + 1])
    out.write(f',{inner}"submits": ')
    await _write_submits(out, report, depth + 1)
    out.write(f',{inner}"tasks": ')
    tasks = Array(out, depth + 1)
    async with aclosing(report.tasks()) as pages:
        async for page in pages:
            tasks.add([task_json(task) for task in page])
    tasks.close()
    out.write("\n" + "  " * depth + "}")


async def _write_submits(out: TextIO, report: JobReport, depth: int) -> None:
    details = report.details
    submits = Array(out, depth)
    async with aclosing(_graph_tasks(report)) as tasks:
        for submit in details.submits:
            arrays = [_array(details, part) for part in submit.arrays]
            if len(arrays) == 1 and not submit.graph_tasks:
                submits.add([{"array": arrays[0]}])
                continue
            submits.begin()
            out.write("{\n" + "  " * (depth + 2) + '"graph": ')
            graph = Array(out, depth + 2)
            graph.add(arrays)
            for _ in range(submit.graph_tasks):
                task = await anext(tasks, None)
                if task is None:
                    break
                body, variants, settings = task.body, task.variants, task.settings
                graph.add([description_json(details.row.id, body, variants, settings)])
            graph.close()
            out.write("\n" + "  " * (depth + 1) + "}")
    submits.close()


async def _graph_tasks(report: JobReport) -> AsyncGenerator[Task, None]:
    """Tasks that belong to no array, by number."""
    submits = report.details.submits
    in_arrays = [IdArray(part.ranges) for submit in submits for part in submit.arrays]
    async with aclosing(report.tasks()) as pages:
        async for page in pages:
            for task in page:
                if not any(task.number in numbers for numbers in in_arrays):
                    yield task


def _array(details: JobDetails, part: ArrayPart) -> dict[str, Any]:
    value = description_json(details.row.id, part.body, part.variants, part.settings)
    return {**value, "group": part.group} if part.group else value
