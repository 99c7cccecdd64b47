"""Job files as commands read them."""

from __future__ import annotations

import secrets
from typing import Final

from hqtrio.cli.session import current_directory
from hqtrio.errors import InputError
from hqtrio.jobfile import MAX_FILE_BYTES, load_jobfile
from hqtrio.model.job import Submit

KEY_BYTES: Final = 16


def read_jobfile(
    path: str,
    *,
    job: int | None = None,
    name: str | None = None,
    max_fails: int | None = None,
    priority: int | None = None,
) -> Submit:
    """What a job file asks for; the current directory is the directory of the submit."""
    try:
        with open(path, "rb") as source:
            text = source.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}") from error
    return load_jobfile(
        text,
        filename=path,
        submit_dir=current_directory(),
        key=secrets.token_bytes(KEY_BYTES),
        name=name,
        max_fails=max_fails,
        priority=priority,
        job=job or 0,
    )
