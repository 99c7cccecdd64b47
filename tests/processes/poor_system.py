"""The program on a system that has no more than POSIX promises.

Run in place of `python -m hqtrio`: what only Linux has is taken away here and in the launchers, and
nothing below /proc can be opened or listed.
"""

from __future__ import annotations

import builtins
import os
import select
import stat
import sys
from pathlib import Path

ONLY_LINUX = ("memfd_create", "pidfd_open", "sched_getaffinity", "pipe2", "O_PATH", "MFD_CLOEXEC")


def take_away() -> None:
    """From now on this process knows nothing of Linux."""
    for name in ONLY_LINUX:
        delattr(os, name)
    os.open, os.listdir = hiding(os.open), hiding(os.listdir)
    builtins.open = hiding(builtins.open)
    sys.platform = "posix"


def hiding(call):
    def hidden(path=".", *args, **kwargs):
        if isinstance(path, str | bytes | os.PathLike) and os.fspath(path)[:5] in (
            "/proc",
            b"/proc",
        ):
            raise FileNotFoundError(2, "No such file or directory", path)
        return call(path, *args, **kwargs)

    return hidden


def main() -> None:
    # It asks for the platform while it is imported, and needs its epoll; it has ways elsewhere.
    import psutil  # noqa: F401
    import trio  # noqa: F401

    from hqtrio.__main__ import main as hqtrio

    interpreter = Path(os.environ["TMPDIR"]) / f"python-{os.getpid()}"
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {__file__} launcher "$4"\n')
    interpreter.chmod(interpreter.stat().st_mode | stat.S_IXUSR)
    sys.executable = str(interpreter)
    take_away()
    sys.exit(hqtrio())


if __name__ == "__main__":
    if sys.argv[1] == "launcher":
        take_away()
        del select.epoll
        exec(sys.argv[2])
    else:
        main()
