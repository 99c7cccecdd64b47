"""Why allocations end, for people."""

from __future__ import annotations

from typing import Final

from hqtrio.model.allocation import Cause

__all__ = ["cause_text"]

_CAUSES: Final = {
    Cause.WORKERS_LEFT: "all its workers have left",
    Cause.WORKERS_CRASHED: "all its workers were lost soon",
    Cause.COMPLETED: "completed",
    Cause.FAILED: "failed",
    Cause.TIME_LIMIT: "reached its time limit",
    Cause.CANCELLED: "cancelled by somebody else",
    Cause.NODE_FAILED: "a node failed",
    Cause.PREEMPTED: "preempted",
    Cause.OUT_OF_MEMORY: "out of memory",
    Cause.VANISHED: "the manager does not know it any more",
    Cause.GIVEN_UP: "the manager could not tell its state for too long",
    Cause.CANCELLED_HERE: "cancelled by the server",
}


def cause_text(cause: Cause, words: str) -> str:
    """One line, with the manager's own words behind it."""
    return _CAUSES[cause] + (f": {words}" if words else "")
