"""What a function has returned or raised, as its caller sees it.

How it travels is explained in `actors.functions.runner`.
"""

from __future__ import annotations

import os
import pickle
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from hqtrio.errors import HqError
from hqtrio.model.task import TaskState

__all__ = ["RemoteTraceback", "TaskFailed", "outcome", "result_file"]


class TaskFailed(HqError):
    """The task did not finish, and no exception says why; the text is the server's."""


class RemoteTraceback(Exception):
    """The cause of an exception that was raised elsewhere: its traceback as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def outcome(
    state: int, result: bytes, error: str, name: str = "The task"
) -> tuple[Any, BaseException | None]:
    """What it returned, or what it raised. An exception of the function is itself, with the
    traceback of where it was raised as its cause, or TaskFailed if it cannot be unpickled here.
    """
    try:
        if result[:1] == b"E":
            return None, _exception(result[1:])
        if state == TaskState.FINISHED:
            return _value(result), None
        if state == TaskState.CANCELLED:
            return None, CancelledError(f"{name} was cancelled")
        if state == TaskState.ABORTED:
            return None, TaskFailed(f"{name} was aborted: a task that it needs did not finish")
        return None, TaskFailed(f"{name} failed: {error}")
    except BaseException as failure:  # what unpickling calls may raise anything
        trouble = TaskFailed(f"{name} has a result that cannot be read: {failure}")
        trouble.__cause__ = failure
        return None, trouble


def result_file(result: bytes) -> Path | None:
    """The file that holds a large result."""
    return Path(os.fsdecode(result[1:])) if result[:1] == b"F" else None


def _value(result: bytes) -> Any:
    if not result:
        return None
    path = result_file(result)
    return pickle.loads(result[1:] if path is None else path.read_bytes())


def _exception(data: bytes) -> BaseException:
    name, text, pickled = pickle.loads(data)
    error: Any = None
    if pickled is not None:
        try:
            error = pickle.loads(pickled)
        except BaseException:
            error = None  # its class needs what is not installed here, or other arguments
    raised = (
        error
        if isinstance(error, BaseException)
        else TaskFailed(f"{name} was raised, and is not known here:\n{text}")
    )
    raised.__cause__ = RemoteTraceback(text)
    return raised
