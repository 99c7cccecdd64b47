"""The scenarios of the Python API, by their numbers: what a script sees, and what commands show."""

from __future__ import annotations

import datetime
import os
import re

import pytest
from process_cluster import wait_until

from hqtrio import Client, FailedJobsException, Job, PythonEnv, ResourceRequest, StdioDef
from hqtrio.errors import HqError

SHELL = ("sh", "-c")


def run(client, job):
    """Submit and wait; no task may fail."""
    submitted = client.submit(job)
    assert client.wait_for_jobs([submitted])
    return submitted


def objects_in(value):
    """Every object somewhere in a JSON value, outer ones first."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from objects_in(item)


def states(shared, submitted):
    return shared.states(submitted.id)


def test_s8_01_an_empty_job_is_refused(client, shared):
    before = shared.json("job", "list", "--all")

    with pytest.raises(Exception, match=r"^Submitted job must have at least a single task$"):
        client.submit(Job())

    assert shared.json("job", "list", "--all") == before


def test_s8_02_program_with_everything(client, shared, place):
    job = Job()
    job.program(
        ["sh", "-c", 'echo "$KEY"; cat; echo trouble >&2'],
        env={"KEY": "value of key"},
        cwd=place / "inside",
        stdin=b"input \xff\n",
        stdout="out-%{TASK_ID}.txt",
        stderr=place / "err.txt",
    )
    submitted = run(client, job)

    assert (place / "inside/out-0.txt").read_bytes() == b"value of key\ninput \xff\n"
    assert (place / "err.txt").read_text() == "trouble\n"
    shown = shared.run("task", "info", str(submitted.id), "0").stdout
    assert str(place / "inside") in shown
    assert str(place / "inside/out-0.txt") in shown
    assert str(place / "err.txt") in shown


def test_s8_03_function_with_arguments(client, place):
    def hello(a, b, c):
        print("stdout", a, b, c)

    job = Job()
    job.function(hello, args=(1, 2), kwargs={"c": 3}, stdout="out")
    run(client, job)

    assert (place / "out").read_text() == "stdout 1 2 3\n"


def test_s8_04_a_prologue_runs_before_the_interpreter(shared, place):
    (place / "init.sh").write_text("export ABC=xyz\n")

    def look():
        import os

        return os.environ.get("ABC")

    import sys

    env = PythonEnv(sys.executable, prologue=f"source {place / 'init.sh'}")
    with Client(shared.server_dir, python_env=env) as client:
        job = Job()
        task = job.function(look)
        submitted = run(client, job)
        assert submitted.result(task) == "xyz"


def test_s8_05_a_function_that_raises(client, place):
    def boom():
        raise Exception("MyException")

    job = Job()
    job.function(boom)
    submitted = client.submit(job)

    assert client.wait_for_jobs([submitted], raise_on_error=False) is False
    context = client.get_failed_tasks(submitted)[0]
    assert 'raise Exception("MyException")' in context.error
    assert context.error.splitlines()[-1] == "Exception: MyException"
    assert context.cwd == str(place)
    assert context.stderr == str(place / "0.stderr")
    assert (place / "0.stderr").read_text() == context.error


def test_s8_06_outputs_that_are_not_wanted(client, place):
    def speak():
        print("to nobody")

    job = Job()
    job.function(speak, stdout=None, stderr=None)
    job.program([*SHELL, "echo x"], stdout=None, stderr=None)
    job.program(
        [*SHELL, "echo x"],
        stdout=StdioDef.remove_if_finished(),
        stderr=StdioDef.remove_if_finished("err"),
    )
    submitted = run(client, job)

    assert [path for path in place.rglob("*") if path.is_file()] == []
    assert client.results(submitted) == [None, None, None]


def test_s8_06_outputs_of_a_failed_task_stay(client, place):
    job = Job()
    job.program(
        [*SHELL, "echo x; exit 1"],
        stdout=StdioDef.remove_if_finished(),
        stderr=StdioDef.remove_if_finished(),
    )
    submitted = client.submit(job)
    assert not client.wait_for_jobs(submitted, raise_on_error=False)

    assert (place / f"job-{submitted.id}/0.stdout").read_text() == "x\n"
    context = client.get_failed_tasks(submitted)[0]
    assert context.stdout == str(place / f"job-{submitted.id}/0.stdout")


def test_s8_07_the_failed_one_of_three(client):
    job = Job()
    job.program(["true"])
    job.program(["false"])
    job.program(["true"])
    submitted = client.submit(job)
    client.wait_for_jobs([submitted], raise_on_error=False)

    failed = client.get_failed_tasks(submitted)
    assert {number: context.error for number, context in failed.items()} == {
        1: "Program terminated with exit code 1."
    }


def test_s8_09_defaults_of_the_job(client, place):
    def look():
        import os

        return os.getcwd(), os.environ["MINE"], os.environ["OTHER"]

    directory = place / "not" / "there"
    job = Job(default_workdir="not/there", default_env={"MINE": "job", "OTHER": "job"})
    task = job.function(look, env={"MINE": "task"})
    submitted = run(client, job)

    assert submitted.result(task) == (str(directory), "task", "job")
    assert (directory / "0.stdout").is_file()


def test_s8_09_a_workdir_is_where_the_job_was_described(client, place, monkeypatch):
    job = Job(default_workdir="here")
    job.program(["pwd"])
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    run(client, job)

    assert (place / "here/0.stdout").read_text() == f"{place / 'here'}\n"


def test_s8_10_names_of_functions(client):
    def foo():
        raise ValueError("no")

    job = Job(max_fails=None)
    one, other = job.function(foo), job.function(foo)
    assert (one.name, other.name, one.label) == ("foo/0", "foo/1", "foo/0")
    submitted = client.submit(job)

    with pytest.raises(FailedJobsException) as raised:
        client.wait_for_jobs([submitted])

    text = str(raised.value)
    assert "foo/0" in text
    assert "foo/1" in text
    assert "ValueError: no" in text
    assert raised.value.task_label(submitted.id, 1) == "foo/1"
    assert set(raised.value.failed_tasks[submitted.id]) == {0, 1}
    assert raised.value.job_map[submitted.id] is job


def test_s8_11_variants_and_time_requests(client, shared):
    job = Job()
    job.program(
        ["true"],
        resources=[ResourceRequest(cpus=2, resources={"gpus": 1}), ResourceRequest(cpus=4)],
    )
    job.program(["true"], resources=ResourceRequest(min_time=datetime.timedelta(seconds=42)))
    submitted = client.submit(job)

    shown = shared.run("task", "info", str(submitted.id), "0").stdout
    assert re.search(r"# Variant 1.*gpus: 1.*# Variant 2.*cpus: 4", shown, re.DOTALL)
    (detail,) = shared.json("job", "info", str(submitted.id))
    described = [d for d in objects_in(detail) if "resources" in d and "pin_mode" in d]
    assert [d["resources"][0]["min_time"] for d in described] == [0.0, 42.0]
    assert len(described[0]["resources"]) == 2


def test_s8_12_forget(client, shared):
    job = Job()
    job.program([*SHELL, "read x < gate"], cwd=os.getcwd())
    os.mkfifo("gate")
    submitted = client.submit(job)
    with pytest.raises(Exception, match=rf"^Cannot forget job {submitted.id}\b"):
        client.forget(submitted)
    with open("gate", "w") as gate:
        gate.write("\n")
    client.wait_for_jobs([submitted])
    client.forget(submitted)

    listed = shared.json("job", "list", "--all")
    assert submitted.id not in [row["id"] for row in listed]
    with pytest.raises(Exception, match=rf"^Cannot forget job {submitted.id}\b"):
        client.forget(submitted.id)
    with pytest.raises(Exception, match=r"^Cannot forget job 123456\b"):
        client.forget(123456)


# --- S8.15: tasks that need each other


def test_s8_15_consumers_of_a_failed_task_are_aborted(client, shared):
    job = Job(max_fails=None)
    first = job.program(["false"])
    second = job.program(["true"], deps=[first])
    job.program(["true"], deps=[second])
    job.program(["true"])
    submitted = client.submit(job)

    assert client.wait_for_jobs([submitted], raise_on_error=False) is False
    assert states(shared, submitted) == {
        0: "failed",
        1: "aborted",
        2: "aborted",
        3: "finished",
    }
    assert list(client.get_failed_tasks(submitted)) == [0]


def test_s8_15_a_task_that_joins_later_needs_one_that_has_finished(client, shared):
    opened = client.submit(Job(open=True))
    first = Job()
    first.program([*SHELL, "echo 1 > first"], cwd=os.getcwd())
    client.submit(first, to=opened)
    assert client.wait_for_jobs([opened])
    more = Job()
    one = more.program([*SHELL, "cat first"], cwd=os.getcwd())
    more.program(["true"], deps=one)
    joined = client.submit(more, to=opened)
    assert client.wait_for_jobs([opened])
    client.close_job(opened)

    assert states(shared, opened) == {0: "finished", 1: "finished", 2: "finished"}
    assert joined.number_of(one) == 1
    (row,) = [r for r in shared.json("job", "list", "--all") if r["id"] == opened.id]
    assert row["is_open"] is False


def test_what_the_server_refuses_is_an_exception_of_one_line(client):
    job = Job()
    job.program(["true"])
    submitted = client.submit(job)

    with pytest.raises(HqError, match=r"^[^\n]*reason[^\n]*$"):
        client.cancel(submitted, reason="x" * 300)


def test_max_fails_aborts_the_rest(client, shared):
    job = Job(max_fails=0)
    first = job.program(["false"])
    gate = job.program([*SHELL, "sleep 1000"], deps=first)
    submitted = client.submit(job)
    client.wait_for_jobs(submitted, raise_on_error=False)

    assert states(shared, submitted)[gate.task_id] == "aborted"


def test_stopping_the_server_ends_it_well_and_then_nobody_answers(cluster, place):
    server = cluster.start_server()
    with Client(cluster.server_dir) as client:
        job = Job()
        job.program(["true"])
        submitted = client.submit(job)
        client.stop_server()
        wait_until(lambda: server.poll() is not None)
        assert server.returncode == 0
        with pytest.raises(HqError):
            client.wait_for_jobs([submitted])
