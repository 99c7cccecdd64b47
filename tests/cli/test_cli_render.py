"""Every table, JSON value and quiet line, from constructed answers."""

from __future__ import annotations

import json
import time

import pytest

from hqtrio.ids import task_id
from hqtrio.messages.client import (
    ArrayPart,
    Counts,
    JobDetails,
    JobInfo,
    JobRow,
    JobRows,
    ListJobs,
    ListNumbers,
    ListTasks,
    ListWorkers,
    OpenJob,
    ServerDetails,
    ServerInfo,
    SubmitPartInfo,
    Submitted,
    TaskNumbers,
    TaskRow,
    TaskRows,
    WorkerRow,
    WorkerRows,
)
from hqtrio.model.resources import (
    CPUS,
    ONE_CPU,
    UNIT,
    Descriptor,
    Link,
    Need,
    Policy,
    Pool,
    Request,
    single_pool,
)
from hqtrio.model.task import NEVER_RESTART, Stdio, TaskBody, TaskSettings, TaskState
from hqtrio.model.worker import LossReason, OnServerLost, WorkerConfig

AT = 1_700_000_000.25  # 2023-11-14 22:13:20.25 UTC


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def job_row(number=1, name="job", *, is_open=False, cancel_reason=None, **counts):
    counts = Counts(**counts)
    over = not counts.waiting and not counts.running and not is_open
    return JobRow(number, name, counts, is_open, cancel_reason, over)


TWO_NODES = (Request(nodes=2),)
BODY = TaskBody(
    args=(b"sleep", b"1"),
    env=((b"B", b"2"), (b"A", b"1"), (b"HQ_X", b"hidden")),
    cwd="/data",
    stdout=Stdio("%{CWD}/job-1/%{TASK_ID}.stdout"),
    stderr=Stdio(None),
    submit_dir="/data",
)


def details(row, submits=None, ids=((0, 3, 1),), workers=(), hostnames=(), finished_at=AT + 61.5):
    part = SubmitPartInfo("/data", (ArrayPart(BODY, ids, ONE_CPU, TaskSettings()),))
    return JobDetails(row, None, AT, finished_at, submits or (part,), ids, workers, hostnames)


def tasks_page(*rows, hostnames=((1, "node1"), (2, "node2"))):
    return TaskRows(rows, (BODY,), (ONE_CPU, TWO_NODES), (TaskSettings(),), hostnames)


WORKER = WorkerRow(
    id=1,
    config=WorkerConfig(
        hostname="node1",
        listen_address="node1:4000",
        work_dir="/tmp/hq",
        group="default",
        descriptor=Descriptor(
            (
                Pool(CPUS, (("0", "1"), ("2", "3")), 4 * UNIT),
                single_pool("gpus", ("a", "b")),
                Pool("mem", (), 16_000 * UNIT),
                Pool("ports", (("1", "2", "3"),), 3 * UNIT, is_range=True),
            )
        ),
        pid=77,
    ),
    started_at=AT,
    last_task=task_id(3, 4),
    last_task_at=AT,
    assigned_tasks=2,
    running_tasks=1,
)
LOST = WorkerRow(2, WORKER.config, AT, AT + 5, LossReason.HEARTBEAT_LOST)


# --- server


def server_details():
    return ServerDetails("abc123", "login", 1001, "login2", 1002, "0.1.0", 42, AT)


def test_server_info(hq, server):
    server.on(ServerInfo, server_details())

    assert hq("server", "info").out == (
        "+--------------+-------------------------+\n"
        "| Server UID   | abc123                  |\n"
        "| Client host  | login                   |\n"
        "| Client port  | 1001                    |\n"
        "| Worker host  | login2                  |\n"
        "| Worker port  | 1002                    |\n"
        "| Version      | 0.1.0                   |\n"
        "| Pid          | 42                      |\n"
        "| Start date   | 2023-11-14 22:13:20 UTC |\n"
        "| Journal path |                         |\n"
        "+--------------+-------------------------+\n"
    )
    assert hq("server", "info", "--output-mode", "quiet").out == ""
    assert json.loads(hq("server", "info", "--output-mode", "json").out) == {
        "server_dir": None,
        "server_uid": "abc123",
        "client_host": "login",
        "worker_host": "login2",
        "client_port": 1001,
        "worker_port": 1002,
        "version": "0.1.0",
        "pid": 42,
        "start_date": "2023-11-14T22:13:20.250000Z",
        "journal_path": None,
    }


# --- workers


def test_worker_list(hq, server):
    server.on(ListWorkers, WorkerRows((WORKER, LOST)))
    resources = "cpus 2x2; gpus 2; mem 15.62 GiB; ports 3"

    assert hq("worker", "list").lines[1:4:2] == [
        f"| ID | State   | Hostname | {'Resources':40} | Manager | Manager Job ID |",
        f"|  1 | RUNNING | node1    | {resources} | None    | N/A            |",
    ]
    assert hq("worker", "list", "--filter", "offline").lines[3].split(" | ")[1] == "HEARTBEAT LOST"
    assert len(hq("worker", "list", "--all").lines) == 6
    assert hq("--output-mode", "quiet", "worker", "list", "--all").out == (
        "1 RUNNING\n2 HEARTBEAT LOST\n"
    )


def test_an_empty_table_keeps_its_header_and_two_rules(hq, server):
    server.on(ListWorkers, WorkerRows(()))

    assert hq("worker", "list").out == (
        "+----+-------+----------+-----------+---------+----------------+\n"
        "| ID | State | Hostname | Resources | Manager | Manager Job ID |\n"
        "+----+-------+----------+-----------+---------+----------------+\n"
    )


def test_worker_info(hq, server):
    server.on(ListWorkers, WorkerRows((WORKER, LOST), unknown=(9,)))

    result = hq("worker", "info", "1-2,9")

    first, second = result.out.split("\n\n")
    assert first == (
        "+-------------------+----------------------------------------+\n"
        "| Worker            | 1                                      |\n"
        "| State             | RUNNING                                |\n"
        "| Hostname          | node1                                  |\n"
        "| Started           | 2023-11-14T22:13:20.250000Z            |\n"
        "| Data provider     | node1:4000                             |\n"
        "| Working directory | /tmp/hq                                |\n"
        "| Heartbeat         | 8s                                     |\n"
        "| Idle timeout      | None                                   |\n"
        "| Overview interval | None                                   |\n"
        "| Resources         | cpus: 2x2                              |\n"
        "|                   | gpus: 2                                |\n"
        "|                   | mem: 15.62 GiB                         |\n"
        "|                   | ports: 3                               |\n"
        "| Time Limit        | None                                   |\n"
        "| Process pid       | 77                                     |\n"
        "| Group             | default                                |\n"
        "| Manager           | None                                   |\n"
        "| Manager Job ID    | N/A                                    |\n"
        "| Last task started | 3@4; Time: 2023-11-14T22:13:20.250000Z |\n"
        "| Runtime Info      | assigned tasks: 2; running tasks: 1    |\n"
        "+-------------------+----------------------------------------+"
    )
    assert "Runtime Info" not in second
    assert result.code == 0
    assert "ERROR Worker 9 not found" in result.err


def test_worker_json(hq, server):
    server.on(ListWorkers, WorkerRows((WORKER, LOST)))

    one, other = json.loads(hq("worker", "info", "all", "--output-mode", "json").out)

    assert one == {
        "id": 1,
        "configuration": {
            "heartbeat_interval": 8.0,
            "idle_timeout": None,
            "time_limit": None,
            "work_dir": "/tmp/hq",
            "hostname": "node1",
            "group": "default",
            "listen_address": "node1:4000",
            "resources": {
                "resources": [
                    {"name": "cpus", "kind": "groups", "groups": [["0", "1"], ["2", "3"]]},
                    {"name": "gpus", "kind": "list", "values": ["a", "b"]},
                    {"name": "mem", "kind": "sum", "size": 160_000_000},
                    {"name": "ports", "kind": "range", "start": 1, "end": 3},
                ],
                "coupling": {"weights": []},
            },
            "on_server_lost": "reconnect",
            "min_utilization": 0.0,
        },
        "allocation": None,
        "runtime_info": {
            "SingleNodeTasks": {"assigned_tasks": 2, "running_tasks": 1, "is_reserved": False}
        },
        "last_task_started": {
            "task_id": {"job_id": 3, "job_task_id": 4},
            "time": "2023-11-14T22:13:20.250000Z",
        },
        "started": "2023-11-14T22:13:20.250000Z",
        "ended": None,
    }
    assert other["ended"] == {"at": "2023-11-14T22:13:25.250000Z"}
    assert other["runtime_info"] is None
    (listed, _) = json.loads(hq("worker", "list", "--all", "--output-mode", "json").out)
    assert listed["runtime_info"] is None


@pytest.mark.parametrize(("main", "words"), [(True, "main node"), (False, "secondary node")])
def test_a_worker_inside_a_multi_node_task_tells_its_part(hq, server, main, words):
    row = WorkerRow(1, WORKER.config, AT, assigned_tasks=1, running_tasks=1, multi_node=main)
    server.on(ListWorkers, WorkerRows((row,)))

    assert f"| Runtime Info      | running multinode task; {words}" in hq("worker", "info", "1").out
    (value,) = json.loads(hq("worker", "info", "1", "--output-mode", "json").out)
    assert value["runtime_info"] == {"MultiNodeTask": {"main_node": main}}


def test_worker_of_an_allocation(hq, server):
    config = WorkerConfig(
        "n", "n:1", "/w", "77", Descriptor((single_pool(CPUS, ("0",)),), (Link(0, 0, 0, 0),)),
        on_server_lost=OnServerLost.FINISH_RUNNING, manager="SLURM", manager_job_id="77",
    )  # fmt: skip
    server.on(ListWorkers, WorkerRows((WorkerRow(1, config, AT, is_reserved=True),)))

    assert hq("worker", "list").lines[3].split("|")[4:7] == [
        " cpus 1 [coupled] ", " SLURM   ", " 77             ",
    ]  # fmt: skip
    (value,) = json.loads(hq("worker", "info", "1", "--output-mode", "json").out)
    assert value["allocation"] == {"manager": "Slurm", "id": "77"}
    assert value["configuration"]["on_server_lost"] == "finish-running"
    assert "reserved for a multi-node task" in hq("worker", "info", "1").out


def test_worker_address(hq, server):
    server.on(ListWorkers, WorkerRows((WORKER,)))
    assert hq("worker", "address", "1", "--output-mode", "json").out == "node1\n"

    server.on(ListWorkers, WorkerRows((), unknown=(5,)))
    result = hq("worker", "address", "5")
    assert (result.code, result.err) == (1, "Worker 5 not found\n")


# --- jobs


def test_job_list(hq, server):
    rows = (
        job_row(1, "a" * 24 + "MIDDLE" + "b" * 23, running=1, waiting=2),
        job_row(2, "done", finished=1),
        job_row(12, "open", is_open=True),
        job_row(13, "failed but open", is_open=True, failed=2),
    )
    server.on(ListJobs, JobRows(rows, 4))

    result = hq("job", "list")

    assert result.out == (
        "+-----+----------------------------------------------------+---------+-------+\n"
        "|  ID | Name                                               | State   | Tasks |\n"
        "+-----+----------------------------------------------------+---------+-------+\n"
        f"|   1 | {'a' * 24}...{'b' * 23} | RUNNING | 3     |\n"
        "| *12 | open                                               | OPENED  | 0     |\n"
        "| *13 | failed but open                                    | FAILED  | 2     |\n"
        "+-----+----------------------------------------------------+---------+-------+\n"
        "* = Open jobs\n"
        "There are 4 jobs in total. Use `--all` to display all jobs.\n"
    )
    assert hq("job", "list", "--all", "--output-mode", "quiet").lines == [
        "1 RUNNING", "2 FINISHED", "12 OPENED", "13 FAILED",
    ]  # fmt: skip
    assert hq("job", "list", "--filter", "finished,failed", "--output-mode", "quiet").lines == [
        "2 FINISHED", "13 FAILED",
    ]  # fmt: skip


def test_one_job_in_total(hq, server):
    server.on(ListJobs, JobRows((job_row(finished=1),), 1))

    assert hq("job", "list").lines[-1] == (
        "There is 1 job in total. Use `--all` to display all jobs."
    )


def test_job_list_json_and_reason(hq, server):
    row = job_row(3, "x", cancel_reason="mistake", cancelled=2, finished=1)
    server.on(ListJobs, JobRows((row,), 1))

    assert json.loads(hq("job", "list", "--all", "--output-mode", "json").out) == [
        {
            "id": 3,
            "name": "x",
            "task_count": 3,
            "is_open": False,
            "cancel_reason": "mistake",
            "task_stats": {
                "running": 0,
                "finished": 1,
                "failed": 0,
                "canceled": 2,
                "aborted": 0,
                "waiting": 0,
            },
        }
    ]
    table = hq("job", "list", "--all", "--verbose").lines
    assert table[1].split("|")[5].strip() == "Cancel Reason"
    assert table[3].split("|")[3:6] == [" CANCELED ", " 3     ", " mistake       "]


def test_job_summary(hq, server):
    rows = (job_row(1, finished=1), job_row(2, is_open=True), job_row(3, cancelled=1))
    server.on(ListJobs, JobRows(rows, 3))

    assert hq("job", "summary").out == (
        "+----------+-------+\n"
        "| Status   | Count |\n"
        "+----------+-------+\n"
        "| RUNNING  | 0     |\n"
        "| WAITING  | 0     |\n"
        "| FINISHED | 1     |\n"
        "| FAILED   | 0     |\n"
        "| ABORTED  | 0     |\n"
        "| CANCELED | 1     |\n"
        "+----------+-------+\n"
    )
    assert json.loads(hq("job", "summary", "--output-mode", "json").out) == {
        "Running": 0, "Waiting": 0, "Finished": 1, "Failed": 0, "Aborted": 0, "Canceled": 1,
        "Opened": 1,
    }  # fmt: skip
    assert hq("job", "summary", "--output-mode", "quiet").lines[2] == "FINISHED 1"


def test_job_info(hq, server):
    row = job_row(1, "sleep", failed=1, finished=1, waiting=1)
    server.on(ListJobs, JobRows((row,), 1))
    server.on(
        JobInfo,
        details(row, workers=(1, 2, 3), hostnames=("a", "b", "c")),
    )
    server.on(
        ListTasks,
        tasks_page(TaskRow(2, TaskState.FAILED, 0, (1,), AT, AT + 1, "Program terminated")),
    )

    assert hq("job", "info", "1").out == (
        "+----------------------+--------------------------------------------+\n"
        "| ID                   | 1                                          |\n"
        "| Name                 | sleep                                      |\n"
        "| State                | [############################............] |\n"
        "|                      | FAILED (1)                                 |\n"
        "|                      | FINISHED (1)                               |\n"
        "|                      | WAITING (1)                                |\n"
        "| Cancel Reason        |                                            |\n"
        "| Session              | closed                                     |\n"
        "| Tasks                | 3; Ids: 0-2                                |\n"
        "| Workers              | a,b, … (3 total)                           |\n"
        "| Resources            | cpus: 1 compact                            |\n"
        "| Pin                  | none                                       |\n"
        "| Priority             | 0                                          |\n"
        "| Command              | sleep                                      |\n"
        "|                      | 1                                          |\n"
        "| Stdout               | /data/job-1/%{TASK_ID}.stdout              |\n"
        "| Stderr               | <None>                                     |\n"
        "| Environment          | A=1                                        |\n"
        "|                      | B=2                                        |\n"
        "| Working directory    | /data                                      |\n"
        "| Task time limit      | None                                       |\n"
        "| Crash limit          | 5                                          |\n"
        "| Submission date      | 2023-11-14 22:13:20 UTC                    |\n"
        "| Submission directory | /data                                      |\n"
        "| Makespan             | 1m 1s                                      |\n"
        "+----------------------+--------------------------------------------+\n"
        "+---------+--------+--------------------+\n"
        "| Task ID | Worker | Error              |\n"
        "+---------+--------+--------------------+\n"
        "| 2       | node1  | Program terminated |\n"
        "+---------+--------+--------------------+\n"
        "1 tasks failed.\n"
    )


def test_job_info_of_many_failed_tasks_shows_five(hq, server):
    row = job_row(1, failed=9)
    server.on(ListJobs, JobRows((row,), 1)).on(JobInfo, details(row, ids=((0, 9, 1),)))
    failed = [TaskRow(n, TaskState.FAILED, error="x") for n in range(5)]
    server.on(ListTasks, tasks_page(*failed))

    assert hq("job", "info", "1").lines[-1] == "9 tasks failed. (5 shown)"


def test_job_info_of_several_submits_leaves_out_what_differs(hq, server):
    row = job_row(4, "open", is_open=True)
    part = SubmitPartInfo("/data", (), graph_tasks=2)
    server.on(ListJobs, JobRows((row,), 1, unknown=(5,)))
    server.on(JobInfo, details(row, submits=(part, part), ids=(), finished_at=None))

    result = hq("job", "info", "4-5")

    names = [line.split("|")[1].strip() for line in result.lines if line.startswith("|")]
    assert names == [
        "ID", "Name", "State", "Cancel Reason", "Session", "Tasks", "Workers",
        "Submission date", "Makespan",
    ]  # fmt: skip
    assert "ERROR Job 5 not found" in result.err
    assert result.code == 0


def test_requests_variants_and_limits_in_job_info(hq, server):
    variants = (
        Request((Need(CPUS, 4 * UNIT, Policy.FORCE_COMPACT), Need("gpus", 5000)), weight=25_000),
        Request((Need(CPUS, 0, Policy.ALL),), time_s=60.0),
        Request((), nodes=2),
    )
    part = ArrayPart(BODY, ((7, 1, 1),), variants, TaskSettings(-2, NEVER_RESTART))
    row = job_row(1, waiting=1)
    info = details(row, submits=(SubmitPartInfo("/data", (part,)),), ids=((7, 1, 1),))
    server.on(ListJobs, JobRows((row,), 1)).on(JobInfo, info)
    server.on(ListTasks, tasks_page(TaskRow(7, TaskState.WAITING)))

    table = hq("job", "info", "1").out
    cells = [line.split("|")[2].strip() for line in table.splitlines() if line.startswith("|")]
    at = cells.index("# Variant 1")
    assert cells[at : at + 12] == [
        "# Variant 1", "cpus: 4 compact!", "gpus: 0.5 compact", "[weight: 2.5]", "",
        "# Variant 2", "cpus: all", "[time: 1m]", "",
        "# Variant 3", "nodes: 2", "none",
    ]  # fmt: skip
    assert "| never-restart" in table

    (value,) = json.loads(hq("job", "info", "1", "--output-mode", "json").out)
    assert value["submits"] == [
        {
            "array": {
                "program": {
                    "args": ["sleep", "1"],
                    "env": {"A": "1", "B": "2", "HQ_X": "hidden"},
                    "cwd": "/data",
                    "stdout": "/data/job-1/%{TASK_ID}.stdout",
                    "stderr": None,
                },
                "resources": [
                    {
                        "n_nodes": 0,
                        "min_time": 0.0,
                        "weight": 25000,
                        "resources": [
                            {"resource": "cpus", "request": {"ForceCompact": 40000}},
                            {"resource": "gpus", "request": {"Compact": 5000}},
                        ],
                    },
                    {
                        "n_nodes": 0,
                        "min_time": 60.0,
                        "weight": 10000,
                        "resources": [{"resource": "cpus", "request": "All"}],
                    },
                    {"n_nodes": 2, "min_time": 0.0, "weight": 10000, "resources": []},
                ],
                "pin_mode": None,
                "priority": -2,
                "time_limit": None,
                "task_dir": False,
                "crash_limit": "never-restart",
            }
        }
    ]
    assert value["tasks"] == [{"id": 7, "state": "waiting"}]
    assert value["max_fails"] is None
    assert value["started_at"] == "2023-11-14T22:13:20.250000Z"
    assert value["finished_at"] == "2023-11-14T22:14:21.750000Z"


def test_graph_tasks_in_json(hq, server):
    row = job_row(1, waiting=2)
    part = SubmitPartInfo("/data", (), graph_tasks=2)
    server.on(ListJobs, JobRows((row,), 1)).on(JobInfo, details(row, submits=(part,)))
    server.on(ListTasks, tasks_page(TaskRow(1, 0), TaskRow(2, 0)))

    (value,) = json.loads(hq("job", "info", "1", "--output-mode", "json").out)

    (submit,) = value["submits"]
    assert [d["program"]["args"] for d in submit["graph"]] == [["sleep", "1"], ["sleep", "1"]]


def test_task_ids(hq, server):
    rows = (job_row(1, finished=3), job_row(2))
    pages = {0: TaskNumbers(((9, 1), (7, 1), (20, 3)), 5), 5: TaskNumbers(((2, 1), (23, 2)))}
    server.on(ListJobs, lambda r: JobRows(rows if r.jobs.which else rows[:1], 2))

    def numbers(request):
        if request.states:
            return TaskNumbers(((7, 1), (2, 1), (8, 1)))
        return pages[request.position] if request.job == 1 else TaskNumbers(())

    server.on(ListNumbers, numbers)

    assert hq("job", "task-ids", "1").out == "2,7,9,20-24\n"
    assert hq("job", "task-ids", "all").out == "1: 2,7,9,20-24\n2: \n"
    assert hq("job", "task-ids", "1", "--filter", "finished").out == "2,7-8\n"
    assert json.loads(hq("job", "task-ids", "all", "--output-mode", "json").out) == {
        "1": [2, 7, 9, 20, 21, 22, 23, 24],
        "2": [],
    }


def test_task_ids_of_an_unknown_job_fail(hq, server):
    server.on(ListJobs, JobRows((), 0, unknown=(8,)))

    result = hq("job", "task-ids", "8")

    assert result.code == 1
    assert "Job Id not found" in result.err


def test_open_job(hq, server):
    server.on(OpenJob, Submitted(5))

    assert hq("job", "open").out == "Job 5 is open.\n"
    assert hq("job", "open", "--output-mode", "json").out == '{\n  "id": 5\n}\n'
    assert hq("job", "open", "--output-mode", "quiet").out == "5\n"
    assert (server.asked[0].head.name, server.asked[0].head.is_open) == ("job", True)


# --- tasks


STARTED = (
    TaskRow(0, TaskState.WAITING),
    TaskRow(1, TaskState.RUNNING, 0, (1,), time.time() + 3600),
    TaskRow(2, TaskState.FINISHED, 3, (2, 1), AT, AT + 1.5, variants=1, cpu_s=0.25, peak_kib=4096),
    TaskRow(3, TaskState.FAILED, 0, (1,), AT, AT + 1, "Program terminated with exit code 1."),
    TaskRow(4, TaskState.CANCELLED, 0, (1,), AT, AT + 1),
    TaskRow(5, TaskState.ABORTED, 0),
)


def test_task_list(hq, server):
    server.on(ListJobs, JobRows((job_row(1, finished=1),), 1))
    server.on(ListTasks, tasks_page(*STARTED))

    result = hq("task", "list", "1")

    assert result.out == (
        "+---------+----------+--------+------------------+---------------------+\n"
        "| Task ID | State    | Worker | Makespan         | Error               |\n"
        "+---------+----------+--------+------------------+---------------------+\n"
        "|       0 | WAITING  |        |                  |                     |\n"
        "|       1 | RUNNING  | node1  | Invalid duration |                     |\n"
        "|       2 | FINISHED | node2  | 1s 500ms         |                     |\n"
        "|         |          | node1  |                  |                     |\n"
        "|       3 | FAILED   | node1  | 1s               | Program terminat... |\n"
        "|       4 | CANCELED | node1  | 1s               |                     |\n"
        "|       5 | ABORTED  |        |                  |                     |\n"
        "+---------+----------+--------+------------------+---------------------+\n"
    )
    assert "INFO An error message was truncated. Use -v to display the full error." in result.err
    full = hq("task", "list", "1", "-v")
    assert "Program terminated with exit code 1." in full.out
    assert full.err == ""


def test_task_list_of_two_jobs_names_the_job(hq, server):
    server.on(ListJobs, JobRows((job_row(1), job_row(2)), 2, unknown=(3,)))
    server.on(ListTasks, tasks_page(TaskRow(0, 0)))

    result = hq("task", "list", "1-3")

    assert result.lines[1].split("|")[1].strip() == "Job ID"
    assert result.lines[4].startswith("|      2 |       0 | WAITING")
    assert "WARN Job 3 not found" in result.err


def test_task_json(hq, server):
    server.on(ListJobs, JobRows((job_row(1),), 1))
    server.on(ListTasks, tasks_page(*STARTED))

    tasks = json.loads(hq("task", "list", "1", "--output-mode", "json").out)["1"]

    paths = {"cwd": "/data", "stderr": None}
    assert tasks[0] == {"id": 0, "state": "waiting"}
    assert tasks[1].keys() == {"id", "state", "cwd", "stdout", "stderr", "started_at", "worker"}
    assert tasks[2] == {
        "id": 2,
        "state": "finished",
        **paths,
        "stdout": "/data/job-1/2.stdout",
        "started_at": "2023-11-14T22:13:20.250000Z",
        "finished_at": "2023-11-14T22:13:21.750000Z",
        "workers": [2, 1],
        "cpu_time": 0.25,
        "peak_memory": 4_194_304,
    }
    assert tasks[3]["error"] == "Program terminated with exit code 1."
    assert tasks[3]["cpu_time"] is None
    assert tasks[4] == {"id": 4, "state": "canceled", **paths, "stdout": "/data/job-1/4.stdout"}
    assert tasks[5] == {"id": 5, "state": "aborted"}


def test_a_multi_node_task_on_one_node_has_a_list_of_workers_too(hq, server):
    server.on(ListJobs, JobRows((job_row(1),), 1))
    server.on(ListTasks, tasks_page(TaskRow(0, TaskState.RUNNING, 0, (2,), AT, variants=1)))

    (task,) = json.loads(hq("task", "list", "1", "--output-mode", "json").out)["1"]

    assert task["workers"] == [2]
    assert "worker" not in task


def test_task_info(hq, server):
    server.on(ListJobs, JobRows((job_row(1),), 1))
    server.on(ListTasks, tasks_page(STARTED[2], TaskRow(5, TaskState.ABORTED, needs=(1, 3))))

    result = hq("task", "info", "1", "2,5")

    assert result.out == (
        "+--------------+----------------------+\n"
        "| Task ID      | 2                    |\n"
        "| State        | FINISHED             |\n"
        "| Command      | sleep                |\n"
        "|              | 1                    |\n"
        "| Environment  | A=1                  |\n"
        "|              | B=2                  |\n"
        "| Worker       | node2                |\n"
        "|              | node1                |\n"
        "| Start        | 14.11.2023 22:13:20  |\n"
        "| End          | 14.11.2023 22:13:21  |\n"
        "| Makespan     | 1s 500ms             |\n"
        "| Workdir      | /data                |\n"
        "| Stdout       | /data/job-1/2.stdout |\n"
        "| Stderr       | <None>               |\n"
        "| Time limit   | None                 |\n"
        "| Resources    | nodes: 2             |\n"
        "| Priority     | 0                    |\n"
        "| Pin          | none                 |\n"
        "| Task dir     | no                   |\n"
        "| Crash limit  | 5                    |\n"
        "| Dependencies |                      |\n"
        "| Error        |                      |\n"
        "| CPU time     | 250ms                |\n"
        "| Peak memory  | 4.00 MiB             |\n"
        "+--------------+----------------------+\n"
        "+--------------+-----------------+\n"
        "| Task ID      | 5               |\n"
        "| State        | ABORTED         |\n"
        "| Command      | sleep           |\n"
        "|              | 1               |\n"
        "| Environment  | A=1             |\n"
        "|              | B=2             |\n"
        "| Worker       |                 |\n"
        "| Start        |                 |\n"
        "| End          |                 |\n"
        "| Makespan     |                 |\n"
        "| Workdir      |                 |\n"
        "| Stdout       |                 |\n"
        "| Stderr       |                 |\n"
        "| Time limit   | None            |\n"
        "| Resources    | cpus: 1 compact |\n"
        "| Priority     | 0               |\n"
        "| Pin          | none            |\n"
        "| Task dir     | no              |\n"
        "| Crash limit  | 5               |\n"
        "| Dependencies | 1,3             |\n"
        "| Error        |                 |\n"
        "| CPU time     |                 |\n"
        "| Peak memory  |                 |\n"
        "+--------------+-----------------+\n"
    )


def test_a_long_error_in_task_info_is_cut_at_237_bytes(hq, server):
    server.on(ListJobs, JobRows((job_row(1),), 1))
    server.on(ListTasks, tasks_page(TaskRow(0, TaskState.FAILED, error="e" * 300)))

    result = hq("task", "info", "1", "0")

    assert f"| {'e' * 237}... |" in result.out
    assert "INFO An error message(s) was truncated." in result.err
    assert f"| {'e' * 300} |" in hq("task", "info", "1", "0", "-v").out


def test_unknown_tasks_and_jobs_in_task_info(hq, server):
    server.on(ListJobs, JobRows((job_row(1),), 1))
    server.on(ListTasks, lambda r: TaskRows((), (), (), (), (), unknown=(4,)))
    missing = hq("task", "info", "1", "4")
    assert missing.code == 0
    assert "WARN Task 4 not found" in missing.err

    server.on(ListJobs, JobRows((), 0, unknown=(9,)))
    assert "ERROR Cannot find job 9" in hq("task", "info", "9", "0").err

    server.on(ListJobs, JobRows((), 0))
    none = hq("task", "info", "last", "0")
    assert none.code == 1
    assert "No jobs were found" in none.err


# --- looks


def test_colours_only_when_asked_for_or_on_a_terminal(hq, server):
    server.on(ListJobs, JobRows((job_row(1, running=1),), 1))

    assert "\x1b" not in hq("job", "list").out
    assert "\x1b[33mRUNNING\x1b[0m" in hq("job", "list", "--colors", "always").out


def test_what_would_drive_the_terminal_is_shown_escaped(hq, server):
    server.on(ListJobs, JobRows((job_row(1, "evil\x1b[2J", running=1),), 1))

    assert "evil\\x1b[2J" in hq("job", "list").out


def test_a_wide_name_keeps_the_frame_straight(hq, server):
    server.on(ListJobs, JobRows((job_row(1, "計算", running=1),), 1))

    assert hq("job", "list").lines[3] == "|  1 | 計算 | RUNNING | 1     |"


def test_long_arguments_are_named_by_their_size(hq, server):
    body = TaskBody((b"x" * 300,), (), "/w", Stdio(None), Stdio(None), "/w")
    row = job_row(1, waiting=1)
    part = SubmitPartInfo("/w", (ArrayPart(body, ((0, 1, 1),), ONE_CPU, TaskSettings()),))
    server.on(ListJobs, JobRows((row,), 1)).on(JobInfo, details(row, submits=(part,)))

    assert "| <300 bytes> " in hq("job", "info", "1").out
