"""Where tasks write their standard output and standard error."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from hqtrio.api.validation import ValidationException

__all__ = ["DEFAULT_STDERR", "DEFAULT_STDOUT", "StdioDef", "read_stdio"]

# Relative to the task's directory, and the same for every job: as in HyperQueue.
DEFAULT_STDOUT: Final = "%{CWD}/%{TASK_ID}.stdout"
DEFAULT_STDERR: Final = "%{CWD}/%{TASK_ID}.stderr"


@dataclass(frozen=True)
class StdioDef:
    """A file for an output; None as its path stands for the command line's default."""

    path: str | None = None
    remove: bool = False  # once the task has finished

    @staticmethod
    def from_path(path: str | os.PathLike[str]) -> StdioDef:
        """That file. Placeholders as `%{TASK_ID}` are filled in for each task."""
        return StdioDef(os.fspath(path))

    @staticmethod
    def remove_if_finished(path: str | os.PathLike[str] | None = None) -> StdioDef:
        """The file is removed if the task has finished, and is left to look at if it failed."""
        return StdioDef(None if path is None else os.fspath(path), remove=True)


def read_stdio(name: str, value: object) -> StdioDef | None:
    """A path, a StdioDef, or None for no output at all."""
    if value is None or isinstance(value, StdioDef):
        return value
    if isinstance(value, str | os.PathLike):
        return StdioDef(os.fspath(value))
    raise ValidationException(
        f"{name} has to be a path, a StdioDef or None, not {type(value).__name__}"
    )
