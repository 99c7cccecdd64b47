"""Between the worker machine and its launchers: what to start, and what became of it.

A lane belongs to one slot and one launcher; its tasks run one after another. The launcher process
itself knows neither this module nor any package of ours: the worker's launcher edge turns these
values into marshalled tuples and back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final


class Field(IntEnum):
    """What a launcher fills into a template."""

    TASK_ID = 0
    INSTANCE_ID = 1
    CWD = 2


Template = tuple[str | int, ...]  # text, a Field, or FIELDS and more: a value of the task
FIELDS: Final = len(Field)


@dataclass(frozen=True, slots=True)
class Output:
    """A file that each execution makes anew; a relative path is relative to the task's cwd."""

    path: Template
    remove_if_finished: bool = False


# --- orders


@dataclass(frozen=True, slots=True)
class Stream:
    """Where the streamer of this worker listens, and which file of its gets these channels."""

    socket: str
    directory: str
    server_uid: str
    worker: int
    mask: int  # bit 0: stdout, bit 1: stderr


@dataclass(frozen=True, slots=True)
class UseBody:
    """What the tasks named with `key` share. `env` is complete but for lane and task variables.

    A relative `cwd` is relative to `submit_dir`. None for an output means /dev/null, unless it is
    in the mask of `stream`. Words, values of the environment and stdin are bytes, or templates if
    something is to be filled in.
    """

    launcher: int
    key: int
    args: tuple[bytes | Template, ...]
    env: tuple[tuple[bytes, bytes | Template], ...]
    submit_dir: str
    cwd: Template
    stdout: Output | None
    stderr: Output | None
    stdin: bytes | Template = b""
    task_dir_root: str = ""  # make a private directory in it for each execution
    script: bytes = b""
    stream: Stream | None = None
    function_calls: int = 0  # as in model.task.TaskBody


@dataclass(frozen=True, slots=True)
class DropBody:
    launcher: int
    key: int


@dataclass(frozen=True, slots=True)
class TaskFile:
    """A file that an execution finds in its task directory; the variable holds its path."""

    variable: bytes
    name: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class OpenLane:
    """`env` overrides the body's; `user_wins` are set only where the body has no such name.

    `prefix` goes before the command (taskset). With `task_dir_root` each execution has a private
    directory there, also if its body wants none, with these `files`.
    """

    launcher: int
    lane: int
    env: tuple[tuple[bytes, bytes], ...] = ()
    user_wins: tuple[tuple[bytes, bytes], ...] = ()
    prefix: tuple[bytes, ...] = ()
    task_dir_root: str = ""
    files: tuple[TaskFile, ...] = ()


@dataclass(frozen=True, slots=True)
class CloseLane:
    launcher: int
    lane: int


@dataclass(frozen=True, slots=True)
class RunTasks:
    """Append to the lane. Each task adds HQ_JOB_ID, HQ_TASK_ID, HQ_INSTANCE_ID and HQ_ENTRY, and
    its token to HQ_ACCESS_KEY.
    """

    launcher: int
    lane: int
    key: int
    tasks: tuple[int, ...]
    instances: tuple[int, ...]
    entries: tuple[bytes, ...] = ()  # one per task, or nothing
    tokens: tuple[bytes, ...] = ()  # one per task, or nothing
    values: tuple[tuple[bytes, ...], ...] = ()  # what templates name, per task, or nothing


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Unqueue those of the tasks that have not started; answered by LauncherSaid.taken."""

    launcher: int
    seq: int
    tasks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SignalTasks:
    """Signal the process group of each task that runs."""

    launcher: int
    signal: int
    tasks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KillTasks:
    """SIGKILL for what SignalTasks was sent to before: groups, descendants, and what they left.

    A later run of the same task is spared.
    """

    launcher: int
    tasks: tuple[int, ...]


Order = UseBody | DropBody | OpenLane | CloseLane | RunTasks | TakeBack | SignalTasks | KillTasks


# --- answers


@dataclass(frozen=True, slots=True)
class TaskRan:
    """A process that has started, and perhaps ended. Ages in seconds before the answer was read.

    `status` as os.waitstatus_to_exitcode gives it: exit status, or minus the signal.
    `cpu_s` < 0 and `peak_kib` 0 mean unknown.
    """

    task: int
    lane: int
    pid: int
    started_age_s: float
    ended_age_s: float = 0.0
    status: int = 0
    cpu_s: float = -1.0
    peak_kib: int = 0
    error: str = ""  # contents of the task's error file, when it has one and failed
    result: bytes = b""  # what a function has returned or raised


@dataclass(frozen=True, slots=True)
class TaskRefused:
    """A task that could not be started; `prepared` tells phase B (counts as started) from A."""

    task: int
    lane: int
    prepared: bool
    text: str
    age_s: float


@dataclass(frozen=True, slots=True)
class LauncherSaid:
    """One answer of a launcher; a task is in `started` only if it still ran when it was written."""

    launcher: int
    started: tuple[TaskRan, ...] = ()
    ended: tuple[TaskRan, ...] = ()
    refused: tuple[TaskRefused, ...] = ()
    taken: tuple[tuple[int, tuple[int, ...]], ...] = field(default=())  # (seq, tasks unqueued)


@dataclass(frozen=True, slots=True)
class LauncherDied:
    """The launcher is gone. Its processes are being killed by the worker; lanes are void."""

    launcher: int


@dataclass(frozen=True, slots=True)
class LauncherReady:
    """A launcher (also one that replaces a dead one, under a new number) takes orders."""

    launcher: int


Answer = LauncherSaid | LauncherDied | LauncherReady
