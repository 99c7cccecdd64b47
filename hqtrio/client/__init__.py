"""The async client: connect to a server, ask it, wait for what it says."""

from __future__ import annotations

from hqtrio.client.client import (
    ALL,
    LAST,
    Client,
    RequestFailed,
    Watching,
    is_complete,
)
from hqtrio.client.opening import open_client
from hqtrio.client.views import Task, TaskPaths, tasks_of

__all__ = [
    "ALL",
    "LAST",
    "Client",
    "RequestFailed",
    "Task",
    "TaskPaths",
    "Watching",
    "is_complete",
    "open_client",
    "tasks_of",
]
