"""The program `hqtrio`: reads the command line, runs one command, turns errors into exit codes."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import click

from hqtrio import __version__
from hqtrio.cli.kinds import Usage
from hqtrio.cli.parsing import HqGroup
from hqtrio.cli.session import Session
from hqtrio.errors import HqError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
COMPLETION: Final = "_HQTRIO_COMPLETE"  # set by the scripts of `generate-completion`
UNWRITABLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

_SERVER: Final = {
    "start": ("hqtrio.cli.server", "start", "Start a server"),
    "stop": ("hqtrio.cli.server", "stop", "Stop the server"),
    "info": ("hqtrio.cli.server", "info", "Show the server's addresses and identity"),
    "wait": ("hqtrio.cli.server", "wait", "Wait until a server answers"),
    "debug-dump": ("hqtrio.cli.server", "debug_dump", "Have the server write down its state"),
    "generate-access": ("hqtrio.cli.access", "generate_access", "Make access files beforehand"),
}
_WORKER: Final = {
    "start": ("hqtrio.cli.worker_start", "start", "Start a worker on this machine"),
    "stop": ("hqtrio.cli.worker", "stop", "Stop workers"),
    "list": ("hqtrio.cli.worker", "list_workers", "List workers"),
    "info": ("hqtrio.cli.worker", "info", "Show everything about workers"),
    "address": ("hqtrio.cli.worker", "address", "Print the host name of a worker"),
    "wait": ("hqtrio.cli.worker", "wait", "Wait until enough workers are connected"),
    "deploy-ssh": ("hqtrio.cli.deploy", "deploy_ssh", "Start workers on other machines, over ssh"),
    "hwdetect": ("hqtrio.cli.worker_start", "hwdetect", "Show the resources of this machine"),
}
_SUBMIT: Final = ("hqtrio.cli.submit", "submit", "Submit a program or a job file")
_JOB: Final = {
    "list": ("hqtrio.cli.job", "list_jobs", "List jobs"),
    "summary": ("hqtrio.cli.job", "summary", "Count jobs by state"),
    "info": ("hqtrio.cli.job", "info", "Show everything about jobs"),
    "cancel": ("hqtrio.cli.job", "cancel", "Cancel jobs"),
    "forget": ("hqtrio.cli.job", "forget", "Make the server forget completed jobs"),
    "cat": ("hqtrio.cli.job_cat", "cat", "Print the outputs of tasks"),
    "submit": _SUBMIT,
    "submit-file": ("hqtrio.cli.submit", "submit_file", "Submit a job file"),
    "check": ("hqtrio.cli.job_check", "check", "Show what a job file would submit"),
    "schema": ("hqtrio.cli.job_check", "schema", "Print the JSON Schema of job files"),
    "wait": ("hqtrio.cli.job_wait", "wait", "Wait until jobs are completed"),
    "progress": ("hqtrio.cli.job_wait", "progress", "Show progress until jobs are completed"),
    "task-ids": ("hqtrio.cli.job", "task_ids", "Print the ids of the tasks of jobs"),
    "open": ("hqtrio.cli.job", "open_job", "Open a job to which tasks can be added"),
    "close": ("hqtrio.cli.job", "close", "Close open jobs"),
}
_TASK: Final = {
    "list": ("hqtrio.cli.task", "list_tasks", "List tasks of jobs"),
    "info": ("hqtrio.cli.task", "info", "Show everything about tasks"),
    "explain": ("hqtrio.cli.task", "explain", "Show why a task runs or not, and where it could"),
    "notify": ("hqtrio.cli.notify", "notify", "Say something to those who wait for the job"),
}
_JOURNAL: Final = {
    "export": ("hqtrio.cli.journal_events", "export", "Print the events of a journal file"),
    "replay": ("hqtrio.cli.journal_events", "replay", "Print what has happened so far"),
    "stream": ("hqtrio.cli.journal_events", "stream", "Print what has happened, and what happens"),
    "check": ("hqtrio.cli.journal_files", "check", "Say what is wrong with a journal file"),
    "repair": ("hqtrio.cli.journal_files", "repair", "Save what a damaged journal file holds"),
    "flush": ("hqtrio.cli.journal_files", "flush", "Have all that was recorded on the disk"),
    "prune": ("hqtrio.cli.journal_files", "prune", "Leave out what concerns only jobs that ended"),
    "report": ("hqtrio.cli.journal_report", "report", "Draw what a journal tells, as HTML"),
}
_OUTPUT_LOG: Final = {
    "summary": ("hqtrio.cli.output_log", "summary", "Count what the stream files hold"),
    "jobs": ("hqtrio.cli.output_log", "jobs", "Print the ids of the jobs that have streamed"),
    "show": ("hqtrio.cli.output_log", "show", "Print everything in the order of time"),
    "cat": ("hqtrio.cli.output_log", "cat", "Print the outputs of a job, task after task"),
    "export": ("hqtrio.cli.output_log", "export", "Print the outputs of a job as JSON"),
}
_ALLOC: Final = {
    "add": ("hqtrio.cli.alloc_add", "add", "Add an allocation queue"),
    "list": ("hqtrio.cli.alloc", "list_queues", "List allocation queues"),
    "info": ("hqtrio.cli.alloc", "info", "Show the allocations of a queue"),
    "log": ("hqtrio.cli.alloc", "log_of", "Print what an allocation has written"),
    "edit": ("hqtrio.cli.alloc_add", "edit", "Change a queue, for allocations to come"),
    "pause": ("hqtrio.cli.alloc", "pause", "Have a queue submit nothing for now"),
    "resume": ("hqtrio.cli.alloc", "resume", "Have a paused queue go on"),
    "remove": ("hqtrio.cli.alloc", "remove", "Remove a queue, and cancel its allocations"),
    "dry-run": ("hqtrio.cli.alloc_add", "dry_run", "Try whether a queue could submit anything"),
}
_NOUNS: Final = {
    "server": ("hqtrio.cli.main", "server", "Server: start, stop, info"),
    "worker": ("hqtrio.cli.main", "worker", "Workers: start, stop, list"),
    "submit": _SUBMIT,
    "run": ("hqtrio.cli.run", "run", "Run a job on this machine, without a server"),
    "job": ("hqtrio.cli.main", "job", "Jobs: list, wait, cancel"),
    "task": ("hqtrio.cli.main", "task", "Tasks: list, info, explain"),
    "alloc": ("hqtrio.cli.main", "alloc", "Allocation queues: workers in Slurm and PBS jobs"),
    "journal": ("hqtrio.cli.main", "journal", "The journal: export, stream, report"),
    "output-log": ("hqtrio.cli.main", "output_log", "Read what tasks have streamed"),
    "doc": ("hqtrio.cli.doc", "doc", "Print where the documentation of a topic is"),
    "generate-completion": (
        "hqtrio.cli.completion",
        "generate_completion",
        "Print a script that completes words in a shell",
    ),
}

server = HqGroup("server", lazy=_SERVER, help="Commands for the server.")
worker = HqGroup("worker", lazy=_WORKER, help="Commands for workers.")
job = HqGroup("job", lazy=_JOB, help="Commands for jobs.")
task = HqGroup("task", lazy=_TASK, help="Commands for tasks.")
alloc = HqGroup(
    "alloc",
    lazy=_ALLOC,
    hidden={"cat": ("hqtrio.cli.alloc", "log_of", "")},
    help="Commands for allocation queues.",
)
journal = HqGroup("journal", lazy=_JOURNAL, help="Commands for the journal.")
output_log = HqGroup(
    "output-log",
    lazy=_OUTPUT_LOG,
    help="Read what tasks have streamed into a directory (`submit --stream`).",
    params=[
        click.Option(["--server-uid"], help="Only what tasks of this server have streamed."),
        click.Argument(["directory"], metavar="DIR"),
    ],
    callback=lambda **_: None,
)


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"hqtrio {__version__}")
        ctx.exit(0)


root = HqGroup(
    "hqtrio",
    lazy=_NOUNS,
    help="A task runtime for clusters and laptops.",
    params=[
        click.Option(
            ["-V", "--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Show the version and exit.",
        )
    ],
)


def run(args: Sequence[str], session: Session) -> int:
    """Perform the command line; the result is the exit code.

    BrokenPipeError if nobody reads the output any more.
    """
    session.arguments = tuple(args)
    try:
        with root.make_context("hqtrio", list(args), obj=session) as ctx:
            code = root.invoke(ctx)
        session.finish()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        sys.stderr.write(usage_text(error))
        return EXIT_USAGE
    except HqError as error:
        return _failed(session, error)
    except BaseExceptionGroup as group:
        # A nursery wraps whatever ended it; the user wants to read the one cause.
        cause = sole_error(_of_ours(group))
        if isinstance(cause, HqError):
            return _failed(session, cause)
        if isinstance(cause, KeyboardInterrupt):
            return EXIT_INTERRUPTED
        if isinstance(cause, BrokenPipeError):
            raise cause from None
        if isinstance(cause, OSError) and cause.errno in UNWRITABLE:
            return _unwritable(cause)
        raise
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        return _unwritable(error)


def _unwritable(error: OSError) -> int:
    sys.stderr.write(f"Cannot write the output: {error.strerror}\n")
    return EXIT_FAILED


def sole_error(error: BaseException) -> BaseException:
    """The one error inside nested groups, or the group itself."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _of_ours(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error inside if all are for the user to read: when a connection breaks, several
    calls may fail together. Else the group itself."""
    _, others = group.split(HqError)
    if others is not None:
        return group
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


def usage_text(error: click.UsageError) -> str:
    """A usage error with a hint, as it goes to standard error in every output mode."""
    text = f"error: {error.format_message() if not isinstance(error, Usage) else error.message}\n"
    if error.ctx is not None:
        text += f"\n{error.ctx.get_usage()}\n\nFor more information, try '--help'.\n"
    return text


def _failed(session: Session, error: HqError) -> int:
    if session.debug:
        import traceback

        sys.stderr.write("".join(traceback.format_exception(error)))
    session.report_error(error_text(error))
    return EXIT_FAILED


def error_text(error: BaseException) -> str:
    """The error, and below it what caused it."""
    text = said = str(error)
    causes: list[str] = []
    cause = error.__cause__
    while cause is not None:
        known = cause.strerror if isinstance(cause, OSError) else None  # without the number
        words = known or str(cause) or type(cause).__name__
        if words not in said:  # what was told already is told once
            causes.append(words)
            said += f"\n{words}"
        cause = cause.__cause__
    if not causes:
        return text
    if len(causes) == 1:
        return f"{text}\n\nCaused by:\n    {causes[0]}"
    lines = "".join(f"\n    {number}: {cause}" for number, cause in enumerate(causes))
    return f"{text}\n\nCaused by:{lines}"


def main() -> None:
    """Entry point of the program."""
    _open_standard_streams()
    session = Session()
    try:
        code = _complete_words() if COMPLETION in os.environ else run(sys.argv[1:], session)
        sys.stdout.flush()
    except BrokenPipeError:
        _end_by_sigpipe()
    if session.was_brief:
        # Taking the interpreter apart would cost an eighth of the whole command.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _complete_words() -> int:
    from hqtrio.cli.completion import complete

    return complete(root)


def _open_standard_streams() -> None:
    """Descriptors 0 to 2 are standard streams, whoever has closed them before.

    Otherwise a connection would get such a number, and be taken for the output of a child.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for good
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for good
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - for good
    for stream in (sys.stdout, sys.stderr):
        # Names and outputs are bytes that need not be text.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _end_by_sigpipe() -> NoReturn:
    """End as any filter ends whose reader has gone: silently, by the signal.

    The signal stays ignored until then, or a connection that the server drops would end us too,
    without a word.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    sys.exit(128 + signal.SIGPIPE)
