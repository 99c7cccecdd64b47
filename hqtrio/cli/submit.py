"""`submit` (also `job submit`) and `job submit-file`."""

from __future__ import annotations

import secrets
import sys
from logging import getLogger
from typing import Any, Final

from hqtrio.cli import values
from hqtrio.cli.bar import follow
from hqtrio.cli.directives import merge, read_directives
from hqtrio.cli.entries import read_json, read_lines
from hqtrio.cli.on_notify import ON_NOTIFY_OPTION, calling
from hqtrio.cli.parsing import (
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
    ProgramOptions,
    checked_name,
    program_submit,
    refuse_head_options,
    submit_warnings,
)
from hqtrio.cli.task_options import CONFLICTS, CPUS_OPTION, NODES_OPTION, task_options
from hqtrio.client import Client

log = getLogger(__name__)

JOB_FILE_ENDINGS: Final = (".yaml", ".yml", ".toml")
KEY_BYTES: Final = 16
USAGE: Final = "PROGRAM [ARGS]... | JOB_FILE"
# Options that make sense for a whole job file.
FILE_OPTIONS: Final = frozenset(
    {"name", "max_fails", "priority", "stream", "job", "wait", "progress", "on_notify"}
)


@client_command(
    "submit",
    conflicts=[("wait", "progress"), *CONFLICTS],
    trailing=True,
    usage=USAGE,
)
@argument("words", read=str, nargs=-1, required=True, metavar="PROGRAM")
@CPUS_OPTION
@NODES_OPTION
@task_options
@option("--job", read=values.job_id, help="Add the tasks to this open job.")
@flag("--wait", help="Wait until the job is completed.")
@flag("--progress", help="Show progress until the job is completed.")
@ON_NOTIFY_OPTION
async def submit(
    session: Session,
    client: Client,
    words: tuple[str, ...],
    job: int | None,
    wait: bool,
    progress: bool,
    on_notify: str | None,
    **task: Any,
) -> None:
    """Submit a program, or a job file (*.yaml, *.yml, *.toml) and nothing after it."""
    if on_notify and not (wait or progress):
        log.warning("--on-notify has no effect without --wait or --progress")
        on_notify = None
    async with calling(client, on_notify):
        number = await _submit(session, client, words, job, task)
        session.render.submitted(number)
        await after_submit(session, client, number, wait=wait, progress=progress)


async def _submit(
    session: Session,
    client: Client,
    words: tuple[str, ...],
    job: int | None,
    task: dict[str, Any],
) -> int:
    if is_job_file(words):
        check_file_options(FILE_OPTIONS)
        if job is not None:
            refuse_head_options(task["name"], task["max_fails"])
        checked_name(task["name"] or "")
        return await _submit_file(
            client, words[0], job, name=task["name"], max_fails=task["max_fails"],
            priority=task["priority"], stream=task["stream"],
        )  # fmt: skip
    options = program_options(session, words, job, task)
    for warning in submit_warnings(options):
        log.warning("%s", warning)
    return await client.submit(program_submit(options, secrets.token_bytes(KEY_BYTES)))


@client_command("submit-file")
@argument("path", read=str, metavar="PATH")
@option("--job", read=values.job_id, help="Add the tasks to this open job.")
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
    session: Session, words: tuple[str, ...], job: int | None, typed: dict[str, Any]
) -> ProgramOptions:
    """What command line and script say, with files and standard input read."""
    typed = {**typed}
    stdin = _read_stdin(session) if typed.pop("stdin") else None
    directives = read_directives(typed.pop("directives"), words[0], stdin)
    task = merge(typed, given_options(), directives)
    if stdin is None:
        words = (*directives.interpreter, *words)
    if job is not None:
        refuse_head_options(task["name"], task["max_fails"])
    lines, items = task.pop("each_line"), task.pop("from_json")
    entries = read_lines(lines) if lines else read_json(items) if items else None
    task["priority"] = task["priority"] or 0
    return ProgramOptions(
        words, current_directory(), entries=entries, stdin=stdin or b"", job=job, **task
    )


async def after_submit(
    session: Session, client: Client, job: int, *, wait: bool, progress: bool
) -> None:
    """Wait for the job, if that was asked for; progress is drawn for people only."""
    if progress and session.output_mode == "cli":
        session.out.flush()
        await follow(session, client, [job])
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
