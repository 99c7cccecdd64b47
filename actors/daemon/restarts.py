"""When a server that has crashed is started again, and when that is no use any more."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Final

__all__ = ["Again", "Over", "Patience", "Restarts"]

# It was told to end, and has ended: 130 is Ctrl-C before it listened for signals.
_ON_PURPOSE: Final = (0, 130, -signal.SIGINT, -signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Patience:
    """The first pause, the longest, and how many crashes are too many.

    A server that has been there for `healthy_s` makes up for all crashes before.
    """

    first_s: float = 1.0
    longest_s: float = 60.0
    crashes_max: int = 5
    healthy_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Again:
    """Start it once more after the pause."""

    text: str
    pause_s: float


@dataclass(frozen=True, slots=True)
class Over:
    """There is nothing more to start; `text` says why, unless that is what was wished for."""

    text: str = ""


class Restarts:
    """Counts crashes. Events are told with the time of a clock that only goes forward."""

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._crashes = 0
        self._ready_at: float | None = None

    def ready(self, now: float) -> None:
        """The server accepts connections."""
        self._ready_at = now

    def ended(
        self, code: int, now: float, *, refusal: str = "", is_final: bool = False
    ) -> Again | Over:
        """What follows on the server's end with this code; minus the number of a signal.

        `refusal` is what was in the way of its start, and with `is_final` it will always be.
        """
        patience = self._patience
        if self._ready_at is not None and now - self._ready_at >= patience.healthy_s:
            self._crashes = 0
        self._ready_at = None
        if code in _ON_PURPOSE:
            return Over()
        what = f"the server could not start: {refusal}" if refusal else f"the server {_end(code)}"
        if is_final:
            return Over(what)
        self._crashes += 1
        if self._crashes >= patience.crashes_max:
            return Over(
                f"{what}; that was crash {self._crashes} without {patience.healthy_s:g} s of "
                "uptime between"
            )
        pause_s = min(patience.first_s * 2 ** (self._crashes - 1), patience.longest_s)
        return Again(what, pause_s)


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
