"""JSON mode: exactly one value per command."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from hqtrio.cli.render.reports import JobReport, TaskIds, TaskList
from hqtrio.cli.render.wording import (
    JOB_STATES,
    arguments,
    crash_limit_text,
    rfc3339,
    text_of,
    total,
)
from hqtrio.client.views import Task, resolve
from hqtrio.ids import IdArray
from hqtrio.messages.client import (
    AmountCondition,
    ArrayPart,
    Condition,
    JobDetails,
    JobRow,
    NodesCondition,
    ServerDetails,
    SubmitPartInfo,
    TaskExplained,
    TimeCondition,
    WorkerRow,
)
from hqtrio.model.job import JobState
from hqtrio.model.resources import Descriptor, Policy, Pool, Request, Variants
from hqtrio.model.task import PinMode, Stdio, TaskBody, TaskSettings, TaskState
from hqtrio.model.worker import OnServerLost

Json = dict[str, Any]

_POLICIES = {
    Policy.COMPACT: "Compact",
    Policy.FORCE_COMPACT: "ForceCompact",
    Policy.TIGHT: "Tight",
    Policy.FORCE_TIGHT: "ForceTight",
    Policy.SCATTER: "Scatter",
}
_PINS = {PinMode.NONE: None, PinMode.TASKSET: "taskset", PinMode.OMP: "openmp"}
_LOST = {
    OnServerLost.STOP: "stop",
    OnServerLost.FINISH_RUNNING: "finish-running",
    OnServerLost.RECONNECT: "reconnect",
}
_MANAGERS = {"PBS": "PBS", "SLURM": "Slurm"}


class JsonRenderer:
    """Prints one value; a command that had nothing to print prints `{}`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._printed = False

    def _print(self, value: object) -> None:
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
        self._out.write(f"{text}\n")
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
            }
        )

    def workers(self, rows: Sequence[WorkerRow]) -> None:
        self._print([_worker(row, with_runtime=False) for row in rows])

    def worker_info(self, rows: Sequence[WorkerRow]) -> None:
        self._print([_worker(row, with_runtime=True) for row in rows])

    def worker_started(self, row: WorkerRow) -> None:
        self._print(_worker(row, with_runtime=False))

    def hardware(self, descriptor: Descriptor) -> None:
        self._print(_descriptor(descriptor))

    def submitted(self, job: int) -> None:
        self._print({"id": job})

    def opened(self, job: int) -> None:
        self._print({"id": job})

    def jobs(self, rows: Sequence[JobRow], *, total: int, verbose: bool) -> None:
        self._print([_job(row) for row in rows])

    def job_summary(self, counts: Mapping[JobState, int]) -> None:
        value = {
            JOB_STATES[state].capitalize(): counts.get(state, 0)
            for state in JobState
            if state is not JobState.OPENED or counts.get(state)
        }
        self._print(value)

    def job_info(self, reports: Sequence[JobReport], *, now: float) -> None:
        self._print([_job_details(report) for report in reports])

    def run_result(self, report: JobReport, *, now: float) -> None:
        self._print(_job_details(report))

    def task_ids(self, ids: TaskIds) -> None:
        self._print({str(job): list(numbers) for job, numbers in ids.jobs.items()})

    def tasks(self, tasks: TaskList, *, now: float) -> bool:
        self._print({str(job): [_task(task) for task in rows] for job, rows in tasks.jobs.items()})
        return False

    def task_info(self, tasks: Sequence[Task], *, verbose: bool, now: float) -> bool:
        self._print([_task(task) for task in tasks])
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
                                [_condition(one) for one in conditions]
                                for conditions in fit.variants
                            ],
                        }
                        for fit in explained.workers
                    ],
                },
            }
        )

    def raw(self) -> None:
        self._printed = True

    def error(self, text: str) -> None:
        self._print({"error": text})

    def finish(self) -> None:
        if not self._printed:
            self._print({})


# --- workers


def _worker(row: WorkerRow, *, with_runtime: bool) -> Json:
    config = row.config
    manager = _MANAGERS.get(config.manager)
    return {
        "id": row.id,
        "configuration": {
            "heartbeat_interval": config.heartbeat_s,
            "idle_timeout": config.idle_timeout_s,
            "time_limit": config.time_limit_s,
            "work_dir": config.work_dir,
            "hostname": config.hostname,
            "group": config.group,
            "listen_address": config.listen_address,
            "resources": _descriptor(config.descriptor),
            "on_server_lost": _LOST[config.on_server_lost],
            "min_utilization": config.min_utilization,
        },
        "allocation": {"manager": manager, "id": config.manager_job_id} if manager else None,
        "runtime_info": _runtime(row) if with_runtime else None,
        "last_task_started": None
        if row.last_task is None or row.last_task_at is None
        else {
            "task_id": {"job_id": row.last_task >> 32, "job_task_id": row.last_task & 0xFFFFFFFF},
            "time": rfc3339(row.last_task_at),
        },
        "started": rfc3339(row.started_at),
        "ended": None if row.ended_at is None else {"at": rfc3339(row.ended_at)},
    }


def _runtime(row: WorkerRow) -> Json | None:
    if row.ended_at is not None:
        return None
    if row.multi_node is not None:
        return {"MultiNodeTask": {"main_node": row.multi_node}}
    return {
        "SingleNodeTasks": {
            "assigned_tasks": row.assigned_tasks,
            "running_tasks": row.running_tasks,
            "is_reserved": row.is_reserved,
        }
    }


def _descriptor(descriptor: Descriptor) -> Json:
    return {
        "resources": [_pool(pool) for pool in descriptor.pools],
        "coupling": {
            "weights": [
                {
                    "resource1_idx": link.pool1,
                    "group1_idx": link.group1,
                    "resource2_idx": link.pool2,
                    "group2_idx": link.group2,
                    "weight": link.weight,
                }
                for link in descriptor.coupling
            ]
        },
    }


def _pool(pool: Pool) -> Json:
    if not pool.groups:
        return {"name": pool.resource, "kind": "sum", "size": pool.size}
    if len(pool.groups) > 1:
        groups = [list(group) for group in pool.groups]
        return {"name": pool.resource, "kind": "groups", "groups": groups}
    labels = pool.groups[0]
    if pool.is_range:
        start, end = int(labels[0]), int(labels[-1])
        return {"name": pool.resource, "kind": "range", "start": start, "end": end}
    return {"name": pool.resource, "kind": "list", "values": list(labels)}


# --- jobs


def _job(row: JobRow) -> Json:
    counts = row.counts
    return {
        "id": row.id,
        "name": row.name,
        "task_count": total(counts),
        "is_open": row.is_open,
        "cancel_reason": row.cancel_reason,
        "task_stats": {
            "running": counts.running,
            "finished": counts.finished,
            "failed": counts.failed,
            "canceled": counts.cancelled,
            "aborted": counts.aborted,
            "waiting": counts.waiting,
        },
    }


def _job_details(report: JobReport) -> Json:
    details = report.details
    finished = details.finished_at
    return {
        "info": _job(details.row),
        "max_fails": details.max_fails,
        "started_at": rfc3339(details.submitted_at),
        "finished_at": None if finished is None else rfc3339(finished),
        "submits": _submits(report),
        "tasks": [_task(task) for task in report.tasks],
    }


def _submits(report: JobReport) -> list[Json]:
    details = report.details
    in_arrays = [IdArray(part.ranges) for submit in details.submits for part in submit.arrays]
    graph_tasks = iter(
        task for task in report.tasks if not any(task.number in numbers for numbers in in_arrays)
    )
    return [_submit(details, submit, graph_tasks) for submit in details.submits]


def _submit(details: JobDetails, submit: SubmitPartInfo, graph_tasks: Any) -> Json:
    arrays = [_array(details, part) for part in submit.arrays]
    if len(arrays) == 1 and not submit.graph_tasks:
        return {"array": arrays[0]}
    rows = [
        _description(details.row.id, task.body, task.variants, task.settings)
        for _, task in zip(range(submit.graph_tasks), graph_tasks, strict=False)
    ]
    return {"graph": arrays + rows}


def _array(details: JobDetails, part: ArrayPart) -> Json:
    return _description(details.row.id, part.body, part.variants, part.settings)


def _description(job: int, body: TaskBody, variants: Variants, settings: TaskSettings) -> Json:
    paths = resolve(body, {"JOB_ID": str(job)})
    return {
        "program": {
            "args": arguments(body.args),
            "env": {text_of(key): text_of(value) for key, value in body.env},
            "cwd": paths.cwd,
            "stdout": _stdio(body.stdout, paths.stdout),
            "stderr": _stdio(body.stderr, paths.stderr),
        },
        "resources": [_request(variant) for variant in variants],
        "pin_mode": _PINS[body.pin],
        "priority": settings.priority,
        "time_limit": body.time_limit_s or None,
        "task_dir": body.task_dir,
        "crash_limit": crash_limit_text(settings.crash_limit),
    }


def _stdio(stdio: Stdio, path: str | None) -> str | None:
    return "<pipe>" if stdio.stream else path


def _request(request: Request) -> Json:
    return {
        "n_nodes": request.nodes,
        "min_time": request.time_s,
        "weight": request.weight,
        "resources": [
            {
                "resource": need.resource,
                "request": "All"
                if need.policy is Policy.ALL
                else {_POLICIES[need.policy]: need.amount},
            }
            for need in request.needs
        ],
    }


# --- tasks


def _task(task: Task) -> Json:
    row, state = task.row, task.state
    value: Json = {"id": task.number, "state": _state(state)}
    paths = task.paths
    if paths is not None:
        value["cwd"] = paths.cwd
        value["stdout"] = _stdio(task.body.stdout, paths.stdout)
        value["stderr"] = _stdio(task.body.stderr, paths.stderr)
    if row.started_at is not None and state in _SHOWS_START:
        value["started_at"] = rfc3339(row.started_at)
        if task.is_multi_node:
            value["workers"] = list(row.workers)
        else:
            value["worker"] = row.workers[0]
    if state in (TaskState.FINISHED, TaskState.FAILED):
        if row.ended_at is not None:
            value["finished_at"] = rfc3339(row.ended_at)
        if row.started_at is not None:
            value["cpu_time"] = row.cpu_s
            value["peak_memory"] = None if row.peak_kib is None else row.peak_kib * 1024
    if state is TaskState.FAILED:
        value["error"] = row.error
    return value


_SHOWS_START = (TaskState.RUNNING, TaskState.FINISHED, TaskState.FAILED)


def _state(state: TaskState) -> str:
    return "canceled" if state is TaskState.CANCELLED else state.name.lower()


def _condition(condition: Condition) -> Json:
    match condition:
        case TimeCondition(time_s, remaining_s):
            remaining = None if remaining_s is None else _time(remaining_s)
            return {"Time": {"min_time": _time(time_s), "remaining_time": remaining}}
        case AmountCondition(resource, amount, size):
            # A request for all is one for at least the smallest amount.
            words = {
                "resource": resource,
                "request_amount": amount or 1,
                "worker_amount": size,
            }
            return {"Resources": words}
        case NodesCondition(nodes, group_size):
            return {"WorkerGroup": {"n_nodes": nodes, "group_size": group_size}}


def _time(seconds: float) -> Json:
    secs, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
    return {"secs": secs, "nanos": nanos}
