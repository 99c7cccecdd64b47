"""Options that describe tasks: on the command line of `submit` and `run`, or behind `#HQ`."""

from __future__ import annotations

from typing import Any, Final

from hqtrio.cli import values
from hqtrio.cli.kinds import Choice
from hqtrio.cli.parsing import flag, option
from hqtrio.cli.submitting import DEFAULT_STDERR, DEFAULT_STDOUT
from hqtrio.model.requests import parse_named_need
from hqtrio.model.task import DEFAULT_CRASH_LIMIT
from hqtrio.units import parse_duration

CONFLICTS: Final = [("each_line", "from_json"), ("nodes", "cpus"), ("nodes", "pin")]
CPUS_OPTION: Final = option(
    "--cpus", read=values.cpus, help="CPUs of each task: 2, `4 compact!`, all."
)
NODES_OPTION: Final = option(
    "--nodes",
    read=values.whole,
    default="0",
    help="Run each task on so many whole workers of one group; it starts on the first.",
)
TASK_OPTIONS: Final = (
    option("--name", help="Name of the job."),
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
    option("--stream", metavar="DIR",
           help="Write the outputs that have no file of their own into few files of this"
           " directory; `output-log` reads them."),
    flag("--task-dir", help="Give each task a directory of its own while it runs."),
    option("--priority", read=values.priority, help="Larger starts earlier."),
    option("--time-limit", "time_limit_s", read=parse_duration, metavar="TIME_LIMIT",
           help="A task that runs longer is killed."),
    option("--max-fails", read=values.whole,
           help="How many tasks may fail before the rest is aborted."),
    option("--crash-limit", read=values.crash_limit, default=DEFAULT_CRASH_LIMIT,
           help="How often a task may lose its worker: a number, never-restart, unlimited."),
)  # fmt: skip
INPUT_OPTIONS: Final = (
    flag("--stdin", help="Hand the standard input to every task."),
    option("--directives", read=Choice(["auto", "file", "stdin", "off"]), default="auto",
           metavar="SOURCE",
           help="Where options behind `#HQ` are read: auto (the program, if it ends in `.sh`),"
           " file (the program), stdin, or off."),
)  # fmt: skip


def task_options(function: Any) -> Any:
    """Add the options that describe tasks, but for `--cpus` and `--nodes`."""
    for decorate in reversed((*TASK_OPTIONS, *INPUT_OPTIONS)):
        function = decorate(function)
    return function
