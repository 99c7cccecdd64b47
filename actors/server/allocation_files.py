"""The directories of allocations: what is written there for the manager, and when they go."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

__all__ = ["JOB_ID_FILE", "discard_directory", "note_job", "write_files"]

JOB_ID_FILE: Final = "jobid"


async def write_files(directory: str, files: Mapping[str, str]) -> None:
    """The directory exists, is the owner's only, and holds the files, executable; OSError."""

    def write() -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        for name, text in files.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            fd = os.open(os.path.join(directory, name), flags, 0o700)
            with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)

    await trio.to_thread.run_sync(write)


async def note_job(directory: str, job_id: str) -> None:
    """For people who look there; nobody depends on it."""

    def write() -> None:
        with suppress(OSError):
            Path(directory, JOB_ID_FILE).write_text(job_id, encoding="utf-8")

    await trio.to_thread.run_sync(write)


async def discard_directory(directory: str) -> None:
    """It is gone, as far as it can be removed."""

    def remove() -> None:
        shutil.rmtree(directory, ignore_errors=True)

    await trio.to_thread.run_sync(remove, abandon_on_cancel=True)
