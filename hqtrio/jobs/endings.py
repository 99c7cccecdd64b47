"""The words for how a task failed."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from hqtrio.model.signals import SIGNAL_NAMES
from hqtrio.model.task import Ending

TEXT_MAX: Final = 8192  # characters kept of what a worker says about one task

NEVER_RESTART_TEXT: Final = "Task was running on a lost worker while never restart flag was set."


def error_text(ending: int, code: int, text: str = "") -> str:
    """What users read about a failed task; the worker's own words win where it has any."""
    return _shared_text(ending, code, text[:TEXT_MAX])


@lru_cache(maxsize=1024)  # a million tasks that fail alike share one text
def _shared_text(ending: int, code: int, text: str) -> str:
    match ending:
        case Ending.TIME_LIMIT:
            return "Time limit reached"
        case Ending.EXITED:
            return text or f"Program terminated with exit code {code}."
        case Ending.SIGNALLED:
            name = SIGNAL_NAMES.get(code, "unknown")
            return text or f"Program terminated with exit code -1. Received signal {code} ({name})."
        case Ending.NOT_PREPARED:
            return text or "The task could not be prepared."
        case Ending.NOT_STARTED:
            return text or "The program could not be started."
        case _:
            return text or f"The worker reported an end of unknown kind {ending}."


def crash_text(crashes: int, limit: int) -> str:
    """What users read about a task that was lost with its worker too often."""
    times = "once" if crashes == 1 else f"{crashes} times"
    return (
        f"Task was running on a worker that was lost; this happened {times}"
        f" and the crash limit is {limit}."
    )
