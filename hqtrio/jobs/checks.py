"""What a submit must look like, whoever made it: clients are checked again here."""

from __future__ import annotations

from math import isfinite
from typing import Final

from hqtrio.errors import InputError
from hqtrio.model.job import JobHead
from hqtrio.model.resources import Policy, Request, Variants
from hqtrio.model.task import NEVER_RESTART, TaskBody, TaskSettings

VARIANTS_MAX: Final = 32
KEY_BYTES_MAX: Final = 64
NAME_MAX: Final = 4096
CRASH_LIMIT_MAX: Final = 65535
REASON_BYTES_MAX: Final = 200
_NEEDS_MAX: Final = 256
_AMOUNT_MAX: Final = 2**32 * 10_000


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


def check_body(body: TaskBody) -> None:
    if "%{CWD}" in body.cwd:
        raise InputError(
            "Working directory path cannot contain the working directory placeholder `%{CWD}`."
        )
    if not (isfinite(body.time_limit_s) and body.time_limit_s >= 0):
        raise InputError(f"A time limit of {body.time_limit_s} s is not possible.")


def check_variants(variants: Variants) -> None:
    if not variants:
        raise InputError("A task needs at least one resource request.")
    if len(variants) > VARIANTS_MAX:
        raise InputError(f"Too many resource variants: {len(variants)}, at most {VARIANTS_MAX}.")
    multi = [request.nodes > 0 for request in variants]
    if any(multi) and not all(multi):
        raise InputError("Resources mixes multi-node and non-multi-node requests")
    if any(multi) and len(variants) > 1:
        raise InputError("A multi-node task can have only one resource variant.")
    for request in variants:
        _check_request(request)


def _check_request(request: Request) -> None:
    if not 0 <= request.nodes < 2**32:
        raise InputError(f"A task cannot run on {request.nodes} nodes.")
    if not (isfinite(request.time_s) and request.time_s >= 0):
        raise InputError(f"A time request of {request.time_s} s is not possible.")
    if not 0 < request.weight <= _AMOUNT_MAX:
        raise InputError("The weight of a request must be positive.")
    if not request.needs and not request.nodes:
        raise InputError("A request must name at least one resource.")
    if len(request.needs) > _NEEDS_MAX:
        raise InputError(f"A request names at most {_NEEDS_MAX} resources.")
    names = set()
    for need in request.needs:
        if not need.resource:
            raise InputError("A request names a resource without a name.")
        if need.resource in names:
            raise InputError(f"Resource {need.resource} is requested twice.")
        names.add(need.resource)
        if need.policy != Policy.ALL and not 0 < need.amount <= _AMOUNT_MAX:
            if need.amount == 0:
                raise InputError("Zero resources cannot be requested")
            raise InputError(f"An amount of {need.amount} is not possible.")
