"""Log lines on standard error.

`2024-05-01T12:00:00Z INFO text`; with debugging `[2024-05-01T12:00:00.123Z DEBUG module] text`.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Final

LEVELS: Final = {
    "off": logging.CRITICAL + 1,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": logging.DEBUG,
}
_NAMES: Final = {"WARNING": "WARN", "CRITICAL": "ERROR"}


class _Lines(logging.Formatter):
    def __init__(self, *, debug: bool) -> None:
        super().__init__()
        self._debug = debug

    def format(self, record: logging.LogRecord) -> str:
        level = _NAMES.get(record.levelname, record.levelname)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        if self._debug:
            head = f"[{stamp}.{int(record.msecs):03d}Z {level} {record.name}]"
        else:
            head = f"{stamp}Z {level}"
        text = f"{head} {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class _ToStderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to whatever standard error is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def set_up(*, debug: bool) -> None:
    """From now on log lines go to standard error; RUST_LOG may choose other levels."""
    wanted = os.environ.get("RUST_LOG", "")
    debug = debug or "debug" in wanted
    root = logging.getLogger()
    handler = _ToStderr()
    handler.setFormatter(_Lines(debug=debug))
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for noisy in ("hqtrio", "actors"):
        logging.getLogger(noisy).setLevel(logging.DEBUG if debug else logging.INFO)
    for directive in filter(None, wanted.split(",")):
        target, equals, level = directive.rpartition("=")
        number = LEVELS.get(level.strip().lower())
        if number is None:
            continue
        names = [target.strip().replace("::", ".")] if equals else ["", "hqtrio", "actors"]
        for name in names:
            logging.getLogger(name).setLevel(number)
