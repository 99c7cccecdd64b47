"""What the command line may say for a whole job file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """Where the file came from, and what wins over it.

    `priority` is for tasks that name none. With `job` the tasks go into that open job.
    """

    filename: str
    submit_dir: str
    key: bytes
    name: str | None = None
    max_fails: int | None = None
    priority: int | None = None
    job: int = 0
