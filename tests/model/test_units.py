"""Durations, amounts and sizes as users write and read them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqtrio.errors import InputError
from hqtrio.units import (
    AMOUNT_UNIT,
    MAX_AMOUNT,
    amount_of_number,
    format_amount,
    format_bytes,
    format_duration,
    format_elapsed,
    format_mem_amount,
    parse_amount,
    parse_duration,
    parse_human_duration,
    parse_integer,
    quote,
)


def repr_short(value):
    return f"{value:#x}"[:12] if isinstance(value, int) else repr(value)


def one_line(read, text):
    """What `read` makes of the text, or None if it refuses in one line."""
    try:
        return read(text)
    except InputError as error:
        return None if "\n" not in str(error) else pytest.fail(str(error))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1:30", 90),
        ("01:10:15", 4215),
        ("100:00", 6000),
        ("1:99:99", 3600 + 99 * 60 + 99),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("2 hours 5 minutes", 7500),
        ("1s 200ms", 1.2),
        ("18s500ms", 18.5),
        ("60sec", 60),
        ("60 sec", 60),
        ("1.5h", 5400),
        ("0", 0),
        ("5ns", 5e-9),
        ("5 nanos", 5e-9),
        ("7us", 7e-6),
        ("7µs", 7e-6),
        ("3 millis", 0.003),
        ("2min", 120),
        ("1 hr", 3600),
        ("2days", 172_800),
        ("1w", 604_800),
        ("1wk", 604_800),
        ("1M", 2_630_016),
        ("2 months", 5_260_032),
        ("1y", 31_557_600),
        ("1yr", 31_557_600),
    ],
)
def test_a_duration_is_read_in_both_notations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "x", "1:2:3:4", "5 foo", "1h 3", "-1s", "1.h.", "1 :30", "1:", "H", "5S", "1e3s"]
)
def test_a_bad_duration_names_both_notations(text):
    with pytest.raises(InputError, match="Use either `HH:MM:SS` "):
        parse_duration(text)


@pytest.mark.parametrize("text", ["90", "1:30", "01:10:15", "1"])
def test_the_human_notation_wants_units(text):
    with pytest.raises(InputError, match="Use a notation such as"):
        parse_human_duration(text)


def test_only_zero_needs_no_unit():
    assert parse_human_duration("0") == 0
    assert parse_human_duration("0s") == 0


@pytest.mark.parametrize("text", ["9" * 100, "9" * 5000 + "h", "1" * 150 + "y", "9999999999999y"])
def test_an_endless_duration_is_refused(text):
    with pytest.raises(InputError, match="too long"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.5, "500ms"),
        (1.2, "1s 200ms"),
        (10, "10s"),
        (4215, "1h 10m 15s"),
        (7 * 86_400, "7days"),
        (86_400, "1day"),
        (31_557_600, "1year"),
        (2 * 31_557_600 + 2_630_016, "2years 1month"),
        (5e-9, "5ns"),
        (0.000_012, "12us"),
    ],
)
def test_durations_are_shown_in_units(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3 * 3600 + 5 * 60 + 59.9, "3h 5m"),
        (123.7, "2m 3s"),
        (1.500_999, "1s 500ms"),
        (0.000_4, "0s"),
        (-1, "Invalid duration"),
    ],
)
def test_elapsed_time_is_cut_to_what_matters(seconds, text):
    assert format_elapsed(seconds) == text


@given(st.integers(0, 10**15))
def test_a_shown_duration_reads_back(microseconds):
    seconds = microseconds / 1e6
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-12, abs=1e-9)


@given(st.text(max_size=30))
def test_any_text_is_a_duration_or_an_input_error(text):
    for read in (parse_duration, parse_human_duration):
        seconds = one_line(read, text)
        assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("2", 20_000),
        ("0.01", 100),
        ("100.0001", 1_000_001),
        ("0.346", 3460),
        ("5_000", 50_000_000),
        ("1_3000_2000", 1_300_020_000_000),
        ("1___0__0_0", 10_000_000),
        ("1_", 10_000),
        (" 1.5 ", 15_000),
        ("4294967295.9999", MAX_AMOUNT),
    ],
)
def test_amounts_are_exact(text, amount):
    assert parse_amount(text) == amount


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("0.12345", "Resource precision exceeded"),
        ("4294967296", "Cannot parse as 4-byte unsigned integer"),
        ("9" * 5000, "Cannot parse as 4-byte unsigned integer"),
        ("_1", "Unexpected token"),
        ("x", "Unexpected token"),
        ("1.", "Unexpected token"),
        (".5", "Unexpected token"),
        ("-1", "Unexpected token"),
        ("1e3", "Unexpected token"),
        ("", "Unexpected end of input"),
    ],
)
def test_a_bad_amount_is_told_in_one_line(text, fragment):
    with pytest.raises(InputError, match=fragment):
        parse_amount(text)


@pytest.mark.parametrize(
    ("number", "amount"),
    [(3, 30_000), (0.1, 1000), (0.3, 3000), (0.12341, 1235), (1e-9, 1), (2.5, 25_000), (0, 0)],
)
def test_a_number_means_its_shortest_decimal_and_rounds_up(number, amount):
    assert amount_of_number(number) == amount


@pytest.mark.parametrize(
    "number",
    [-1, -0.1, float("nan"), float("inf"), 2**32, 1 << 20_000, 1e300, True],
    ids=repr_short,
)
def test_numbers_that_are_no_amounts_are_refused(number):
    with pytest.raises(InputError):
        amount_of_number(number)


@given(st.integers(0, MAX_AMOUNT))
def test_a_shown_amount_reads_back(amount):
    text = format_amount(amount)
    assert parse_amount(text) == amount
    assert not ("." in text and text.endswith("0"))
    assert Fraction(text) == Fraction(amount, AMOUNT_UNIT)


@given(st.floats(0, 2**32, exclude_max=True).filter(lambda x: x < 2**32 - 1))
def test_floats_round_up_and_by_less_than_a_step(number):
    amount = amount_of_number(number)
    assert 0 <= amount - Fraction(repr(number)) * AMOUNT_UNIT < 1


@given(st.text(max_size=20))
def test_any_text_is_an_amount_or_an_input_error(text):
    amount = one_line(parse_amount, text)
    assert amount is None or 0 <= amount <= MAX_AMOUNT


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (2047, "2047 B"),
        (2048, "2.00 KiB"),
        (2 * 2**20 - 1, "2048.00 KiB"),
        (2 * 2**20, "2.00 MiB"),
        (2 * 2**30, "2.00 GiB"),
        (5 * 2**40, "5120.00 GiB"),
    ],
)
def test_sizes_change_unit_at_two(size, text):
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("mebibytes", "text"), [(100, "100.00 MiB"), (511.5, "511.50 MiB"), (512, "0.50 GiB")]
)
def test_memory_amounts_are_mebibytes(mebibytes, text):
    assert format_mem_amount(int(mebibytes * AMOUNT_UNIT)) == text


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("1_000", 1000), ("4294967295", 2**32 - 1)])
def test_whole_numbers(text, number):
    assert parse_integer(text) == number


@pytest.mark.parametrize("text", ["", "_1", "1.5", "-1", "x", "²", "4294967296", "9" * 5000])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(InputError):
        parse_integer(text)


def test_foreign_text_is_made_fit_for_one_line():
    assert quote("a\nb\x1b[0m") == "a\\nb\\x1b[0m"
    assert quote("x" * 100) == "x" * 57 + "..."
