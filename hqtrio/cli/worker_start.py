"""`worker start` and `worker hwdetect`."""

from __future__ import annotations

import time
from contextlib import suppress
from logging import getLogger
from pathlib import Path
from typing import Any, Final

from hqtrio import __version__
from hqtrio.cli import values
from hqtrio.cli.kinds import Choice
from hqtrio.cli.parsing import command, flag, option
from hqtrio.cli.session import Session, absolute
from hqtrio.errors import InputError
from hqtrio.messages.client import WorkerRow
from hqtrio.model.resources import CPUS, Pool
from hqtrio.model.worker import OnServerLost, WorkerConfig
from hqtrio.units import parse_duration, parse_human_duration
from hqtrio.worker.definitions import parse_cpus, parse_resource
from hqtrio.worker.hardware import DETECTABLE

log = getLogger(__name__)

ON_SERVER_LOST: Final = {
    "stop": OnServerLost.STOP,
    "finish-running": OnServerLost.FINISH_RUNNING,
    "reconnect": OnServerLost.RECONNECT,
}
OLD_CPUS: Final = ("auto", "no-ht")


def detectable(text: str) -> tuple[str, ...]:
    """`all`, `none`, or names of resources separated by commas."""
    if text == "all":
        return DETECTABLE
    if text == "none":
        return ()
    names = tuple(text.split(","))
    for name in names:
        if name in ("all", "none"):
            raise InputError(f"`{name}` cannot be combined with others")
        if name not in DETECTABLE:
            raise InputError(f"possible values: all, none, {', '.join(DETECTABLE)}")
    return names


def worker_cpus(text: str) -> Pool | str:
    """A definition; or `auto` or `no-ht`, which meant the CPUs that are found before HyperQueue
    0.13 (`no-ht`: one hardware thread per core)."""
    return text if text in OLD_CPUS else parse_cpus(text)


@command("start", conflicts=[("no_detect_resources", "detect")])
@option("--cpus", read=worker_cpus, help="CPUs: 8, 2x4, [0,1,4], range(0-7) (default: all found).")
@option(
    "--resource",
    "resources",
    read=parse_resource,
    multiple=True,
    metavar="NAME=DEFINITION",
    help="Another resource: gpus=[0,1], mem=sum(1000).",
)
@option(
    "--coupling",
    default="",
    metavar="LINKS",
    help="Groups that are close to each other: cpus[0]:gpus[0],cpus[1]:gpus[1]=512.",
)
@option(
    "--detect-resources",
    "detect",
    read=detectable,
    default="all",
    metavar="NAMES",
    help="Which resources are looked for: all, none, or a list.",
)
@option("--no-detect-resources", is_flag=True, default=False, hidden=True)
@flag("--no-hyper-threading", help="Use one hardware thread per core.")
@option("--group", help="Multi-node tasks stay inside one group.")
@option(
    "--idle-timeout",
    "idle_timeout_s",
    read=parse_duration,
    metavar="IDLE_TIMEOUT",
    help="Stop after this time without work (default: the server's).",
)
@option(
    "--time-limit",
    "time_limit_s",
    read=parse_duration,
    metavar="TIME_LIMIT",
    help="Stop after this time.",
)
@option(
    "--min-utilization",
    read=values.fraction,
    default="0.0",
    help="Start tasks only if they use at least this part of the CPUs (0.0 to 1.0).",
)
@option(
    "--heartbeat",
    "heartbeat_s",
    read=values.heartbeat,
    default="8s",
    metavar="HEARTBEAT",
    help="How often the worker says that it is alive.",
)
@option(
    "--overview-interval",
    "overview_interval_s",
    read=parse_human_duration,
    metavar="OVERVIEW_INTERVAL",
    help="How often the worker tells how busy its machine is, as in 10s (0s: never).",
)
@option(
    "--on-server-lost",
    read=Choice(ON_SERVER_LOST),
    default="reconnect",
    metavar="POLICY",
    help="stop, finish-running (end after the running tasks), or reconnect.",
)
@option(
    "--reconnect-timeout",
    "reconnect_timeout_s",
    read=parse_duration,
    metavar="DURATION",
    help="How long a worker with nothing to do looks for a lost server (default: its idle "
    "timeout, else 5m).",
)
@option(
    "--manager",
    read=Choice(["detect", "none", "pbs", "slurm"]),
    default="detect",
    help="Batch manager that runs this worker: detect, none, pbs, slurm.",
)
@option(
    "--retract-check-interval",
    "retract_check_s",
    read=parse_duration,
    default="30s",
    metavar="INTERVAL",
    help="Without effect: tasks that would start too late are given back at once.",
)
@option(
    "--grace",
    "grace_s",
    read=parse_duration,
    default="1s",
    metavar="TIME",
    help="What a task has between SIGINT and SIGKILL when it must end.",
)
@option("--hostname", help="Name of this machine (default: what the system says).")
@option("--work-dir", help="Directory for what tasks leave on this machine for a while.")
@option("--parent", read=int, hidden=True, help="Stop when this parent process has ended.")
@option("--zero-worker", "zero_cost", is_flag=True, default=False, hidden=True)
def start(
    session: Session,
    cpus: Pool | str | None,
    no_detect_resources: bool,
    no_hyper_threading: bool,
    work_dir: str | None,
    overview_interval_s: float | None,
    **parameters: Any,
) -> int:
    """Start a worker; it runs until `worker stop`, Ctrl-C, or a limit."""
    import trio

    from actors.worker.main import run_worker
    from actors.worker.settings import WorkerSettings

    log.info("hqtrio %s", __version__)
    if no_detect_resources:
        # CPUs were looked for all the same, unless they were given.
        parameters["detect"] = (CPUS,)
    settings = WorkerSettings(
        server_dir=Path(session.server_dir),
        cpus=cpus if isinstance(cpus, Pool) else None,
        hyper_threading=not no_hyper_threading and cpus != "no-ht",
        work_dir=None if work_dir is None else Path(absolute(work_dir)),
        overview_interval_s=overview_interval_s or None,
        **parameters,
    )
    is_shown = False

    def on_registered(worker: int, config: WorkerConfig) -> None:
        nonlocal is_shown
        if is_shown:
            log.info("registered again, as worker %d", worker)
            return
        is_shown = True
        # A reader that left, as in `worker start | head -1`, is no reason to stop working.
        with suppress(BrokenPipeError):
            session.render.worker_started(WorkerRow(worker, config, time.time()))
            session.out.flush()

    async def work() -> int:
        return await run_worker(settings, on_registered=on_registered)

    return trio.run(work)


@command("hwdetect")
@flag("--no-hyper-threading", help="Count one hardware thread per core.")
def hwdetect(session: Session, no_hyper_threading: bool) -> None:
    """Show the resources that a worker on this machine would offer."""
    import os

    from actors.worker.hardware import describe
    from actors.worker.manager import find_manager
    from actors.worker.settings import WorkerSettings

    settings = WorkerSettings(Path(session.server_dir), hyper_threading=not no_hyper_threading)
    under_slurm = find_manager("detect", os.environ).name == "SLURM"
    session.render.hardware(describe(settings, under_slurm=under_slurm))
