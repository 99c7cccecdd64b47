"""Which failures of a task are repeated, as Python values: the keys are those of job files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hqtrio.api.resources import read_seconds
from hqtrio.api.validation import ValidationException, shown
from hqtrio.errors import InputError
from hqtrio.model.retry import Retry, check_retry
from hqtrio.model.signals import SIGNAL_NAMES

__all__ = ["read_retry"]

_KEYS: Final = ("times", "on", "backoff", "factor", "max_backoff")
_SIGNALS: Final = {name: number for number, name in SIGNAL_NAMES.items()}
_CODE_MAX: Final = 255


def read_retry(name: str, value: Any) -> Retry | None:
    """A number of repetitions, or a mapping; None for no repetition at all."""
    if value is None or isinstance(value, Retry):
        retry = value
    elif isinstance(value, Mapping):
        retry = _of_mapping(name, value)
    elif isinstance(value, int) and not isinstance(value, bool):
        retry = Retry(value)
    else:
        raise ValidationException(
            f"{name} has to be a number of repetitions or a mapping, not {shown(value)}"
        )
    if retry is None:
        return None
    try:
        check_retry(retry)
    except InputError as error:
        raise ValidationException(f"{name}: {error}") from None
    return retry if retry.times else None


def _of_mapping(name: str, value: Mapping[Any, Any]) -> Retry:
    unknown = [key for key in value if key not in _KEYS]
    if unknown:
        raise ValidationException(
            f"{name} has no key {shown(unknown[0])} (there are {', '.join(_KEYS)})"
        )
    times, factor = value.get("times"), value.get("factor", 2.0)
    if isinstance(times, bool) or not isinstance(times, int):
        raise ValidationException(f"{name}: times has to be a whole number, not {shown(times)}")
    if isinstance(factor, bool) or not isinstance(factor, int | float):
        raise ValidationException(f"{name}: factor has to be a number, not {shown(factor)}")
    backoff_s = read_seconds(f"{name}: backoff", value.get("backoff", 0.0))
    longest = value.get("max_backoff", max(backoff_s, Retry(0).max_backoff_s))
    max_backoff_s = read_seconds(f"{name}: max_backoff", longest)
    if max_backoff_s < backoff_s:
        raise ValidationException(f"{name}: max_backoff is less than backoff")
    codes, signals, words = _kinds(name, value.get("on", "any"))
    return Retry(
        times,
        "any" in words,
        tuple(codes),
        tuple(signals),
        "timeout" in words,
        backoff_s,
        float(factor),
        max_backoff_s,
    )


def _kinds(name: str, on: Any) -> tuple[list[int], list[int], list[str]]:
    """Exit codes, signals and words."""
    codes: list[int] = []
    signals: list[int] = []
    words: list[str] = []
    items = on if isinstance(on, list | tuple) else [on]
    for item in items:
        if isinstance(item, int) and not isinstance(item, bool) and 1 <= item <= _CODE_MAX:
            codes.append(item)
        elif item in ("any", "timeout"):
            words.append(item)
        elif isinstance(item, str) and f"SIG{item.removeprefix('SIG')}" in _SIGNALS:
            signals.append(_SIGNALS[f"SIG{item.removeprefix('SIG')}"])
        else:
            raise ValidationException(
                f"{name}: on has to be exit codes (1 to {_CODE_MAX}), signals such as 'SIGKILL', "
                f"'timeout' or 'any', not {shown(item)}"
            )
    if not items:
        raise ValidationException(f"{name}: on is empty; leave it out for any failure")
    return codes, signals, words
