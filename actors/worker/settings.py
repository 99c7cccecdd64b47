"""What `worker start` was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hqtrio.model.resources import Pool
from hqtrio.model.worker import OnServerLost
from hqtrio.worker.alarms import GRACE_S
from hqtrio.worker.hardware import DETECTABLE


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Options of one worker; what is None is found out.

    `coupling` is text, since its groups are those of the pools that are found. `manager` is
    `detect`, `none`, `pbs` or `slurm`. `zero_cost` ends tasks without a process. A task that has
    to end gets `grace_s` between SIGINT and SIGKILL. With nothing to do it looks for a lost server
    for `reconnect_timeout_s`. It stops when its parent process, if it is given, has ended.
    """

    server_dir: Path
    cpus: Pool | None = None
    resources: tuple[Pool, ...] = ()
    detect: tuple[str, ...] = DETECTABLE
    hyper_threading: bool = True
    hostname: str | None = None
    group: str | None = None
    work_dir: Path | None = None
    heartbeat_s: float = 8.0
    idle_timeout_s: float | None = None
    time_limit_s: float | None = None
    overview_interval_s: float | None = None
    on_server_lost: OnServerLost = OnServerLost.RECONNECT
    min_utilization: float = 0.0
    retract_check_s: float = 30.0
    manager: str = "detect"
    zero_cost: bool = False
    coupling: str = ""
    grace_s: float = GRACE_S
    reconnect_timeout_s: float | None = None
    parent: int | None = None
