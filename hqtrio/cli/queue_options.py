"""The options that describe an allocation queue, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from logging import getLogger
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from hqtrio.cli import values
from hqtrio.cli.kinds import Choice
from hqtrio.cli.parsing import argument, option
from hqtrio.cli.worker_start import ON_SERVER_LOST, detectable
from hqtrio.errors import InputError
from hqtrio.model.allocation import Manager, QueueParams, WorkerOptions
from hqtrio.model.descriptors import check_pool
from hqtrio.model.resources import CPUS, Descriptor, Pool
from hqtrio.units import format_duration, parse_duration, parse_human_duration
from hqtrio.worker.definitions import parse_cpus, parse_resource

__all__ = [
    "MANAGERS",
    "ON_SERVER_LOST",
    "changed",
    "params_of",
    "queue_options",
    "read_backlog",
    "read_node_hours",
    "read_worker_count",
    "read_workers",
    "warn_about",
]

log = getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])

MANAGERS: Final = {"pbs": Manager.PBS, "slurm": Manager.SLURM}
IDLE_WARN_S: Final = 600.0
UNLIMITED: Final = "unlimited"
# Options by the field that they fill.
_QUEUE: Final = (
    "name", "backlog", "max_workers_per_alloc", "max_worker_count", "max_node_hours",
    "min_utilization", "time_limit_s", "manager_args",
)  # fmt: skip
_WORKER: Final = {
    "cpus": "cpus",
    "resources": "resources",
    "coupling": "coupling",
    "group": "group",
    "no_hyper_threading": "no_hyper_threading",
    "detect": "detect",
    "overview_interval_s": "overview_interval_s",
    "on_server_lost": "on_server_lost",
    "worker_time_limit_s": "time_limit_s",
    "idle_timeout_s": "idle_timeout_s",
    "worker_start_cmd": "start_cmd",
    "worker_stop_cmd": "stop_cmd",
    "worker_wrap_cmd": "wrap_cmd",
    "worker_program": "program",
}


def read_backlog(text: str) -> int:
    count = values.whole(text)
    if not count:
        raise InputError("Backlog has to be at least 1")
    return count


def read_workers(text: str) -> int:
    return values.whole(text, least=1)


def read_worker_count(text: str) -> int | None:
    """How many, or `unlimited`."""
    return None if text == UNLIMITED else values.whole(text, least=1)


def read_node_hours(text: str) -> float | None:
    """How many, or `unlimited`."""
    if text == UNLIMITED:
        return None
    hours = values.decimal(text)
    if hours <= 0:
        raise InputError("Node hours have to be more than 0")
    return hours


def _text(text: str) -> str:
    """Text that a script can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("it is not UTF-8, as what a script holds has to be") from None
    return text


def _checked(parse: Callable[[str], object], *, may_be_empty: bool) -> Callable[[str], str]:
    """The text as it is, once it has been understood; empty, it may take back what was said."""

    def read(text: str) -> str:
        if text or not may_be_empty:
            parse(text)
        return text

    return read


def _worker_limit(text: str) -> float | None:
    """A duration, or `unlimited`: that of the allocation."""
    return None if text == UNLIMITED else parse_duration(text)


def queue_options(*, time_limit: bool) -> Callable[[F], F]:
    """All of them. With `time_limit` that one is required; without, they are for a queue that
    exists, and empty texts take back what it was told.
    """
    exists = not time_limit
    options = [
        option(
            "--time-limit", "-t", "time_limit_s", read=parse_duration, required=time_limit,
            metavar="TIME_LIMIT", help="How long each allocation lasts (its walltime).",
        ),
        option(
            "--backlog", "-b", read=read_backlog,
            help="How many allocations may wait in the manager's queue (default: 1).",
        ),
        option(
            "--max-workers-per-alloc", "-m", read=read_workers,
            help="Most nodes of one allocation, each with one worker (default: 1).",
        ),
        option(
            "--max-worker-count", read=read_worker_count,
            help="Most workers in all allocations that wait or run (default: unlimited).",
        ),
        option(
            "--max-node-hours", read=read_node_hours, metavar="HOURS",
            help="Submit nothing that could use more than these in all (default: unlimited).",
        ),
        option(
            "--min-utilization", read=values.fraction,
            help="Submit only for workers of whose CPUs at least this part gets work (0.0 to 1.0).",
        ),
        option(
            "--name", "-n", read=_text,
            help="Begins the names of the queue's jobs in the manager.",
        ),
        option(
            "--cpus", read=_checked(parse_cpus, may_be_empty=exists),
            help="CPUs of a worker, as `worker start`.",
        ),
        option(
            "--resource", "resources", multiple=True,
            read=_checked(parse_resource, may_be_empty=exists),
            metavar="NAME=DEFINITION", help="Another resource of a worker, as `worker start`.",
        ),
        option("--coupling", read=_text, metavar="LINKS", help="As `worker start`."),
        option(
            "--group", read=_text,
            help="As `worker start` (default: one group for each allocation).",
        ),
        option(
            "--detect-resources", "detect", metavar="NAMES",
            read=_checked(detectable, may_be_empty=exists),
            help="Which resources a worker looks for: all, none, or a list.",
        ),
        option(
            "--no-hyper-threading", is_flag=True, default=None,
            help="Workers use one hardware thread per core.",
        ),
        option(
            "--overview-interval", "overview_interval_s", read=parse_human_duration,
            metavar="OVERVIEW_INTERVAL", help="As `worker start`.",
        ),
        option(
            "--idle-timeout", "idle_timeout_s", read=parse_duration, metavar="IDLE_TIMEOUT",
            help="Workers stop after this time without work (default: 5m).",
        ),
        option(
            "--on-server-lost", read=Choice(ON_SERVER_LOST), metavar="POLICY",
            help="stop, finish-running or reconnect (default), as `worker start`.",
        ),
        option(
            "--worker-time-limit", "worker_time_limit_s",
            read=_worker_limit if exists else parse_duration,
            metavar="WORKER_TIME_LIMIT",
            help="Workers stop after this time (default: the time limit of the allocation).",
        ),
        option(
            "--worker-start-cmd", read=_text,
            help="Shell text that each node runs before its worker.",
        ),
        option(
            "--worker-stop-cmd", read=_text,
            help="Shell text that each node runs after its worker.",
        ),
        option("--worker-wrap-cmd", read=_text, help="Words in front of the worker's command."),
        option(
            "--worker-program", read=_text, metavar="PATH",
            help="What is run as hqtrio on the nodes (default: what the server runs from).",
        ),
        argument("manager_args", read=_text, nargs=-1, metavar="MANAGER_ARGS"),
    ]  # fmt: skip

    def decorate(function: F) -> F:
        for one in reversed(options):
            function = one(function)
        return function

    return decorate


def params_of(manager: Manager, given: Mapping[str, Any]) -> QueueParams:
    """The queue that these options describe; what is None was not given."""
    usual = QueueParams(manager, 0.0)
    return changed(usual, {name: value for name, value in given.items() if value is not None})


def changed(params: QueueParams, given: Mapping[str, Any]) -> QueueParams:
    """The queue with these options instead of its own."""
    queue = {name: given[name] for name in _QUEUE if name in given}
    worker = {field: given[name] for name, field in _WORKER.items() if name in given}
    if "resources" in worker:
        worker["resources"] = tuple(text for text in worker["resources"] if text)
    options: WorkerOptions = replace(params.worker, **worker)
    params = replace(params, **queue, worker=options)
    limit_s = options.time_limit_s
    if limit_s is not None and limit_s > params.time_limit_s:
        raise InputError("Worker time limit cannot be larger than queue time limit")
    return replace(params, descriptor=_descriptor(options))


def _descriptor(worker: WorkerOptions) -> Descriptor | None:
    """What is said of the resources of a worker; None if nothing is."""
    pools: dict[str, Pool] = {}
    for text in worker.resources:
        pool = parse_resource(text)
        if pool.resource in pools:
            raise InputError(f"Resource {pool.resource} defined twice")
        pools[pool.resource] = pool
    if worker.cpus:
        if CPUS in pools:
            raise InputError("Parameters --cpus and --resource cpus=... cannot be combined")
        pools[CPUS] = parse_cpus(worker.cpus)
    for pool in pools.values():
        check_pool(pool)
    return Descriptor(tuple(pools[name] for name in sorted(pools))) if pools else None


def warn_about(params: QueueParams) -> None:
    """What is allowed and seldom meant."""
    if params.worker.idle_timeout_s > IDLE_WARN_S:
        log.warning(
            "You have set an idle timeout longer than 10 minutes (%s): workers without work keep "
            "their nodes for so long",
            format_duration(params.worker.idle_timeout_s),
        )
    if params.descriptor is None:
        log.warning(
            "No worker resources were provided for this queue. Until its first worker has "
            "connected it is not known what its workers can do, and one allocation is submitted "
            "to find out"
        )
