"""Where tasks write their standard output and standard error."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from hqtrio.api.validation import ValidationException, read_path
from hqtrio.model.task import Stdio

__all__ = ["DEFAULT_STDERR", "DEFAULT_STDOUT", "StdioDef", "read_stdio", "stdio_of"]

# Relative to the task's directory, and the same for every job: as in HyperQueue.
DEFAULT_STDOUT: Final = "%{CWD}/%{TASK_ID}.stdout"
DEFAULT_STDERR: Final = "%{CWD}/%{TASK_ID}.stderr"
_COMMAND_LINE: Final = "%{CWD}/job-%{JOB_ID}/%{TASK_ID}."


@dataclass(frozen=True)
class StdioDef:
    """A file for an output; None as its path stands for the command line's default, in which each
    job has a directory: `%{CWD}/job-%{JOB_ID}/%{TASK_ID}.stdout`.
    """

    path: str | None = None
    remove: bool = False  # once the task has finished

    @staticmethod
    def from_path(path: str | os.PathLike[str]) -> StdioDef:
        """That file. Placeholders as `%{TASK_ID}` are filled in for each task."""
        return StdioDef(read_path("path", path))

    @staticmethod
    def remove_if_finished(path: str | os.PathLike[str] | None = None) -> StdioDef:
        """The file is removed if the task has finished, and is left to look at if it failed."""
        return StdioDef(None if path is None else read_path("path", path), remove=True)


def read_stdio(name: str, value: object) -> StdioDef | None:
    """A path, a StdioDef, or None for no output at all."""
    if value is None:
        return None
    if isinstance(value, StdioDef):
        if value.path is not None:
            read_path(name, value.path)
        return value
    if isinstance(value, str | os.PathLike):
        return StdioDef(read_path(name, value))
    raise ValidationException(
        f"{name} has to be a path, a StdioDef or None, not {type(value).__name__}"
    )


def stdio_of(wanted: StdioDef | None, channel: str, *, streamed: bool) -> Stdio:
    """As the server is told; `channel` is stdout or stderr. With `streamed` an output without a
    file of its own goes to the task's stream."""
    if wanted is None:
        return Stdio(None)
    if streamed and wanted.path in (None, DEFAULT_STDOUT, DEFAULT_STDERR):
        return Stdio(None, stream=True)
    if wanted.path is None:
        return Stdio(f"{_COMMAND_LINE}{channel}", wanted.remove)
    return Stdio(wanted.path, wanted.remove)
