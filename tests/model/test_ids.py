"""Arrays of task numbers, against a plain list that knows the truth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqtrio.errors import InputError
from hqtrio.ids import (
    MAX_NUMBER,
    IdArray,
    format_ids,
    format_task,
    job_of,
    number_of,
    parse_ids,
    ranges_overlap,
    task_id,
)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("34", [34]),
        ("34-40", [34, 35, 36, 37, 38, 39, 40]),
        ("101-101", [101]),
        ("0-10:2", [0, 2, 4, 6, 8, 10]),
        ("0-10:3", [0, 3, 6, 9]),
        ("0-10:10", [0, 10]),
        ("2,7,9,20-23", [2, 7, 9, 20, 21, 22, 23]),
        (" 3-4 , 2 ", [3, 4, 2]),
        ("1_000,1_", [1000, 1]),
        ("0-10:2,1-9:2", [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9]),
        ("4294967295", [MAX_NUMBER]),
    ],
)
def test_an_array_keeps_the_order_of_the_user(text, numbers):
    ids = parse_ids(text)
    assert list(ids) == numbers
    assert ids.count == len(ids) == len(numbers)
    assert ids.largest == max(numbers)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("10-5", "Invalid range"),
        ("5:2", "Invalid range"),
        ("5-5:1", "Invalid range"),
        ("1-3:0", "Invalid range"),
        ("1-3:5", "Invalid range"),
        ("0-10, 5", "Ranges overlap"),
        ("0-10:2,4", "Ranges overlap"),
        ("0-4294967294:2,1-4294967295:3", "Ranges overlap"),
        ("5,5", "Ranges overlap"),
        ("", "Unexpected end of input"),
        ("1,", "Unexpected end of input"),
        ("1-", "Unexpected end of input"),
        ("x", "Unexpected token"),
        ("_1", "Unexpected token"),
        ("-1", "Unexpected end of input"),
        ("1--2", "Unexpected token"),
        ("1\n2", "Unexpected token"),
        ("²", "Unexpected token"),
        ("4294967296", "too large"),
        ("9" * 10_000, "too large"),
    ],
)
def test_what_is_no_array_gets_one_line(text, fragment):
    with pytest.raises(InputError, match=fragment) as caught:
        parse_ids(text)
    assert "\n" not in str(caught.value)


def test_thousands_of_tangled_ranges_are_refused_quickly():
    text = ",".join(f"{i}-{100_000_000 + i}:10000" for i in range(5000))
    with pytest.raises(InputError, match="Too many interleaved ranges"):
        parse_ids(text)


def test_many_plain_ranges_are_no_problem():
    ids = parse_ids(",".join(str(2 * i) for i in range(20_000)))
    assert ids.position(2 * 19_999) == 19_999
    assert ids.position(1) == -1


def test_a_computed_array_merges_neighbours_and_infers_no_steps():
    ids = IdArray.of([29, 2, 7, 9, 20, 21, 22, 23, 24, 30, 9])
    assert format_ids(ids) == "2,7,9,20-24,29-30"
    assert format_ids(IdArray.of([0, 2, 4])) == "0,2,4"
    assert format_ids(IdArray.of([])) == ""


def test_packed_ids_sort_by_job_and_number():
    assert job_of(task_id(7, 9)) == 7
    assert number_of(task_id(7, MAX_NUMBER)) == MAX_NUMBER
    assert task_id(1, MAX_NUMBER) < task_id(2, 0)
    assert format_task(task_id(3, 14)) == "3@14"


RANGE = st.builds(
    lambda start, count, step: (start, count, step if count > 1 else 1),
    st.integers(0, 60),
    st.integers(1, 12),
    st.integers(1, 7),
)


def numbers_of(ranges):
    return [start + i * step for start, count, step in ranges for i in range(count)]


@given(st.lists(RANGE, max_size=6))
def test_overlap_means_a_number_twice(ranges):
    numbers = numbers_of(ranges)
    assert ranges_overlap(ranges) == (len(set(numbers)) < len(numbers))


@given(st.lists(RANGE, max_size=6).filter(lambda r: len(set(numbers_of(r))) == len(numbers_of(r))))
def test_positions_agree_with_a_plain_list(ranges):
    ids, numbers = IdArray(ranges), numbers_of(ranges)
    assert list(ids) == numbers
    assert [ids.number(at) for at in range(len(numbers))] == numbers
    for number in range(-2, 160):
        expected = numbers.index(number) if number in numbers else -1
        assert ids.position(number) == expected
        assert (number in ids) == (expected >= 0)


@given(st.lists(RANGE, min_size=1, max_size=6))
def test_what_is_printed_reads_back(ranges):
    if ranges_overlap(ranges):
        return
    ids = IdArray(ranges)
    assert list(parse_ids(format_ids(ids))) == list(ids)


@given(st.sets(st.integers(0, 300)))
def test_computed_arrays_hold_what_they_were_made_of(numbers):
    ids = IdArray.of(numbers)
    assert list(ids) == sorted(numbers)
    assert not numbers or list(parse_ids(format_ids(ids))) == sorted(numbers)


@given(st.text(alphabet="0123456789-:, _x", max_size=20))
def test_any_text_is_an_array_or_an_input_error(text):
    try:
        ids = parse_ids(text)
    except InputError:
        return
    assert ids.count > 0
