"""Values as users read them in tables: states, requests, times, paths."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from hqtrio.messages.client import Counts, WorkerRow
from hqtrio.model.job import JobState
from hqtrio.model.resources import POLICY_TEXT, UNIT, Descriptor, Need, Policy, Pool, Request
from hqtrio.model.task import NEVER_RESTART, UNLIMITED, PinMode, Stdio, TaskState
from hqtrio.model.worker import LossReason
from hqtrio.units import format_amount, format_duration, format_mem_amount

ARGUMENT_BYTES_MAX: Final = 256
ARGUMENTS_MAX: Final = 128

JOB_STATES: Final = {
    JobState.WAITING: "WAITING",
    JobState.RUNNING: "RUNNING",
    JobState.FINISHED: "FINISHED",
    JobState.FAILED: "FAILED",
    JobState.CANCELLED: "CANCELED",
    JobState.ABORTED: "ABORTED",
    JobState.OPENED: "OPENED",
}
TASK_STATES: Final = {TaskState(state): JOB_STATES[state] for state in JobState if state < 6}
LOSSES: Final = {
    LossReason.STOPPED: "STOPPED",
    LossReason.CONNECTION_LOST: "CONNECTION LOST",
    LossReason.HEARTBEAT_LOST: "HEARTBEAT LOST",
    LossReason.IDLE_TIMEOUT: "IDLE TIMEOUT",
    LossReason.TIME_LIMIT_REACHED: "TIME LIMIT REACHED",
}
PINS: Final = {PinMode.NONE: "none", PinMode.TASKSET: "taskset", PinMode.OMP: "omp"}


def text_of(data: bytes) -> str:
    """Bytes that are most often text."""
    return data.decode("utf-8", "replace")


# --- states


def total(counts: Counts) -> int:
    """All tasks of a job."""
    return ended(counts) + counts.waiting + counts.running


def ended(counts: Counts) -> int:
    """Tasks that will not run any more."""
    return counts.finished + counts.failed + counts.cancelled + counts.aborted


def worker_state(row: WorkerRow) -> str:
    """Why the worker is gone, or that it is not."""
    return "RUNNING" if row.reason is None else LOSSES[row.reason]


# --- times


def task_instant(at: float | None) -> str:
    """Start and end of a task: local time."""
    return "" if at is None else datetime.fromtimestamp(at).strftime("%d.%m.%Y %H:%M:%S")


def date(at: float) -> str:
    """Submission date and the server's start."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def rfc3339(at: float) -> str:
    """UTC with fractions of a second as far as they are known."""
    second, microseconds = divmod(round(at * 1e6), 1_000_000)
    return f"{_second(second)}.{microseconds:06}Z" if microseconds else f"{_second(second)}Z"


@lru_cache
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().removesuffix("+00:00")


def optional_duration(seconds: float | None) -> str:
    """A limit or timeout that may be absent."""
    return "None" if seconds is None else format_duration(seconds)


# --- what tasks ask for


def need_text(need: Need) -> str:
    """`2 compact`, or `all`."""
    if need.policy is Policy.ALL:
        return "all"
    return f"{format_amount(need.amount)} {POLICY_TEXT[need.policy]}"


def request_text(request: Request) -> str:
    """One line per resource, by name; a multi-node request shows only its nodes."""
    if request.nodes:
        lines = [f"nodes: {request.nodes}"]
    else:
        needs = sorted(request.needs, key=lambda need: need.resource)
        lines = [f"{need.resource}: {need_text(need)}" for need in needs]
    if request.time_s:
        lines.append(f"[time: {format_duration(request.time_s)}]")
    if request.weight != UNIT:
        lines.append(f"[weight: {format_amount(request.weight)}]")
    return "\n".join(lines)


def variants_text(variants: Sequence[Request]) -> str:
    """The only request, or a numbered block for each."""
    if len(variants) == 1:
        return request_text(variants[0])
    blocks = [f"# Variant {n}\n{request_text(v)}" for n, v in enumerate(variants, start=1)]
    return "\n\n".join(blocks)


def crash_limit_text(limit: int) -> str | int:
    """A number, or the word for a special limit."""
    return {NEVER_RESTART: "never-restart", UNLIMITED: "unlimited"}.get(limit, limit)


def stdio_text(stdio: Stdio, path: str | None) -> str:
    """Where an output goes."""
    if stdio.stream:
        return "<Stream>"
    return "<None>" if path is None else path


def arguments(args: Sequence[bytes]) -> list[str]:
    """The command's words; very long ones as their size, and not more than a screenful."""
    return [
        text_of(arg) if len(arg) <= ARGUMENT_BYTES_MAX else f"<{len(arg)} bytes>"
        for arg in args[:ARGUMENTS_MAX]
    ]


def environment(env: Sequence[tuple[bytes, bytes]]) -> list[str]:
    """`KEY=VALUE`, sorted, without the variables that we set ourselves."""
    pairs = sorted((text_of(key), text_of(value)) for key, value in env)
    return [f"{key}={value}" for key, value in pairs if not key.startswith("HQ_")]


# --- what workers offer


def pool_amount(pool: Pool) -> str:
    """`4`, `2x8` for two groups of eight, `15.50 GiB` for memory."""
    if not pool.groups:
        is_memory = pool.resource == "mem"
        return format_mem_amount(pool.size) if is_memory else format_amount(pool.size)
    if len(pool.groups) == 1:
        return str(len(pool.groups[0]))
    sizes = [len(group) for group in pool.groups]
    return " ".join(f"{sizes.count(size)}x{size}" for size in sorted(set(sizes)))


def summary(descriptor: Descriptor, *, lines: bool) -> str:
    """Every pool with its amount: `cpus 4; gpus 2`, or one `cpus: 4` per line."""
    coupled = {at for link in descriptor.coupling for at in (link.pool1, link.pool2)}
    entries = []
    for at, pool in enumerate(descriptor.pools):
        suffix = " [coupled]" if at in coupled else ""
        entries.append(f"{pool.resource}{':' if lines else ''} {pool_amount(pool)}{suffix}")
    return ("\n" if lines else "; ").join(entries)


def pool_kind(pool: Pool) -> str:
    """The pool in full: `range(0-3)`, `[a,b]`, `[[0,1],[2,3]]`, `sum(64)`."""
    if not pool.groups:
        return f"sum({format_amount(pool.size)})"
    if len(pool.groups) > 1:
        return "[" + ",".join("[" + ",".join(group) + "]" for group in pool.groups) + "]"
    labels = pool.groups[0]
    if pool.is_range and len(labels) > 1:
        return f"range({labels[0]}-{labels[-1]})"
    return "[" + ",".join(labels) + "]"
