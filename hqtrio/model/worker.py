"""What a worker says of itself, and why workers go."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from hqtrio.model.resources import Descriptor
from hqtrio.model.value import Value


class LossReason(IntEnum):
    STOPPED = 0
    CONNECTION_LOST = 1
    HEARTBEAT_LOST = 2
    IDLE_TIMEOUT = 3
    TIME_LIMIT_REACHED = 4


CRASHES: Final = (LossReason.CONNECTION_LOST, LossReason.HEARTBEAT_LOST)


class OnServerLost(IntEnum):
    STOP = 0
    FINISH_RUNNING = 1
    RECONNECT = 2


class WorkerConfig(Value, frozen=True):
    """Everything the server and the users learn about a worker when it registers."""

    hostname: str
    listen_address: str
    work_dir: str
    group: str
    descriptor: Descriptor
    heartbeat_s: float = 8.0
    idle_timeout_s: float | None = None
    time_limit_s: float | None = None
    overview_interval_s: float | None = None
    on_server_lost: OnServerLost = OnServerLost.RECONNECT
    min_utilization: float = 0.0
    retract_check_s: float = 30.0
    pid: int = 0
    manager: str = ""  # "PBS", "SLURM" or nothing
    manager_job_id: str = ""
    version: str = ""
    zero_cost: bool = False  # ends tasks at once without a process, to measure the runtime
