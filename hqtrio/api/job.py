"""A job as a script describes it, until it is submitted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hqtrio.api.output import DEFAULT_STDERR, DEFAULT_STDOUT, read_stdio
from hqtrio.api.task import Common, Task, read_common, read_dependencies, read_environment
from hqtrio.api.validation import ValidationException, read_path, shown
from hqtrio.errors import InputError
from hqtrio.jobs.checks import check_head
from hqtrio.model.job import JobHead

if TYPE_CHECKING:
    from hqtrio.api.client import Client

__all__ = ["FunctionTask", "Job", "ProgramTask", "SubmittedJob"]

DEFAULT_NAME: Final = "PyAPI job"
Path = str | os.PathLike[str]


@dataclass(eq=False)
class ProgramTask(Task):
    """A program with its arguments."""

    args: tuple[str, ...] = ()
    stdin: bytes = b""
    task_dir: bool = False


@dataclass(eq=False)
class FunctionTask(Task):
    """A function with its arguments. What it returns can be asked for if `keeps_result`."""

    function: Callable[..., Any] = print
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    keeps_result: bool = True


class Job:
    """Tasks that are submitted together.

    `default_workdir` (made absolute now) and `default_env` are for tasks that say nothing else.
    The job gives up when more than `max_fails` tasks have failed (None: never). With `open` it
    takes more tasks after it was submitted, until it is closed.
    """

    def __init__(
        self,
        default_workdir: Path | None = None,
        max_fails: int | None = 1,
        default_env: Mapping[str, str] | None = None,
        name: str | None = None,
        *,
        open: bool = False,  # noqa: A002
    ) -> None:
        if max_fails is not None and (
            isinstance(max_fails, bool) or not isinstance(max_fails, int) or max_fails < 0
        ):
            raise ValidationException(
                f"max_fails has to be at least 0 or None, not {shown(max_fails)}"
            )
        if name is not None and not isinstance(name, str):
            raise ValidationException(f"name has to be a text, not {shown(name)}")
        try:
            check_head(JobHead(name or DEFAULT_NAME, max_fails))
        except InputError as error:
            raise ValidationException(str(error)) from None
        self.default_workdir = (
            None
            if default_workdir is None
            else os.path.abspath(read_path("default_workdir", default_workdir))
        )
        self.default_env = read_environment("default_env", default_env)
        self.max_fails, self.name, self.is_open = max_fails, name or DEFAULT_NAME, open
        self.tasks: list[Task] = []

    def program(
        self,
        args: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdout: Any = DEFAULT_STDOUT,
        stderr: Any = DEFAULT_STDERR,
        stdin: str | bytes | None = None,
        deps: Any = (),
        name: str | None = None,
        task_dir: bool = False,
        priority: int = 0,
        resources: Any = None,
        crash_limit: int | str | None = None,
        time_limit: Any = None,
        pin: str | None = None,
        stream: Path | None = None,
        retry: int | Mapping[str, Any] | None = None,
    ) -> ProgramTask:
        """Add a task that runs a program; a single text is the program's name, never split.

        `deps` are tasks of this job that have to finish first, in a list of any depth. `retry` says
        how often a failed run is repeated, or is a mapping as in job files: `{"times": 3, "on":
        [75, "SIGKILL", "timeout"], "backoff": "1s", "factor": 2, "max_backoff": "1h"}`.
        """
        words = (args,) if isinstance(args, str) else args
        if not isinstance(words, list | tuple):
            raise ValidationException(
                f"args has to be a text or a list of texts, not {shown(args)}"
            )
        for place, word in enumerate(words):
            if not isinstance(word, str):
                raise ValidationException(f"args[{place}] has to be a text, not {shown(word)}")
        if not words or not words[0]:
            raise ValidationException("args has to begin with the name of a program")
        if any("\0" in word for word in words):
            raise ValidationException("args: no program takes an argument with a NUL")
        if not isinstance(stdin, str | bytes | None):
            raise ValidationException(f"stdin has to be text or bytes, not {shown(stdin)}")
        common = read_common(
            env=env,
            cwd=cwd,
            stdout=read_stdio("stdout", stdout),
            stderr=read_stdio("stderr", stderr),
            stream=stream,
            priority=priority,
            resources=resources,
            crash_limit=crash_limit,
            time_limit=time_limit,
            pin=pin,
            retry=retry,
        )
        task = ProgramTask(
            *self._head(name, common, deps),
            tuple(words),
            stdin.encode() if isinstance(stdin, str) else stdin or b"",
            bool(task_dir),
        )
        self.tasks.append(task)
        return task

    def programs(
        self, args: str | Sequence[str], entries: Iterable[str], **options: Any
    ) -> list[ProgramTask]:
        """Add a task for each entry, which it finds in the variable HQ_ENTRY; options are those of
        `program`."""
        env = read_environment("env", options.pop("env", None))
        return [self.program(args, env={**env, "HQ_ENTRY": text}, **options) for text in entries]

    def function(
        self,
        fn: Callable[..., Any],
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdout: Any = DEFAULT_STDOUT,
        stderr: Any = DEFAULT_STDERR,
        deps: Any = (),
        name: str | None = None,
        priority: int = 0,
        resources: Any = None,
        crash_limit: int | str | None = None,
        time_limit: Any = None,
        pin: str | None = None,
        stream: Path | None = None,
        retry: int | Mapping[str, Any] | None = None,
        result: bool = True,
    ) -> FunctionTask:
        """Add a task that calls a function; what it needs is pickled when the job is submitted.

        Without `result`, what it returns is dropped.
        """
        if not callable(fn):
            raise ValidationException(f"fn has to be something to call, not {shown(fn)}")
        if not isinstance(args, list | tuple):
            raise ValidationException(f"args has to be a list or tuple, not {shown(args)}")
        if not isinstance(kwargs, Mapping | None) or not all(
            isinstance(key, str) for key in kwargs or ()
        ):
            raise ValidationException(f"kwargs has to map names to values, not {shown(kwargs)}")
        common = read_common(
            env=env,
            cwd=cwd,
            stdout=read_stdio("stdout", stdout),
            stderr=read_stdio("stderr", stderr),
            stream=stream,
            priority=priority,
            resources=resources,
            crash_limit=crash_limit,
            time_limit=time_limit,
            pin=pin,
            retry=retry,
        )
        if name is None and (called := getattr(fn, "__name__", None)) is not None:
            name = f"{called}/{len(self.tasks)}"
        task = FunctionTask(
            *self._head(name, common, deps), fn, tuple(args), dict(kwargs or {}), result
        )
        self.tasks.append(task)
        return task

    def task_by_id(self, task_id: int) -> Task | None:
        """The task with this number, if there is one."""
        return self.tasks[task_id] if 0 <= task_id < len(self.tasks) else None

    def _head(
        self, name: str | None, common: Common, deps: Any
    ) -> tuple[int, str | None, Common, tuple[Task, ...]]:
        if name is not None and not isinstance(name, str):
            raise ValidationException(f"name has to be a text, not {shown(name)}")
        needs = read_dependencies("deps", deps, self.tasks)
        return len(self.tasks), name, common, needs

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)


@dataclass
class SubmittedJob:
    """A job that a server has taken; `id` is its number there."""

    job: Job
    id: int
    client: Client | None = field(default=None, repr=False, compare=False)
    # Tasks that were added to an open job have other numbers there than in `job`.
    numbers: tuple[int, ...] = field(default=(), repr=False, compare=False)

    def number_of(self, task: Task | int) -> int:
        """The task's number at the server."""
        place = task if isinstance(task, int) else task.task_id
        if not 0 <= place < len(self.job.tasks) or (
            isinstance(task, Task) and self.job.tasks[place] is not task
        ):
            raise ValidationException(f"Job {self.id} has no such task: {shown(task)}")
        return self.numbers[place] if self.numbers else place

    def result(self, task: Task | int, timeout: float | None = None) -> Any:
        """What the function has returned, once it has; its exception is raised, with the traceback
        of where that happened. TimeoutError after `timeout` seconds, TaskFailed if the task ended
        in another way.
        """
        if self.client is None:
            raise RuntimeError("This job was not submitted by a client")
        return self.client._result(self, task, timeout)
