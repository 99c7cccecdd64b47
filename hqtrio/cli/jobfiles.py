"""Job files as commands read them."""

from __future__ import annotations

import os
import secrets
from logging import getLogger
from typing import Final

from hqtrio.cli.entries import LARGE_BYTES
from hqtrio.cli.session import current_directory
from hqtrio.cli.submitting import STREAM_NAMES, check_stream
from hqtrio.errors import InputError
from hqtrio.jobfile import MAX_FILE_BYTES, load_jobfile
from hqtrio.jobfile.task import PATH_NAMES
from hqtrio.model.job import Submit
from hqtrio.placeholders import unknown

log = getLogger(__name__)
KEY_BYTES: Final = 16


def read_jobfile(
    path: str,
    *,
    job: int | None = None,
    name: str | None = None,
    max_fails: int | None = None,
    priority: int | None = None,
    stream: str | None = None,
) -> Submit:
    """What a job file asks for; the current directory is the directory of the submit."""
    if stream is not None:
        check_stream(stream)
    try:
        with open(path, "rb") as source:
            text = source.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}") from error
    submit = load_jobfile(
        text,
        filename=path,
        submit_dir=current_directory(),
        key=secrets.token_bytes(KEY_BYTES),
        name=name,
        max_fails=max_fails,
        priority=priority,
        stream=stream,
        job=job or 0,
        read_file=lambda name: _read_beside(path, name),
    )
    for warning in _unknown_names(submit):
        log.warning("%s", warning)
    return submit


def _unknown_names(submit: Submit) -> list[str]:
    """Placeholders that stay as they are; in the native dialect they are mistakes already."""
    bodies = [array.body for array in submit.arrays if not array.group]
    bodies += submit.graph.bodies if submit.graph is not None else ()
    paths: dict[str, list[str | None]] = {
        "stdout path": [body.stdout.path for body in bodies],
        "stderr path": [body.stderr.path for body in bodies],
        "working directory path": [body.cwd for body in bodies],
    }
    paths["log path"] = [body.stream_dir for body in bodies]
    warnings = []
    for where, texts in paths.items():
        known = STREAM_NAMES if where == "log path" else PATH_NAMES
        together = "".join(dict.fromkeys(text for text in texts if text))
        strange = unknown(together, known)
        if strange:
            plural = "s" if len(strange) > 1 else ""
            names = ", ".join(strange)
            warnings.append(f"Found unknown placeholder{plural} `{names}` in {where}")
    return warnings


def _read_beside(path: str, name: str) -> bytes:
    """The contents of a file that the job file names; a relative path is relative to that."""
    where = os.path.join(os.path.dirname(path), name)
    try:
        with open(where, "rb") as source:
            if os.fstat(source.fileno()).st_size > LARGE_BYTES:
                log.warning("Reading file %s, which is larger than 100 MiB", where)
            return source.read()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"Cannot read {where}: {reason}") from error
