"""`alloc`: the numbers in names of tests are those of the scenarios of queues."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from msgspec.structs import replace

from hqtrio.messages.allocations import (
    AddQueue,
    AllocationRow,
    AllocationRows,
    AllocationState,
    EditQueue,
    FindAllocation,
    ListAllocations,
    ListQueues,
    PauseQueue,
    QueueAnswer,
    QueueRow,
    QueueRows,
    RemoveQueue,
    ResumeQueue,
    TryQueue,
)
from hqtrio.messages.client import Done, Failure
from hqtrio.model.allocation import Manager, QueueParams, WorkerOptions
from hqtrio.model.resources import CPUS, UNIT, Descriptor, Pool, single_pool
from hqtrio.model.worker import OnServerLost

MANAGERS = {"pbs": Manager.PBS, "slurm": Manager.SLURM}
both = pytest.mark.parametrize("manager", MANAGERS)
NO_RESOURCES = "WARN No worker resources were provided for this queue. "
TRIED = "INFO A trial allocation was submitted successfully. "
HAS_RUNNING = (
    "Allocation queue has running jobs, so it will not be removed. Use `--force` if you want to"
    " remove the queue anyway"
)
CREATED = "INFO Allocation queue 1 successfully created"


def logged(result):
    """Log lines without their time stamps."""
    return [line.partition(" ")[2] for line in result.err.splitlines()]


def cells(result):
    """The rows of a table, the header first."""
    return [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in result.lines if "|" in line
    ]


def columns(result, number=1):
    """One row of a table by the names of its columns."""
    header, *rows = cells(result)
    return dict(zip(header, rows[number - 1], strict=True))


class Queues:
    """As much of a server as keeps what it is told of queues."""

    def __init__(self, server):
        self.rows: dict[int, QueueRow] = {}
        self.last = 0
        server.on(AddQueue, self.add).on(ListQueues, lambda _: QueueRows((*self.rows.values(),)))
        server.on(RemoveQueue, self.remove)
        server.on(PauseQueue, lambda request: self.change(request.queue, is_paused=True))
        server.on(ResumeQueue, lambda request: self.change(request.queue, is_paused=False))
        server.on(EditQueue, lambda request: self.change(request.queue, params=request.params))

    def add(self, request):
        self.last += 1
        self.rows[self.last] = QueueRow(self.last, request.params)
        return QueueAnswer(self.last)

    def remove(self, request):
        del self.rows[request.queue]
        return Done()

    def change(self, number, **fields):
        self.rows[number] = replace(self.rows[number], **fields)
        return Done()


@pytest.fixture
def queues(server):
    return Queues(server)


def added(hq, queues, words):
    """The parameters of a queue that the words add."""
    result = hq("alloc", "add", *words.split())
    assert (result.code, result.out) == (0, ""), result
    return queues.rows[queues.last].params


# --- command line


@both
def test_1_a_queue_in_the_list(hq, queues, manager):
    hq("alloc", "add", manager, "--time-limit", "1h", "--backlog", "5")

    row = columns(hq("alloc", "list"))

    assert row == {
        "ID": "1",
        "State": "ACTIVE",
        "Backlog size": "5",
        "Max workers per alloc": "1",
        "Max worker count": "0",
        "Timelimit": "1h",
        "Manager": manager.upper(),
        "Worker resources": "<unknown>",
        "Name": "",
        "Args": "",
        "Not submitting because": "",
    }


@both
def test_2_a_second_queue_in_the_list(hq, queues, manager):
    hq("alloc", "add", manager, "-t", "1h", "-b", "5")
    words = "-n bar -b 1 -m 2 -t 1h --max-worker-count 200 -- --foo=bar a b"
    hq("alloc", "add", manager, *words.split())

    row = columns(hq("alloc", "list"), 2)

    assert (row["ID"], row["Name"], row["Backlog size"]) == ("2", "bar", "1")
    assert (row["Max workers per alloc"], row["Max worker count"]) == ("2", "200")
    assert row["Args"] == "--foo=bar,a,b"


@both
@pytest.mark.parametrize(
    ("typed", "shown"),
    [("01:10:15", "1h 10m 15s"), ("3h 15m 10s", "3h 15m 10s"), ("3h15m10s", "3h 15m 10s")],
)
def test_3_and_4_time_limits(hq, queues, manager, typed, shown):
    hq("alloc", "add", manager, "--time-limit", typed)

    assert columns(hq("alloc", "list"))["Timelimit"] == shown


@both
@pytest.mark.parametrize("command", ["add", "dry-run"])
def test_5_a_time_limit_is_required(hq, server, manager, command):
    result = hq("alloc", command, manager)

    assert result.code == 2
    assert "--time-limit <TIME_LIMIT>" in result.err
    assert server.asked == []


@both
@pytest.mark.parametrize("command", ["add", "dry-run"])
def test_6_a_worker_cannot_outlive_its_allocation(hq, server, manager, command):
    result = hq("alloc", command, manager, "-t", "1h", "--worker-time-limit", "2h")

    assert result.code == 1
    assert result.err == "Worker time limit cannot be larger than queue time limit\n"
    assert server.asked == []


def test_7_remove(hq, queues):
    for _ in range(3):
        hq("alloc", "add", "pbs", "-t", "1h")

    result = hq("alloc", "remove", "2")

    assert logged(result) == ["INFO Allocation queue 2 successfully removed"]
    assert [row[0] for row in cells(hq("alloc", "list"))] == ["ID", "1", "3"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--backlog 0", "'--backlog <BACKLOG>': Backlog has to be at least 1"),
        ("--backlog 1_0", "invalid value '1_0' for '--backlog <BACKLOG>'"),
        ("--max-workers-per-alloc 0", "must lie between 1 and"),
        ("--max-worker-count 0", "must lie between 1 and"),
        ("--max-node-hours 0", "Node hours have to be more than 0"),
        ("--max-node-hours nan", "expected a number such as 2 or 0.5"),
        ("--min-utilization 1.5", "Minimal utilization has to be in the interval [0.0, 1.0]."),
        ("--on-server-lost wait", "possible values: stop, finish-running, reconnect"),
        ("--cpus 4y", "invalid value '4y' for '--cpus <CPUS>'"),
        ("--cpus=", "invalid value '' for '--cpus <CPUS>'"),
        ("--resource gpus", "Unexpected end of input in 'gpus'"),
        ("--detect-resources all,cpus", "`all` cannot be combined with others"),
        ("--overview-interval 5", "is not a duration"),
        ("--idle-timeout 5x", "Use either `HH:MM:SS`"),
    ],
)
def test_8_what_no_queue_can_have(hq, server, words, reason):
    result = hq("alloc", "add", "slurm", "-t", "1h", *words.split())

    assert result.code == 2
    assert reason in result.err
    assert server.asked == []


@pytest.mark.parametrize("words", [["--name", b"\xff"], ["--", b"--comment=\xff"]])
def test_text_that_no_script_can_hold(words):
    command = [sys.executable, "-P", "-m", "hqtrio", "alloc", "add", "slurm", "-t", "1h", *words]

    done = subprocess.run(command, capture_output=True, timeout=60)

    assert done.returncode == 2
    assert b"it is not UTF-8" in done.stderr


@both
def test_9_add(hq, queues, manager):
    result = hq(
        "alloc",
        "add",
        manager,
        "-n",
        "foo",
        "-b",
        "5",
        "-m",
        "2",
        "-t",
        "1h",
        "--cpus=4",
        "--no-dry-run",
    )

    assert (result.code, result.out, logged(result)) == (0, "", [CREATED])
    assert queues.rows[1].params == QueueParams(
        MANAGERS[manager], 3600.0, "foo", 5, 2,
        worker=WorkerOptions(cpus="4"),
        descriptor=Descriptor((Pool(CPUS, (("0", "1", "2", "3"),), 4 * UNIT, is_range=True),)),
    )  # fmt: skip


def test_10_pause_and_resume(hq, queues):
    hq("alloc", "add", "pbs", "-t", "1h")
    states, texts = [], []
    for command in (None, "pause", "resume"):
        if command:
            texts += logged(hq("alloc", command, "1"))
        states.append(columns(hq("alloc", "list"))["State"])

    assert states == ["ACTIVE", "PAUSED", "ACTIVE"]
    assert texts == [
        "INFO Allocation queue 1 successfully paused",
        "INFO Allocation queue 1 successfully resumed",
    ]


# --- what options mean


@both
def test_17_every_option_reaches_the_server(hq, server, queues, manager):
    params = added(
        hq,
        queues,
        f"{manager} --time-limit 1h --backlog 2 --max-workers-per-alloc 3 --max-worker-count 4"
        " --max-node-hours 0.5 --min-utilization 0.2 --name foo --cpus 2x8 --resource x=sum(100)"
        " --resource y=range(1-4) --resource z=[1,2,4] --coupling cpus[0]:z[0] --group g"
        " --detect-resources cpus,mem --no-hyper-threading --overview-interval 10s"
        " --idle-timeout 30m --on-server-lost=stop --worker-time-limit 30m --worker-program /p"
        " --worker-start-cmd init.sh --worker-stop-cmd unload.sh --worker-wrap-cmd wrap"
        " --foo=bar a b --baz 42".replace(" --foo=bar", " -- --foo=bar"),
    )

    descriptor = params.descriptor
    assert replace(params, descriptor=None) == QueueParams(
        manager=MANAGERS[manager],
        time_limit_s=3600.0,
        name="foo",
        backlog=2,
        max_workers_per_alloc=3,
        max_worker_count=4,
        max_node_hours=0.5,
        min_utilization=0.2,
        manager_args=("--foo=bar", "a", "b", "--baz", "42"),
        worker=WorkerOptions(
            cpus="2x8",
            resources=("x=sum(100)", "y=range(1-4)", "z=[1,2,4]"),
            coupling="cpus[0]:z[0]",
            group="g",
            no_hyper_threading=True,
            detect="cpus,mem",
            overview_interval_s=10.0,
            on_server_lost=OnServerLost.STOP,
            time_limit_s=1800.0,
            idle_timeout_s=1800.0,
            start_cmd="init.sh",
            stop_cmd="unload.sh",
            wrap_cmd="wrap",
            program="/p",
        ),
    )
    assert [(pool.resource, pool.size) for pool in descriptor.pools] == [
        ("cpus", 16 * UNIT), ("x", 100 * UNIT), ("y", 4 * UNIT), ("z", 3 * UNIT),
    ]  # fmt: skip
    (row,) = json.loads(hq("alloc", "list", "--output-mode", "json").out)
    assert " ".join(row["worker_args"]) == (
        '--cpus "2x8" --resource "x=sum(100)" --resource "y=range(1-4)" --resource "z=[1,2,4]"'
        ' --coupling "cpus[0]:z[0]" --group g --no-hyper-threading --detect-resources cpus,mem'
        ' --overview-interval "10s" --min-utilization 0.2 --on-server-lost "stop"'
        ' --time-limit "30m"'
    )


def test_what_is_not_said_has_its_default(hq, queues):
    params = added(hq, queues, "slurm -t 1h")

    assert params == QueueParams(Manager.SLURM, 3600.0)
    assert params.worker.on_server_lost is OnServerLost.RECONNECT
    assert params.worker.idle_timeout_s == 300.0


def test_the_list_begins_with_its_first_word(hq, queues):
    assert added(hq, queues, "pbs -t 1h foo --name x").manager_args == ("foo", "--name", "x")


def test_resources_alone_say_nothing_of_cpus(hq, queues):
    (pool,) = added(hq, queues, "slurm -t 1h --resource gpus=[a,b]").descriptor.pools

    assert pool == single_pool("gpus", ("a", "b"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--cpus 2 --resource cpus=[0,1]", "Parameters --cpus and --resource cpus=... cannot be"),
        ("--resource x=sum(1) --resource x=[a]", "Resource x defined twice"),
        ("--resource x=sum(0)", "Resource x is empty"),
        ("--cpus sum(4)", "Resource kind `sum` cannot be used with CPUs"),
        ("--cpus 0", "Resource kind `sum` cannot be used with CPUs"),
    ],
)
def test_a_worker_that_could_not_start_is_refused(hq, server, words, text):
    result = hq("alloc", "add", "slurm", "-t", "1h", *words.split())

    assert result.code == 1
    assert text in result.err
    assert server.asked == []


# --- warnings


def test_a_queue_that_says_nothing_of_its_workers_is_warned_of(hq, queues):
    silent = logged(hq("alloc", "add", "slurm", "-t", "1h"))
    told = logged(hq("alloc", "add", "slurm", "-t", "1h", "--resource", "x=sum(1)"))

    assert silent[0].startswith(NO_RESOURCES)
    assert silent[1].startswith(TRIED)
    assert silent[2:] == [CREATED]
    assert [line.split()[0] for line in told] == ["INFO", "INFO"]


@pytest.mark.parametrize(("timeout", "count"), [("10m", 0), ("10m 1s", 1)])
def test_a_long_idle_timeout_is_warned_of(hq, queues, timeout, count):
    result = hq("alloc", "add", "slurm", "-t", "1h", "--cpus", "4", "--idle-timeout", timeout)

    warnings = [line for line in logged(result) if line.startswith("WARN")]
    assert len(warnings) == count
    assert all("idle timeout longer than 10 minutes" in line for line in warnings)


# --- trials


@both
def test_40_a_trial_and_nothing_else(hq, server, manager):
    server.on(TryQueue, Done())

    result = hq("alloc", "dry-run", manager, "-t", "1h")

    assert (result.code, result.out) == (0, "")
    assert [line.startswith(TRIED) for line in logged(result)] == [True]
    assert server.asked == [TryQueue(QueueParams(MANAGERS[manager], 3600.0))]


@pytest.mark.parametrize(("words", "trial"), [([], True), (["--no-dry-run"], False)])
def test_a_queue_is_tried_first_unless_told_otherwise(hq, server, queues, words, trial):
    result = hq("alloc", "add", "pbs", "-t", "1h", "--cpus", "1", *words)

    assert [request.trial for request in server.asked] == [trial]
    assert [line.startswith(TRIED) for line in logged(result)] == [True] * trial + [False]


@both
def test_41_a_failed_trial_makes_no_queue(hq, server, manager):
    words = (
        "Dry-run (test allocation submission) has failed: Could not submit allocation:"
        " sbatch execution failed\nStderr: FOOBAR\n"
        "You can find the submitted script at `/tmp/x/hq-submit.sh`"
    )
    server.on(AddQueue, Failure(words))

    result = hq("alloc", "add", manager, "-t", "1h", "--cpus", "1")
    as_json = hq("alloc", "add", manager, "-t", "1h", "--cpus", "1", "--output-mode", "json")

    assert (result.code, result.out, result.err) == (1, "", f"Error: {words}\n")
    assert (as_json.code, json.loads(as_json.out)) == (1, {"error": f"Error: {words}"})


def test_there_is_no_way_to_skip_the_trial_of_a_trial(hq, server):
    assert hq("alloc", "dry-run", "pbs", "-t", "1h", "--no-dry-run").code == 2
    assert server.asked == []


# --- edit


PRESENT = QueueParams(
    Manager.SLURM, 3600.0, "foo", 3, 2, 10, 100.0, 0.5, ("--partition=a",),
    WorkerOptions(
        cpus="4", resources=("x=[a,b]",), group="g", no_hyper_threading=True, detect="cpus",
        time_limit_s=1800.0, start_cmd="init", program="/p",
    ),
    Descriptor((Pool(CPUS, (("0", "1", "2", "3"),), 4 * UNIT, is_range=True),
                single_pool("x", ("a", "b")))),
)  # fmt: skip


@pytest.fixture
def present(queues):
    queues.rows[1] = QueueRow(1, PRESENT)
    return queues


def worker(**fields):
    return {"worker": replace(PRESENT.worker, **fields)}


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("--backlog 7", {"backlog": 7}),
        ("-t 2h -m 9", {"time_limit_s": 7200.0, "max_workers_per_alloc": 9}),
        ("--max-worker-count unlimited", {"max_worker_count": None}),
        ("--max-node-hours unlimited", {"max_node_hours": None}),
        ("--max-node-hours 250", {"max_node_hours": 250.0}),
        ("--min-utilization 0", {"min_utilization": 0.0}),
        ("--name=", {"name": ""}),
        ("--group=", worker(group="")),
        ("--worker-start-cmd=", worker(start_cmd="")),
        ("--worker-program=", worker(program="")),
        ("--detect-resources=", worker(detect="")),
        ("--worker-time-limit unlimited", worker(time_limit_s=None)),
        ("--idle-timeout 1m", worker(idle_timeout_s=60.0)),
        ("--hyper-threading", worker(no_hyper_threading=False)),
        ("--on-server-lost stop", worker(on_server_lost=OnServerLost.STOP)),
        ("-- --partition=b -A p", {"manager_args": ("--partition=b", "-A", "p")}),
        ("--no-manager-args", {"manager_args": ()}),
        (
            "--cpus=",
            {**worker(cpus=""), "descriptor": Descriptor((single_pool("x", ("a", "b")),))},
        ),
        ("--cpus= --resource=", {**worker(cpus="", resources=()), "descriptor": None}),
    ],
)
def test_an_edit_changes_what_is_given_and_nothing_else(hq, present, words, fields):
    result = hq("alloc", "edit", "1", *words.split())

    assert (result.code, result.out) == (0, "")
    assert logged(result) == ["INFO Allocation queue 1 successfully changed"]
    assert present.rows[1].params == replace(PRESENT, **fields)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("1", 2, "nothing to change: give at least one option"),
        ("1 more", 2, "unexpected argument 'more' found; the manager's arguments follow `--`"),
        ("1 --backlog 0", 2, "Backlog has to be at least 1"),
        ("1 --hyper-threading --no-hyper-threading", 2, "cannot be used with"),
        ("1 -t 20m", 1, "Worker time limit cannot be larger than queue time limit"),
        ("1 --resource cpus=[0]", 1, "Parameters --cpus and --resource cpus=... cannot be"),
        ("5 --backlog 2", 1, "Queue 5 not found"),
    ],
)
def test_edits_that_are_refused(hq, server, present, words, code, text):
    result = hq("alloc", "edit", *words.split())

    assert result.code == code
    assert text in result.err
    assert EditQueue not in map(type, server.asked)


# --- changes that the server refuses


@pytest.mark.parametrize(
    ("words", "request_type", "text"),
    [
        ("pause 7", PauseQueue, "Allocation queue 7 that should have been paused was not found"),
        ("resume 7", ResumeQueue, "Allocation queue 7 that should have been resumed was not found"),
        ("remove 7", RemoveQueue, "Allocation queue not found"),
        (
            "remove 7",
            RemoveQueue,
            HAS_RUNNING,
        ),
        ("info 7", ListAllocations, "Queue 7 not found"),
        ("log 7 stdout", FindAllocation, "Allocation 7 not found"),
    ],
)
def test_the_server_says_why_not(hq, server, words, request_type, text):
    server.on(request_type, Failure(text))

    result = hq("alloc", *words.split())

    assert (result.code, result.out, result.err) == (1, "", f"Error: {text}\n")


def test_remove_by_force(hq, server):
    server.on(RemoveQueue, Done())

    assert hq("alloc", "remove", "2", "--force").code == 0
    assert server.asked == [RemoveQueue(2, force=True)]


# --- list


NOTED = QueueRow(
    2, PRESENT, is_paused=True, note="too many failures\n  see `alloc info 2`",
    resources=Descriptor((single_pool(CPUS, ("0", "1")),)),
    spent_node_hours=1.5, committed_node_hours=2.0, queued=1, running=3,
)  # fmt: skip


def test_the_list_says_what_is_offered_and_why_nothing_is_submitted(hq, server):
    server.on(ListQueues, QueueRows((NOTED, replace(NOTED, id=1, note=""))))

    result = hq("alloc", "list")

    assert [row[0] for row in cells(result)] == ["ID", "1", "2"]
    row = columns(result, 2)
    assert (row["State"], row["Worker resources"]) == ("PAUSED", "cpus 2")
    assert (row["Max worker count"], row["Args"]) == ("10", "--partition=a")
    assert row["Not submitting because"] == "too many failures; see `alloc info 2`"


def test_the_list_in_json(hq, server):
    server.on(ListQueues, QueueRows((NOTED,)))

    (row,) = json.loads(hq("alloc", "list", "--output-mode", "json").out)

    assert row == {
        "id": 2,
        "name": "foo",
        "state": "Paused",
        "manager": "Slurm",
        "backlog": 3,
        "max_workers_per_alloc": 2,
        "max_worker_count": 10,
        "timelimit": 3600.0,
        "additional_args": ["--partition=a"],
        "worker_args": [
            "--cpus", '"4"', "--resource", '"x=[a,b]"', "--group", "g", "--no-hyper-threading",
            "--detect-resources", "cpus", "--min-utilization", "0.5",
            "--on-server-lost", '"reconnect"', "--time-limit", '"30m"',
        ],
        "known_worker_resources": {
            "resources": [{"name": "cpus", "kind": "list", "values": ["0", "1"]}],
            "coupling": {"weights": []},
        },
        "not_submitting": "too many failures\n  see `alloc info 2`",
        "node_hours": {"spent": 1.5, "committed": 2.0, "max": 100.0},
        "queued": 1,
        "running": 3,
    }  # fmt: skip


def test_what_is_not_known_is_null_in_json(hq, server):
    server.on(ListQueues, QueueRows((QueueRow(1, QueueParams(Manager.PBS, 60.0)),)))

    (row,) = json.loads(hq("alloc", "list", "--output-mode", "json").out)

    assert (row["manager"], row["state"], row["timelimit"]) == ("PBS", "Active", 60.0)
    names = ("name", "max_worker_count", "known_worker_resources", "not_submitting")
    assert [row[name] for name in names] == [None] * 4
    assert row["node_hours"] == {"spent": 0.0, "committed": 0.0, "max": None}


# --- info


def allocation(number, name, state, **fields):
    return AllocationRow(1, number, name, state, 2, f"/w/{number:03}", 1_700_000_000.5, **fields)


ALLOCATIONS = (
    allocation(1, "10.job", AllocationState.FINISHED, started_at=1_700_000_060.0,
               ended_at=1_700_003_660.0),
    allocation(2, "2.job", AllocationState.FAILED, ended_at=1_700_000_100.0,
               note="the manager does not know it any more\nInvalid job id"),
    allocation(3, "9.job", AllocationState.RUNNING, started_at=1_700_000_060.0, workers=(4, 5)),
    allocation(4, "", AllocationState.QUEUED, note="is being submitted"),
)  # fmt: skip


@pytest.fixture
def allocations(server):
    return server.on(ListAllocations, AllocationRows(ALLOCATIONS)).on(
        ListQueues, QueueRows((NOTED, replace(NOTED, id=1)))
    )


def test_info(hq, allocations):
    result = hq("alloc", "info", "1")

    header, *rows = cells(result)
    assert header == [
        "ID", "State", "Working directory", "Worker count", "Queue time", "Start time",
        "Finish time", "Note",
    ]  # fmt: skip
    assert [row[:2] for row in rows] == [
        ["2.job", "FAILED"],
        ["9.job", "RUNNING"],
        ["10.job", "FINISHED"],
        ["(not known yet)", "QUEUED"],
    ]
    assert rows[2][2:] == [
        "/w/001", "2", "14.11.2023 22:13:20", "14.11.2023 22:14:20", "14.11.2023 23:14:20", "",
    ]  # fmt: skip
    assert rows[0][5:] == [
        "", "14.11.2023 22:15:00", "the manager does not know it any more; Invalid job id",
    ]  # fmt: skip
    assert result.lines[-1] == "Node hours: 1.5 spent, 2 committed, 100 allowed"


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ("queued", ["(not known yet)"]),
        ("running", ["9.job"]),
        ("finished", ["2.job", "10.job"]),
        ("failed", ["2.job"]),
    ],
)
def test_the_filter_goes_by_what_is_shown(hq, allocations, state, shown):
    result = hq("alloc", "info", "1", "--filter", state)

    assert [row[0] for row in cells(result)[1:]] == shown


def test_info_in_json(hq, allocations):
    failed, running, finished, queued = json.loads(
        hq("alloc", "info", "1", "--output-mode", "json").out
    )

    assert finished == {
        "id": "10.job",
        "target_worker_count": 2,
        "queued_at": "2023-11-14T22:13:20.500000Z",
        "started_at": "2023-11-14T22:14:20Z",
        "ended_at": "2023-11-14T23:14:20Z",
        "status": "finished",
        "workdir": "/w/001",
        "note": None,
        "workers": [],
    }
    assert (failed["status"], failed["started_at"]) == ("failed", None)
    assert failed["note"] == "the manager does not know it any more\nInvalid job id"
    assert (running["status"], running["ended_at"], running["workers"]) == ("running", None, [4, 5])
    assert (queued["id"], queued["status"]) == ("", "queued")


def test_info_asks_for_every_page(hq, server, allocations):
    pages = {0: AllocationRows(ALLOCATIONS[:2], more=True), 2: AllocationRows(ALLOCATIONS[2:])}
    server.on(ListAllocations, lambda request: pages[request.after])

    assert len(cells(hq("alloc", "info", "1"))) == 1 + len(ALLOCATIONS)


@pytest.mark.parametrize("words", ["alloc info 0x1", "alloc pause last", "alloc info 1 --filter x"])
def test_what_is_no_queue_and_no_state(hq, server, words):
    assert hq(*words.split()).code == 2
    assert server.asked == []


# --- log


@pytest.fixture
def written(server, tmp_path):
    (tmp_path / "stdout").write_bytes(b"module loaded\n\xff\n")
    row = replace(ALLOCATIONS[0], directory=str(tmp_path))
    server.on(FindAllocation, AllocationRows((row,)))
    return tmp_path


@pytest.mark.parametrize("command", ["log", "cat"])
def test_log_prints_the_file_and_says_which(hq, server, written, command):
    result = hq("alloc", command, "10.job", "stdout")

    assert (result.code, result.out) == (0, "module loaded\n\ufffd\n")
    assert logged(result) == [f"INFO Content of `{written}/stdout`:"]
    assert server.asked == [FindAllocation("10.job")]


def test_log_of_a_file_that_is_not_there(hq, written):
    result = hq("alloc", "log", "10.job", "stderr")

    assert (result.code, result.out) == (0, "")
    (line,) = logged(result)
    assert line.startswith(f"WARN File at `{written}/stderr` cannot be opened: No such file")


def test_log_knows_no_json_and_is_quiet(hq, server, written):
    as_json = hq("alloc", "log", "10.job", "stdout", "--output-mode", "json")
    quiet = hq("alloc", "log", "10.job", "stdout", "--output-mode", "quiet")

    error = "JSON output mode doesn't support allocation output"
    assert (as_json.code, json.loads(as_json.out)) == (1, {"error": error})
    assert (quiet.code, quiet.out) == (0, "")


def test_cat_is_not_shown(hq):
    assert "  cat " not in hq("alloc", "--help").out


# --- managers and files


@pytest.mark.parametrize("command", ["add", "dry-run"])
def test_a_misspelt_manager(hq, server, command):
    result = hq("alloc", command, "slrum", "-t", "1h")

    assert result.code == 2
    assert "unrecognized subcommand 'slrum', did you mean 'slurm'?" in result.err
