"""Allocation queues and allocations, as tables and as JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from hqtrio.cli.render.frame import BLUE, GREEN, RED, YELLOW, Cell
from hqtrio.cli.render.json_values import descriptor_json
from hqtrio.cli.render.wording import rfc3339, summary, task_instant
from hqtrio.messages.allocations import AllocationRow, AllocationState, QueueRow
from hqtrio.model.allocation import Manager, worker_args
from hqtrio.units import format_duration

QUEUE_COLUMNS: Final = (
    "ID", "State", "Backlog size", "Max workers per alloc", "Max worker count", "Timelimit",
    "Manager", "Worker resources", "Name", "Args", "Not submitting because",
)  # fmt: skip
ALLOCATION_COLUMNS: Final = (
    "ID", "State", "Working directory", "Worker count", "Queue time", "Start time", "Finish time",
    "Note",
)  # fmt: skip
_COLORS: Final = {
    AllocationState.QUEUED: YELLOW,
    AllocationState.RUNNING: BLUE,
    AllocationState.FINISHED: GREEN,
    AllocationState.FAILED: RED,
}
_DIGITS: Final = re.compile(r"(\d+)")
NOT_KNOWN: Final = "(not known yet)"


def queue_line(row: QueueRow) -> list[Cell | str]:
    """One row of `alloc list`."""
    params = row.params
    return [
        Cell(str(row.id), right=True),
        Cell("PAUSED", YELLOW) if row.is_paused else Cell("ACTIVE", GREEN),
        str(params.backlog),
        str(params.max_workers_per_alloc),
        str(params.max_worker_count or 0),
        format_duration(params.time_limit_s),
        params.manager.name,
        "<unknown>" if row.resources is None else summary(row.resources, lines=False),
        params.name,
        ",".join(params.manager_args),
        _one_line(row.note),
    ]


def allocation_line(row: AllocationRow) -> list[Cell | str]:
    """One row of `alloc info`."""
    return [
        row.id or NOT_KNOWN,
        Cell(row.state.name, _COLORS[row.state]),
        row.directory,
        str(row.nodes),
        task_instant(row.queued_at),
        task_instant(row.started_at),
        task_instant(row.ended_at),
        _one_line(row.note),
    ]


def _one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def by_id(rows: Sequence[AllocationRow]) -> list[AllocationRow]:
    """In the order of their ids: numbers in them count as numbers."""

    def key(row: AllocationRow) -> list[tuple[int, str]]:
        return [
            (int(part), "") if part.isdigit() else (-1, part)
            for part in _DIGITS.split(row.id)
            if part
        ]

    return sorted(rows, key=lambda row: (not row.id, key(row), row.number))


def budget(row: QueueRow) -> str:
    """What the queue has cost, and may still cost."""
    limit = row.params.max_node_hours
    allowed = "unlimited" if limit is None else f"{limit:.5g} allowed"
    spent, committed = row.spent_node_hours, row.committed_node_hours
    return f"Node hours: {spent:.5g} spent, {committed:.5g} committed, {allowed}\n"


def queue_json(row: QueueRow) -> dict[str, Any]:
    params = row.params
    return {
        "id": row.id,
        "name": params.name or None,
        "state": "Paused" if row.is_paused else "Active",
        "manager": "PBS" if params.manager is Manager.PBS else "Slurm",
        "additional_args": list(params.manager_args),
        "backlog": params.backlog,
        "max_workers_per_alloc": params.max_workers_per_alloc,
        "timelimit": params.time_limit_s,
        "max_worker_count": params.max_worker_count,
        "worker_args": list(worker_args(params)),
        "known_worker_resources": None if row.resources is None else descriptor_json(row.resources),
        "not_submitting": row.note or None,
        "node_hours": {
            "spent": row.spent_node_hours,
            "committed": row.committed_node_hours,
            "max": params.max_node_hours,
        },
        "queued": row.queued,
        "running": row.running,
    }


def allocation_json(row: AllocationRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "target_worker_count": row.nodes,
        "queued_at": rfc3339(row.queued_at),
        "started_at": None if row.started_at is None else rfc3339(row.started_at),
        "ended_at": None if row.ended_at is None else rfc3339(row.ended_at),
        "status": row.state.name.lower(),
        "workdir": row.directory,
        "note": row.note or None,
        "workers": list(row.workers),
    }
