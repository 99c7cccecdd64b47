"""Start a server that outlives its terminal, and come back when it listens.

The parent starts the same command in a session of its own and waits at a pipe. The child speaks
on the terminal until it listens; then it turns to its log, says so through the pipe, and the
parent ends. Whatever goes wrong before that is seen where the user looks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from actors.daemon.program import own_words
from hqtrio.errors import InputError

READY_FD: Final = "HQTRIO_READY_FD"
LOG_NAME: Final = "server.log"
PID_NAME: Final = "server.pid"


def start_detached(arguments: Sequence[str]) -> dict[str, object]:
    """Run `hqtrio ARGUMENTS` detached; returns what it said when it was ready. Blocks until then.

    Raises InputError if it ends first; its own words are on standard error already.
    """
    read, write = os.pipe()
    command = [*own_words(), *arguments]
    with open(read, "rb") as ready:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, READY_FD: str(write)},
                pass_fds=[write],
                start_new_session=True,
            )
        finally:
            os.close(write)
        line = ready.readline()
    if line.endswith(b"\n"):
        child.returncode = 0  # it lives on; we do not wait for it
        said = json.loads(line)
        assert isinstance(said, dict)
        return said
    raise InputError(f"the server did not start (exit code {child.wait()})")


class Detached:
    """The child's side."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def from_environment(cls) -> Detached | None:
        """The pipe to a waiting parent, if there is one; no child of ours will see it."""
        fd = os.environ.pop(READY_FD, None)
        if fd is None:
            return None
        os.set_inheritable(int(fd), False)
        return cls(int(fd))

    def ready(self, instance_dir: Path, said: Mapping[str, object]) -> None:
        """Turn standard output and error to the log, leave the pid, let the parent end."""
        log = os.open(
            instance_dir / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        pid = os.open(
            instance_dir / PID_NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        with open(pid, "w") as file:
            file.write(f"{os.getpid()}\n")
        with open(self._fd, "wb") as parent:
            parent.write(json.dumps(said).encode() + b"\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
