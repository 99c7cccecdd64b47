"""Text with `%{NAME}` in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqtrio.placeholders import Name, fill, join, names, split, unknown


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", ()),
        ("plain", ("plain",)),
        ("%{A}", (Name("A"),)),
        ("x/%{A}%{B}.txt", ("x/", Name("A"), Name("B"), ".txt")),
        ("100%", ("100%",)),
        ("%{}", ("%{}",)),
        ("%{A", ("%{A",)),
        ("%%{A}", ("%", Name("A"))),
        ("%{%{A}}", ("%{", Name("A"), "}")),
    ],
)
def test_a_text_is_cut_into_pieces(text, pieces):
    assert split(text) == pieces


def test_names_that_nobody_knows_yet_stay():
    path = fill("/w/job-%{JOB_ID}/%{TASK_ID}.out", {"JOB_ID": "7"})
    assert path == "/w/job-7/%{TASK_ID}.out"
    assert fill(path, {"TASK_ID": "3"}) == "/w/job-7/3.out"


def test_a_filled_in_value_is_not_looked_at_again():
    assert fill("%{A}%{B}", {"A": "%{B}", "B": "x"}) == "%{B}x"


def test_names_are_listed_once_in_order():
    assert names("%{B}/%{A}/%{B}") == ["B", "A"]
    assert unknown("%{B}/%{A}/%{C}", ["A"]) == ["B", "C"]


@given(st.text(alphabet="ab%{}", max_size=30))
def test_pieces_join_to_the_text(text):
    assert join(split(text)) == text
    assert fill(text, {}) == text
