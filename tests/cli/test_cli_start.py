"""`server start`, `worker start`, `worker hwdetect` and `run`, as far as they go alone."""

from __future__ import annotations

import json

import pytest

from hqtrio.cli.worker_start import detectable
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


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("worker start --cpus 0", 1, "Resource kind `sum` cannot be used with CPUs"),
        ("worker start --cpus sum(4)", 1, "Resource kind `sum` cannot be used with CPUs"),
        ("worker start --resource cpus=sum(4)", 1, "Resource kind `sum` cannot be used with CPUs"),
        (
            "worker start --cpus 2 --resource cpus=[1]",
            1,
            "Parameters --cpus and --resource cpus=... cannot be combined",
        ),
        ("worker start --resource x=[1] --resource x=[2]", 1, "Resource x defined twice"),
        ("worker start --resource x=sum(0)", 1, "Resource x is empty"),
        (
            "worker start --detect-resources none",
            1,
            "You have to specify --cpus explicitly when opting out of CPU automatic detection",
        ),
        ("worker start --resource x=1", 2, "invalid value 'x=1' for '--resource <NAME="),
        ("worker start --cpus [[1],[1]]", 2, "Invalid resource definition for cpus: '1' is in two"),
        ("worker start --cpus 2x2 --coupling cpus[0]", 1, "Missing ':' in 'cpus[0]'"),
        ("worker start --cpus 2x2 --coupling cpus[0]:x[0]", 1, "Resource not found: x"),
        ("worker start --min-utilization 1.5", 2, "in the interval [0.0, 1.0]."),
        ("worker start --min-utilization=-0.1", 2, "in the interval [0.0, 1.0]."),
        ("worker start --min-utilization nan", 2, "expected a number such as 2 or 0.5"),
        ("worker start --min-utilization half", 2, "for '--min-utilization <MIN_UTILIZATION>'"),
        ("worker start --cpus 1x", 2, "invalid value '1x' for '--cpus <CPUS>'"),
        ("worker start --heartbeat 150ms", 2, "must be longer than 150ms"),
        ("worker start --detect-resources all,cpus", 2, "`all` cannot be combined with others"),
        ("worker start --on-server-lost panic", 2, "possible values: stop, finish-running"),
        ("worker start --server-dir /nowhere", 1, "No running instance of"),
        ("run", 2, "not provided:\n  <PROGRAM>..."),
        ("run --env A=1 job.yaml", 2, "'--env <KEY=VALUE>' cannot be used with a job file"),
        ("run missing.yaml", 1, "Cannot read missing.yaml"),
        ("run --cpus 0 ls", 2, "Resource kind `sum` cannot be used with CPUs"),
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


@pytest.mark.parametrize(
    ("words", "patience_s"),
    [((), 60.0), (("--patience", "1m 30s"), 90.0), (("--patience", "0s"), 0.0)],
)
def test_the_patience_of_the_server_is_that_of_its_scheduler(
    hq, tmp_path, monkeypatch, words, patience_s
):
    seen = []

    def refuse(patience_s, _grace):
        seen.append(patience_s)
        raise InputError("seen enough")

    monkeypatch.setattr("actors.server.cores.Scheduling", refuse)
    result = hq("--server-dir", str(tmp_path / "server"), "server", "start", *words)
    assert result.code == 1
    assert "seen enough" in result.err
    assert seen == [patience_s]


def test_a_bad_patience_is_refused(hq):
    result = hq("server", "start", "--patience", "soon")
    assert result.code == 2
    assert "--patience" in result.err


def test_the_interval_of_retract_checks_is_accepted_and_called_useless(hq):
    result = hq("worker", "start", "--help")
    assert "--retract-check-interval" in result.out
    assert "Without effect" in result.out
    words = ("--cpus", "0", "--retract-check-interval", "10s")
    assert "Resource kind `sum`" in hq("worker", "start", *words).err
