"""The strings and shapes that scripts in the wild look for, one by one."""

from __future__ import annotations

import json

import pytest

from hqtrio import __version__
from hqtrio.cli.main import run
from hqtrio.cli.session import Session
from hqtrio.errors import Unreachable
from hqtrio.messages.client import (
    AmountCondition,
    ArrayPart,
    CancelJobs,
    CloseJobs,
    Counts,
    ExplainTask,
    Failure,
    ForgetJobs,
    Forgotten,
    JobDetails,
    JobInfo,
    JobRow,
    JobRows,
    ListJobs,
    ListNumbers,
    ListTasks,
    ListWorkers,
    ServerDetails,
    ServerInfo,
    StopWorkers,
    SubmitJob,
    SubmitPartInfo,
    Submitted,
    TaskExplained,
    TaskNumbers,
    TaskRow,
    TaskRows,
    Verdict,
    VerdictKind,
    Verdicts,
    WorkerFit,
    WorkerRow,
    WorkerRows,
)
from hqtrio.model.resources import CPUS, ONE_CPU, UNIT, Descriptor, single_pool
from hqtrio.model.task import Stdio, TaskBody, TaskSettings, TaskState
from hqtrio.model.worker import WorkerConfig

OK, NOT_FOUND, ALREADY = VerdictKind.OK, VerdictKind.NOT_FOUND, VerdictKind.ALREADY
BODY = TaskBody(
    (b"sleep", b"1"), ((b"A", b"1"),), "/data", Stdio("%{TASK_ID}.out"), Stdio(None), "/data"
)
WORKER = WorkerRow(
    1,
    WorkerConfig("node1", "node1:1", "/w", "default", Descriptor((single_pool(CPUS, ("0",)),))),
    1.7e9,
)


def logged(result):
    """Log lines without their time stamps."""
    return [line.partition(" ")[2] for line in result.err.splitlines()]


def row(number=1, *, is_open=False, **counts):
    over = not counts.get("waiting") and not counts.get("running") and not is_open
    return JobRow(number, "j", Counts(**counts), is_open, None, over)


def cells(table):
    """Rows of a table as a scraper reads them: lines with `|`, split and stripped."""
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if "|" in line
    ]


def job_with(server, counts, *tasks):
    shown = row(1, **counts)
    part = ArrayPart(BODY, ((0, sum(counts.values()), 1),), ONE_CPU, TaskSettings())
    submits = (SubmitPartInfo("/data", (part,)),)
    details = JobDetails(shown, None, 1e9, 1e9 + 5, submits, ((0, 3, 1),), (1,), ("node1",))
    server.on(ListJobs, JobRows((shown,), 1)).on(JobInfo, details)
    server.on(ListTasks, tasks_page(*tasks))


def tasks_page(*rows, unknown=()):
    return TaskRows(rows, (BODY,), (ONE_CPU,), (TaskSettings(),), ((1, "node1"),), unknown=unknown)


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("cli", "Job submitted successfully, job ID: 1\n"),
        ("quiet", "1\n"),
        ("json", '{\n  "id": 1\n}\n'),
    ],
)
def test_submit(hq, server, mode, text):
    server.on(SubmitJob, Submitted(1))

    assert hq("submit", "--output-mode", mode, "ls").out == text


def test_columns_of_job_list_and_worker_list(hq, server):
    server.on(ListJobs, JobRows((row(7, running=1),), 1))
    server.on(ListWorkers, WorkerRows((WORKER,)))

    header, job = cells(hq("job", "list").out)
    assert header[:3] == ["ID", "Name", "State"]
    assert job[:3] == ["7", "j", "RUNNING"]
    header, worker = cells(hq("worker", "list").out)
    assert header[:2] == ["ID", "State"]
    assert worker[:2] == ["1", "RUNNING"]


def test_row_names(hq, server):
    job_with(server, {"failed": 1}, TaskRow(0, TaskState.FAILED, error="x"))
    server.on(ListWorkers, WorkerRows((WORKER,)))
    server.on(ServerInfo, ServerDetails("abc123", "h", 1, "h", 2, "0", 7, 0.0))

    job = {line[0] for line in cells(hq("job", "info", "1").out)}
    worker = {line[0] for line in cells(hq("worker", "info", "1").out)}
    info = {line[0] for line in cells(hq("server", "info").out)}

    names = "State Tasks Resources Workers Environment Makespan Stdout Session"
    assert {*names.split(), "Task time limit"} <= job
    assert {"Process pid", "Runtime Info"} <= worker
    assert "Server UID" in info


def test_the_state_cell_of_job_info_splits_at_newlines(hq, server):
    counts = {"failed": 3, "finished": 2, "cancelled": 4, "aborted": 1}
    job_with(server, counts, TaskRow(0, TaskState.FAILED, error="x"))

    lines = cells(hq("job", "info", "1").out)

    at = next(n for n, line in enumerate(lines) if line[0] == "State")
    following = next(n for n in range(at + 1, len(lines)) if lines[n][0])
    assert [line[1] for line in lines[at + 1 : following]] == [
        "FAILED (3)",
        "FINISHED (2)",
        "CANCELED (4)",
        "ABORTED (1)",
    ]


def test_what_becomes_of_jobs(hq, server):
    server.on(CancelJobs, Verdicts((Verdict(1, OK, 1, 0), Verdict(2, ALREADY))))
    server.on(CloseJobs, Verdicts((Verdict(1, OK), Verdict(2, ALREADY))))
    server.on(ListJobs, JobRows((), 0, unknown=(5,)))

    cancelled = hq("job", "cancel", "1-2").err
    closed = hq("job", "close", "1-2").err

    assert "Job 1 canceled" in cancelled
    assert "Canceling job 2 failed" in cancelled
    assert "Job 1 closed" in closed
    assert "job is already closed" in closed
    assert "Job 5 not found" in hq("job", "info", "5").err


def test_unknown_tasks_are_warned_about(hq, server):
    server.on(ListJobs, JobRows((row(1, waiting=1),), 1))
    server.on(ListTasks, tasks_page(TaskRow(0, TaskState.WAITING), unknown=(4,)))

    assert "WARN Task 4 not found" in logged(hq("task", "list", "1", "--tasks", "0,4"))
    assert "WARN Task 4 not found" in logged(hq("task", "info", "1", "0,4"))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Forgotten(1, 0), "1 job were forgotten"),
        (
            Forgotten(6, 1),
            "6 jobs were forgotten, 1 were ignored due to wrong state or invalid ID",
        ),
    ],
)
def test_forgotten_jobs_are_counted(hq, server, answer, text):
    server.on(ForgetJobs, answer)

    assert logged(hq("job", "forget", "all")) == [f"INFO {text}"]


@pytest.mark.parametrize(
    ("total", "text"), [(1, "There is 1 job in total."), (2, "There are 2 jobs in total.")]
)
def test_hidden_jobs_are_counted(hq, server, total, text):
    server.on(ListJobs, JobRows(tuple(row(n, finished=1) for n in range(1, total + 1)), total))

    assert text in hq("job", "list").out


def test_job_cat(hq, server, tmp_path):
    (tmp_path / "2.out").write_text("two\n")
    body = TaskBody((b"x",), (), str(tmp_path), Stdio("%{TASK_ID}.out"), Stdio(None), "/w")
    waiting = TaskRow(0, TaskState.WAITING)
    finished = TaskRow(2, TaskState.FINISHED, started_at=1.0, ended_at=2.0)
    page = TaskRows((waiting, finished), (body,), (ONE_CPU,), (TaskSettings(),), ())
    server.on(ListJobs, JobRows((row(1, finished=1, waiting=1),), 1)).on(ListTasks, page)

    result = hq("job", "cat", "1", "stdout", "--print-task-header")

    assert "# Job 1, task 2\ntwo\n" in result.out
    assert "Task 0 has no `stdout` stream associated with it" in result.err

    server.on(ListTasks, TaskRows((), (), (), (), (), unknown=(0,)))
    assert "Task 0 of job 1 not found" in hq("job", "cat", "1", "stdout", "--tasks", "0").err
    server.on(ListJobs, JobRows((), 0))
    assert "No jobs were found" in hq("job", "cat", "last", "stdout").err


def test_worker_stop(hq, server):
    server.on(StopWorkers, Verdicts((Verdict(3, ALREADY), Verdict(4, NOT_FOUND))))

    text = hq("worker", "stop", "3-4").err

    assert "worker is already stopped" in text
    assert "worker not found" in text
    assert "Stopping worker 4 failed" in text


@pytest.mark.parametrize(
    "text",
    ["Job 1 is not opened.", "Job 123 not found.", "Task 0 already exists in job 1."],
)
def test_refusals_of_the_server_are_told_in_its_words(hq, server, text):
    server.on(SubmitJob, Failure(text))

    result = hq("submit", "--job", "1", "ls")

    assert (result.code, result.err.splitlines()[-1]) == (1, f"Error: {text}")


def test_task_ids_are_a_value_of_array(hq, server):
    server.on(ListJobs, JobRows((row(1, finished=10),), 1))
    server.on(ListNumbers, TaskNumbers(((2, 1), (7, 1), (9, 1), (20, 5), (29, 2))))
    server.on(SubmitJob, Submitted(2))

    text = hq("job", "task-ids", "1").out

    assert text == "2,7,9,20-24,29-30\n"
    assert hq("submit", "--array", text.strip(), "ls").code == 0


@pytest.mark.parametrize("error", ["Program terminated with exit code 1.", "Time limit reached"])
def test_errors_of_tasks_are_shown_as_they_are(hq, server, error):
    job_with(server, {"failed": 1}, TaskRow(0, TaskState.FAILED, 0, (1,), 1.0, 2.0, error))

    assert error in hq("job", "info", "1").out
    assert error in hq("task", "list", "1", "-v").out
    assert error in hq("task", "info", "1", "0").out
    (listed,) = json.loads(hq("task", "list", "1", "--output-mode", "json").out)["1"]
    assert listed["error"] == error


def test_errors_of_several_lines_continue_with_blank_cells(hq, server):
    error = 'Cannot execute "x": No such file or directory (os error 2)\nsecond\nthird'
    job_with(server, {"failed": 1}, TaskRow(0, TaskState.FAILED, 0, (1,), 1.0, 2.0, error))

    lines = cells(hq("task", "info", "1", "0").out)

    at = next(n for n, line in enumerate(lines) if line[0] == "Error")
    assert [line[1] for line in lines[at : at + 3]] == error.split("\n")
    assert [line[0] for line in lines[at + 1 : at + 3]] == ["", ""]


def test_the_table_of_task_explain(hq, server):
    lacks = AmountCondition("gpus", UNIT, 0)
    has = AmountCondition("cpus", UNIT, 2 * UNIT)
    fits = (
        WorkerFit(1, ((has, lacks), (has,))),
        WorkerFit(2, ((has, lacks), (lacks,))),
    )
    server.on(ExplainTask, TaskExplained(1, 0, 0, 0, ONE_CPU, workers=fits))

    header, *lines = cells(hq("task", "explain", "1", "0").out)

    assert header == ["Worker Id", "Runnable", "Variant", "Type", "Provides", "Request"]
    assert [line[:3] for line in lines] == [
        ["1", "Yes (1/2)", "0"],
        ["", "", ""],
        ["", "", "1"],
        ["2", "No", "0"],
        ["", "", ""],
        ["", "", "1"],
    ]


def test_a_server_that_never_comes_is_waited_for_so_long(hq, server, tmp_path):
    server.refusal = Unreachable("No running instance of HQ found")

    result = hq("server", "wait", "--timeout", "20ms", "--server-dir", str(tmp_path))

    assert result.code == 1
    assert f"Timeout after 20ms: Could not connect to server at `{tmp_path}`" in result.err


def test_an_access_record_of_another_version_is_refused(capsys, tmp_path):
    client = {"host": "h", "port": 1, "secret_key": None}
    record = {"version": "X", "server_uid": "abc123", "client": client}
    (tmp_path / "access.json").write_text(json.dumps(record))

    assert run(["job", "list", "--server-dir", str(tmp_path)], Session()) == 1

    text = f"Access record contains version X, but the current version is {__version__}"
    assert text in capsys.readouterr().err


def test_hwdetect_names_each_resource_on_a_line(hq, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")

    lines = hq("worker", "hwdetect").lines

    assert lines[0] == "Summary:"
    assert "gpus/nvidia: [1,3]" in lines
    full = lines[lines.index("Full Description:") :]
    assert {line.partition(":")[0] for line in full[1:]} >= {"cpus", "mem", "gpus/nvidia"}
