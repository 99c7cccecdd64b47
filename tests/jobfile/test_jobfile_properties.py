"""Whatever stands in a job file, it is either a submit or a JobFileError."""

import json
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from hqtrio.jobfile import JobFileError, load_jobfile
from hqtrio.jobfile.order import find_cycle, sort_by_needs
from hqtrio.model.matrix import Combinations

WORDS_OF_KEYS = """
    name max_fails stream defaults tasks task array data_layer command script shell env cwd stdin
    stdout stderr task_dir pin priority time_limit crash_limit request entries ids id deps needs
    matrix retry when path on_close cpus nodes time weight resources n_nodes time_request all each
    include exclude lines json csv times on backoff factor max_backoff always success timeout any
    a b c d << ! &x *x
"""
KEYS = WORDS_OF_KEYS.split()
WORDS = [
    "",
    "x",
    "1",
    "-1",
    "0.5",
    "true",
    "null",
    "1-3",
    "1h",
    "1:30",
    "2 compact!",
    "all",
    "%{X}",
    "%{a}",
    "SIGKILL",
]
SCALAR = st.one_of(st.sampled_from(WORDS + KEYS), st.text(max_size=5), st.integers(), st.floats())
VALUE = st.recursive(
    SCALAR | st.none() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=20,
)
ROWS = st.lists(st.dictionaries(st.sampled_from("abc"), SCALAR, max_size=3), max_size=3)
MATRIX = st.dictionaries(
    st.sampled_from("abc"), st.lists(SCALAR, max_size=3) | st.sampled_from(WORDS), max_size=3
).flatmap(
    lambda axes: st.fixed_dictionaries(
        {name: st.just(values) for name, values in axes.items()},
        optional={"include": ROWS, "exclude": ROWS},
    )
)
RETRY = st.dictionaries(st.sampled_from(KEYS), SCALAR | st.lists(SCALAR, max_size=2), max_size=4)
NEEDS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["all", "each"]), max_size=2)
TASK = st.one_of(
    st.dictionaries(st.sampled_from(KEYS), VALUE, max_size=6),
    st.fixed_dictionaries(
        {"command": st.lists(SCALAR, min_size=1, max_size=2)},
        optional={"matrix": MATRIX, "entries": ROWS, "needs": NEEDS, "retry": RETRY},
    ),
)
NATIVE = st.fixed_dictionaries(
    {"tasks": st.dictionaries(st.sampled_from("abcd"), TASK, max_size=3)},
    optional={"defaults": TASK, "name": VALUE, "max_fails": VALUE},
)
COMPATIBLE = st.fixed_dictionaries({}, optional={"task": st.lists(TASK, max_size=3), "array": TASK})


def attempt(text, filename, **more):
    try:
        submit = load_jobfile(text, filename=filename, submit_dir="/w", key=b"", **more)
    except JobFileError as error:
        assert all(line.startswith(f"{filename}:") for line in str(error).splitlines())  # noqa: PT017
        return
    assert submit.arrays or submit.graph
    for place, array in enumerate(submit.arrays):
        assert array.count > 0
        assert all(need < place for need in (*array.needs, *array.each))
        assert all(submit.arrays[need].count == array.count for need in array.each)
        if array.body.matrix is not None:
            assert Combinations(array.body.matrix).count == array.count


@given(st.text(max_size=200))
def test_any_text(text):
    attempt(text.encode("utf-8", "surrogatepass"), "j.yaml")
    attempt(text.encode("utf-8", "surrogatepass"), "j.toml")


@given(st.binary(max_size=100))
def test_any_bytes(data):
    attempt(data, "j.yaml")
    attempt(data, "j.toml")


@given(
    st.lists(st.sampled_from([*"[]{}:,-&*!|>'\"#%@`?~ \n\t<", *KEYS, "  ", "\n  "]), max_size=40)
)
def test_anything_that_looks_like_yaml(pieces):
    attempt("".join(pieces).encode(), "j.yaml")


@settings(max_examples=300)
@given(NATIVE | COMPATIBLE)
def test_anything_that_looks_like_a_job(value):
    attempt(json.dumps(value).encode(), "j.yaml")


FILE = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text('a1,;"\n\r\0 ', max_size=40).map(str.encode),
    VALUE.map(lambda value: json.dumps(value).encode()),
    st.integers(1, 3000).map(lambda depth: b"[" * depth + b"]" * depth),
)


@settings(max_examples=200)
@given(st.sampled_from(["lines", "json", "csv"]), FILE, st.sampled_from(["x", "%{a}", "%{1}"]))
def test_any_file_of_entries(kind, data, stdout):
    text = f"tasks: {{t: {{command: x, entries: {{{kind}: f}}, stdout: '{stdout}'}}}}"
    attempt(text.encode(), "j.yaml", read_file=lambda name: data)


GRAPH = st.dictionaries(st.integers(0, 8), st.lists(st.integers(0, 8), max_size=4), max_size=8)


@given(GRAPH)
def test_a_graph_has_an_order_or_a_circle(graph):
    order, circle = sort_by_needs(graph), find_cycle(graph)
    assert (len(order) == len(graph)) == (not circle)
    for place, key in enumerate(order):
        assert all(need in order[:place] for need in graph[key] if need in graph)
    assert all(then in graph[here] for here, then in pairwise(circle))
    assert not circle or circle[0] == circle[-1]
