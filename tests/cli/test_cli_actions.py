"""Commands that change something or wait: what they log, print and return."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from hqtrio.errors import Unreachable
from hqtrio.messages.client import (
    CancelJobs,
    CloseJobs,
    Counts,
    Done,
    ForgetJobs,
    Forgotten,
    JobNotice,
    JobRow,
    JobRows,
    ListJobs,
    ListTasks,
    ListWorkers,
    Selector,
    StopServer,
    StopWorkers,
    TaskRow,
    TaskRows,
    Verdict,
    VerdictKind,
    Verdicts,
    Watch,
    WatchWorkers,
    Which,
    WorkerNotice,
    WorkerRows,
)
from hqtrio.model.job import JobState
from hqtrio.model.resources import ONE_CPU
from hqtrio.model.task import Stdio, TaskBody, TaskSettings, TaskState

OK, NOT_FOUND, ALREADY = VerdictKind.OK, VerdictKind.NOT_FOUND, VerdictKind.ALREADY


def logged(result):
    """Log lines without their time stamps."""
    return [line.partition(" ")[2] for line in result.err.splitlines()]


def row(number=1, *, is_open=False, **counts):
    counts = Counts(**counts)
    over = not counts.waiting and not counts.running and not is_open
    return JobRow(number, "j", counts, is_open, None, over)


def test_cancel(hq, server):
    verdicts = (Verdict(3, NOT_FOUND), Verdict(1, OK, 2, 3), Verdict(2, ALREADY))
    server.on(CancelJobs, Verdicts(verdicts))

    result = hq("job", "cancel", "1-3", "--reason", "wrong input")

    assert logged(result) == [
        "INFO Job 1 canceled (2 tasks canceled, 3 tasks already finished)",
        "ERROR Canceling job 2 failed; all tasks are already finished",
        "ERROR Canceling job 3 failed; job not found",
    ]
    assert (result.code, result.out) == (0, "")
    assert server.asked == [CancelJobs(Selector(Which.GIVEN, ((1, 3, 1),)), "wrong input")]
    assert hq("job", "cancel", "1", "--output-mode", "json").out == "{}\n"


def test_nothing_to_cancel_or_close(hq, server):
    server.on(CancelJobs, Verdicts(())).on(CloseJobs, Verdicts(()))

    assert logged(hq("job", "cancel", "all")) == ["INFO There is nothing to cancel"]
    assert logged(hq("job", "close", "last")) == ["INFO There is nothing to close"]
    assert [request.jobs.which for request in server.asked] == [Which.ALL, Which.LAST]


def test_close(hq, server):
    server.on(CloseJobs, Verdicts((Verdict(1, OK), Verdict(2, ALREADY), Verdict(3, NOT_FOUND))))

    assert logged(hq("job", "close", "1-3")) == [
        "INFO Job 1 closed",
        "ERROR Closing job 2 failed; job is already closed",
        "ERROR Closing job 3 failed; job not found",
    ]


def test_forget(hq, server):
    server.on(ForgetJobs, Forgotten(1, 0))
    assert logged(hq("job", "forget", "1")) == ["INFO 1 job were forgotten"]

    server.on(ForgetJobs, Forgotten(6, 1))
    assert logged(hq("job", "forget", "all", "--filter", "failed,canceled")) == [
        "INFO 6 jobs were forgotten, 1 were ignored due to wrong state or invalid ID"
    ]
    every, some = server.asked
    assert every.states == (2, 3, 4, 5)
    assert some.states == (JobState.FAILED, JobState.CANCELLED)


def test_worker_stop(hq, server):
    server.on(StopWorkers, Verdicts((Verdict(4, ALREADY), Verdict(1, OK), Verdict(9, NOT_FOUND))))

    result = hq("worker", "stop", "1,4,9")

    assert result.code == 0
    assert logged(result) == [
        "INFO Worker 1 stopped",
        "WARN Stopping worker 4 failed; worker is already stopped",
        "ERROR Stopping worker 9 failed; worker not found",
    ]


def test_worker_wait_follows_notices(hq, server):
    server.on(WatchWorkers, WorkerNotice(0))
    server.notices[WatchWorkers] = [WorkerNotice(1), WorkerNotice(2)]

    assert hq("worker", "wait", "2").code == 0
    assert len(server.asked) == 1


def test_worker_info_of_unknown_ids_succeeds(hq, server):
    server.on(ListWorkers, WorkerRows((), unknown=(5, 6)))

    result = hq("worker", "info", "5-6", "--output-mode", "json")

    assert (result.code, result.out) == (0, "[]\n")
    assert logged(result) == ["ERROR Worker 5 not found", "ERROR Worker 6 not found"]


def test_server_stop(hq, server):
    server.on(StopServer, Done())

    result = hq("server", "stop")

    assert (result.code, logged(result)) == (0, ["INFO Stopping server"])


def test_server_wait(hq, server):
    assert logged(hq("server", "wait")) == [
        "INFO Waiting for server to become available (timeout: 5m)...",
        "INFO Successfully connected to server",
    ]


def test_server_wait_gives_up(hq, server, tmp_path):
    server.refusal = Unreachable("localhost:1 is unreachable: Connection refused")

    result = hq("server", "wait", "--timeout", "50ms", "--server-dir", str(tmp_path))

    assert result.code == 1
    assert f"Timeout after 50ms: Could not connect to server at `{tmp_path}`" in result.err
    assert "Connection refused" in result.err


def test_job_wait_waits_for_the_end_and_the_closing(hq, server):
    server.on(ListJobs, JobRows((row(running=1),), 1, unknown=(2,)))
    server.on(Watch, JobRows((row(running=1, is_open=True),), 1))
    server.notices[Watch] = [
        JobNotice(row(finished=1, is_open=True)),
        JobNotice(row(finished=1)),
    ]

    result = hq("job", "wait", "1-2", "--output-mode", "json")

    assert (result.code, result.out, result.err) == (0, "{}\n", "")


def test_job_wait_without_close_ends_while_the_job_is_open(hq, server):
    server.on(ListJobs, JobRows((row(running=1),), 1))
    server.on(Watch, JobRows((row(finished=1, is_open=True),), 1))

    assert hq("job", "wait", "all", "--without-close").code == 0


def test_a_forgotten_job_is_waited_for_no_longer(hq, server):
    server.on(ListJobs, JobRows((row(running=1),), 1))
    server.on(Watch, JobRows((row(running=1),), 1))
    server.notices[Watch] = [JobNotice(row(finished=1), gone=True)]

    assert hq("job", "wait", "1").code == 0


def test_job_progress(hq, server):
    rows = (row(1, running=1, waiting=1), row(2, finished=2))
    server.on(ListJobs, JobRows(rows, 2)).on(Watch, JobRows(rows, 2))
    server.notices[Watch] = [JobNotice(row(1, finished=1, cancelled=1))]

    result = hq("job", "progress", "all")

    assert logged(result) == ["INFO Waiting for 2 jobs with 4 tasks"]
    assert result.lines == [f"[{40 * '#'}] 2/2 jobs, 4/4 tasks 3 FINISHED 1 CANCELED"]


def test_progress_of_nothing(hq, server):
    server.on(ListJobs, JobRows((row(finished=1),), 1))

    result = hq("job", "progress", "all", "--output-mode", "json")

    assert logged(result) == ["WARN There are no jobs to wait for"]
    assert (result.code, result.out) == (0, "")


@pytest.fixture
def outputs(server, tmp_path):
    """Two tasks with outputs, one without, one that never started."""
    (tmp_path / "0.out").write_bytes(b"zero\n")
    (tmp_path / "1.out").write_bytes(b"one\n")
    body = TaskBody((b"x",), (), str(tmp_path), Stdio("%{TASK_ID}.out"), Stdio(None), "/w")
    rows = [TaskRow(n, TaskState.FINISHED, started_at=1.0, ended_at=2.0) for n in range(3)]
    rows.append(TaskRow(3, TaskState.WAITING))

    def tasks(request):
        chosen = rows if not request.numbers else rows[:1]
        unknown = (7,) if request.numbers else ()
        return TaskRows(tuple(chosen), (body,), (ONE_CPU,), (TaskSettings(),), (), -1, unknown)

    server.on(ListJobs, JobRows((row(1, finished=4),), 1)).on(ListTasks, tasks)


def test_job_cat(hq, outputs, tmp_path):
    result = hq("job", "cat", "1", "stdout", "--print-task-header")

    assert result.out == (
        "# Job 1, task 0\nzero\n# Job 1, task 1\none\n# Job 1, task 2\n# Job 1, task 3\n"
    )
    first, second = logged(result)
    assert first.startswith(f"WARN File at `{tmp_path}/2.out` cannot be opened")
    assert second == "WARN Task 3 has no `stdout` stream associated with it"
    assert result.code == 0


def test_job_cat_of_chosen_tasks(hq, outputs, server):
    result = hq(
        "job", "cat", "last", "stdout", "--tasks", "0,7", "--task-status", "finished,failed"
    )

    assert result.out == "zero\n"
    assert logged(result) == ["WARN Task 7 of job 1 not found"]
    assert server.asked[1].states == (TaskState.FINISHED, TaskState.FAILED)
    assert server.asked[1].numbers == ((0, 1, 1), (7, 1, 1))


def test_job_cat_without_a_stream(hq, outputs):
    assert "WARN Task 0 has no `stderr` stream associated with it" in logged(
        hq("job", "cat", "1", "stderr")
    )


def test_job_cat_of_nothing(hq, server):
    server.on(ListJobs, JobRows((), 0))
    assert logged(hq("job", "cat", "last", "stdout")) == ["WARN No jobs were found"]

    server.on(ListJobs, JobRows((row(2),), 1, unknown=(1,)))
    server.on(ListTasks, TaskRows((), (), (), (), ()))
    assert logged(hq("job", "cat", "1-2", "stdout")) == [
        "ERROR Job 1 was not found",
        "WARN No tasks were selected for job 2, there is nothing to print",
    ]


def test_job_cat_in_json_mode_fails(hq):
    result = hq("--output-mode", "json", "job", "cat", "1", "stdout")

    assert result.code == 1
    assert json.loads(result.out) == {"error": "JSON output mode doesn't support job output"}


def test_generate_access(hq, tmp_path):
    full, client, worker = (str(tmp_path / name) for name in ("full", "client", "worker"))
    words = ["server", "generate-access", full, "--client-port", "1", "--worker-port", "2",
             "--host", "h", "--worker-host", "w", "--client-file", client,
             "--worker-file", worker]  # fmt: skip

    result = hq(*words)

    assert result.code == 0, result.err
    assert logged(result) == [
        f"INFO Storing access file as '{path}'" for path in (full, client, worker)
    ]
    records = [json.loads(Path(path).read_text()) for path in (full, client, worker)]
    assert [sorted(record) for record in records] == [
        ["client", "server_uid", "version", "worker"],
        ["client", "version"],
        ["version", "worker"],
    ]
    assert (records[0]["client"]["host"], records[0]["worker"]["host"]) == ("h", "w")
    assert stat.S_IMODE(Path(full).stat().st_mode) == 0o400

    again = hq(*words)
    assert again.code == 1
    assert "already exists" in again.err


def test_the_debug_format_of_log_lines(hq, server):
    server.on(StopServer, Done())

    line = hq("server", "stop", "--debug").err.splitlines()[-1]

    assert line.startswith("[2")
    assert line.endswith(" INFO hqtrio.cli.server] Stopping server")


def test_rust_log_can_hide_confirmations(hq, server, monkeypatch):
    server.on(StopServer, Done())
    monkeypatch.setenv("RUST_LOG", "error")

    assert hq("server", "stop").err == ""
