"""How soon a queue may submit again after failures, and when it had better be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hqtrio.model.allocation import Rejection

__all__ = ["DELAYS_S", "Limiter", "Limits"]

DELAYS_S: Final = (0.0, 60.0, 900.0, 1800.0, 3600.0)
# Nobody has done anything wrong: such submissions are repeated, ever more slowly.
PASSING: Final = (Rejection.UNREACHABLE, Rejection.LIMITS)
PASSING_DELAY_MAX: Final = 2  # index of the longest delay that these lead to


@dataclass(frozen=True, slots=True)
class Limits:
    """How many failures in a row pause a queue, and the delays after one, two, ... of them."""

    allocation_failures: int = 3
    submission_failures: int = 10
    delays_s: tuple[float, ...] = DELAYS_S


@dataclass(slots=True)
class Limiter:
    """What went wrong lately with one queue; dates are Unix seconds."""

    allocation_failures: int = 0
    submission_failures: int = 0
    step: int = 0  # of the delays
    attempted_at: float | None = None
    was_accepted: bool = False  # the manager has taken something submitted with these parameters
    words: str = ""  # what was said at the last failure
    rejection: Rejection | None = None  # of the last submission, if it failed

    def attempt(self, at: float) -> None:
        """Something is submitted."""
        self.attempted_at = at

    def accept(self) -> None:
        self.was_accepted = True
        self.rejection = None
        self.submission_failures = 0
        if not self.allocation_failures:
            self.step = 0

    def reject(self, rejection: Rejection, words: str) -> None:
        self.words, self.rejection = words, rejection
        if rejection in PASSING:
            self.step = max(self.step, min(self.step + 1, PASSING_DELAY_MAX))
            return
        self.submission_failures += 1
        self.step += 1

    def succeed(self) -> None:
        """An allocation was of use."""
        self.allocation_failures = self.step = 0

    def fail(self, words: str) -> None:
        """An allocation was of no use, and its queue may be to blame."""
        self.words = words
        self.allocation_failures += 1
        self.step += 1

    def pardon(self) -> None:
        """The latest failure was none after all."""
        self.allocation_failures = max(0, self.allocation_failures - 1)
        self.step = max(0, self.step - 1)

    def slow_down(self, words: str) -> None:
        """An allocation was of no use, which is not to be blamed on its queue."""
        self.words = words
        self.step += 1

    def verdict(self, limits: Limits) -> str:
        """Why the queue must be paused; empty if it may go on."""
        if self.allocation_failures >= limits.allocation_failures:
            return f"{self._in_a_row(self.allocation_failures, 'allocation')}: {self.words}"
        if self.submission_failures >= limits.submission_failures:
            return f"{self._in_a_row(self.submission_failures, 'submission')}: {self.words}"
        if self.rejection is Rejection.ARGUMENTS and not self.was_accepted:
            return f"the manager refuses what it is asked for: {self.words}"
        return ""

    @staticmethod
    def _in_a_row(count: int, what: str) -> str:
        if count == 1:
            return f"the last {what} has failed"
        return f"the last {count} {what}s have failed"

    def wait_s(self, limits: Limits, at: float) -> float:
        """How long to wait before the next attempt; a first one never waits."""
        if self.attempted_at is None:
            return 0.0
        delay = limits.delays_s[min(self.step, len(limits.delays_s) - 1)]
        # A clock that was set back must not make the wait longer than the delay.
        return max(0.0, delay - max(0.0, at - self.attempted_at))
