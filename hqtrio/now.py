"""An instant, as machines see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Now:
    """One instant on two clocks: `monotonic` for deadlines, `wall` (Unix seconds) for records."""

    monotonic: float
    wall: float
