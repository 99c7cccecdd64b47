"""Start a child process that runs a piece of ours with the standard library alone."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import Final

import actors

FIRST_FD: Final = 3
_HIGH_FD: Final = 10  # no descriptor that a child expects at a fixed number is there


def spawn_child(code: str, *fds: int) -> int:
    """Start an interpreter that finds these descriptors from number 3 on; its pid.

    It leads a session of its own; its standard input and output are nothing. OSError if it cannot
    be started.
    """
    root = str(Path(actors.__file__).parent.parent)
    # Our own package comes last, so that it can hide nothing of the standard library.
    code = f"import sys; sys.path.append({root!r}); {code}"
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH_FD) for fd in fds]
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", code],
            os.environ,
            file_actions=[
                *((os.POSIX_SPAWN_DUP2, fd, FIRST_FD + at) for at, fd in enumerate(high)),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            ],
            setsid=True,
        )
    finally:
        for fd in high:
            os.close(fd)
