"""Combinations of a matrix by place, against writing all of them out."""

import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hqtrio.errors import InputError
from hqtrio.model import matrix as rules
from hqtrio.model.fields import field_texts
from hqtrio.model.matrix import ANY, Axis, Combinations, Matrix, check_matrix


@st.composite
def matrices(draw):
    """A matrix, and all its combinations written out."""
    axes, values = [], []
    for name in "abc"[: draw(st.integers(1, 3))]:
        if draw(st.booleans()):
            texts = draw(st.lists(st.integers(-5, 5), min_size=1, max_size=5, unique=True))
            axes.append(Axis(name, tuple(map(str, texts))))
            values.append(texts)
        else:
            starts = st.tuples(st.integers(0, 9), st.integers(1, 4), st.integers(1, 3))
            ranges = draw(st.lists(starts, min_size=1, max_size=2))
            axes.append(Axis(name, (), tuple(ranges)))
            values.append([n for a, c, s in ranges for n in range(a, a + c * s, s)])
    row = st.tuples(*(st.integers(ANY, len(column) - 1) for column in values))
    exclude = draw(st.lists(row, max_size=3))
    include = draw(st.lists(st.tuples(*(st.integers(90, 99) for _ in axes)), max_size=2))
    places = product(*(range(len(column)) for column in values))
    kept = [
        tuple(column[at] for column, at in zip(values, place, strict=True))
        for place in places
        if not any(
            all(no in (ANY, at) for no, at in zip(row, place, strict=True)) for row in exclude
        )
    ]
    texts = tuple(tuple(map(str, row)) for row in include)
    return Matrix(tuple(axes), tuple(exclude), texts), kept + include


@settings(max_examples=200)
@given(matrices(), st.randoms(use_true_random=False))
def test_every_place_has_its_combination_in_whatever_order_they_are_asked_for(pair, random):
    matrix, expected = pair
    check_matrix(matrix)
    combinations = Combinations(matrix)
    assert combinations.count == len(expected)
    names = [axis.name for axis in matrix.axes]
    order = list(range(len(expected)))
    random.shuffle(order)
    for place in order:
        assert json.loads(combinations.entry(place)) == dict(
            zip(names, expected[place], strict=True)
        )


def test_exclusions_are_found_across_blocks_of_marks():
    matrix = Matrix((Axis("a", (), ((0, 100, 1),)), Axis("b", (), ((0, 100, 1),))), ((ANY, 7),))
    combinations = Combinations(matrix)
    assert combinations.count == 9900
    everything = [json.loads(combinations.entry(place)) for place in range(9900)]
    assert [(e["a"], e["b"]) for e in everything] == [
        (a, b) for a in range(100) for b in range(100) if b != 7
    ]


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        (Matrix(()), "at least one name"),
        (Matrix((Axis("a", ("1",)), Axis("a", ("1",)))), "twice"),
        (Matrix((Axis("a"),)), "needs values"),
        (Matrix((Axis("a", ("1",), ((0, 1, 1),)),)), "needs values"),
        (Matrix((Axis("a", (), ((0, 0, 1),)),)), "impossible range"),
        (Matrix((Axis("a b", ("1",)),)), "cannot be used as a placeholder"),
        (Matrix((Axis("a", (), ((0, 200_000_000, 1),)),)), "at most 100000000 combinations"),
        (Matrix((Axis("a", (), ((0, 60_000_000, 1),)),), ((1,),)), "too many"),
        (Matrix((Axis("a", ("1",)),), ((0, 0),)), "as wide as it is"),
        (Matrix((Axis("a", ("1",)),), (), (("1", "2"),)), "as wide as it is"),
        (Matrix((Axis("a", ("1",)),), ((1,),)), "does not have"),
    ],
)
def test_a_matrix_that_makes_no_sense_is_refused(matrix, reason):
    with pytest.raises(InputError, match=reason):
        check_matrix(matrix)


def test_there_is_a_limit_to_what_marking_exclusions_may_cost():
    assert rules.COMBINATIONS_MAX >= 1_000_000
    matrix = Matrix((Axis("a", (), ((0, 1_000_000, 1),)),), tuple((n,) for n in range(51)))
    with pytest.raises(InputError, match="list the combinations as entries"):
        check_matrix(matrix)


@pytest.mark.parametrize(
    ("entry", "texts"),
    [
        (b'{"a": 1, "b": "x"}', ("1", "x")),
        (b'{"a": 1e3, "b": "\\u00e9\\n"}', ("1e3", "é\n")),
        (b'{"a": null, "b": [1, "2"]}', ("null", '[1, "2"]')),
        (b'{"b": 0.10}', ("", "0.10")),
        (b"[1]", ("", "")),
        (b"\xff", ("", "")),
        (b'{"a": "\\ud800", "b": 1}', ("", "")),
    ],
)
def test_fields_of_an_entry_as_text(entry, texts):
    assert field_texts(entry, ("a", "b")) == texts
