"""Every worker there ever was, by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Final

from msgspec.structs import replace

from hqtrio.messages.client import WorkerRow
from hqtrio.model.load import NodeLoad
from hqtrio.model.resources import Descriptor
from hqtrio.model.worker import LossReason, WorkerConfig

HEARTBEAT_MIN_S: Final = 0.15

_PAGE_BYTES: Final = 256 * 1024
_ROW_BYTES: Final = 250  # of a row beside texts and lists


@dataclass(slots=True)
class WorkerEntry:
    """What is known of one worker; `reason` is set once it is gone.

    While it has no connection but may come back, `absent` tells why.
    """

    id: int
    key: bytes
    attachment: int
    config: WorkerConfig
    started_at: float
    ended_at: float | None = None
    reason: LossReason | None = None
    stopping: LossReason | None = None  # it was asked to end for this reason
    absent: LossReason | None = None
    absent_at: float = 0.0
    last_task: int | None = None
    last_task_at: float = 0.0
    running: int = 0
    gang: int = 0  # the latest multi-node task that it was a node of
    load: NodeLoad | None = None  # the last that it told
    load_at: float = 0.0

    def row(self, multi_node: bool | None) -> WorkerRow:
        """As clients see it; `multi_node` tells its part in the multi-node task that it is in."""
        return WorkerRow(
            id=self.id,
            config=self.config,
            started_at=self.started_at,
            ended_at=self.ended_at if self.absent is None else self.absent_at,
            reason=self.reason if self.absent is None else self.absent,
            last_task=self.last_task,
            last_task_at=None if self.last_task is None else self.last_task_at,
            assigned_tasks=self.running,
            running_tasks=self.running,
            multi_node=multi_node,
            load=self.load,
            load_at=self.load_at,
        )

    @property
    def shown_bytes(self) -> int:
        """About how much room its row takes in a frame."""
        texts = len(self.config.hostname) + len(self.config.work_dir) + len(self.config.group)
        labels = 0
        for pool in self.config.descriptor.pools:
            labels += sum(len(label) + 5 for group in pool.groups for label in group)
        load = 0
        if self.load is not None:
            gpus = (*(self.load.nvidia or ()), *(self.load.amd or ()))
            load = 100 + 9 * len(self.load.cpus) + sum(30 + len(gpu.id) for gpu in gpus)
        return _ROW_BYTES + 4 * texts + labels + load


@dataclass(slots=True)
class Register:
    """All workers in order of id; `last` is the highest id that was ever assigned, or 0."""

    entries: dict[int, WorkerEntry] = field(default_factory=dict)
    connected: int = 0
    last: int = 0
    next: int = 1
    keys: dict[bytes, int] = field(default_factory=dict)  # ids by the keys of the processes
    # One of all that are equal: clusters have thousands of nodes of few kinds.
    descriptors: dict[Descriptor, Descriptor] = field(default_factory=dict, compare=False)

    def arrived(self, key: bytes, attachment: int, config: WorkerConfig, at: float) -> WorkerEntry:
        """A new worker under the next id."""
        entry = WorkerEntry(self.next, key, attachment, self._shared(config), at)
        self.entries[entry.id] = entry
        self.keys[key] = entry.id
        self.connected += 1
        self.used(entry.id)
        return entry

    def of_key(self, key: bytes) -> WorkerEntry | None:
        """The last worker that this process was."""
        number = self.keys.get(key)
        return None if number is None else self.entries[number]

    def missed(self, worker: int, reason: LossReason, at: float) -> None:
        """The worker has no connection, but may come back."""
        entry = self.entries.get(worker)
        if entry is not None and entry.reason is None:
            self.connected -= entry.absent is None
            entry.absent, entry.absent_at = reason, at

    def back(self, entry: WorkerEntry, attachment: int, config: WorkerConfig) -> None:
        """The worker has a new connection."""
        self.connected += entry.absent is not None
        entry.absent, entry.attachment, entry.config = None, attachment, self._shared(config)

    def _shared(self, config: WorkerConfig) -> WorkerConfig:
        """The same, without a description of its own if another worker has an equal one."""
        known = self.descriptors.setdefault(config.descriptor, config.descriptor)
        return config if known is config.descriptor else replace(config, descriptor=known)

    def restored(
        self, worker: int, key: bytes, attachment: int, config: WorkerConfig, at: float
    ) -> None:
        """The worker is connected, as a journal tells: for the first time or once more."""
        entry = self.entries.get(worker)
        self.keys[key] = worker
        if entry is None:
            self.entries[worker] = WorkerEntry(worker, key, attachment, self._shared(config), at)
            self.connected += 1
            self.used(worker)
            return
        self.connected += entry.reason is not None
        entry.key, entry.attachment, entry.config = key, attachment, self._shared(config)
        entry.reason = entry.stopping = entry.ended_at = None

    def used(self, worker: int) -> None:
        """No other worker will ever have this id, nor one before it."""
        self.last = max(self.last, worker)
        self.next = max(self.next, worker + 1)

    def begin_anew(self) -> None:
        """Leave out one id, so that workers of different server runs are told apart."""
        if self.last:
            self.next = self.last + 2

    def gone(self, worker: int, reason: LossReason, at: float) -> LossReason | None:
        """Why the worker is gone, or None if that is no news."""
        entry = self.entries.get(worker)
        if entry is None or entry.reason is not None:
            return None
        entry.reason = reason if entry.stopping is None else entry.stopping
        entry.ended_at = at
        entry.running = 0
        self.connected -= entry.absent is None
        entry.absent = None
        return entry.reason

    def all_stop(self) -> None:
        """Whoever goes from now on goes because the server ends."""
        for entry in self.entries.values():
            if entry.reason is None and entry.stopping is None:
                entry.stopping = LossReason.STOPPED

    def busy(self, worker: int, load: NodeLoad, at: float) -> bool:
        """A connected worker has told how busy its node is; False if it is not connected."""
        entry = self.entries.get(worker)
        if entry is None or entry.reason is not None:
            return False
        entry.load, entry.load_at = load, at
        return True

    def fitting(self, numbers: Sequence[int]) -> list[WorkerEntry]:
        """As many of these, from the first on, as fit one frame; at least one."""
        entries: list[WorkerEntry] = []
        room = _PAGE_BYTES
        for number in numbers:
            entry = self.entries[number]
            room -= entry.shown_bytes
            if room < 0 and entries:
                break
            entries.append(entry)
        return entries

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
