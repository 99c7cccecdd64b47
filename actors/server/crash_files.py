"""What is written down when a core raises, for people and for the next server."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Final

import msgspec

from actors.kit.drive import Poisoned
from actors.server.links import Connected
from actors.server.suspects import Suspects, marks_of
from hqtrio import __version__
from hqtrio.errors import HqError
from hqtrio.jobs.effects import ClientAsked, SessionEnded
from hqtrio.messages.scheduling import WorkerArrived
from hqtrio.net.directory import instances

__all__ = ["crashes_noted", "note_crash", "read_suspects"]

EVENT_MAX: Final = 100_000  # characters of it that are kept
MARKS_MAX: Final = 20_000
FILES_MAX: Final = 100  # that are looked at
SIZE_MAX: Final = 10 << 20
_PATTERN: Final = "crash-*.json"

log = logging.getLogger(__name__)


class Crash(msgspec.Struct, frozen=True):
    """One file. `marks` are those of what was being handled."""

    version: str
    at: float
    history: str
    error: str
    origin: str
    event: str
    marks: list[str]
    traceback: list[str]


@contextmanager
def crashes_noted(instance: Path, history: bytes) -> Iterator[None]:
    """If a core raises in the block, a new file in the instance directory says over what.

    Errors that are expected to happen, and the end of the process, are no crash.
    """
    try:
        yield
    except BaseException as fault:
        for error in _bugs(fault):
            note_crash(instance, history, "server", error)
        raise


def note_crash(instance: Path, history: bytes, who: str, error: Exception) -> None:
    """A new file in the instance directory says over what, and the log names it."""
    crash = _crash(error, history)
    path = _write(instance, crash)
    where = f"; see `{path}`" if path else ""
    log.error("the %s has crashed over %s: %s%s", who, crash.origin, crash.error, where)


def read_suspects(server_dir: Path, history: bytes) -> Suspects:
    """What has made earlier servers of this journal crash, as far as they were of our version."""
    counts: Counter[str] = Counter()
    paths = [path for place in instances(server_dir) for path in sorted(place.glob(_PATTERN))]
    for path in paths[-FILES_MAX:]:
        try:
            with path.open("rb") as file:
                crash = msgspec.json.decode(file.read(SIZE_MAX), type=Crash)
        except (OSError, msgspec.DecodeError) as error:
            log.warning("`%s` cannot be read: %s", path, error)
            continue
        if (crash.version, crash.history) == (__version__, history.hex()):
            counts.update(set(crash.marks))
    return Suspects(counts)


def _bugs(fault: BaseException) -> Iterator[Exception]:
    """Each thing that went wrong and should not have; several cores may have raised at once."""
    if isinstance(fault, BaseExceptionGroup):
        for error in fault.exceptions:
            yield from _bugs(error)
    elif isinstance(fault, Exception) and not isinstance(fault, HqError):
        yield fault


def _crash(error: Exception, history: bytes) -> Crash:
    event = error.event if isinstance(error, Poisoned) else None
    cause = error.__cause__ if isinstance(error, Poisoned) and error.__cause__ else error
    text = "" if event is None else repr(event)
    return Crash(
        __version__,
        time.time(),
        history.hex(),
        _plain(f"{type(cause).__name__}: {cause}"),
        _origin(event),
        text if len(text) < EVENT_MAX else text[:EVENT_MAX] + "...",
        list(islice(marks_of(event), MARKS_MAX)),
        _plain("".join(traceback.format_exception(error))).splitlines(),
    )


def _plain(text: str) -> str:
    """The text where names that are not UTF-8 are spelled out."""
    return text.encode(errors="backslashreplace").decode()


def _origin(event: object) -> str:
    """Who it comes from, as far as it says."""
    match event:
        case None:
            return "its own work"
        case ClientAsked(session, request=request):
            return f"{type(request).__name__} of client {session}"
        case SessionEnded(session):
            return f"the end of client {session}"
        case WorkerArrived(link, hello):
            return f"the worker at link {link} on {hello.config.hostname}"
        case Connected(opened, _):
            return f"the worker at link {opened.link} on {opened.hello.config.hostname}"
    for word in ("worker", "link"):
        if (number := getattr(event, word, None)) is not None:
            return f"{type(event).__name__} of {word} {number}"
    return type(event).__name__


def _write(instance: Path, crash: Crash) -> Path | None:
    data = msgspec.json.format(msgspec.json.encode(crash), indent=1) + b"\n"
    try:
        for number in count(1):
            path = instance / _PATTERN.replace("*", str(number))
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                continue
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
            return path
    except OSError as error:
        log.warning("no crash file: %s", error.strerror)
    return None
