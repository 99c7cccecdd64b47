"""When a failed run of a task is repeated, and after how long."""

from __future__ import annotations

from math import isfinite
from typing import Final

from hqtrio.errors import InputError
from hqtrio.model.value import Value

__all__ = ["Retry", "check_retry"]

TIMES_MAX: Final = 1_000_000
PAUSE_MAX_S: Final = 366 * 86_400.0
_KINDS_MAX: Final = 512


class Retry(Value, frozen=True):
    """Repeat a failed run up to `times` times, after a pause that grows by `factor`.

    Which failures: exit codes, signals, time limits; `on_any` takes every kind.
    """

    times: int
    on_any: bool = True
    codes: tuple[int, ...] = ()
    signals: tuple[int, ...] = ()
    on_time_limit: bool = False
    backoff_s: float = 0.0
    factor: float = 2.0
    max_backoff_s: float = 3600.0

    def pause_s(self, tries: int) -> float:
        """How long to wait after so many failed tries, of which there is at least one."""
        try:
            pause = self.backoff_s * self.factor ** (tries - 1)
        except OverflowError:
            pause = self.max_backoff_s if self.backoff_s else 0.0
        return min(pause, self.max_backoff_s)


def check_retry(retry: Retry) -> None:
    """Refuse a retry that no reader of ours could have made."""
    if not 0 <= retry.times <= TIMES_MAX:
        raise InputError(f"A task can be repeated 0 to {TIMES_MAX} times, not {retry.times}.")
    for seconds in (retry.backoff_s, retry.max_backoff_s):
        if not (isfinite(seconds) and 0 <= seconds <= PAUSE_MAX_S):
            raise InputError(f"A pause of {seconds} s before a retry is not possible.")
    if not (isfinite(retry.factor) and retry.factor >= 1):
        raise InputError(f"The factor of a retry must be at least 1, not {retry.factor}.")
    if len(retry.codes) + len(retry.signals) > _KINDS_MAX:
        raise InputError("A retry names too many exit codes and signals.")
