"""From a described job to the request that makes it."""

from __future__ import annotations

import secrets
from typing import Final, TypeVar

from hqtrio.api.environment import PythonEnv
from hqtrio.api.job import FunctionTask, Job, ProgramTask
from hqtrio.api.output import stdio_of
from hqtrio.api.payload import CallPacker
from hqtrio.api.task import Task
from hqtrio.api.validation import ValidationException
from hqtrio.model.job import GraphSpec, GraphTask, JobHead, Submit
from hqtrio.model.task import TaskBody

__all__ = ["make_submit"]

_KEY_BYTES: Final = 16
_TEXT_OF: Final = "surrogateescape"
T = TypeVar("T")


class _Interned(dict[T, int]):
    """Values by the order in which they first came."""

    def of(self, value: T) -> int:
        return self.setdefault(value, len(self))


def make_submit(
    job: Job, python: PythonEnv, *, submit_dir: str, results: str, to: int = 0, first: int = 0
) -> Submit:
    """The whole job as one request; large functions and arguments are in files of `results` then.

    With `to` the tasks join that open job, numbered from `first`.
    """
    if not job.tasks and not (job.is_open and not to):
        raise ValidationException("Submitted job must have at least a single task")
    variants: _Interned[object] = _Interned()
    settings: _Interned[object] = _Interned()
    packer = CallPacker(results)
    bodies: list[TaskBody] = []
    known: dict[TaskBody, int] = {}
    tasks = []
    for task in job.tasks:
        body = _body(task, job, python, packer, submit_dir, results)
        if body not in known:
            known[body] = len(bodies)
            bodies.append(body)
        tasks.append(
            GraphTask(
                first + task.task_id,
                known[body],
                variants.of(task.common.variants),
                settings.of(task.common.settings),
                tuple(first + other.task_id for other in task.dependencies),
            )
        )
    graph = GraphSpec(tuple(bodies), tuple(variants), tuple(settings), tuple(tasks))  # type: ignore[arg-type]
    head = None if to else JobHead(job.name, job.max_fails, is_open=job.is_open)
    return Submit(
        secrets.token_bytes(_KEY_BYTES), submit_dir, head, to, graph=graph if tasks else None
    )


def _body(
    task: Task, job: Job, python: PythonEnv, packer: CallPacker, submit_dir: str, results: str
) -> TaskBody:
    common = task.common
    env = {**job.default_env, **common.env}
    args: tuple[bytes, ...] = ()
    stdin, task_dir, calls = b"", False, 0
    if isinstance(task, ProgramTask):
        args, stdin = tuple(map(_encoded, task.args)), task.stdin
        task_dir = task.task_dir
    elif isinstance(task, FunctionTask):
        args, task_dir, calls = python.words, True, python.calls
        try:
            wanted = results if task.keeps_result else None
            stdin = packer.pack(task.function, task.args, task.kwargs, results=wanted)
        except Exception as error:
            raise ValidationException(
                f"Task {task.label}: its function or arguments cannot be pickled: {error}"
            ) from error
    streamed = common.stream is not None
    return TaskBody(
        args=args,
        env=tuple((_encoded(name), _encoded(value)) for name, value in env.items()),
        cwd=common.cwd or job.default_workdir or submit_dir,
        stdout=stdio_of(common.stdout, "stdout", streamed=streamed),
        stderr=stdio_of(common.stderr, "stderr", streamed=streamed),
        submit_dir=submit_dir,
        stdin=stdin,
        time_limit_s=common.time_limit_s,
        pin=common.pin,
        task_dir=task_dir,
        stream_dir=common.stream or "",
        function_calls=calls,
    )


def _encoded(text: str) -> bytes:
    return text.encode(errors=_TEXT_OF)
