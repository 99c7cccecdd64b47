"""Tasks of a job that has not been submitted, and what is common to programs and functions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hqtrio.api.output import StdioDef
from hqtrio.api.resources import read_resources, read_seconds
from hqtrio.api.retries import read_retry
from hqtrio.api.validation import ValidationException, read_path, shown
from hqtrio.errors import InputError
from hqtrio.jobs.checks import CRASH_LIMIT_MAX, check_settings
from hqtrio.model.resources import Variants
from hqtrio.model.task import (
    DEFAULT_CRASH_LIMIT,
    NEVER_RESTART,
    UNLIMITED,
    PinMode,
    TaskSettings,
)
from hqtrio.placeholders import names

__all__ = ["Common", "Task", "read_common", "read_dependencies", "read_environment"]

_WORDS: Final = {"never-restart": NEVER_RESTART, "unlimited": UNLIMITED}
_TASKS_OWN: Final = ("TASK_ID", "INSTANCE_ID", "CWD")
_PINS: Final = {"taskset": PinMode.TASKSET, "omp": PinMode.OMP}


@dataclass(frozen=True)
class Common:
    """How a task is to run, whatever it is."""

    env: dict[str, str]
    cwd: str | None
    stdout: StdioDef | None
    stderr: StdioDef | None
    stream: str | None
    variants: Variants
    settings: TaskSettings
    time_limit_s: float
    pin: PinMode


@dataclass(eq=False)
class Task:
    """A task of a job; `label` is what people read: its name, or its id."""

    task_id: int
    name: str | None
    common: Common
    dependencies: tuple[Task, ...] = field(default=(), repr=False)

    @property
    def label(self) -> str:
        return self.name or str(self.task_id)


def read_environment(name: str, env: Mapping[str, str] | None) -> dict[str, str]:
    """Names and values that can stand in an environment."""
    if not isinstance(env, Mapping | None):
        raise ValidationException(f"{name} has to map names to texts, not {shown(env)}")
    for key, value in (env or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ValidationException(
                f"{name} has to map names to texts, not {shown(key)} to {shown(value)}"
            )
        if not key or "=" in key or "\0" in key + value:
            raise ValidationException(
                f"{name}: {shown(key)}={shown(value)} cannot be in an environment"
            )
    return dict(env or {})


def read_dependencies(name: str, deps: Any, known: Sequence[Task]) -> tuple[Task, ...]:
    """Tasks of the same job, in lists as deep as the caller likes; each counts once."""
    found: dict[Task, None] = {}
    lists: dict[int, object] = {}  # by id, so that one which holds itself comes to an end
    stack = [deps]
    while stack:
        item = stack.pop()
        if isinstance(item, Task):
            if not (item.task_id < len(known) and known[item.task_id] is item):
                raise ValidationException(f"{name}: {item.label} is a task of another job")
            found[item] = None
        elif isinstance(item, Iterable) and not isinstance(item, str | bytes):
            if id(item) not in lists:
                lists[id(item)] = item
                stack.extend(reversed(list(item)))
        else:
            raise ValidationException(f"{name} has to be tasks of this job, not {shown(item)}")
    return tuple(found)


def read_common(
    *,
    env: Mapping[str, str] | None,
    cwd: str | os.PathLike[str] | None,
    stdout: StdioDef | None,
    stderr: StdioDef | None,
    stream: str | os.PathLike[str] | None,
    priority: int,
    resources: Any,
    crash_limit: int | str | None,
    time_limit: Any,
    pin: str | None,
    retry: Any,
) -> Common:
    """All of it, checked; ValidationException names the argument."""
    if pin is not None and (not isinstance(pin, str) or pin not in _PINS):
        raise ValidationException(f"pin has to be one of {', '.join(_PINS)}, not {shown(pin)}")
    variants = read_resources("resources", resources)
    if pin is not None and any(request.nodes for request in variants):
        raise ValidationException("pin: tasks on several nodes cannot be pinned")
    if cwd is not None and "CWD" in names(read_path("cwd", cwd)):
        raise ValidationException("cwd cannot contain `%{CWD}`, which stands for itself")
    return Common(
        read_environment("env", env),
        None if cwd is None else read_path("cwd", cwd),
        stdout,
        stderr,
        None if stream is None else _stream(stream),
        variants,
        _settings(priority, crash_limit, retry),
        0.0 if time_limit is None else read_seconds("time_limit", time_limit),
        PinMode.NONE if pin is None else _PINS[pin],
    )


def _stream(value: str | os.PathLike[str]) -> str:
    path = os.path.abspath(read_path("stream", value))
    own = [name for name in names(path) if name in _TASKS_OWN]
    if own:
        raise ValidationException(
            f"stream cannot contain `%{{{own[0]}}}`: the tasks of a job share the directory"
        )
    return path


def _settings(priority: int, crash_limit: int | str | None, retry: Any) -> TaskSettings:
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise ValidationException(f"priority has to be a whole number, not {shown(priority)}")
    settings = TaskSettings(priority, _crash_limit(crash_limit), read_retry("retry", retry))
    try:
        check_settings(settings)
    except InputError as error:
        raise ValidationException(f"priority: {error}") from None
    return settings


def _crash_limit(value: int | str | None) -> int:
    if value is None:
        return DEFAULT_CRASH_LIMIT
    if isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= CRASH_LIMIT_MAX:
        return value
    raise ValidationException(
        f"crash_limit has to be a number from 1 to {CRASH_LIMIT_MAX}, 'never-restart' or "
        f"'unlimited', not {shown(value)}"
    )
