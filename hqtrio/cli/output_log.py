"""`output-log`: what tasks have streamed, without a server."""

from __future__ import annotations

import json
import time
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from logging import getLogger
from typing import Final

import click

from hqtrio.cli import values
from hqtrio.cli.kinds import Choice
from hqtrio.cli.parsing import argument, command, flag, option
from hqtrio.cli.render.frame import GREEN, RED, RESET
from hqtrio.cli.session import Session
from hqtrio.cli.stream_files import NoStreams, StreamFiles
from hqtrio.errors import InputError
from hqtrio.ids import IdArray
from hqtrio.streams.format import STDERR, STDOUT
from hqtrio.streams.index import NUMBER_BITS, NUMBER_MASK, Execution

log = getLogger(__name__)

CHANNELS: Final = {"stdout": STDOUT, "stderr": STDERR}
_LOOK_S: Final = 0.2  # between two looks at files that others write, perhaps on another machine
_COLORS: Final = (GREEN, RED)

TASK_OPTION: Final = option(
    "--task", "tasks", read=values.ids, metavar="TASKS", help="Only these, in this order."
)


@command("summary")
def summary(session: Session) -> None:
    """Count what the stream files hold."""
    with _opened() as files:
        session.render.stream_summary(_directory(), files.index.summary(len(files)))


@command("jobs")
def jobs(session: Session) -> None:
    """Print the ids of the jobs that have streamed."""
    session.render.raw()
    with _opened() as files:
        for job in files.index.jobs():
            session.out.write(f"{job}\n")


@command("show")
@option("--job", read=values.job_id, metavar="JOB", help="Only this job.")
@option("--channel", read=Choice(CHANNELS), metavar="CHANNEL", help="Only stdout or stderr.")
def show(session: Session, job: int | None, channel: int | None) -> None:
    """Print what tasks have printed, piece by piece in the order of time."""
    session.render.raw()
    with _opened() as files:
        job_width, task_width = files.index.widths()
        for frame, piece in files.by_time():
            number = frame.task >> NUMBER_BITS
            if (job or number) != number or channel not in (None, frame.channel):
                continue
            task = frame.task & NUMBER_MASK
            prefix = f"{number:0{job_width}}.{task:0{task_width}}:{frame.channel}>"
            if session.has_colors:
                prefix = f"{_COLORS[frame.channel]}{prefix}{RESET}"
            data = files.read(piece)
            end = b"" if data.endswith(b"\n") else b"\n"
            session.write_bytes(BytesIO(prefix.encode() + b" " + data + end))


@command("cat")
@argument("job", read=values.job_id, metavar="JOB")
@argument("channel", read=Choice(CHANNELS), metavar="CHANNEL")
@TASK_OPTION
@flag("--allow-unfinished", help="Print what there is also of tasks that still run.")
@flag("--follow", help="Go on printing until the tasks have ended.")
def cat(
    session: Session,
    job: int,
    channel: int,
    tasks: IdArray | None,
    allow_unfinished: bool,
    follow: bool,
) -> None:
    """Print what tasks have printed (CHANNEL is `stdout` or `stderr`), task after task."""
    session.render.raw()
    if follow:
        _follow(session, job, channel, tasks)
        return
    with _opened() as files:
        chosen = _choose(files, job, tasks)
        if not allow_unfinished:
            for number, execution in chosen:
                if not execution.is_finished:
                    raise InputError(f"Stream for task {number} is not finished")
        for _, execution in chosen:
            for piece in execution.pieces(channel):
                session.write_bytes(BytesIO(files.read(piece)))


@command("export")
@argument("job", read=values.job_id, metavar="JOB")
@TASK_OPTION
def export(session: Session, job: int, tasks: IdArray | None) -> None:
    """Print the outputs of a job's tasks as JSON: a list of objects with `id`, `finished`,
    `stdout` and `stderr`."""
    session.render.raw()
    out = session.out
    with _opened() as files:
        before = "["
        for number, execution in _choose(files, job, tasks):
            done = "true" if execution.is_finished else "false"
            out.write(f'{before}{{"id": {number}, "finished": {done}')
            for name, channel in CHANNELS.items():
                out.write(f', "{name}": "')
                for text in _texts(files, execution, channel):
                    out.write(json.dumps(text)[1:-1])
                out.write('"')
            out.write("}")
            before = ",\n "
        out.write("]\n")


def _directory() -> str:
    parent = click.get_current_context().parent
    assert parent is not None
    return str(parent.params["directory"])


@contextmanager
def _opened(*, waits: bool = False) -> Iterator[StreamFiles]:
    """The files that the words before the command name, indexed; perhaps once there are any."""
    parent = click.get_current_context().parent
    assert parent is not None
    files = StreamFiles(_directory(), parent.params["server_uid"])
    try:
        is_told = False
        while True:
            try:
                files.refresh()
                break
            except NoStreams as nothing:
                if not waits:
                    raise
                if not is_told:
                    log.warning("%s; waiting for some", nothing)
                is_told = True
                time.sleep(_LOOK_S)
        yield files
    finally:
        files.close()


def _choose(files: StreamFiles, job: int, tasks: IdArray | None) -> Sequence[tuple[int, Execution]]:
    """The tasks in the order in which they are wanted."""
    known = files.index.tasks(job)
    if not known:
        raise InputError(f"Job {job} not found")
    chosen = []
    for number in known if tasks is None else tasks:
        execution = files.index.find(job, number)
        if execution is None:
            raise InputError(f"Task {number} not found")
        chosen.append((number, execution))
    return chosen


def _texts(files: StreamFiles, execution: Execution, channel: int) -> Iterator[str]:
    decoder = getincrementaldecoder("utf-8")("replace")
    for piece in execution.pieces(channel):
        yield decoder.decode(files.read(piece))
    yield decoder.decode(b"", final=True)


def _follow(session: Session, job: int, channel: int, tasks: IdArray | None) -> None:
    """Print pieces as they come, until every task that is asked for, or that has been seen, has
    ended. What a later execution of a task prints comes after what an earlier one did. Where
    nothing was streamed yet, it waits."""
    printed: dict[tuple[int, int], int] = {}
    with _opened(waits=True) as files:
        while True:
            numbers = files.index.tasks(job) if tasks is None else list(tasks)
            found = [(number, files.index.find(job, number)) for number in numbers]
            for number, execution in found:
                if execution is not None:
                    key = number, execution.instance
                    for piece in execution.pieces(channel, printed.setdefault(key, 0)):
                        session.write_bytes(BytesIO(files.read(piece)))
                        printed[key] += 1
            if found and all(e is not None and e.is_finished for _, e in found):
                return
            time.sleep(_LOOK_S)
            files.refresh()
