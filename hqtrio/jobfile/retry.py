"""`retry`: which failures are repeated, how often, and after how long."""

from __future__ import annotations

from functools import partial
from typing import Final

from hqtrio.errors import InputError
from hqtrio.jobfile.reader import Reader
from hqtrio.jobfile.tree import Items, Node, Scalar, Table
from hqtrio.model.retry import PAUSE_MAX_S, TIMES_MAX, Retry
from hqtrio.model.signals import SIGNAL_NAMES
from hqtrio.units import parse_duration, quote

RETRY_KEYS: Final = ("times", "on", "backoff", "factor", "max_backoff")

_ANY: Final = "any"
_TIME_LIMIT: Final = "timeout"
_SIGNALS: Final = {name: number for number, name in SIGNAL_NAMES.items()}
_CODE_MAX: Final = 255


def read_retry(reader: Reader, node: Node, path: str) -> Retry | None:
    """A whole number, or a mapping; None for no repetition at all."""
    if not isinstance(node, Table):
        times = reader.whole(node, path, minimum=0, maximum=TIMES_MAX)
        return Retry(times) if times else None
    keys = reader.table(node, path, RETRY_KEYS)
    if "times" not in keys:
        reader.misshapen(node, path, "`times` is missing")
        return None
    times = reader.whole(keys["times"][1], f"{path}.times", minimum=0, maximum=TIMES_MAX)
    backoff_s, max_backoff_s, factor = 0.0, Retry(0).max_backoff_s, Retry(0).factor
    if entry := keys.get("backoff"):
        backoff_s = _pause(reader, entry[1], f"{path}.backoff")
    if entry := keys.get("max_backoff"):
        max_backoff_s = _pause(reader, entry[1], f"{path}.max_backoff")
    elif backoff_s > max_backoff_s:
        max_backoff_s = backoff_s
    if entry := keys.get("factor"):
        factor = reader.number(entry[1], f"{path}.factor")
        if not 1 <= factor <= 1e6:
            reader.refuse(entry[1], f"{path}.factor", "expected a number from 1 to 1000000")
    if "max_backoff" in keys and max_backoff_s < backoff_s:
        text = "`max_backoff` is less than `backoff`"
        reader.refuse(keys["max_backoff"][1], f"{path}.max_backoff", text)
    codes, signals, words = _kinds(reader, keys["on"][1], path) if "on" in keys else ([], [], [])
    if not times:
        return None
    return Retry(
        times,
        _ANY in words or not (codes or signals or words),
        tuple(codes),
        tuple(signals),
        _TIME_LIMIT in words,
        backoff_s,
        factor,
        max_backoff_s,
    )


def _pause(reader: Reader, node: Node, path: str) -> float:
    seconds = reader.parsed(node, path, parse_duration, 0.0)
    if seconds > PAUSE_MAX_S:
        reader.refuse(node, path, "a pause before a retry is at most 366 days")
    return seconds


def _kinds(reader: Reader, node: Node, path: str) -> tuple[list[int], list[int], list[str]]:
    """Exit codes, signals and words."""
    codes: list[int] = []
    signals: list[int] = []
    words: list[str] = []
    inner = f"{path}.on"
    items = [node] if isinstance(node, Scalar) else reader.items(node, inner)
    if isinstance(node, Items) and not items:
        reader.refuse(node, inner, f"the list is empty; leave it out, or write `{_ANY}`")
    for at, item in enumerate(items):
        place = inner if item is node else f"{inner}[{at}]"
        other: int | str = _ANY
        kind = reader.parsed(item, place, partial(_kind, reader), other)
        if isinstance(kind, str):
            words.append(kind)
        elif kind > 0:
            codes.append(kind)
        else:
            signals.append(-kind)
    return codes, signals, words


def _kind(reader: Reader, text: str) -> int | str:
    """An exit code, minus a signal, or a word."""
    if text in (_ANY, _TIME_LIMIT):
        return text
    if text.isascii() and text.isdigit():
        if len(text) > 3 or not 1 <= int(text) <= _CODE_MAX:
            raise InputError(f"expected an exit code from 1 to {_CODE_MAX}, got '{quote(text)}'")
        return int(text)
    name = text if text.startswith("SIG") else f"SIG{text}"
    if name in _SIGNALS:
        return -_SIGNALS[name]
    hint = reader.suggest(text, [_ANY, _TIME_LIMIT, *_SIGNALS])
    raise InputError(
        f"expected an exit code, a signal such as SIGKILL, `{_TIME_LIMIT}` or `{_ANY}`,"
        f" got '{quote(text)}'{hint}"
    )
