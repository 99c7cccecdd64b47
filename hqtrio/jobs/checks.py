"""What a submit must look like, whoever made it: clients are checked again here."""

from __future__ import annotations

from math import isfinite
from typing import Final

from hqtrio.errors import InputError
from hqtrio.model.job import JobHead
from hqtrio.model.requests import validate_variants
from hqtrio.model.resources import Variants
from hqtrio.model.retry import check_retry
from hqtrio.model.task import NEVER_RESTART, TaskBody, TaskSettings

KEY_BYTES_MAX: Final = 64
NAME_MAX: Final = 4096
CRASH_LIMIT_MAX: Final = 65535
REASON_BYTES_MAX: Final = 200
_NEEDS_MAX: Final = 256


def check_head(head: JobHead) -> None:
    if "\t" in head.name or "\n" in head.name:
        raise InputError("A job name cannot contain a tab or a line break.")
    if len(head.name) > NAME_MAX:
        raise InputError(f"A job name has at most {NAME_MAX} characters.")
    if head.max_fails is not None and not 0 <= head.max_fails < 2**32:
        raise InputError(f"max-fails must be between 0 and {2**32 - 1}, not {head.max_fails}.")


def check_key(key: bytes) -> None:
    if len(key) > KEY_BYTES_MAX:
        raise InputError(f"The key of a submit has at most {KEY_BYTES_MAX} bytes.")


def check_settings(settings: TaskSettings) -> None:
    if not NEVER_RESTART <= settings.crash_limit <= CRASH_LIMIT_MAX:
        raise InputError(f"A crash limit of {settings.crash_limit} is not possible.")
    if not -(2**31) <= settings.priority < 2**31:
        raise InputError(f"Priority {settings.priority} is out of range.")
    if settings.retry is not None:
        check_retry(settings.retry)


def check_body(body: TaskBody) -> None:
    if "%{CWD}" in body.cwd:
        raise InputError(
            "Working directory path cannot contain the working directory placeholder `%{CWD}`."
        )
    if not (isfinite(body.time_limit_s) and body.time_limit_s >= 0):
        raise InputError(f"A time limit of {body.time_limit_s} s is not possible.")
    if not 0 <= body.function_calls < 2**31:
        raise InputError(f"An interpreter for {body.function_calls} calls is not possible.")


def check_variants(variants: Variants) -> None:
    validate_variants(variants)
    if max(len(request.needs) for request in variants) > _NEEDS_MAX:
        raise InputError(f"A request names at most {_NEEDS_MAX} resources.")
