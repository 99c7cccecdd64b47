"""`submit` (also `job submit`) and `job submit-file`."""

from __future__ import annotations

import secrets
import sys
from logging import getLogger
from typing import Any, Final

from hqtrio.cli import values
from hqtrio.cli.entries import read_json, read_lines
from hqtrio.cli.job_wait import show_progress
from hqtrio.cli.parsing import (
    Choice,
    argument,
    client_command,
    fail,
    flag,
    given_options,
    list_follows_dashes,
    option,
)
from hqtrio.cli.session import Session, current_directory
from hqtrio.cli.submitting import (
    DEFAULT_STDERR,
    DEFAULT_STDOUT,
    ProgramOptions,
    program_submit,
    submit_warnings,
)
from hqtrio.client import Client
from hqtrio.model.requests import parse_named_need
from hqtrio.model.task import DEFAULT_CRASH_LIMIT
from hqtrio.units import parse_duration

log = getLogger(__name__)

JOB_FILE_ENDINGS: Final = (".yaml", ".yml", ".toml")
KEY_BYTES: Final = 16
# Options that make sense for a whole job file.
FILE_OPTIONS: Final = frozenset({"name", "max_fails", "priority", "job", "wait", "progress"})
CONFLICTS: Final = [
    ("wait", "progress"),
    ("each_line", "from_json"),
    ("nodes", "cpus"),
    ("nodes", "pin"),
]

TASK_OPTIONS: Final = (
    option("--name", read=values.job_name, help="Name of the job."),
    option("--array", "ids", read=values.ids, metavar="IDS", help="One task per id: 1-10,20."),
    option("--each-line", metavar="FILE", help="One task per line of the file (HQ_ENTRY)."),
    option("--from-json", metavar="FILE", help="One task per item of a JSON list (HQ_ENTRY)."),
    option("--resource", "resources", read=parse_named_need, multiple=True,
           metavar="NAME=REQUEST", help="Another resource that each task needs."),
    option("--time-request", "time_request_s", read=parse_duration, default="0",
           metavar="TIME_REQUEST",
           help="Start a task only where the worker lives at least this much longer."),
    option("--weight", read=values.weight, default="1",
           help="Of tasks with equal priority, larger is preferred to use a worker (default: 1)."),
    option("--pin", read=Choice(values.PINS), metavar="PIN",
           help="Bind each task to its CPUs: taskset, or omp (OpenMP variables)."),
    option("--env", read=values.variable, multiple=True, metavar="KEY=VALUE",
           help="Environment variable of each task."),
    option("--cwd", metavar="PATH", help="Working directory of tasks."),
    option("--stdout", read=values.output(DEFAULT_STDOUT), help="File, or `none`."),
    option("--stderr", read=values.output(DEFAULT_STDERR), help="File, or `none`."),
    flag("--stdin", help="Hand the standard input to every task."),
    option("--priority", read=values.priority, help="Larger starts earlier."),
    option("--time-limit", "time_limit_s", read=parse_duration, metavar="TIME_LIMIT",
           help="A task that runs longer is killed."),
    option("--max-fails", read=values.whole,
           help="How many tasks may fail before the rest is aborted."),
    option("--crash-limit", read=values.crash_limit, default=DEFAULT_CRASH_LIMIT,
           help="How often a task may lose its worker: a number, never-restart, unlimited."),
)  # fmt: skip


def task_options(function: Any) -> Any:
    """Add the options that describe tasks, but for `--cpus`."""
    for decorate in reversed(TASK_OPTIONS):
        function = decorate(function)
    return function


@client_command("submit", conflicts=CONFLICTS, trailing=True)
@argument("words", read=str, nargs=-1, required=True, metavar="PROGRAM")
@option("--cpus", read=values.cpus, help="CPUs of each task: 2, `4 compact!`, all.")
@option(
    "--nodes",
    read=values.whole,
    default="0",
    help="Run each task on so many whole workers of one group; it starts on the first.",
)
@task_options
@option("--job", read=values.whole, help="Add the tasks to this open job.")
@flag("--wait", help="Wait until the job is completed.")
@flag("--progress", help="Show progress until the job is completed.")
async def submit(
    session: Session,
    client: Client,
    words: tuple[str, ...],
    job: int | None,
    wait: bool,
    progress: bool,
    **task: Any,
) -> None:
    """Submit a program, or a job file (*.yaml, *.yml, *.toml) and nothing after it."""
    if is_job_file(words):
        check_file_options(FILE_OPTIONS)
        number = await _submit_file(
            client, words[0], job, name=task["name"], max_fails=task["max_fails"],
            priority=task["priority"],
        )  # fmt: skip
    else:
        options = program_options(session, words, job, task)
        for warning in submit_warnings(options):
            log.warning("%s", warning)
        number = await client.submit(program_submit(options, secrets.token_bytes(KEY_BYTES)))
    session.render.submitted(number)
    await after_submit(session, client, number, wait=wait, progress=progress)


@client_command("submit-file")
@argument("path", read=str, metavar="PATH")
@option("--job", read=values.whole, help="Add the tasks to this open job.")
async def submit_file(session: Session, client: Client, path: str, job: int | None) -> None:
    """Submit a job file."""
    session.render.submitted(await _submit_file(client, path, job))


def is_job_file(words: tuple[str, ...]) -> bool:
    """Whether the words of `submit` name a job file; after `--` they are a program."""
    return len(words) == 1 and words[0].endswith(JOB_FILE_ENDINGS) and not list_follows_dashes()


def check_file_options(allowed: frozenset[str]) -> None:
    """Refuse options that say something about tasks: a job file says that itself."""
    for name, text in given_options().items():
        if name not in allowed:
            fail(f"the argument '{text}' cannot be used with a job file: write it into the file")


def program_options(
    session: Session, words: tuple[str, ...], job: int | None, task: dict[str, Any]
) -> ProgramOptions:
    """What the command line says, with files and standard input read."""
    task = {**task, "priority": task["priority"] or 0}
    stdin = _read_stdin(session) if task.pop("stdin") else b""
    lines, items = task.pop("each_line"), task.pop("from_json")
    entries = read_lines(lines) if lines else read_json(items) if items else None
    return ProgramOptions(words, current_directory(), entries=entries, stdin=stdin, job=job, **task)


async def after_submit(
    session: Session, client: Client, job: int, *, wait: bool, progress: bool
) -> None:
    """Wait for the job, if that was asked for; progress is drawn for people only."""
    if progress and session.output_mode == "cli":
        session.out.flush()
        await show_progress(session, client, [job])
    elif wait or progress:
        session.out.flush()
        await client.wait_for_jobs([job])


async def _submit_file(client: Client, path: str, job: int | None, **overrides: Any) -> int:
    from hqtrio.cli.jobfiles import read_jobfile

    return await client.submit(read_jobfile(path, job=job, **overrides))


def _read_stdin(session: Session) -> bytes:
    hint = "Reading data from stdin ... (press CTRL+D to finish)\n"
    (session.out if session.output_mode == "cli" else sys.stderr).write(hint)
    session.out.flush()
    return sys.stdin.buffer.read()
