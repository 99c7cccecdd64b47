"""The examples that the documentation shows can be submitted as they are."""

import re
from pathlib import Path

import pytest

from hqtrio.jobfile import load_jobfile
from hqtrio.jobfile.lists import ENTRY_FILES
from hqtrio.jobfile.native import TASK_KEYS, TOP_KEYS
from hqtrio.jobfile.retry import RETRY_KEYS

EXAMPLES = Path(__file__).parents[2] / "configs" / "jobs"


def load(name):
    path = EXAMPLES / name
    return load_jobfile(
        path.read_bytes(),
        filename=name,
        submit_dir="/w",
        key=b"",
        read_file=lambda other: (EXAMPLES / other).read_bytes(),
    )


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.*")))
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


def test_every_key_of_a_native_job_file_is_shown_by_an_example():
    native = [p.read_text() for p in EXAMPLES.glob("*.yaml") if "\ntasks:" in p.read_text()]
    words = {word for text in native for word in re.findall(r"(\w+):", text)}
    assert TASK_KEYS | TOP_KEYS | {*RETRY_KEYS, *ENTRY_FILES, "include", "exclude"} <= words


def test_examples_have_the_tasks_of_their_matrix_entries_pairs_and_retries():
    matrix, each = load("matrix.yaml").arrays[0], load("each.yaml").arrays
    assert (matrix.count, len(matrix.body.matrix.axes)) == (14, 3)
    assert [array.count for array in load("entries.yaml").arrays] == [2, 3, 2, 3]
    assert [array.each for array in each] == [(), (0,), ()]
    assert [array.always for array in load("always.yaml").arrays] == [False, False, True]
    assert [array.settings.retry.times for array in load("retry.yaml").arrays] == [2, 5]
