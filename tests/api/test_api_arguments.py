"""Arguments that cannot be used: one line that names the argument, and nothing is changed."""

from __future__ import annotations

import datetime
import math

import pytest

from hqtrio import Job, PythonEnv, ResourceRequest, StdioDef, ValidationException, WorkerConfig

OTHER_JOBS_TASK = Job().program(["true"])

COMMON = [
    ("env", {"env": ["A=1"]}),
    ("env", {"env": {"N": 5}}),
    ("env", {"env": {5: "x"}}),
    ("env", {"env": {"": "x"}}),
    ("env", {"env": {"A=B": "x"}}),
    ("env", {"env": {"A": "x\0"}}),
    ("cwd", {"cwd": 5}),
    ("cwd", {"cwd": ""}),
    ("cwd", {"cwd": b"bytes"}),
    ("cwd", {"cwd": "a\0b"}),
    ("cwd", {"cwd": "%{CWD}/x"}),
    ("stdout", {"stdout": 5}),
    ("stdout", {"stdout": ""}),
    ("stderr", {"stderr": b"x"}),
    ("stderr", {"stderr": StdioDef("a\0b")}),
    ("deps", {"deps": 0}),
    ("deps", {"deps": "a"}),
    ("deps", {"deps": [[None]]}),
    ("deps", {"deps": [OTHER_JOBS_TASK]}),
    ("name", {"name": 5}),
    ("priority", {"priority": 1.5}),
    ("priority", {"priority": "high"}),
    ("priority", {"priority": 2**31}),
    ("crash_limit", {"crash_limit": 0}),
    ("crash_limit", {"crash_limit": -1}),
    ("crash_limit", {"crash_limit": True}),
    ("crash_limit", {"crash_limit": 65536}),
    ("crash_limit", {"crash_limit": "never"}),
    ("time_limit", {"time_limit": -1}),
    ("time_limit", {"time_limit": math.nan}),
    ("time_limit", {"time_limit": math.inf}),
    ("time_limit", {"time_limit": "soon"}),
    ("time_limit", {"time_limit": True}),
    ("time_limit", {"time_limit": [1]}),
    ("time_limit", {"time_limit": datetime.timedelta(seconds=-1)}),
    ("pin", {"pin": "yes"}),
    ("pin", {"pin": True}),
    ("pin", {"pin": ["taskset"]}),
    ("pin", {"pin": "taskset", "resources": ResourceRequest(n_nodes=2)}),
    ("stream", {"stream": ""}),
    ("stream", {"stream": 5}),
    ("stream", {"stream": "log-%{TASK_ID}"}),
    ("retry", {"retry": -1}),
    ("retry", {"retry": "often"}),
    ("retry", {"retry": True}),
    ("retry", {"retry": 10_000_000}),
    ("times", {"retry": {}}),
    ("times", {"retry": {"times": "3"}}),
    ("often", {"retry": {"often": 3}}),
    ("on", {"retry": {"times": 1, "on": []}}),
    ("on", {"retry": {"times": 1, "on": 256}}),
    ("on", {"retry": {"times": 1, "on": ["SIGNOTHING"]}}),
    ("backoff", {"retry": {"times": 1, "backoff": -1}}),
    ("max_backoff", {"retry": {"times": 1, "backoff": 2, "max_backoff": 1}}),
    ("factor", {"retry": {"times": 1, "factor": 0.5}}),
    ("factor", {"retry": {"times": 1, "factor": "x"}}),
    ("resources", {"resources": 2}),
    ("resources", {"resources": "2"}),
    ("resources", {"resources": []}),
    ("resources", {"resources": [None]}),
    ("resources", {"resources": [ResourceRequest(n_nodes=2), ResourceRequest()]}),
    ("resources", {"resources": [ResourceRequest()] * 40}),
    ("cpus", {"resources": {"cpus": "many"}}),
    ("gpus", {"resources": {"gpus": 0}}),
    ("gpus", {"resources": {"gpus": None}}),
]
PROGRAM = [
    ("args", {"args": []}),
    ("args", {"args": ""}),
    ("args", {"args": None}),
    ("args", {"args": ["sleep", 5]}),
    ("args", {"args": ["echo", "\0"]}),
    ("args", {"args": b"bytes"}),
    ("stdin", {"stdin": 5}),
    ("stdin", {"stdin": ["x"]}),
]
FUNCTION = [
    ("fn", {"fn": None}),
    ("fn", {"fn": "print"}),
    ("args", {"args": "abc"}),
    ("args", {"args": 5}),
    ("kwargs", {"kwargs": [("a", 1)]}),
    ("kwargs", {"kwargs": {1: 2}}),
]
REQUEST = [
    ("cpus", {"cpus": -1}),
    ("cpus", {"cpus": "2 nonsense"}),
    ("cpus", {"cpus": math.nan}),
    ("cpus", {"cpus": math.inf}),
    ("cpus", {"cpus": True}),
    ("cpus", {"cpus": 1, "resources": {"cpus": 2}}),
    ("n_nodes", {"n_nodes": -1}),
    ("n_nodes", {"n_nodes": 1.5}),
    ("n_nodes", {"n_nodes": True}),
    ("nodes", {"n_nodes": 2**40}),
    ("resources", {"resources": "gpus=1"}),
    ("resource", {"resources": {"1x": 1}}),
    ("resource", {"resources": {5: 1}}),
    ("mem", {"resources": {"mem": "4 PB"}}),
    ("min_time", {"min_time": -1}),
    ("min_time", {"min_time": "later"}),
    ("weight", {"weight": 0}),
    ("weight", {"weight": math.nan}),
    ("weight", {"weight": "1"}),
    ("empty", {"cpus": 0}),
]
JOB = [
    ("default_workdir", {"default_workdir": 5}),
    ("default_workdir", {"default_workdir": ""}),
    ("max_fails", {"max_fails": -1}),
    ("max_fails", {"max_fails": 1.5}),
    ("max.fails", {"max_fails": 2**32}),
    ("default_env", {"default_env": ["A=1"]}),
    ("name", {"name": 5}),
    ("name", {"name": "a\nb"}),
    ("name", {"name": "x" * 5000}),
]
PYTHON = [
    ("python_bin", {"python_bin": ""}),
    ("python_bin", {"python_bin": None}),
    ("prologue", {"prologue": 5}),
    ("prologue", {"prologue": "a\0"}),
    ("shell", {"shell": ""}),
    ("max_calls", {"max_calls": 0}),
    ("max_calls", {"max_calls": True}),
    ("max_calls", {"max_calls": 2**31}),
]


def refused(word, make):
    """The error, which is one line with that word in it."""
    with pytest.raises(ValidationException, match=word) as raised:
        make()
    assert isinstance(raised.value, Exception)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("word", "given"), PROGRAM + COMMON, ids=str)
def test_bad_arguments_of_programs(word, given):
    job = Job()
    refused(rf"\b{word}\b", lambda: job.program(**{"args": ["true"], **given}))
    assert job.tasks == []


@pytest.mark.parametrize(("word", "given"), FUNCTION + COMMON, ids=str)
def test_bad_arguments_of_functions(word, given):
    job = Job()
    refused(rf"\b{word}\b", lambda: job.function(**{"fn": print, **given}))
    assert job.tasks == []


@pytest.mark.parametrize(("word", "given"), REQUEST, ids=str)
def test_bad_requests(word, given):
    refused(word, lambda: ResourceRequest(**given))


@pytest.mark.parametrize(("word", "given"), JOB, ids=str)
def test_bad_jobs(word, given):
    refused(word, lambda: Job(**given))


@pytest.mark.parametrize(("word", "given"), PYTHON, ids=str)
def test_bad_interpreters(word, given):
    refused(word, lambda: PythonEnv(**given))


@pytest.mark.parametrize("cores", [0, -1, 1.5, "4", True])
def test_bad_workers(cores):
    refused("cores", lambda: WorkerConfig(cores))


@pytest.mark.parametrize("path", ["", 5, None, b"x", "a\0b"])
def test_bad_paths_of_outputs(path):
    refused("path", lambda: StdioDef.from_path(path))


def test_a_long_value_is_not_printed_in_full():
    refused("resources", lambda: Job().program(["true"], resources="x" * 10_000))
    with pytest.raises(ValidationException) as raised:
        Job().program({"x": "y" * 10_000})
    assert len(str(raised.value)) < 200


def test_the_word_that_is_none_is_named():
    refused(r"^args\[1\] has to be a text, not 5$", lambda: Job().program(["sleep", 5]))


def test_a_list_that_holds_itself_comes_to_an_end():
    job = Job()
    first = job.program(["true"])
    endless = [first]
    endless.append(endless)

    assert job.program(["true"], deps=endless).dependencies == (first,)
