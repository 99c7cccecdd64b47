"""The async client: connect to a server, ask it, wait for what it says."""

from __future__ import annotations

from typing import Any

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


def __getattr__(name: str) -> Any:
    # HyperQueue's module of this name has the exception of the blocking client, which lies above.
    if name != "FailedJobsException":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return importlib.import_module("hqtrio.api.failures").FailedJobsException
