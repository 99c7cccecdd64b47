"""From a job to what the server is asked for; no process takes part."""

from __future__ import annotations

import datetime
import pickle
import threading

import pytest

from hqtrio import Job, PythonEnv, ResourceRequest, StdioDef
from hqtrio.api.overwriting import Written
from hqtrio.api.submitting import make_submit
from hqtrio.errors import InputError
from hqtrio.model.requests import format_request
from hqtrio.model.retry import Retry
from hqtrio.model.task import (
    DEFAULT_CRASH_LIMIT,
    NEVER_RESTART,
    UNLIMITED,
    PinMode,
    Stdio,
)


def submit_of(job, python=None, **options):
    return make_submit(
        job, python or PythonEnv(), submit_dir="/submit", results="/results", **options
    )


def body_of(job, **options):
    (body,) = submit_of(job, **options).graph.bodies
    return body


def program(**options):
    job = Job()
    job.program(["true"], **options)
    return job


def request_lines(resources):
    submit = submit_of(program(resources=resources))
    return [format_request(request) for request in submit.graph.variants[0]]


# --- requests


@pytest.mark.parametrize(
    ("resources", "lines"),
    [
        (None, [["cpus: 1 compact"]]),
        (ResourceRequest(), [["cpus: 1 compact"]]),
        (ResourceRequest(cpus=2), [["cpus: 2 compact"]]),
        (ResourceRequest(cpus=0.5), [["cpus: 0.5 compact"]]),
        (ResourceRequest(cpus="2 compact!"), [["cpus: 2 compact!"]]),
        (ResourceRequest(cpus="all"), [["cpus: all"]]),
        (ResourceRequest(cpus=0, resources={"gpus": 1}), [["gpus: 1 compact"]]),
        (ResourceRequest(cpus="0", resources={"gpus": 1}), [["gpus: 1 compact"]]),
        (ResourceRequest(resources={"cpus": 3}), [["cpus: 3 compact"]]),
        (
            ResourceRequest(resources={"mem": "4 GiB", "gpus": "2 scatter"}),
            [["cpus: 1 compact", "gpus: 2 scatter", "mem: 4096 compact"]],
        ),
        ({"cpus": 2, "gpus": 0.1}, [["cpus: 2 compact", "gpus: 0.1 compact"]]),
        ([{"gpus": 1}, ResourceRequest(cpus=8)], [
            ["cpus: 1 compact", "gpus: 1 compact"],
            ["cpus: 8 compact"],
        ]),
        (ResourceRequest(n_nodes=2), [["nodes: 2"]]),
        (ResourceRequest(n_nodes=2, cpus=4), [["nodes: 2"]]),
    ],
    ids=str,
)  # fmt: skip
def test_requests(resources, lines):
    assert request_lines(resources) == lines


def test_a_request_leaves_the_mapping_that_it_was_made_from_alone():
    given = {"gpus": 1}
    request = ResourceRequest(cpus=2, resources=given)
    given["gpus"] = 7

    assert request.resources == {"gpus": 1, "cpus": 2}
    assert given == {"gpus": 7}


def test_nodes_are_asked_for_without_cpus():
    (request,) = submit_of(program(resources=ResourceRequest(n_nodes=3))).graph.variants[0]

    assert (request.nodes, request.needs) == (3, ())


@pytest.mark.parametrize("time", [90, 90.0, "1m 30s", "00:01:30", datetime.timedelta(seconds=90)])
def test_times_in_any_form(time):
    job = program(time_limit=time, resources=ResourceRequest(min_time=time))
    submit = submit_of(job)

    assert submit.graph.bodies[0].time_limit_s == 90.0
    assert submit.graph.variants[0][0].time_s == 90.0


# --- tasks


def test_a_program_with_nothing_but_its_arguments():
    body = body_of(program())

    assert body.args == (b"true",)
    assert (body.cwd, body.submit_dir) == ("/submit", "/submit")
    assert body.stdout == Stdio("%{CWD}/%{TASK_ID}.stdout")
    assert body.stderr == Stdio("%{CWD}/%{TASK_ID}.stderr")
    assert (body.env, body.stdin, body.task_dir, body.function_calls) == ((), b"", False, 0)
    assert (body.time_limit_s, body.pin, body.stream_dir) == (0.0, PinMode.NONE, "")


def test_a_single_text_is_a_single_argument():
    job = Job()
    job.program("echo hello")

    assert body_of(job).args == (b"echo hello",)


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        (None, DEFAULT_CRASH_LIMIT),
        (3, 3),
        ("never-restart", NEVER_RESTART),
        ("unlimited", UNLIMITED),
    ],
)
def test_crash_limits(given, limit):
    assert submit_of(program(crash_limit=given)).graph.settings[0].crash_limit == limit


@pytest.mark.parametrize(
    ("given", "retry"),
    [
        (None, None),
        (0, None),
        ({"times": 0}, None),
        (3, Retry(3)),
        ({"times": 3}, Retry(3)),
        ({"times": 3, "on": "any"}, Retry(3)),
        ({"times": 1, "on": 75}, Retry(1, False, (75,))),
        (
            {"times": 2, "on": [75, "SIGKILL", "TERM", "timeout"], "backoff": "1s", "factor": 3},
            Retry(2, False, (75,), (9, 15), True, 1.0, 3.0),
        ),
        ({"times": 1, "backoff": "2h"}, Retry(1, backoff_s=7200.0, max_backoff_s=7200.0)),
        ({"times": 1, "max_backoff": 5}, Retry(1, max_backoff_s=5.0)),
        (Retry(2, False, (75,)), Retry(2, False, (75,))),
    ],
)
def test_retries(given, retry):
    assert submit_of(program(retry=given)).graph.settings[0].retry == retry


def test_what_tasks_of_a_job_inherit():
    job = Job(default_workdir="/data/dir", default_env={"A": "job", "B": "job"})
    job.program(["true"], env={"A": "task"}, cwd="relative")
    job.program(["true"])
    one, other = submit_of(job).graph.bodies

    assert dict(one.env) == {b"A": b"task", b"B": b"job"}
    assert (one.cwd, other.cwd) == ("relative", "/data/dir")


def test_equal_tasks_share_a_body():
    job = Job()
    for _ in range(10):
        job.program(["true"])
    graph = submit_of(job).graph

    assert len(graph.bodies) == len(graph.variants) == len(graph.settings) == 1
    assert [task.number for task in graph.tasks] == list(range(10))


@pytest.mark.parametrize("nest", [lambda a, b: [a, b], lambda a, b: [[a], [[b], a]],
                                  lambda a, b: (t for t in (a, b))])  # fmt: skip
def test_dependencies_in_lists_of_any_depth(nest):
    job = Job()
    a, b = job.program(["a"]), job.program(["b"])
    job.program(["c"], deps=nest(a, b))

    assert submit_of(job).graph.tasks[2].needs == (0, 1)


def test_the_stream_takes_outputs_without_a_file_of_their_own(tmp_path):
    body = body_of(program(stream=tmp_path, stderr="err.txt"))

    assert body.stream_dir == str(tmp_path)
    assert (body.stdout, body.stderr) == (Stdio(None, stream=True), Stdio("err.txt"))


def test_outputs_in_a_directory_for_each_job():
    body = body_of(program(stdout=StdioDef(), stderr=StdioDef.remove_if_finished()))

    assert body.stdout == Stdio("%{CWD}/job-%{JOB_ID}/%{TASK_ID}.stdout")
    assert body.stderr == Stdio("%{CWD}/job-%{JOB_ID}/%{TASK_ID}.stderr", remove_if_finished=True)


def test_names_that_no_text_encoding_has_travel_as_they_are():
    job = Job()
    job.program(["ls", "\udcff"], env={"A": "\udcfe"})

    assert body_of(job).args == (b"ls", b"\xff")
    assert dict(body_of(job).env) == {b"A": b"\xfe"}


@pytest.mark.parametrize(
    ("python", "words", "calls"),
    [
        (PythonEnv("/opt/python"), (b"/opt/python",), 1000),
        (PythonEnv("python3", fresh=True), (b"python3",), 1),
        (PythonEnv("python3", max_calls=7), (b"python3",), 7),
        (
            PythonEnv("python3", "module load Python", "sh"),
            (b"sh", b"-c", b'module load Python\nexec python3 "$@"', b"sh"),
            1,
        ),
    ],
)
def test_interpreters(python, words, calls):
    job = Job()
    job.function(print)
    body = body_of(job, python=python)

    assert (body.args, body.function_calls, body.task_dir) == (words, calls, True)


def test_a_function_whose_result_is_not_wanted():
    job = Job()
    job.function(print, args=("x",), result=False)

    assert pickle.loads(body_of(job).stdin)["results"] is None


def test_what_cannot_be_pickled_names_its_task():
    job = Job()
    job.function(print, args=(threading.Lock(),))
    with pytest.raises(InputError, match=r"^Task print/0: .*cannot be pickled"):
        submit_of(job)


def test_a_function_that_has_changed_is_pickled_anew():
    factor = 2

    def scale():
        return factor

    job = Job()
    job.function(scale)
    first = pickle.loads(pickle.loads(body_of(job).stdin)["function"])
    factor = 3
    second = pickle.loads(pickle.loads(body_of(job).stdin)["function"])

    assert (first(), second()) == (2, 3)


def test_a_large_function_is_stored_once_for_all_its_calls(tmp_path):
    table = "x" * 200_000

    def look(place):
        return table[place]

    job = Job()
    for place in range(5):
        job.function(look, args=(place,))
    submit = make_submit(job, PythonEnv(), submit_dir="/submit", results=str(tmp_path / "large"))

    calls = [pickle.loads(body.stdin) for body in submit.graph.bodies]
    assert len({call["function_file"] for call in calls}) == 1
    assert len(list((tmp_path / "large").iterdir())) == 1


# --- outputs of several jobs


def written(*jobs, submit_dir="/submit"):
    """What the last job would write over."""
    files = Written()
    *earlier, last = jobs
    for job in earlier:
        files.add(job, submit_dir)
    return files.clash(last, submit_dir)


@pytest.mark.parametrize(
    ("options", "clash"),
    [
        ({}, "/submit/0.stdout"),
        ({"cwd": "here"}, "/submit/here/0.stdout"),
        ({"stdout": None}, "/submit/0.stderr"),
        ({"stdout": "log", "stderr": None}, "/submit/log"),
        ({"stdout": "%{SUBMIT_DIR}/%{TASK_ID}/x", "stderr": None}, "/submit/0/x"),
        ({"stdout": None, "stderr": None}, None),
        ({"stdout": StdioDef(), "stderr": StdioDef()}, None),
        ({"stdout": "%{JOB_ID}.out", "stderr": None}, None),
        ({"stream": "log"}, None),
    ],
    ids=str,
)
def test_files_that_two_jobs_write(options, clash):
    assert written(program(**options), program(**options)) == clash


def test_jobs_in_directories_of_their_own_write_nothing_twice():
    one, other = Job("/one"), Job("/other")
    for job in (one, other):
        job.program(["true"])

    assert written(one, other) is None


def test_tasks_with_other_numbers_write_other_files():
    first, second = program(), Job()
    second.program(["true"], stdout=None, stderr=None)
    second.program(["true"])

    assert written(first, second) is None
    assert written(second, second) == "/submit/1.stdout"
