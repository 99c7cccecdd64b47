"""Values of options and arguments: selectors, states, variables, outputs, requests."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from hqtrio.errors import InputError
from hqtrio.ids import IdArray, parse_ids
from hqtrio.messages.client import Selector, Which
from hqtrio.model.job import JobState
from hqtrio.model.requests import make_weight, parse_need
from hqtrio.model.resources import CPUS, Need
from hqtrio.model.task import NEVER_RESTART, UNLIMITED, PinMode, Stdio, TaskState
from hqtrio.units import parse_duration

JOB_STATES: Final = {
    "waiting": JobState.WAITING,
    "running": JobState.RUNNING,
    "finished": JobState.FINISHED,
    "failed": JobState.FAILED,
    "canceled": JobState.CANCELLED,
    "aborted": JobState.ABORTED,
    "opened": JobState.OPENED,
}
TASK_STATES: Final = {
    word: TaskState(state) for word, state in JOB_STATES.items() if word != "opened"
}
FORGETTABLE: Final = {
    word: JOB_STATES[word] for word in ("finished", "failed", "aborted", "canceled")
}
PINS: Final = {"taskset": PinMode.TASKSET, "omp": PinMode.OMP}
PORT_MAX: Final = 65535
U32_MAX: Final = 2**32 - 1
CRASH_LIMIT_MAX: Final = 65535
REASON_BYTES_MAX: Final = 200
RM_IF_FINISHED: Final = "rm-if-finished"

_COLON: Final = re.compile(r"(?<!\\):")
_DECIMAL: Final = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")


# --- numbers


def whole(text: str, *, least: int = 0, most: int = U32_MAX) -> int:
    """A plain whole number, without underscores."""
    digits = text.removeprefix("-") if least < 0 else text
    if not (digits.isascii() and digits.isdigit()):
        raise InputError("expected a whole number")
    number = int(text) if len(digits) < 20 else most + 1
    if not least <= number <= most:
        raise InputError(f"must lie between {least} and {most}")
    return number


def port(text: str) -> int:
    return whole(text, most=PORT_MAX)


def job_id(text: str) -> int:
    return whole(text, least=1)


def priority(text: str) -> int:
    return whole(text, least=-(2**31), most=2**31 - 1)


def fraction(text: str) -> float:
    """A number from 0.0 to 1.0."""
    number = decimal(text)
    if not 0.0 <= number <= 1.0:
        raise InputError("Minimal utilization has to be in the interval [0.0, 1.0].")
    return number


def decimal(text: str) -> float:
    """A number as people write it: what `float` takes besides is none."""
    if not _DECIMAL.fullmatch(text):
        raise InputError("expected a number such as 2 or 0.5")
    return float(text)


def crash_limit(text: str) -> int:
    """A number of losses, or a word."""
    if text == "never-restart":
        return NEVER_RESTART
    if text == "unlimited":
        return UNLIMITED
    if text == "0":
        raise InputError("Crash limit cannot be 0 (use never-restart or unlimited)")
    return whole(text, least=1, most=CRASH_LIMIT_MAX)


def heartbeat(text: str) -> float:
    """How often a worker says that it lives."""
    seconds = parse_duration(text)
    if seconds <= 0.150:
        raise InputError("must be longer than 150ms")
    return seconds


# --- selectors


def ids(text: str) -> IdArray:
    return parse_ids(text)


def selector(text: str) -> Selector:
    """Ids, `last` or `all`."""
    if text == "all":
        return Selector(Which.ALL)
    return selector_last(text)


def selector_last(text: str) -> Selector:
    """Ids or `last`."""
    if text == "last":
        return Selector(Which.LAST)
    return Selector(Which.GIVEN, parse_ids(text).ranges)


def one(text: str) -> Selector:
    """A single id or `last`."""
    if text == "last":
        return Selector(Which.LAST)
    return Selector(Which.GIVEN, ((whole(text), 1, 1),))


# --- parts of a submit


def variable(text: str) -> tuple[str, str]:
    """`KEY=VALUE`, or `KEY` alone for an empty value."""
    if not text:
        raise InputError("Environment variable cannot be empty")
    key, _, value = text.partition("=")
    if not key:
        raise InputError("the name before `=` is missing")
    return key, value


def cancel_reason(text: str) -> str:
    if len(text.encode(errors="replace")) > REASON_BYTES_MAX:
        raise InputError(f"Cancel reason must be shorter than {REASON_BYTES_MAX} bytes")
    return text


def output(default: str) -> Callable[[str], Stdio]:
    r"""How an output option is read: `none`, a path, perhaps with `:rm-if-finished`.

    A colon of the path itself is written `\:`.
    """

    def read(text: str) -> Stdio:
        if text == "none":
            return Stdio(None)
        path, *modes = _COLON.split(text)
        if modes not in ([], [RM_IF_FINISHED]):
            raise InputError(
                f"Cannot parse stream: after `:` only `{RM_IF_FINISHED}` may follow"
                r" (a colon of the path itself is written `\:`)"
            )
        if not path and not modes:
            raise InputError("Cannot parse stream: the path is empty")
        tidy = _tidy(path.replace(r"\:", ":"))
        return Stdio(tidy or default, remove_if_finished=bool(modes))

    return read


def _tidy(path: str) -> str:
    """The path in its shortest spelling: outputs with one path share one file."""
    *parents, name = path.split("/")
    if name in ("", "."):
        return path  # a directory, which the worker will complain about
    root = "/" if path.startswith("/") else ""
    return root + "/".join([*(part for part in parents if part not in ("", ".")), name])


# --- requests


def cpus(text: str) -> Need:
    return parse_need(CPUS, text)


def weight(text: str) -> int:
    """A positive number, as the amount that stands for it."""
    return make_weight(decimal(text))
