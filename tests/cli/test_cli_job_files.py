"""`job check`, `job schema`, and what other commands show of the groups of a job file."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest

from hqtrio.errors import Unreachable
from hqtrio.jobfile.schema import json_schema
from hqtrio.messages.client import (
    ArrayPart,
    Counts,
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
    WorkerRow,
    WorkerRows,
)
from hqtrio.model.matrix import Axis, Matrix
from hqtrio.model.resources import CPUS, ONE_CPU, UNIT, Descriptor, Pool, single_pool
from hqtrio.model.task import Stdio, TaskBody, TaskSettings, TaskState
from hqtrio.model.worker import LossReason, WorkerConfig

AT = 1_700_000_000.0
JOB = """\
    name: sweep
    tasks:
      prepare: {command: x}
      simulate:
        needs: prepare
        matrix: {alpha: [0.1, 0.2], seed: 1-3}
        command: [x, "%{alpha}"]
        request: [{cpus: 4, gpus: 1}, {cpus: 8, mem: 16 GiB}]
        retry: 2
      check: {needs: {simulate: each}, command: x}
      clean: {needs: [check, prepare], when: always, command: x, request: {nodes: 2}}
    """


@pytest.fixture
def job_file(tmp_path, monkeypatch):
    """Write a job file in a directory of its own; its name."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="job.yaml"):
        (tmp_path / name).write_text(dedent(text))
        return name

    return write


def worker(number, *pools, group="default", limit_s=None, reason=None):
    shape = Descriptor((single_pool(CPUS, tuple("0123")), *pools))
    config = WorkerConfig("n", "n:1", "/w", group, shape, time_limit_s=limit_s)
    return WorkerRow(number, config, AT, reason=reason)


# --- job check


def test_a_check_shows_groups_counts_requests_and_depth(hq, server, job_file):
    server.refusal = Unreachable("nobody there")
    done = hq("job", "check", job_file(JOB))
    assert (done.code, done.err) == (0, "")
    *table, conclusion = done.lines
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table if "|" in line]
    assert cells == [
        ["Group", "Tasks", "Ids", "Needs", "Depth", "Request", "Retries"],
        ["prepare", "1", "0", "", "0", "cpus: 1 compact", ""],
        ["simulate", "6", "1-6", "prepare", "1", "cpus: 4 compact, gpus: 1 compact", "2"],
        ["", "", "", "", "", "cpus: 8 compact, mem: 16384 compact", ""],
        ["check", "6", "7-12", "simulate (each)", "2", "cpus: 1 compact", ""],
        ["clean", "1", "13", "prepare", "3", "nodes: 2", ""],
        ["", "", "", "check", "", "", ""],
        ["", "", "", "(always)", "", "", ""],
    ]
    assert conclusion == "Job `sweep` has 14 tasks, at most 4 in a row."


def test_a_check_as_json_and_quiet(hq, server, job_file):
    server.refusal = Unreachable("nobody there")
    name = job_file(JOB)
    value = json.loads(hq("job", "check", name, "--output-mode", "json").out)
    assert (value["name"], value["task_count"], value["depth"]) == ("sweep", 14, 4)
    assert [group["task_count"] for group in value["groups"]] == [1, 6, 6, 1]
    assert value["groups"][1]["requests"] == [
        "cpus: 4 compact, gpus: 1 compact",
        "cpus: 8 compact, mem: 16384 compact",
    ]
    assert hq("job", "check", name, "--output-mode", "quiet").out == ""


def test_a_check_of_the_compatible_dialect(hq, server, job_file):
    server.refusal = Unreachable("nobody there")
    text = """\
        task:
          - {id: 3, command: [x]}
          - {id: 4, command: [x], deps: [3]}
          - {id: 9, command: [x], deps: [4], request: [{resources: {cpus: 2}}]}
        """
    value = json.loads(hq("job", "check", job_file(text), "--output-mode", "json").out)
    assert (value["task_count"], value["depth"]) == (3, 3)
    assert [group["requests"] for group in value["groups"]] == [
        ["cpus: 1 compact"],
        ["cpus: 2 compact"],
    ]


def test_a_check_tells_every_mistake_and_sends_nothing(hq, server, job_file):
    done = hq("job", "check", job_file("tasks:\n  a: {comand: x}\n  b: {command: x, needs: c}\n"))
    assert done.code == 1
    assert done.out == ""
    assert [line.split(": ")[0] for line in done.err.splitlines()] == [
        "job.yaml:2:3",
        "job.yaml:2:7",
        "job.yaml:3:26",
    ]
    assert server.asked == []


def test_with_a_server_it_warns_of_what_no_worker_can_run(hq, server, job_file):
    gone = worker(3, single_pool("gpus", ("a",)), reason=LossReason.STOPPED)
    server.on(ListWorkers, WorkerRows((worker(1), worker(2, group="other"), gone)))
    done = hq("job", "check", job_file(JOB))
    assert done.code == 0
    warnings = [line.split(" WARN ")[1] for line in done.err.splitlines()]
    assert warnings == [
        (
            "No connected worker can run `simulate`: cpus: 4 compact, gpus: 1 compact;"
            " or cpus: 8 compact, mem: 16384 compact"
        ),
        "No connected worker can run `clean`: nodes: 2",
    ]


def test_nothing_is_said_of_what_some_worker_can_run(hq, server, job_file):
    gpu = worker(1, single_pool("gpus", ("a",)), Pool("mem", (), 4 * UNIT))
    server.on(ListWorkers, WorkerRows((gpu, worker(2))))
    assert hq("job", "check", job_file(JOB)).err == ""


def test_a_worker_that_ends_too_soon_cannot_run_it(hq, server, job_file):
    server.on(ListWorkers, WorkerRows((worker(1, limit_s=60.0),)))
    text = "tasks: {a: {command: x, request: {time: 1h}}}"
    assert "No connected worker can run `a`" in hq("job", "check", job_file(text)).err


def test_without_workers_one_warning_is_enough(hq, server, job_file):
    server.on(ListWorkers, WorkerRows(()))
    err = hq("job", "check", job_file(JOB)).err
    assert err.endswith("WARN No worker is connected; the tasks would wait for one\n")
    assert len(err.splitlines()) == 1


# --- job schema


@pytest.mark.parametrize("mode", ["cli", "json", "quiet"])
def test_the_schema_is_json_in_every_mode(hq, server, mode):
    done = hq("job", "schema", "--output-mode", mode)
    assert json.loads(done.out) == json_schema()
    assert server.asked == []


# --- submit


def test_files_of_entries_are_looked_for_beside_the_job_file(hq, server, job_file, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "lines.txt").write_text("one\ntwo\n")
    text = "tasks: {a: {entries: {lines: lines.txt}, command: x}}"
    server.on(SubmitJob, Submitted(4))
    done = hq("submit", job_file(text, "sub/job.yaml"))
    assert done.out == "Job submitted successfully, job ID: 4\n"
    (asked,) = server.asked
    assert asked.submit.arrays[0].entries == b"onetwo"


def test_a_large_file_of_entries_is_warned_of(hq, server, job_file, tmp_path):
    with (tmp_path / "large.csv").open("wb") as large:
        large.truncate(100 * 2**20 + 1)
    text = "tasks: {a: {entries: {lines: large.csv}, command: x}}"
    done = hq("submit", job_file(text))
    assert "WARN Reading file large.csv, which is larger than 100 MiB" in done.err
    assert "NUL character" in done.err
    assert done.code == 1


def test_a_missing_file_of_entries_is_told_with_its_place_and_submits_nothing(hq, server, job_file):
    text = "tasks: {a: {entries: {csv: no.csv}, command: x}}"
    done = hq("submit", job_file(text))
    assert done.code == 1
    assert done.err == (
        "job.yaml:1:28: tasks.a.entries.csv: Cannot read no.csv: No such file or directory\n"
    )
    assert server.asked == []


def test_submit_file_says_the_id_and_goes_into_an_open_job(hq, server, job_file):
    server.on(SubmitJob, Submitted(7))
    name = job_file("task: [{command: [x]}]", "job.txt")
    assert hq("job", "submit-file", name).out == "Job submitted successfully, job ID: 7\n"
    assert hq("job", "submit-file", name, "--output-mode", "quiet").out == "7\n"
    out = hq("job", "submit-file", "--job", "7", name, "--output-mode", "json").out
    assert json.loads(out) == {"id": 7}
    assert [(ask.submit.head is None, ask.submit.job) for ask in server.asked] == [
        (False, 0),
        (False, 0),
        (True, 7),
    ]


def test_unknown_placeholders_in_the_compatible_dialect_are_warned_of(hq, server, job_file):
    server.on(SubmitJob, Submitted(7))
    text = """\
        task:
          - {command: [x], stdout: "%{FOO}/%{TASK_ID}", cwd: "%{A}%{JOB_ID}"}
          - {command: [x], stdout: "%{BAR}", stderr: "%{CWD}/x"}
        """
    done = hq("job", "submit-file", job_file(text))
    assert done.code == 0
    assert [line.split(" WARN ")[1] for line in done.err.splitlines()] == [
        "Found unknown placeholders `FOO, BAR` in stdout path",
        "Found unknown placeholder `A` in working directory path",
    ]


def test_a_job_file_that_cannot_be_read(hq, server):
    done = hq("job", "submit-file", "/nowhere/job.yaml")
    assert done.code == 1
    assert done.err.startswith("Cannot read /nowhere/job.yaml")


# --- what other commands show

BODY = TaskBody((b"x",), (), "/w", Stdio("%{a}.out"), Stdio(None), "/w", fields=("a",))
MATRIX = Matrix((Axis("a", ("1", '"two"')), Axis("n", (), ((1, 3, 1),))))


def tasks_of(server, *rows):
    page = TaskRows(rows, (BODY,), (ONE_CPU,), (TaskSettings(),), ((1, "node1"),))
    server.on(ListTasks, page)
    row = JobRow(1, "j", Counts(waiting=len(rows)), False, None, False)
    server.on(ListJobs, JobRows((row,), 1))
    return row


def test_task_list_has_group_and_entry_where_there_are_groups(hq, server):
    long = b'{"a":"' + b"x" * 100 + b'"}'
    tasks_of(
        server,
        TaskRow(0, TaskState.WAITING, group="prepare"),
        TaskRow(1, TaskState.WAITING, group="simulate", entry=b'{"a":1,"n":2}'),
        TaskRow(2, TaskState.WAITING, group="simulate", entry=long),
    )
    lines = hq("task", "list", "1").lines
    assert lines[1].split("|")[-3:-1] == [
        " Group    ",
        " Entry                                                           ",
    ]
    assert '| simulate | {"a":1,"n":2}' in lines[4]
    assert "xxx... |" in lines[5]
    assert long.decode() in hq("task", "list", "1", "--verbose").out


def test_task_info_shows_group_entry_and_the_wait_for_a_retry(hq, server):
    tasks_of(
        server,
        TaskRow(
            1, TaskState.WAITING, 2, error="Program terminated with exit code 3.",
            entry=b'{"a":"two"}', group="simulate", tries=2, retry_at=AT,
        ),
    )  # fmt: skip
    text = hq("task", "info", "1", "1").out
    assert "| Group        | simulate" in text
    assert '| Entry        | {"a":"two"}' in text
    assert "failed 2 times, waits until 2023-11-14 22:13:20" in text
    assert "exit code 3" in text
    ((value,),) = [json.loads(hq("task", "info", "1", "1", "--output-mode", "json").out)]
    assert (value["group"], value["entry"]) == ("simulate", '{"a":"two"}')
    assert value["failed_tries"] == 2
    assert value["next_try_at"].startswith("2023-11-14T22:13:20")


def test_paths_of_a_task_are_filled_with_the_fields_of_its_entry(hq, server):
    tasks_of(
        server,
        TaskRow(1, TaskState.RUNNING, 0, (1,), AT, group="g", entry=b'{"a":"two"}'),
    )
    ((value,),) = [json.loads(hq("task", "info", "1", "1", "--output-mode", "json").out)]
    assert value["stdout"] == "/w/two.out"


def test_explain_says_until_when_a_task_waits_for_its_next_try(hq, server):
    answer = TaskExplained(
        1, 0, 0, 0, ONE_CPU, tries=1, retry_at=AT, error="Time limit reached"
    )  # fmt: skip
    server.on(ExplainTask, answer)
    assert hq("task", "explain", "1", "0").lines[0] == (
        "Task 1@0 has failed once and waits until 2023-11-14 22:13:20 UTC for its next try."
        " It failed with: Time limit reached"
    )
    value = json.loads(hq("task", "explain", "1", "0", "--output-mode", "json").out)
    assert value["explanation"]["failed_tries"] == 1


def test_job_info_lists_groups_with_what_their_matrix_combines(hq, server):
    row = tasks_of(server)
    body = TaskBody((b"x",), (), "/w", Stdio(None), Stdio(None), "/w", matrix=MATRIX)
    arrays = (
        ArrayPart(BODY, ((0, 1, 1),), ONE_CPU, TaskSettings(), "prepare"),
        ArrayPart(body, ((1, 6, 1),), ONE_CPU, TaskSettings(), "simulate"),
    )
    parts = (SubmitPartInfo("/w", arrays),)
    server.on(JobInfo, JobDetails(row, None, AT, None, parts, ((0, 7, 1),), (), ()))
    text = hq("job", "info", "1").out
    assert "| Groups               | prepare: 0 " in text
    assert "| simulate: 1-6 (a: 1, two; n: 1-3)" in text
    value = json.loads(hq("job", "info", "1", "--output-mode", "json").out)
    groups = [task["group"] for task in value[0]["submits"][0]["graph"]]
    assert groups == ["prepare", "simulate"]


def test_a_file_that_is_not_there_is_told_in_one_line_without_numbers(hq, tmp_path):
    result = hq("submit", str(tmp_path / "missing.yaml"))

    assert result.code == 1
    assert result.err == f"Cannot read {tmp_path / 'missing.yaml'}: No such file or directory\n"
