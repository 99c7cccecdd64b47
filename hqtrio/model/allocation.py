"""Allocation queues: recipes for jobs of a batch manager that start workers."""

from __future__ import annotations

import shlex
from enum import IntEnum
from typing import Final

from hqtrio.model.resources import Descriptor
from hqtrio.model.value import Value
from hqtrio.model.worker import OnServerLost
from hqtrio.units import format_duration

__all__ = [
    "FAILURES",
    "Cause",
    "Manager",
    "QueueParams",
    "Rejection",
    "WorkerOptions",
    "in_quotes",
    "worker_args",
]

_ON_SERVER_LOST: Final = {
    OnServerLost.STOP: "stop",
    OnServerLost.FINISH_RUNNING: "finish-running",
    OnServerLost.RECONNECT: "reconnect",
}


class Manager(IntEnum):
    """Batch managers; users and workers say their names in capitals."""

    PBS = 0
    SLURM = 1


class WorkerOptions(Value, frozen=True):
    """How the workers of a queue are started; texts as they were typed, empty: not given."""

    cpus: str = ""
    resources: tuple[str, ...] = ()
    coupling: str = ""
    group: str = ""
    no_hyper_threading: bool = False
    detect: str = ""
    overview_interval_s: float | None = None
    on_server_lost: OnServerLost = OnServerLost.RECONNECT
    time_limit_s: float | None = None  # that of the queue
    idle_timeout_s: float = 300.0
    start_cmd: str = ""
    stop_cmd: str = ""
    wrap_cmd: str = ""
    program: str = ""  # what is run as `hqtrio`: the server's own


class QueueParams(Value, frozen=True):
    """What users say of a queue.

    `descriptor` is what they say that its workers offer; of what it does not list nothing is known
    before the first worker has come.
    """

    manager: Manager
    time_limit_s: float
    name: str = ""
    backlog: int = 1  # allocations that may wait in the manager's queue
    max_workers_per_alloc: int = 1
    max_worker_count: int | None = None  # in all allocations that wait or run
    max_node_hours: float | None = None
    min_utilization: float = 0.0
    manager_args: tuple[str, ...] = ()
    worker: WorkerOptions = WorkerOptions()
    descriptor: Descriptor | None = None


class Cause(IntEnum):
    """Why an allocation has ended, or may be taken as ended."""

    WORKERS_LEFT = 0
    WORKERS_CRASHED = 1  # all of them, each within a minute
    COMPLETED = 2  # the manager says so, and here follows what else it says
    FAILED = 3
    TIME_LIMIT = 4
    CANCELLED = 5  # by somebody else
    NODE_FAILED = 6
    PREEMPTED = 7
    OUT_OF_MEMORY = 8
    VANISHED = 9  # the manager does not know it any more
    GIVEN_UP = 10  # the manager could not tell for too long
    CANCELLED_HERE = 11


FAILURES: Final = frozenset(
    (
        Cause.WORKERS_CRASHED,
        Cause.FAILED,
        Cause.CANCELLED,
        Cause.NODE_FAILED,
        Cause.OUT_OF_MEMORY,
        Cause.VANISHED,
        Cause.GIVEN_UP,
    )
)


class Rejection(IntEnum):
    """Why a submission failed."""

    OTHER = 0
    UNREACHABLE = 1  # the manager does not answer, or not in time
    ARGUMENTS = 2  # what was asked for will never be accepted
    LIMITS = 3  # not so many at once
    NO_PROGRAM = 4  # the manager's command cannot be started
    NO_DIRECTORY = 5  # the files of the allocation cannot be written


# --- command lines


def worker_args(params: QueueParams) -> tuple[str, ...]:
    """What the workers of a queue are told, word by word as a shell reads it."""
    worker = params.worker
    words: list[str] = []
    if worker.cpus:
        words += ["--cpus", in_quotes(worker.cpus)]
    for resource in worker.resources:
        words += ["--resource", in_quotes(resource)]
    if worker.coupling:
        words += ["--coupling", in_quotes(worker.coupling)]
    if worker.group:
        words += ["--group", shlex.quote(worker.group)]
    if worker.no_hyper_threading:
        words.append("--no-hyper-threading")
    if worker.detect:
        words += ["--detect-resources", shlex.quote(worker.detect)]
    if worker.overview_interval_s is not None:
        words += ["--overview-interval", in_quotes(format_duration(worker.overview_interval_s))]
    if params.min_utilization > 0:
        words += ["--min-utilization", f"{params.min_utilization:g}"]
    limit_s = params.time_limit_s if worker.time_limit_s is None else worker.time_limit_s
    words += ["--on-server-lost", in_quotes(_ON_SERVER_LOST[worker.on_server_lost])]
    words += ["--time-limit", in_quotes(format_duration(limit_s))]
    return tuple(words)


def in_quotes(text: str) -> str:
    """In double quotes, in which nothing of it means anything to bash."""
    for special in '\\"$`':
        text = text.replace(special, "\\" + special)
    return f'"{text}"'
