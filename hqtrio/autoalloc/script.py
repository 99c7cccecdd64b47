"""The files that a manager is given: a script with directives, and the command that starts workers.

With more than one node the command stands in a file of its own, which every node runs: what
precedes and follows the worker happens on each of them, and nothing has to be quoted twice.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from hqtrio.autoalloc.dialogues import SUBMIT_FILE, WORKER_FILE, Submission
from hqtrio.model.allocation import in_quotes, worker_args
from hqtrio.units import format_duration

__all__ = ["allocation_files", "clock", "submit_path", "worker_command"]

_SHELL: Final = "#!/bin/bash"
# Managers signal every process of a job: if this shell ended at once, what is left would be killed
# before the worker can say goodbye, and nothing would follow it. An ignored signal is inherited.
_TRAP: Final = "trap : TERM"


def allocation_files(
    submission: Submission, prefix: str, headers: Sequence[str], spread: str
) -> dict[str, str]:
    """The files by name. `spread` stands before what every node runs if there are several."""
    command = worker_command(submission)
    files = {}
    if submission.nodes > 1:
        files[WORKER_FILE] = "\n".join((_SHELL, _TRAP, command)) + "\n"
        command = spread
    words = [shlex.quote(word) for word in submission.params.manager_args]
    lines = [*headers, *([" ".join(words)] if words else [])]
    head = [_SHELL, *(f"{prefix} {line}" for line in lines), "", _TRAP]
    files[SUBMIT_FILE] = "\n".join((*head, command))
    return files


def submit_path(directory: str) -> str:
    return f"{directory}/{SUBMIT_FILE}"


def worker_path(directory: str) -> str:
    return f"{directory}/{WORKER_FILE}"


def clock(seconds: float) -> str:
    """`HH:MM:SS`; days are hours, and what is less than a second is one."""
    whole = max(1, -int(-seconds // 1))
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def worker_command(submission: Submission) -> str:
    """One line: what comes before the worker, the worker, what comes after it."""
    params, worker = submission.params, submission.params.worker
    program = (worker.program,) if worker.program else submission.words
    parts = [f"{name}={shlex.quote(value)}" for name, value in submission.variables]
    if wrap := worker.wrap_cmd.strip():
        parts.append(wrap)
    parts += [shlex.quote(word) for word in program]
    parts += [
        "worker",
        "start",
        "--idle-timeout",
        in_quotes(format_duration(worker.idle_timeout_s)),
    ]
    parts += ["--manager", in_quotes(params.manager.name.lower())]
    parts += ["--server-dir", in_quotes(submission.server_dir)]
    parts += worker_args(params)
    line = " ".join(parts)
    if worker.start_cmd:
        line = f"{worker.start_cmd} && {line}"
    if worker.stop_cmd:
        line = f"{line}; {worker.stop_cmd}"
    return line
