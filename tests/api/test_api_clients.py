"""What the API has beyond HyperQueue's: limits, streams, cancelling, open jobs, results."""

from __future__ import annotations

import os
import threading
import time
import warnings
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from hqtrio import (
    Client,
    FailedJobsException,
    Job,
    PythonEnv,
    ResourceRequest,
    StdioDef,
    TaskFailed,
    ValidationException,
)
from hqtrio.errors import HqError
from hqtrio.ffi.client import ClientConnection

SHELL = ("sh", "-c")


def gated(job, name="gate", **options):
    """A task that goes on as soon as somebody has opened the FIFO for writing."""
    if not os.path.exists(name):
        os.mkfifo(name)
    return job.program([*SHELL, f"read x < {name}"], cwd=os.getcwd(), **options)


def open_gate(name="gate"):
    with open(name, "w") as gate:
        gate.write("\n")


# --- how tasks run


def test_time_limit_and_retry_of_a_function(client, place):
    def slow(path):

        with open(path, "a") as file:
            file.write("x")
        time.sleep(1000)

    job = Job()
    job.function(slow, args=(str(place / "runs"),), time_limit=0.2, retry=1)
    submitted = client.submit(job)
    assert not client.wait_for_jobs(submitted, raise_on_error=False)

    assert client.get_failed_tasks(submitted)[0].error == "Time limit reached"
    assert (place / "runs").read_text() == "xx"


def test_entries_make_a_task_each(client, place):
    job = Job()
    tasks = job.programs(
        [*SHELL, "echo $HQ_ENTRY $MORE > $HQ_TASK_ID"], ["a b", "c"], env={"MORE": "x"}
    )
    assert client.wait_for_jobs(client.submit(job))
    assert [task.task_id for task in tasks] == [0, 1]
    assert ((place / "0").read_text(), (place / "1").read_text()) == ("a b x\n", "c x\n")


def test_tasks_tell_whoever_listens(client, place):
    heard, all_heard = [], threading.Event()

    def hear(*said):
        heard.append(said)
        if len(heard) == 1:
            raise ValueError("the others are heard all the same")
        all_heard.set()

    with Client(client.server_dir, on_notify=hear) as listening:
        job = Job()
        job.program([*SHELL, '$HQ task notify "half way"; $HQ task notify done'])
        submitted = listening.submit(job)
        assert listening.wait_for_jobs(submitted)
        assert all_heard.wait(60)
    assert heard == [(submitted.id, 0, "half way"), (submitted.id, 0, "done")]
    with pytest.raises(ValidationException, match="on_notify"):
        Client(client.server_dir, on_notify="me")


def test_a_pinned_task_has_its_cpus(client, place):
    def look():
        import os

        return len(os.sched_getaffinity(0)), os.environ["HQ_PIN"]

    job = Job()
    task = job.function(look, pin="taskset")
    submitted = client.submit(job)

    assert submitted.result(task) == (1, "taskset")


def test_outputs_of_a_stream(client, shared, place):
    def speak():
        print("function")

    job = Job()
    job.program(["echo", "program"], stream="log")
    job.function(speak, stream="log")
    submitted = client.submit(job)
    assert client.wait_for_jobs(submitted)

    shown = shared.run("output-log", str(place / "log"), "cat", str(submitted.id), "stdout").stdout
    assert sorted(shown.split()) == ["function", "program"]
    assert sorted(path.name for path in place.iterdir()) == ["log"]


def test_priorities_and_weights_arrive(client, shared, place):
    job = Job()
    job.program(["true"], priority=-3, resources=ResourceRequest(weight=2.5))
    submitted = client.submit(job)
    client.wait_for_jobs(submitted)

    shown = shared.run("--output-mode=json", "job", "info", str(submitted.id)).stdout
    assert '"priority": -3' in shown
    assert '"weight": 25000' in shown


def test_large_input_is_refused_by_the_number_of_its_task(client, shared, place):
    job = Job()
    job.program(["true"])
    job.program(["cat"], stdin=b"x" * 2_000_000)
    before = shared.json("job", "list", "--all")

    with pytest.raises(HqError, match=r"standard input of task 1 take 20\d+ bytes"):
        client.submit(job)

    assert shared.json("job", "list", "--all") == before
    small = Job()
    small.program(["true"])
    assert client.wait_for_jobs(client.submit(small))


def test_files_of_large_values_go_with_their_job(client, place):
    job = Job()
    job.function(bytes, args=(100_000,))
    job.function(len, args=(bytes(100_000),))
    submitted = client.submit(job)
    assert client.results(submitted) == [bytes(100_000), 100_000]
    assert list(place.glob(".hqtrio-results/*/*"))

    client.forget(submitted)
    assert not (place / ".hqtrio-results").exists()

    job = Job(default_workdir="elsewhere")
    job.function(len, args=(bytes(100_000),))
    job.program(["cat"], stdin=bytes(2_000_000))
    with pytest.raises(Exception, match="standard input of task 1"):
        client.submit(job)
    assert not (place / ".hqtrio-results").exists()


def test_large_graphs_travel_in_parts(client, place):
    job = Job()
    last = None
    for number in range(40):
        options = {"stdout": None, "stderr": None, "deps": [last] if last else ()}
        last = job.program(["true"], stdin=bytes([65 + number]) * 50_000, **options)
    submitted = client.submit(job)

    assert client.wait_for_jobs(submitted)


def test_consumers_by_the_hundred(client, place):
    """Chains and pairs, as a workflow would have them."""
    job = Job()
    quiet = {"stdout": None, "stderr": None}
    last = job.program(["true"], **quiet)
    for _ in range(50):
        last = job.program(["true"], deps=[last], **quiet)
    for _ in range(150):
        producer = job.program(["true"], **quiet)
        job.program(["true"], deps=[producer], **quiet)
    submitted = client.submit(job)

    assert client.wait_for_jobs(submitted)


# --- cancelled, aborted


def test_cancelled_and_aborted_tasks_are_named(client, place):
    job = Job(max_fails=None)
    first = gated(job, name="gate-of-cancel")
    job.tasks[0].name = "the first"
    job.program(["true"], deps=[first], name="second")
    submitted = client.submit(job)

    assert client.cancel(submitted, reason="enough") == 2
    assert client.cancel(submitted) == 0
    with pytest.raises(FailedJobsException) as raised:
        client.wait_for_jobs([submitted])

    error = raised.value
    assert error.failed_tasks == {}
    assert error.canceled_tasks == {submitted.id: (0, 1)}
    assert "2 canceled tasks: the first (id 0), second (id 1)" in str(error)


def test_an_exception_names_a_few_of_many(client, place):
    job = Job(max_fails=None)
    bad = job.program([*SHELL, "exit 3"], name="bad", stdout=None, stderr=None)
    for _ in range(20):
        job.program(["true"], deps=[bad])
    submitted = client.submit(job)
    with pytest.raises(FailedJobsException) as raised:
        client.wait_for_jobs([submitted])

    assert raised.value.aborted_tasks[submitted.id] == tuple(range(1, 21))
    assert "bad (id 0): Program terminated with exit code 3." in str(raised.value)
    assert "20 aborted tasks: 1, 2, 3, 4, 5, and 15 more" in str(raised.value)
    assert len(str(raised.value).splitlines()) < 8


def test_a_cancelled_task_has_no_result(client, place):
    job = Job()
    task = gated(job, name="gate-of-result")
    submitted = client.submit(job)
    client.cancel(submitted)

    with pytest.raises(CancelledError):
        submitted.result(task)


@pytest.mark.parametrize("act", ["cancel", "close_job", "get_failed_tasks", "forget"])
def test_a_job_that_nobody_knows(client, act):
    with pytest.raises(HqError, match="123456"):
        getattr(client, act)(123456)


@pytest.mark.parametrize("job", [0, -1, True, "1", None, 1.0])
@pytest.mark.parametrize("act", ["cancel", "close_job", "get_failed_tasks", "forget"])
def test_what_is_no_job_is_refused(client, act, job):
    with pytest.raises(ValidationException, match="job has to be"):
        getattr(client, act)(job)


def test_waiting_for_what_nobody_knows_or_for_nothing(client):
    assert client.wait_for_jobs([123456]) is True
    assert client.wait_for_jobs([]) is True
    with pytest.raises(ValidationException, match="jobs has to be"):
        client.wait_for_jobs(None)
    with pytest.raises(ValidationException, match="job has to be"):
        client.wait_for_jobs(["1"])


# --- open jobs


def test_an_open_job_takes_tasks_until_it_is_closed(client, shared, place):
    def add(a, b):
        return a + b

    opened = client.submit(Job(name="open", open=True))
    job = Job()
    one = job.function(add, args=(1, 2))
    other = job.function(add, args=(3, 4), deps=[one])
    first = client.submit(job, to=opened)
    second = client.submit(job, to=opened.id)
    assert client.wait_for_jobs([opened])
    assert (first.id, second.id) == (opened.id, opened.id)
    assert [first.number_of(t) for t in job] + [second.number_of(t) for t in job] == [0, 1, 2, 3]
    assert (second.result(one), second.result(other), client.results(first)) == (3, 7, [3, 7])

    client.close_job(opened)
    with pytest.raises(HqError, match="not opened"):
        client.submit(job, to=opened)
    (row,) = [row for row in shared.json("job", "list", "--all") if row["id"] == opened.id]
    assert (row["name"], row["task_count"], row["is_open"]) == ("open", 4, False)


def test_failures_of_tasks_that_joined_bear_their_names(client, place):
    def boom():
        raise LookupError("gone")

    opened = client.submit(Job(max_fails=None, open=True))
    job = Job()
    job.program(["true"])
    client.submit(job, to=opened)
    failing = Job()
    failing.function(boom, name="who")
    joined = client.submit(failing, to=opened)
    with pytest.raises(FailedJobsException, match=r"who \(id 1\)"):
        client.wait_for_jobs([joined])
    client.close_job(opened)


def test_two_clients_add_to_one_job(client, shared, place):
    opened = client.submit(Job(open=True))
    job = Job()
    job.program(["true"], stdout=None, stderr=None)

    def add(_):
        with Client(shared.server_dir) as other:
            return [other.submit(job, to=opened.id).number_of(0) for _ in range(10)]

    with ThreadPoolExecutor(3) as threads:
        numbers = [number for some in threads.map(add, range(3)) for number in some]
    client.close_job(opened)

    assert sorted(numbers) == list(range(30))
    assert client.wait_for_jobs([opened])


def test_a_task_adds_tasks_to_its_own_job(client, shared, place):
    def spread(server_dir, depth):
        import os

        from hqtrio import Client, Job

        with Client(server_dir) as client:
            job = Job()
            for _ in range(2):
                if depth:
                    job.function(spread, args=(server_dir, depth - 1), stdout=None, stderr=None)
                else:
                    job.program(["true"], stdout=None, stderr=None)
            client.submit(job, to=int(os.environ["HQ_JOB_ID"]))

    job = Job(open=True)
    job.function(spread, args=(str(shared.server_dir), 2), stdout=None, stderr=None)
    opened = client.submit(job)
    # A task that adds some ends after they are there: the job is never without tasks before.
    assert client.wait_for_jobs([opened])
    client.close_job(opened)

    assert shared.counts(opened.id) == {"finished": 1 + 2 + 4 + 8}


def test_joining_a_job_that_does_not_exist(client, place):
    job = Job()
    job.program(["true"])
    with pytest.raises(HqError, match="Job 123456 not found"):
        client.submit(job, to=123456)


# --- results


def test_results_in_the_order_of_tasks(client, place):
    def give(value):
        return value

    values = [None, 0, "text", {"a": [1, 2]}, b"x" * 100_000, float("inf")]
    job = Job()
    for value in values:
        job.function(give, args=(value,))
    job.program(["true"])
    submitted = client.submit(job)

    assert client.results(submitted) == [*values, None]
    assert submitted.result(3) == {"a": [1, 2]}


def test_exceptions_are_raised_here(client, place):
    def give(value):
        if value < 0:
            raise ValueError(f"bad: {value}")
        return value

    job = Job(max_fails=None)
    good, bad = job.function(give, args=(1,)), job.function(give, args=(-1,))
    program = job.program(["false"])
    aborted = job.program(["true"], deps=[program])
    submitted = client.submit(job)

    assert submitted.result(good) == 1
    with pytest.raises(ValueError, match=r"^bad: -1$") as raised:
        submitted.result(bad)
    assert "in give" in str(raised.value.__cause__)
    with pytest.raises(TaskFailed, match="exit code 1"):
        submitted.result(program)
    with pytest.raises(TaskFailed, match="aborted"):
        submitted.result(aborted)
    with pytest.raises(ValueError, match=r"^bad: -1$"):
        client.results(submitted)
    kinds = [type(v) for v in client.results(submitted, return_exceptions=True)]
    assert kinds == [int, ValueError, TaskFailed, TaskFailed]


def test_a_result_that_is_late(client, place):
    job = Job()
    task = gated(job)
    submitted = client.submit(job)

    with pytest.raises(TimeoutError):
        submitted.result(task, timeout=0.01)
    with pytest.raises(TimeoutError):
        client.results(submitted, timeout=0)
    open_gate()
    assert submitted.result(task) is None


def test_many_threads_wait_for_results_of_one_job(client, place):
    def double(value):
        return 2 * value

    job = Job()
    tasks = [job.function(double, args=(n,), stdout=None, stderr=None) for n in range(60)]
    submitted = client.submit(job)

    with ThreadPoolExecutor(12) as threads:
        values = list(threads.map(submitted.result, tasks, timeout=60))

    assert values == [2 * n for n in range(60)]


def test_results_that_are_not_wanted_are_none(client, place):
    job = Job()
    task = job.function(lambda: 5, result=False, stdout=None, stderr=None)
    submitted = client.submit(job)

    assert submitted.result(task) is None


@pytest.mark.parametrize("task", [7, -1])
def test_a_task_that_the_job_does_not_have(client, place, task):
    job = Job()
    job.program(["true"])
    submitted = client.submit(job)

    with pytest.raises(ValidationException, match="no such task"):
        submitted.result(task)


def test_every_call_in_a_fresh_interpreter_or_many_in_one(shared, place):
    def pid():
        import os

        return os.getpid()

    import sys

    found = {}
    for fresh in (True, False):
        with Client(shared.server_dir, python_env=PythonEnv(sys.executable, fresh=fresh)) as client:
            job = Job()
            last = ()
            for _ in range(3):
                last = job.function(pid, deps=last, stdout=None, stderr=None)
            found[fresh] = set(client.results(client.submit(job)))

    assert len(found[True]) == 3
    assert len(found[False]) < 3


# --- warnings


def test_a_second_job_with_the_same_outputs_is_warned_of_once(client, place):
    def submit():
        job = Job()
        job.program(["true"])
        client.wait_for_jobs(client.submit(job))

    submit()
    with pytest.warns(UserWarning, match=rf"writes `{place}/0\.stdout` as well") as caught:
        submit()
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        submit()


def test_outputs_with_the_job_in_their_path_are_no_reason_to_warn(client, place):
    for _ in range(2):
        job = Job()
        job.program(["echo", "x"], stdout=StdioDef(), stderr=None)
        submitted = client.submit(job)
        client.wait_for_jobs(submitted)
        assert (place / f"job-{submitted.id}/0.stdout").read_text() == "x\n"


# --- the client


def test_a_client_needs_a_server(tmp_path):
    before = threading.active_count()
    with pytest.raises(HqError, match="No running instance"):
        Client(tmp_path / "nothing")
    with pytest.raises(ValidationException, match="server_dir"):
        Client(5)
    with pytest.raises(ValidationException, match="python_env"):
        Client(tmp_path, "python3")
    assert threading.active_count() == before


def test_the_server_is_found_as_the_command_line_finds_it(shared, place, monkeypatch):
    monkeypatch.setenv("HQ_SERVER_DIR", str(shared.server_dir))
    with Client() as client:
        assert client.wait_for_jobs([]) is True
    monkeypatch.delenv("HQ_SERVER_DIR")
    monkeypatch.setenv("HOME", str(shared.home))
    with Client() as client:
        assert client.wait_for_jobs([]) is True


def test_a_closed_client_says_so(shared, place):
    client = Client(shared.server_dir)
    client.close()
    client.close()

    with pytest.raises(RuntimeError, match="closed"):
        client.wait_for_jobs([1])


def test_what_is_no_job_cannot_be_submitted(client):
    with pytest.raises(ValidationException, match="job has to be a Job"):
        client.submit("job")


def test_a_connection_of_the_low_level(shared, place):
    connection = ClientConnection(shared.server_dir)
    job = Job(max_fails=None)
    job.program(["true"])
    job.program(["false"])
    number = connection.submit_job(job)
    good = Job("elsewhere")
    good.program(["true"])
    other = connection.submit_job(good)

    assert connection.wait_for_jobs([number, other]) == [number]
    assert list(connection.get_failed_tasks([number])[number]) == [1]
    connection.forget_job(number)
    with pytest.raises(Exception, match=f"^Cannot forget job {number}"):
        connection.forget_job(number)
