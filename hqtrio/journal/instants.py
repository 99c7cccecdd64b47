"""Unix seconds as text: ISO 8601, UTC."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

__all__ = ["instant"]

_DAY_S: Final = 86_400
_ERA_DAYS: Final = 146_097  # 400 years, after which the calendar repeats
_TO_ERA: Final = 719_468  # days from 0000-03-01, where an era begins, to 1970-01-01


def instant(at: float) -> str:
    """`2026-03-01T12:00:00.250Z`; to the millisecond, as events are dated."""
    second, ms = divmod(round(at * 1000), 1000)
    return f"{_second(second)}.{ms:03}Z"


@lru_cache(256)
def _second(at: int) -> str:
    days, rest = divmod(at, _DAY_S)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{_day(days)}T{hours:02}:{minutes:02}:{seconds:02}"


@lru_cache(64)
def _day(days: int) -> str:
    # Years are counted from March, so that the leap day is the last one.
    era, day = divmod(days + _TO_ERA, _ERA_DAYS)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    month = month + 3 if month < 10 else month - 9
    return f"{400 * era + year + (month <= 2):04}-{month:02}-{day + 1:02}"
