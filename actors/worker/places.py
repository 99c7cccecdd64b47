"""Directories of one worker process: where task directories lie, and what it calls itself by."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import hqtrio
from actors.daemon.program import own_file
from hqtrio.errors import InputError

# Names the worker in the environment of its tasks, so that a successor finds what it left.
WORK_DIR_VARIABLE: Final = b"HQ_WORK_DIR"
LOCK_FILE: Final = ".hq-worker.lock"


@dataclass(frozen=True, slots=True)
class Places:
    """`program` is one word that runs this hqtrio. `socket` is free for tasks to speak up,
    `streams` for launchers to hand over what is streamed."""

    work_dir: Path
    program: str
    socket: Path
    streams: Path


@contextmanager
def open_places(work_dir: Path | None) -> Iterator[Places]:
    """A work directory that no other living worker uses; what was made is removed at the end."""
    private = Path(tempfile.mkdtemp(prefix="hq-worker"))  # 0700
    lock = -1
    try:
        here = private / "work" if work_dir is None else work_dir.absolute()
        try:
            here.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock(here)
        except OSError as error:
            raise InputError(f"--work-dir: cannot use `{here}`: {error.strerror}") from error
        yield Places(here, _program(private), private / "notify", private / "streams")
    finally:
        if lock >= 0:
            os.close(lock)
            if work_dir is not None:
                (work_dir / LOCK_FILE).unlink(missing_ok=True)
        shutil.rmtree(private, ignore_errors=True)


def _lock(directory: Path) -> int:
    """Hold the directory for as long as this process lives."""
    fd = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise InputError(
            f"--work-dir: `{directory}` is used by another worker; give each its own"
        ) from None
    except OSError:
        pass  # a file system without locks: the user answers for separate directories
    return fd


def _program(private: Path) -> str:
    """The file that is this program, or a script that does the same."""
    file = own_file()
    if file is not None:
        return str(file)
    root = str(Path(hqtrio.__file__).parent.parent)
    code = (
        f"import sys; sys.path.append({root!r}); sys.argv[0] = 'hqtrio'; "
        "from hqtrio.cli.main import main; sys.exit(main())"
    )
    script = private / "hqtrio"
    script.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -c {shlex.quote(code)} "$@"\n'
    )
    script.chmod(0o700)
    return str(script)
