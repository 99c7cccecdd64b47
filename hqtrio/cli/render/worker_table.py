"""Workers in tables."""

from __future__ import annotations

from typing import Final

from hqtrio.cli.render.frame import GREEN, RED, Cell
from hqtrio.cli.render.wording import optional_duration, rfc3339, summary, worker_state
from hqtrio.ids import format_task
from hqtrio.messages.client import WorkerRow
from hqtrio.model.load import NodeLoad
from hqtrio.units import format_bytes, format_duration

COLUMNS: Final = ("ID", "State", "Hostname", "Resources", "Manager", "Manager Job ID")


def _state(row: WorkerRow) -> Cell:
    return Cell(worker_state(row), GREEN if row.reason is None else RED)


def line(row: WorkerRow) -> list[Cell | str]:
    """One row of `worker list`."""
    config = row.config
    return [
        Cell(str(row.id), right=True),
        _state(row),
        config.hostname,
        summary(config.descriptor, lines=False),
        config.manager or "None",
        config.manager_job_id or "N/A",
    ]


def rows(row: WorkerRow, *, with_runtime: bool) -> list[tuple[str, Cell | str]]:
    """The table of `worker info`; a worker that has just started has no runtime to show."""
    config = row.config
    last = ""
    if row.last_task is not None and row.last_task_at is not None:
        last = f"{format_task(row.last_task)}; Time: {rfc3339(row.last_task_at)}"
    table: list[tuple[str, Cell | str]] = [
        ("Worker", str(row.id)),
        ("State", _state(row)),
        ("Hostname", config.hostname),
        ("Started", rfc3339(row.started_at)),
        ("Data provider", config.listen_address),
        ("Working directory", config.work_dir),
        ("Heartbeat", format_duration(config.heartbeat_s)),
        ("Idle timeout", optional_duration(config.idle_timeout_s)),
        ("Overview interval", optional_duration(config.overview_interval_s)),
        ("Resources", summary(config.descriptor, lines=True)),
        ("Time Limit", optional_duration(config.time_limit_s)),
        ("Process pid", str(config.pid) if config.pid else "N/A"),
        ("Group", config.group),
        ("Manager", config.manager or "None"),
        ("Manager Job ID", config.manager_job_id or "N/A"),
        ("Last task started", last),
    ]
    if with_runtime and row.reason is None:
        table.append(("Runtime Info", _runtime(row)))
    if with_runtime and row.load is not None:
        table.append(("Load", _load(row.load, row.load_at)))
    return table


def _load(load: NodeLoad, at: float) -> str:
    """One line for each kind of thing that can be busy."""
    cpus = sum(load.cpus) / len(load.cpus) if load.cpus else 0.0
    used = load.memory_bytes - load.free_bytes
    received, sent = format_bytes(load.received_bytes), format_bytes(load.sent_bytes)
    gpus = [
        f"gpu {gpu.id}: {gpu.processor:.1f} %, memory: {gpu.memory:.1f} %"
        for gpu in (*(load.nvidia or ()), *(load.amd or ()))
    ]
    lines = [
        f"cpus: {cpus:.1f} %",
        f"memory: {format_bytes(used)} of {format_bytes(load.memory_bytes)}",
        f"network: {received} received, {sent} sent",
        *gpus,
        f"told: {rfc3339(at)}",
    ]
    return "\n".join(lines)


def _runtime(row: WorkerRow) -> str:
    if row.multi_node is not None:
        node = "main node" if row.multi_node else "secondary node"
        return f"running multinode task; {node}"
    text = f"assigned tasks: {row.assigned_tasks}"
    if row.running_tasks:
        text += f"; running tasks: {row.running_tasks}"
    if row.is_reserved:
        text += "; reserved for a multi-node task"
    return text
