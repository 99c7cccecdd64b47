"""Every worker there ever was, by id."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Final

from hqtrio.messages.client import WorkerRow
from hqtrio.model.worker import LossReason, WorkerConfig

HEARTBEAT_MIN_S: Final = 0.15


@dataclass(slots=True)
class WorkerEntry:
    """What is known of one worker; `reason` is set once it is gone."""

    id: int
    key: bytes
    attachment: int
    config: WorkerConfig
    started_at: float
    ended_at: float | None = None
    reason: LossReason | None = None
    stopping: LossReason | None = None  # it was asked to end for this reason
    last_task: int | None = None
    last_task_at: float = 0.0
    running: int = 0
    gang: int = 0  # the latest multi-node task that it was a node of

    def row(self, multi_node: bool | None) -> WorkerRow:
        """As clients see it; `multi_node` tells its part in the multi-node task that it is in."""
        return WorkerRow(
            id=self.id,
            config=self.config,
            started_at=self.started_at,
            ended_at=self.ended_at,
            reason=self.reason,
            last_task=self.last_task,
            last_task_at=None if self.last_task is None else self.last_task_at,
            assigned_tasks=self.running,
            running_tasks=self.running,
            multi_node=multi_node,
        )


@dataclass(slots=True)
class Register:
    """All workers in order of id."""

    entries: dict[int, WorkerEntry] = field(default_factory=dict)
    connected: int = 0

    @property
    def last(self) -> int:
        """The highest id ever assigned, or 0."""
        return len(self.entries)

    def arrived(self, key: bytes, attachment: int, config: WorkerConfig, at: float) -> WorkerEntry:
        """A new worker under the next id."""
        entry = WorkerEntry(self.last + 1, key, attachment, config, at)
        self.entries[entry.id] = entry
        self.connected += 1
        return entry

    def gone(self, worker: int, reason: LossReason, at: float) -> LossReason | None:
        """Why the worker is gone, or None if that is no news."""
        entry = self.entries.get(worker)
        if entry is None or entry.reason is not None:
            return None
        entry.reason = reason if entry.stopping is None else entry.stopping
        entry.ended_at = at
        entry.running = 0
        self.connected -= 1
        return entry.reason

    def released(self, worker: int, count: int = 1) -> None:
        """So many tasks run no more on this worker."""
        entry = self.entries.get(worker)
        if entry is not None:
            entry.running = max(0, entry.running - count)

    def hostname(self, worker: int) -> str:
        entry = self.entries.get(worker)
        return "N/A" if entry is None else entry.config.hostname


def refusal(config: WorkerConfig) -> str:
    """Why this worker cannot be taken in, or nothing."""
    if not (isfinite(config.heartbeat_s) and config.heartbeat_s > HEARTBEAT_MIN_S):
        return f"The heartbeat interval must be longer than {HEARTBEAT_MIN_S * 1000:.0f} ms."
    for name, value in (
        ("idle timeout", config.idle_timeout_s),
        ("time limit", config.time_limit_s),
    ):
        if value is not None and not (isfinite(value) and value >= 0):
            return f"An {name} of {value} s is not possible."
    return ""
