"""What JSON mode prints of each kind of object."""

from __future__ import annotations

from typing import Any

from hqtrio.cli.render.wording import (
    TASK_STATES,
    arguments,
    crash_limit_text,
    rfc3339,
    text_of,
    total,
)
from hqtrio.client.views import Task, resolve
from hqtrio.journal.event_values import coupling_json, load_json
from hqtrio.messages.client import (
    AmountCondition,
    Condition,
    JobRow,
    NodesCondition,
    TimeCondition,
    WorkerRow,
)
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


# --- workers


def worker_json(row: WorkerRow, *, with_runtime: bool) -> Json:
    """A worker; what it has to do only on demand."""
    config = row.config
    manager = _MANAGERS.get(config.manager)
    value: Json = {
        "id": row.id,
        "configuration": {
            "heartbeat_interval": config.heartbeat_s,
            "idle_timeout": config.idle_timeout_s,
            "time_limit": config.time_limit_s,
            "work_dir": config.work_dir,
            "hostname": config.hostname,
            "group": config.group,
            "listen_address": config.listen_address,
            "resources": descriptor_json(config.descriptor),
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
    if with_runtime and row.load is not None:
        value["hw-state"] = {"state": load_json(row.load, row.load_at)}
    return value


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


def descriptor_json(descriptor: Descriptor) -> Json:
    """What a worker offers; amounts in steps of 1/10 000."""
    return {
        "resources": [_pool(pool) for pool in descriptor.pools],
        "coupling": coupling_json(descriptor),
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


def job_json(row: JobRow) -> Json:
    """A job without its tasks."""
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


def description_json(job: int, body: TaskBody, variants: Variants, settings: TaskSettings) -> Json:
    """What tasks that were submitted together have in common."""
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


def task_json(task: Task) -> Json:
    """A task, as far as its state has something to show."""
    row, state = task.row, task.state
    value: Json = {"id": row.number, "state": _TASK_STATES[state]}
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
    if row.group:
        value["group"] = row.group
        value["entry"] = None if row.entry is None else row.entry.decode(errors="replace")
    value.update(retry_json(row.tries, row.retry_at))
    return value


_SHOWS_START = (TaskState.RUNNING, TaskState.FINISHED, TaskState.FAILED)


def retry_json(tries: int, retry_at: float | None) -> Json:
    """What there is to say about a task that has failed and was or will be tried again."""
    if not tries:
        return {}
    next_try = None if retry_at is None else rfc3339(retry_at)
    return {"failed_tries": tries, "next_try_at": next_try}


_TASK_STATES = {state: text.lower() for state, text in TASK_STATES.items()}


def condition_json(condition: Condition) -> Json:
    """One thing that a task asks of a worker, and what the worker has."""
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
