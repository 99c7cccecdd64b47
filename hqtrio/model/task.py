"""Task states, outcomes and what the tasks of one submit share."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from hqtrio.model.matrix import Matrix
from hqtrio.model.retry import Retry
from hqtrio.model.value import Value


class TaskState(IntEnum):
    """One byte per task. READY, shipped and being retracted all show as WAITING."""

    WAITING = 0
    RUNNING = 1
    FINISHED = 2
    FAILED = 3
    CANCELLED = 4  # by the user
    ABORTED = 5  # by the system: a dependency failed, or max_fails was exceeded


ENDED: Final = (TaskState.FINISHED, TaskState.FAILED, TaskState.CANCELLED, TaskState.ABORTED)


class Ending(IntEnum):
    """How one execution of a task ended, as its worker saw it."""

    FINISHED = 0  # exit status 0
    EXITED = 1  # code is the exit status
    SIGNALLED = 2  # code is the signal
    TIME_LIMIT = 3
    NOT_PREPARED = 4  # never started; the text says which step failed (phase A)
    NOT_STARTED = 5  # counted as started, then the process could not be made (phase B)
    CANCELLED = 6  # killed or dropped because the server ordered it
    LOST = 7  # its launcher died; nothing is known about how it ended


class PinMode(IntEnum):
    NONE = 0
    TASKSET = 1
    OMP = 2


NEVER_RESTART: Final = -1
UNLIMITED: Final = 0
DEFAULT_CRASH_LIMIT: Final = 5  # any positive number: how many losses are too many


class Stdio(Value, frozen=True):
    """Where one output goes: a path with placeholders, nowhere (None), or the stream."""

    path: str | None
    remove_if_finished: bool = False
    stream: bool = False


class TaskBody(Value, frozen=True):
    """What tasks of one submit share. Paths may hold placeholders that only a worker can fill.

    Arguments, environment and paths are bytes where a user may write any; text that is not UTF-8
    travels as surrogate escapes and is turned back into bytes by the worker.
    """

    args: tuple[bytes, ...]
    env: tuple[tuple[bytes, bytes], ...]
    cwd: str
    stdout: Stdio
    stderr: Stdio
    submit_dir: str
    stdin: bytes = b""
    time_limit_s: float = 0.0  # 0: none
    pin: PinMode = PinMode.NONE
    task_dir: bool = False
    stream_dir: str = ""
    script: bytes = b""  # handed over as a file in the task directory (job file `script:`)
    shell: tuple[bytes, ...] = ()
    fields: tuple[str, ...] = ()  # names in the entry that placeholders here stand for
    fills: bool = False  # placeholders in args, env and stdin are filled as well
    matrix: Matrix | None = None  # its combination is each task's entry
    first_number: int = 0  # number of the task with the matrix's first combination
    # The task is the call of a Python function, and so many calls one interpreter may serve; 0: it
    # is a program. `args` start the interpreter, the worker adds what it is to run.
    function_calls: int = 0


class TaskSettings(Value, frozen=True):
    """What the server decides with, per task or per array."""

    priority: int = 0
    crash_limit: int = DEFAULT_CRASH_LIMIT
    retry: Retry | None = None
