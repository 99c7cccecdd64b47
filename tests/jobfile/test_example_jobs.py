"""The examples that the documentation shows can be submitted as they are."""

from pathlib import Path

import pytest

from hqtrio.jobfile import load_jobfile

EXAMPLES = Path(__file__).parents[2] / "configs" / "jobs"


def load(name):
    path = EXAMPLES / name
    return load_jobfile(path.read_bytes(), filename=name, submit_dir="/w", key=b"")


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_an_example_says_what_it_shows_and_can_be_submitted(name):
    assert (EXAMPLES / name).read_text().startswith("# ")
    submit = load(name)
    assert submit.arrays or submit.graph


def test_the_first_example_is_small_and_gated():
    submit = load("hello.yaml")
    assert [array.group for array in submit.arrays] == ["greet", "count", "shop", "summary"]
    assert sum(array.count for array in submit.arrays) < 50
    assert {word for array in submit.arrays for word in array.body.args[:1]} <= {b"sh", b"echo"}
    assert submit.arrays[-1].needs == (1, 2)


def test_both_notations_of_the_compatible_example_mean_the_same():
    assert load("graph-compatible.yaml") == load("graph-compatible.toml")
