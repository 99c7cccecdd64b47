"""`worker start`, `worker hwdetect` and `run`, as far as they go without a server."""

from __future__ import annotations

import json

import pytest

from hqtrio.cli.worker_start import cpus, detectable
from hqtrio.errors import InputError
from hqtrio.model.resources import CPUS


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("none", ()),
        ("cpus", ("cpus",)),
        ("cpus,gpus/nvidia", ("cpus", "gpus/nvidia")),
    ],
)
def test_what_to_detect(text, names):
    assert detectable(text) == names


def test_everything_is_detected_by_default():
    assert detectable("all")[0] == CPUS


@pytest.mark.parametrize("text", ["all,cpus", "cpus,none", "cpu", ""])
def test_unknown_things_to_detect(text):
    with pytest.raises(InputError):
        detectable(text)


def test_a_pool_that_cpus_cannot_have_is_left_for_the_command():
    assert cpus("sum(4)") == "sum(4)"
    assert cpus("2x4").groups == (("0", "1", "2", "3"), ("4", "5", "6", "7"))


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("worker start --cpus 0", 1, "Resource kind `sum` cannot be used with CPUs"),
        ("worker start --cpus 1x", 2, "invalid value '1x' for '--cpus <CPUS>'"),
        ("worker start --heartbeat 150ms", 2, "must be longer than 150ms"),
        ("worker start --detect-resources all,cpus", 2, "`all` cannot be combined with others"),
        ("worker start --on-server-lost panic", 2, "possible values: stop, finish-running"),
        ("worker start --server-dir /nowhere", 1, "No running instance of"),
        ("run", 2, "not provided:\n  <PROGRAM>..."),
        ("run --env A=1 job.yaml", 2, "'--env <KEY=VALUE>' cannot be used with a job file"),
        ("run missing.yaml", 1, "Cannot read missing.yaml"),
        ("run --cwd %{CWD} ls", 1, "cannot contain the working directory placeholder"),
    ],
)
def test_what_is_refused_before_anything_starts(hq, words, code, text):
    result = hq(*words.split())

    assert (result.code, result.out) == (code, "")
    assert text in result.err


def test_hwdetect(hq):
    table = hq("worker", "hwdetect").lines
    assert table[0] == "Summary:"
    assert table[1].startswith("cpus: ")
    assert "Full Description:" in table

    value = json.loads(hq("worker", "hwdetect", "--output-mode", "json").out)
    assert value["resources"][0]["name"] == "cpus"
    assert value["coupling"] == {"weights": []}
    assert hq("worker", "hwdetect", "--output-mode", "quiet").out == ""
