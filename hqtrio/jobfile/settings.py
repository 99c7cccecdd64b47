"""What the command line may say for a whole job file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hqtrio.errors import InputError

ReadFile = Callable[[str], bytes]


def no_files(name: str) -> bytes:
    """Nothing beside the job file can be read here."""
    raise InputError(f"Cannot read {name}: no files can be read here")


@dataclass(frozen=True, slots=True)
class Setting:
    """Where the file came from, and what wins over it.

    `stream` is the directory that tasks stream to, also the file's own once that was read.
    `priority` is for tasks that name none. With `job` the tasks go into that open job. `read_file`
    returns the contents of a file that the job file names, or raises InputError.
    """

    filename: str
    submit_dir: str
    key: bytes
    name: str | None = None
    max_fails: int | None = None
    priority: int | None = None
    job: int = 0
    read_file: ReadFile = no_files
    stream: str | None = None
