"""Quantities as users write and read them: durations, amounts, byte sizes, whole numbers.

Every `parse_x` raises InputError, in one line, for whatever it cannot read.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Final, NoReturn

from hqtrio.errors import InputError

__all__ = [
    "AMOUNT_UNIT",
    "MAX_AMOUNT",
    "MAX_U32",
    "amount_of_number",
    "format_amount",
    "format_bytes",
    "format_duration",
    "format_elapsed",
    "format_mem_amount",
    "parse_amount",
    "parse_duration",
    "parse_human_duration",
    "parse_integer",
    "parse_mem_amount",
    "quote",
]

MAX_U32: Final = 2**32 - 1
AMOUNT_UNIT: Final = 10_000  # amounts count ten-thousandths
MAX_AMOUNT: Final = MAX_U32 * AMOUNT_UNIT + AMOUNT_UNIT - 1

_MEM_UNITS: Final = {"MiB": 1, "GiB": 2**10, "TiB": 2**20}  # the unit of `mem` is the MiB
_FRACTION_DIGITS: Final = 4
_SHOWN_MAX: Final = 60
_READ_MAX: Final = 200  # characters of a duration: no sane one comes near

_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3600 * 1_000_000_000,
    "day": 86_400 * 1_000_000_000,
    "week": 7 * 86_400 * 1_000_000_000,
    "month": 2_630_016 * 1_000_000_000,  # 30.44 days
    "year": 31_557_600 * 1_000_000_000,  # 365.25 days
}
_UNIT_WORDS: Final = {
    "ns": "ns nsec nsecs nano nanos nanosecond nanoseconds",
    "us": "us usec usecs micro micros microsecond microseconds \u00b5s \u03bcs",
    "ms": "ms msec msecs milli millis millisecond milliseconds",
    "s": "s sec secs second seconds",
    "m": "m min mins minute minutes",
    "h": "h hr hrs hour hours",
    "day": "d day days",
    "week": "w wk wks week weeks",
    "month": "M month months",
    "year": "y yr yrs year years",
}
_UNITS: Final = {word: _NS[unit] for unit, words in _UNIT_WORDS.items() for word in words.split()}
_LARGEST_FIRST: Final = ("year", "month", "day", "h", "m", "s", "ms", "us", "ns")
_PLURAL: Final = ("year", "month", "day")
_MAX_NS: Final = 2**64 * _NS["s"]

_CLOCK: Final = re.compile(r"(?:(?:([0-9]+):)?([0-9]+):)?([0-9]+)")
_PART: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([^\W\d_]+)\s*")
_HUMAN_EXAMPLES: Final = "`1h 30m` or `500ms`"


def quote(text: str, longest: int = _SHOWN_MAX) -> str:
    """Foreign text fit for an error line: one line, printable, not endless."""
    shown = text if len(text) <= longest else text[: longest - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


# --- whole numbers


def parse_integer(text: str, *, maximum: int = MAX_U32) -> int:
    """A whole number from 0; `_` may stand anywhere after the first digit."""
    digits = text.replace("_", "")
    if not (digits.isascii() and digits.isdigit()) or text.startswith("_"):
        raise InputError(f"expected a whole number, got '{quote(text)}'")
    # Python refuses to convert thousands of digits at once; so many are too large anyway.
    if len(digits.lstrip("0")) > len(str(maximum)) or int(digits) > maximum:
        raise InputError(f"'{quote(text)}' is too large (at most {maximum})")
    return int(digits)


# --- durations


def parse_duration(text: str) -> float:
    """Seconds of `[[HH:]MM:]SS` or of the human notation."""
    clock = _CLOCK.fullmatch(text.strip()) if len(text) <= _READ_MAX else None
    if clock is None:
        return _human(text, f"Use either `HH:MM:SS` or a human notation such as {_HUMAN_EXAMPLES}")
    hours, minutes, seconds = (int(field or "0") for field in clock.groups())
    return _seconds((hours * 3600 + minutes * 60 + seconds) * _NS["s"], text)


def parse_human_duration(text: str) -> float:
    """Seconds of numbers with units such as `1h 30m`; only 0 may go without a unit."""
    return _human(text, f"Use a notation such as {_HUMAN_EXAMPLES}")


def format_duration(seconds: float) -> str:
    """The duration in units from largest to smallest, zero units left out: `1h 10m 15s`."""
    return _in_units(round(Decimal(repr(float(seconds))) * _NS["s"]))


def format_elapsed(seconds: float) -> str:
    """As `format_duration`, cut to what matters at that size."""
    if seconds < 0:
        return "Invalid duration"
    if seconds >= _NS["h"] // _NS["s"]:
        step = _NS["m"]
    elif seconds >= _NS["m"] // _NS["s"]:
        step = _NS["s"]
    else:
        step = _NS["ms"]
    total = int(Decimal(repr(float(seconds))) * _NS["s"])
    return _in_units(total - total % step)


def _in_units(total_ns: int) -> str:
    parts = []
    rest = total_ns
    for unit in _LARGEST_FIRST:
        count, rest = divmod(rest, _NS[unit])
        if count:
            ending = "s" if count > 1 and unit in _PLURAL else ""
            parts.append(f"{count}{unit}{ending}")
    return " ".join(parts) or "0s"


def _human(text: str, remedy: str) -> float:
    if len(text) > _READ_MAX:
        _too_long(text)
    stripped = text.strip()
    if stripped == "0":
        return 0.0
    at = 0
    total = Decimal(0)
    while at < len(stripped):
        part = _PART.match(stripped, at)
        unit_ns = _UNITS.get(part[2]) if part else None
        if part is None:
            raise InputError(f"'{quote(text)}' is not a duration. {remedy}")
        if unit_ns is None:
            raise InputError(f"'{quote(part[2])}' in '{quote(text)}' is not a time unit. {remedy}")
        total += Decimal(part[1]) * unit_ns
        at = part.end()
    if not stripped:
        raise InputError(f"A duration is missing. {remedy}")
    return _seconds(total, text)


def _seconds(total_ns: int | Decimal, text: str) -> float:
    if total_ns > _MAX_NS:
        _too_long(text)
    return float(Decimal(total_ns) / _NS["s"])


def _too_long(text: str) -> NoReturn:
    raise InputError(f"The duration '{quote(text)}' is too long")


# --- amounts


def parse_amount(text: str) -> int:
    """Ten-thousandths of `2`, `0.5` or `5_000`; at most four digits follow the point."""
    stripped = text.strip()
    whole, point, fraction = stripped.partition(".")
    digits = whole.replace("_", "")
    if not _is_digits(digits) or whole.startswith("_") or (point and not _is_digits(fraction)):
        found = f"token '{quote(stripped)}'" if stripped else "end of input"
        raise InputError(f"Unexpected {found}: expected an amount such as 2 or 0.5")
    if len(fraction) > _FRACTION_DIGITS:
        raise InputError(
            f"Resource precision exceeded in '{quote(stripped)}'"
            f" (at most {_FRACTION_DIGITS} digits after the point)"
        )
    if len(digits.lstrip("0")) > len(str(MAX_U32)) or int(digits) > MAX_U32:
        raise InputError(f"Cannot parse as 4-byte unsigned integer: '{quote(whole)}'")
    return int(digits) * AMOUNT_UNIT + int(fraction.ljust(_FRACTION_DIGITS, "0"))


def parse_mem_amount(text: str) -> int:
    """As `parse_amount`, of MiB; a unit may follow: `512MiB`, `1.5 GiB`, `2TiB`."""
    number, unit = text.strip()[:-3], text.strip()[-3:]
    if unit not in _MEM_UNITS:
        return parse_amount(text)
    amount = parse_amount(number) * _MEM_UNITS[unit]
    if amount > MAX_AMOUNT:
        raise InputError(f"The amount '{quote(text)}' is too large (at most {MAX_U32} MiB)")
    return amount


def amount_of_number(number: int | float) -> int:
    """Ten-thousandths of the shortest decimal that means this number; a fifth digit rounds up."""
    if isinstance(number, bool) or number != number or number < 0:
        raise InputError(f"'{number}' is not an amount: expected a number of at least 0")
    if number > MAX_U32 + 1:
        raise InputError(f"The amount is too large (at most {MAX_U32})")
    exact = Decimal(repr(number)) * AMOUNT_UNIT
    amount = int(exact.to_integral_value(rounding=ROUND_CEILING))
    if amount > MAX_AMOUNT:
        raise InputError(f"The amount {number} is too large (at most {MAX_U32})")
    return amount


def format_amount(amount: int) -> str:
    """The amount in units, with up to four decimals and no zeros at the end."""
    whole, fraction = divmod(amount, AMOUNT_UNIT)
    if not fraction:
        return str(whole)
    return f"{whole}.{fraction:0{_FRACTION_DIGITS}}".rstrip("0")


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


# --- sizes


def format_bytes(size: int) -> str:
    """The size in B, KiB, MiB or GiB, each from two of its unit on."""
    if size < 2 * 2**10:
        return f"{size} B"
    for unit, bytes_per_unit in (("KiB", 2**10), ("MiB", 2**20)):
        if size < 2 * 2**10 * bytes_per_unit:
            return f"{size / bytes_per_unit:.2f} {unit}"
    return f"{size / 2**30:.2f} GiB"


def format_mem_amount(amount: int) -> str:
    """An amount of `mem`, whose unit is the MiB."""
    mebibytes = amount / AMOUNT_UNIT
    if mebibytes < 512:
        return f"{mebibytes:.2f} MiB"
    return f"{mebibytes / 1024:.2f} GiB"
