"""What events say of workers, submits and loads, as values for JSON.

Durations are in whole seconds and nanoseconds, amounts in steps of 1/10 000.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hqtrio.model.allocation import QueueParams, worker_args
from hqtrio.model.job import ArraySpec, JobHead, Ranges
from hqtrio.model.load import DeviceLoad, NodeLoad
from hqtrio.model.resources import Descriptor, Policy, Pool, Request, Variants
from hqtrio.model.task import NEVER_RESTART, UNLIMITED
from hqtrio.model.worker import LossReason, OnServerLost, WorkerConfig

Json = dict[str, Any]

LOSSES: Final = {
    LossReason.STOPPED: "Stopped",
    LossReason.CONNECTION_LOST: "ConnectionLost",
    LossReason.HEARTBEAT_LOST: "HeartbeatLost",
    LossReason.IDLE_TIMEOUT: "IdleTimeout",
    LossReason.TIME_LIMIT_REACHED: "TimeLimitReached",
}
_POLICIES: Final = {
    Policy.COMPACT: "Compact",
    Policy.FORCE_COMPACT: "ForceCompact",
    Policy.TIGHT: "Tight",
    Policy.FORCE_TIGHT: "ForceTight",
    Policy.SCATTER: "Scatter",
}
_ON_SERVER_LOST: Final = {
    OnServerLost.STOP: "Stop",
    OnServerLost.FINISH_RUNNING: "FinishRunning",
    OnServerLost.RECONNECT: "Reconnect",
}
_MANAGERS: Final = {"PBS": "Pbs", "SLURM": "Slurm"}
_GPU_FAMILIES: Final = {"gpus/nvidia": "Nvidia", "gpus/amd": "Amd"}


def duration(seconds: float) -> Json:
    """A time span."""
    secs, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
    return {"secs": secs, "nanos": nanos}


def _optional(seconds: float | None) -> Json | None:
    return None if seconds is None else duration(seconds)


def task_json(task: int) -> Json:
    """A packed task id."""
    return {"job_id": task >> 32, "job_task_id": task & 0xFFFFFFFF}


# --- workers


def configuration(config: WorkerConfig) -> Json:
    """Everything a worker said of itself when it registered."""
    pools = config.descriptor.pools
    extra = {"ProcessPid": str(config.pid)}
    manager = _MANAGERS.get(config.manager)
    if manager is not None:
        words = {"manager": manager, "allocation_id": config.manager_job_id}
        extra["JobManager"] = msgspec.json.encode(words).decode()
    families = [_GPU_FAMILIES[p.resource] for p in pools if p.resource in _GPU_FAMILIES]
    return {
        "resources": _descriptor(config.descriptor),
        "listen_address": config.listen_address,
        "hostname": config.hostname,
        "group": config.group,
        "work_dir": config.work_dir,
        "heartbeat_interval": duration(config.heartbeat_s),
        "overview_configuration": {
            "send_interval": _optional(config.overview_interval_s),
            "gpu_families": families,
        },
        "idle_timeout": _optional(config.idle_timeout_s),
        "time_limit": _optional(config.time_limit_s),
        "retract_check_interval": duration(config.retract_check_s),
        "on_server_lost": _ON_SERVER_LOST[config.on_server_lost],
        "min_utilization": config.min_utilization,
        "extra": extra,
    }


def _descriptor(descriptor: Descriptor) -> Json:
    return {
        "resources": [{"name": p.resource, "kind": _kind(p)} for p in descriptor.pools],
        "coupling": coupling_json(descriptor),
    }


def coupling_json(descriptor: Descriptor) -> Json:
    """Which groups of its resources are near each other."""
    return {
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
    }


def _kind(pool: Pool) -> Json:
    if not pool.groups:
        return {"Sum": {"size": pool.size}}
    if len(pool.groups) > 1:
        return {"Groups": {"groups": [list(group) for group in pool.groups]}}
    labels = pool.groups[0]
    if pool.is_range:
        return {"Range": {"start": int(labels[0]), "end": int(labels[-1])}}
    return {"List": {"values": list(labels)}}


def load_json(load: NodeLoad, at: float) -> Json:
    """How busy a node was."""
    return {
        "timestamp": int(at),
        "cpu_usage": {"cpu_per_core_percent_usage": list(load.cpus)},
        "memory_usage": {"total": load.memory_bytes, "free": load.free_bytes},
        "network_usage": {
            "rx_bytes": load.received_bytes,
            "tx_bytes": load.sent_bytes,
            "rx_packets": load.received_packets,
            "tx_packets": load.sent_packets,
            "rx_errors": load.received_errors,
            "tx_errors": load.sent_errors,
        },
        "nvidia_gpus": _gpus(load.nvidia),
        "amd_gpus": _gpus(load.amd),
    }


def _gpus(loads: tuple[DeviceLoad, ...] | None) -> Json | None:
    if loads is None:
        return None
    return {
        "gpus": [
            {"id": gpu.id, "processor_usage": gpu.processor, "mem_usage": gpu.memory}
            for gpu in loads
        ]
    }


# --- submits


def head_json(head: JobHead) -> Json:
    """What a job is called and when it gives up."""
    return {"name": head.name, "max_fails": head.max_fails}


def array_json(spec: ArraySpec, numbers: Ranges) -> Json:
    """What the tasks of an array have in common."""
    value: Json = {
        "ids": {"ranges": [{"start": a, "count": n, "step": s} for a, n, s in numbers]},
        "resources": resources_json(spec.variants),
        "time_limit": duration(spec.body.time_limit_s) if spec.body.time_limit_s else None,
        "priority": spec.settings.priority,
        "crash_limit": _crash_limit(spec.settings.crash_limit),
    }
    if spec.group:
        value["group"] = spec.group
    return value


def submit_json(
    submit_dir: str, stream_dir: str, arrays: Sequence[Json], graph_tasks: int, tasks: int
) -> Json:
    """A submit: one array, or how many tasks there are of which arrays are part."""
    if len(arrays) == 1 and not graph_tasks:
        description = arrays[0]
    else:
        description = {"n_tasks": tasks}
        if arrays:
            description["arrays"] = list(arrays)
    return {
        "submit_dir": submit_dir,
        "stream_path": stream_dir or None,
        "task_desc": description,
    }


def resources_json(variants: Variants) -> Json:
    """What a task asks for."""
    return {"variants": [_request(request) for request in variants]}


def _request(request: Request) -> Json:
    return {
        "n_nodes": request.nodes,
        "min_time": duration(request.time_s),
        "weight": request.weight,
        "resources": [
            {
                "resource": need.resource,
                "policy": "All"
                if need.policy is Policy.ALL
                else {_POLICIES[need.policy]: need.amount},
            }
            for need in request.needs
        ],
    }


def _crash_limit(limit: int) -> str | Json:
    if limit == NEVER_RESTART:
        return "NeverRestart"
    return "Unlimited" if limit == UNLIMITED else {"MaxCrashes": limit}


# --- allocation queues


def params_json(params: QueueParams) -> Json:
    """What a queue was added with."""
    worker = params.worker
    return {
        "manager": _MANAGERS[params.manager.name],
        "max_workers_per_alloc": params.max_workers_per_alloc,
        "backlog": params.backlog,
        "timelimit": duration(params.time_limit_s),
        "name": params.name or None,
        "max_worker_count": params.max_worker_count,
        "min_utilization": params.min_utilization,
        "additional_args": list(params.manager_args),
        "worker_start_cmd": worker.start_cmd or None,
        "worker_stop_cmd": worker.stop_cmd or None,
        "worker_wrap_cmd": worker.wrap_cmd or None,
        "cli_resource_descriptor": None
        if params.descriptor is None
        else _descriptor(params.descriptor),
        "worker_args": list(worker_args(params)),
        "idle_timeout": duration(worker.idle_timeout_s),
        "max_node_hours": params.max_node_hours,
    }
