"""Where the program differs from its model on purpose, or follows it against expectation."""

from __future__ import annotations

import json

import pytest

from hqtrio.messages.client import (
    ArrayPart,
    Counts,
    DebugDump,
    Done,
    ExplainTask,
    JobDetails,
    JobInfo,
    JobRow,
    JobRows,
    ListJobs,
    ListTasks,
    ListWorkers,
    SubmitJob,
    SubmitPartInfo,
    Submitted,
    TaskExplained,
    TaskRow,
    TaskRows,
    Watch,
    WorkerRow,
    WorkerRows,
)
from hqtrio.model.resources import CPUS, ONE_CPU, Descriptor, single_pool
from hqtrio.model.task import PinMode, Stdio, TaskBody, TaskSettings, TaskState
from hqtrio.model.worker import WorkerConfig

BODY = TaskBody(
    (b"x",), (), "/data", Stdio("%{TASK_ID}.out"), Stdio(None), "/data", pin=PinMode.OMP
)


def row(number=1, *, is_open=False, **counts):
    over = not counts.get("waiting") and not counts.get("running") and not is_open
    return JobRow(number, "j", Counts(**counts), is_open, None, over)


@pytest.fixture
def submitted(server):
    server.on(SubmitJob, Submitted(1))
    return lambda: server.asked[-1].submit


@pytest.mark.parametrize(
    ("needs", "unfinished", "text"),
    [
        (0, 0, "is ready to run because it has no dependencies."),
        (3, 0, "is ready to run because its all 3 dependencies are finished."),
        (3, 1, "is not ready to run, because 1/3 dependencies are not finished."),
        (3, 3, "is not ready to run, because 3/3 dependencies are not finished."),
    ],
)
def test_q1_a_task_is_ready_if_and_only_if_no_dependency_is_unfinished(
    hq, server, needs, unfinished, text
):
    server.on(ExplainTask, TaskExplained(1, 0, needs, unfinished, ONE_CPU))

    assert hq("task", "explain", "1", "0").lines[0] == f"Task 1@0 {text}"


def test_q2_stepped_ranges_count_their_ids(hq, submitted):
    few = hq("submit", "--array", "0-998:2", "ls")
    many = hq("submit", "--array", "0-1998:2", "ls")

    assert "WARN The job will create 1000 files for stdout and stderr" in few.err
    assert "WARN The job will create 2000 files for stdout and stderr" in many.err


def test_q3_entries_for_an_open_job_leave_their_numbers_to_the_server(hq, submitted, tmp_path):
    """It gives them the numbers after the highest one, one for each entry."""
    (tmp_path / "lines").write_text("a\nb\nc\n")

    hq("submit", "--job", "1", "--each-line", str(tmp_path / "lines"), "ls")

    (array,) = submitted().arrays
    assert (array.count, array.ranges) == (3, ())


@pytest.mark.parametrize(("typed", "weight"), [((), 25_000), (("--weight", "4"), 40_000)])
def test_q4_the_weight_of_a_script_counts_unless_another_is_typed(
    hq, submitted, monkeypatch, tmp_path, typed, weight
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test.sh").write_text("#!/bin/sh\n#HQ --weight 2.5\n")

    hq("submit", *typed, "test.sh")

    assert submitted().arrays[0].variants[0].weight == weight


def test_q5_a_variable_that_is_typed_wins_over_that_of_a_script(
    hq, submitted, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test.sh").write_text("#!/bin/sh\n#HQ --env A=script --env B=script\n")

    result = hq("submit", "--env", "A=typed", "test.sh")

    assert dict(submitted().arrays[0].body.env) == {b"A": b"typed", b"B": b"script"}
    assert "Some environment variables were ignored" in result.err


@pytest.mark.parametrize("words", ["job wait 1", "submit --wait ls", "job progress 1"])
def test_q6_a_server_that_goes_away_fails_whoever_waits(hq, server, submitted, words):
    waiting = JobRows((row(1, waiting=1),), 1)
    server.on(ListJobs, waiting).on(Watch, waiting)
    server.hangs_up_after = Watch

    result = hq(*words.split())

    assert result.code == 1
    assert "The connection to the server was lost" in result.err


def test_q7_information_on_the_last_task_of_no_job(hq, server):
    server.on(ListJobs, JobRows((), 0))

    result = hq("task", "info", "last", "0")

    assert (result.code, result.out) == (1, "")
    assert "No jobs were found" in result.err


@pytest.mark.parametrize(
    "words",
    ["worker address 1", "job progress all", "doc", "generate-completion bash"],
)
def test_q8_nothing_follows_raw_output_in_json_mode(hq, server, words):
    config = WorkerConfig("n", "n:1", "/w", "g", Descriptor((single_pool(CPUS, ("0",)),)))
    server.on(ListWorkers, WorkerRows((WorkerRow(1, config, 0.0),)))
    server.on(ListJobs, JobRows((), 0))

    plain = hq(*words.split())
    as_json = hq(*words.split(), "--output-mode", "json")

    assert as_json.out == plain.out
    assert not as_json.out.endswith("{}\n")


@pytest.mark.parametrize(("mode", "stream"), [("cli", "out"), ("json", "err"), ("quiet", "err")])
def test_q9_the_remark_on_standard_input_does_not_disturb_results(
    hq, submitted, monkeypatch, tmp_path, mode, stream
):
    (tmp_path / "in").write_text("data")
    with (tmp_path / "in").open() as given:
        monkeypatch.setattr("sys.stdin", given)
        result = hq("submit", "--stdin", "--output-mode", mode, "cat")

    assert getattr(result, stream).startswith("Reading data from stdin")
    assert submitted().arrays[0].body.stdin == b"data"


def test_q11_times_of_workers_have_no_quotes(hq, server):
    config = WorkerConfig("n", "n:1", "/w", "g", Descriptor((single_pool(CPUS, ("0",)),)))
    server.on(ListWorkers, WorkerRows((WorkerRow(1, config, 0.0),)))

    (line,) = [line for line in hq("worker", "info", "1").lines if "| Started " in line]
    assert line.split("|")[2].strip() == "1970-01-01T00:00:00Z"


def test_q13_a_choice_of_no_entry_is_refused_by_the_client(hq, server, submitted, tmp_path):
    (tmp_path / "lines").write_text("a\nb\n")

    result = hq("submit", "--each-line", str(tmp_path / "lines"), "--array", "7-9", "ls")

    assert result.code == 1
    assert "No tasks selected" in result.err
    assert not any(isinstance(request, SubmitJob) for request in server.asked)


@pytest.mark.parametrize("heartbeat", ["0s", "1ms", "150ms"])
def test_q14_a_heartbeat_that_is_too_quick_is_a_usage_error(hq, heartbeat):
    result = hq("worker", "start", "--heartbeat", heartbeat)

    assert result.code == 2
    assert f"invalid value '{heartbeat}' for '--heartbeat <HEARTBEAT>'" in result.err


def test_q15_the_path_of_a_dump_is_the_clients(hq, server, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    server.on(DebugDump, Done())

    hq("server", "debug-dump", "some/../state.json")

    assert server.asked == [DebugDump(str(tmp_path / "state.json"))]


def test_q16_global_options_reach_the_workers_that_are_deployed(hq, monkeypatch, tmp_path):
    called = tmp_path / "called"
    (tmp_path / "ssh").write_text(f'#!/bin/sh\necho "$*" >{called}\n')
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / "hosts").write_text("node1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    more = ["--cpus", "2", "--server-dir", "/there", "--debug"]
    result = hq("worker", "deploy-ssh", str(tmp_path / "hosts"), *more)

    assert result.code == 0
    assert called.read_text().rstrip().endswith("worker start --cpus 2 --server-dir /there --debug")


@pytest.mark.parametrize("key", ["on_close", "mode"])
def test_q17_job_files_say_in_two_ways_when_outputs_go(hq, submitted, tmp_path, key):
    job = tmp_path / "job.yaml"
    job.write_text(f"task: [{{command: [a], stdout: {{path: x, {key}: rm-if-finished}}}}]\n")

    hq("job", "submit-file", str(job))

    (body,) = submitted().graph.bodies
    assert body.stdout.path == "x" and body.stdout.remove_if_finished


def test_q18_tasks_that_are_not_in_the_file_may_be_in_the_open_job(hq, submitted, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text("task: [{id: 7, command: [a], deps: [3]}]\n")

    alone = hq("job", "submit-file", str(job))
    hq("job", "submit-file", "--job", "1", str(job))

    assert alone.code == 1
    assert "Task 7 is part of dependency cycle or has an invalid dependencies" in alone.err
    assert [task.needs for task in submitted().graph.tasks] == [(3,)]


@pytest.mark.parametrize(
    ("request_text", "problem"),
    [
        ("{resources: {cpus: 0}}", "Zero resources cannot be requested"),
        ("{resources: {cpus: '1.23456'}}", "Resource precision exceeded"),
        ("{n_nodes: 2}, {resources: {cpus: 1}}", "Resources mixes multi-node and non-multi-node"),
        (", ".join(["{resources: {cpus: 1}}"] * 33), "Too many resource variants"),
    ],
)
def test_q19_requests_of_job_files_are_looked_at_by_the_client(
    hq, server, submitted, tmp_path, request_text, problem
):
    job = tmp_path / "job.yaml"
    job.write_text(f"task: [{{command: [a], request: [{request_text}]}}]\n")

    result = hq("job", "submit-file", str(job))

    assert result.code == 1
    assert problem in result.err
    assert not any(isinstance(request, SubmitJob) for request in server.asked)


def test_q22_the_summary_names_open_jobs_only_if_there_are_some(hq, server):
    def summary(*rows):
        server.on(ListJobs, JobRows(rows, len(rows)))
        return json.loads(hq("job", "summary", "--output-mode", "json").out)

    assert "Opened" not in summary(row(1, finished=1))
    assert summary(row(1, is_open=True))["Opened"] == 1


def test_q22_the_same_pinning_has_two_names(hq, server):
    part = ArrayPart(BODY, ((0, 1, 1),), ONE_CPU, TaskSettings())
    submits = (SubmitPartInfo("/data", (part,)),)
    shown = row(1, waiting=1)
    server.on(ListJobs, JobRows((shown,), 1))
    server.on(JobInfo, JobDetails(shown, None, 0.0, None, submits, ((0, 1, 1),), (), ()))
    server.on(ListTasks, TaskRows((), (), (), (), ()))

    assert "| Pin                  | omp" in hq("job", "info", "1").out
    (job,) = json.loads(hq("job", "info", "1", "--output-mode", "json").out)
    assert job["submits"][0]["array"]["pin_mode"] == "openmp"


def test_q22_a_script_names_its_job_after_the_interpreter(hq, submitted, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test.sh").write_text("#!/bin/bash\n#HQ --cpus 2\n")

    hq("submit", "test.sh")

    assert submitted().head.name == "bash"


def test_q24_an_aborted_task_shows_neither_worker_nor_paths(hq, server):
    aborted = TaskRow(0, TaskState.ABORTED, 0, (1,), 1.0, 2.0)
    page = TaskRows((aborted,), (BODY,), (ONE_CPU,), (TaskSettings(),), ((1, "node1"),))
    server.on(ListJobs, JobRows((row(1, aborted=1),), 1)).on(ListTasks, page)

    (task,) = json.loads(hq("task", "list", "1", "--output-mode", "json").out)["1"]

    assert task == {"id": 0, "state": "aborted"}
    table = hq("task", "info", "1", "0").out
    assert "node1" not in table
    assert "/data" not in table
