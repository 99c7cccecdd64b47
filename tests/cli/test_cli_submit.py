"""`submit`: what the server is asked for, what is printed, what is warned about."""

from __future__ import annotations

import io
import json
import os

import pytest

from hqtrio.ids import parse_ids
from hqtrio.messages.client import (
    Counts,
    Failure,
    JobNotice,
    JobRow,
    JobRows,
    SubmitJob,
    Submitted,
    Watch,
)
from hqtrio.messages.columns import read_u64
from hqtrio.model.resources import CPUS, ONE_CPU, UNIT, Need, Policy, Request
from hqtrio.model.task import NEVER_RESTART, UNLIMITED, PinMode, Stdio

CPU = Need(CPUS, UNIT)


@pytest.fixture
def submitted(hq, server, tmp_path, monkeypatch):
    """Run `submit` in a directory of its own; the submit and the result."""
    monkeypatch.chdir(tmp_path)
    server.on(SubmitJob, Submitted(1))

    def submit(*words):
        server.asked.clear()
        result = hq("submit", *words)
        assert result.code == 0, result.err
        return server.asked[0].submit, result

    return submit


def test_a_program_with_defaults(submitted, tmp_path):
    submit, result = submitted("/bin/sleep", "1")

    assert result.out == "Job submitted successfully, job ID: 1\n"
    assert result.err == ""
    assert (submit.head.name, submit.head.max_fails, submit.job) == ("sleep", None, 0)
    assert submit.submit_dir == str(tmp_path)
    (array,) = submit.arrays
    assert (array.count, array.ranges, array.variants) == (1, (), ONE_CPU)
    body = array.body
    assert body.args == (b"/bin/sleep", b"1")
    assert body.cwd == str(tmp_path)
    assert body.stdout == Stdio("%{CWD}/job-%{JOB_ID}/%{TASK_ID}.stdout")
    assert body.stderr == Stdio("%{CWD}/job-%{JOB_ID}/%{TASK_ID}.stderr")


def test_all_modes_tell_the_id(hq, submitted):
    assert submitted("--output-mode", "json", "ls")[1].out == '{\n  "id": 1\n}\n'
    assert submitted("--output-mode", "quiet", "ls")[1].out == "1\n"
    assert hq("job", "submit", "ls").out == "Job submitted successfully, job ID: 1\n"


def request_of(submit):
    (request,) = submit.arrays[0].variants
    return request


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("", Request((CPU,))),
        ("--cpus 0.5", Request((Need(CPUS, UNIT // 2),))),
        ("--cpus all", Request((Need(CPUS, 0, Policy.ALL),))),
        ("--resource cpus=3tight!", Request((Need(CPUS, 3 * UNIT, Policy.FORCE_TIGHT),))),
        ("--resource mem=0.0001", Request((CPU, Need("mem", 1)))),
        ("--time-request 1:30", Request((CPU,), time_s=90)),
        ("--time-request 1h30m", Request((CPU,), time_s=5400)),
        ("--weight 2.5", Request((CPU,), weight=25_000)),
        ("--weight 1e-4", Request((CPU,), weight=1)),
        ("--nodes 3", Request(nodes=3)),
        ("--nodes 3 --time-request 1m --weight 2", Request((), 3, 60, 2 * UNIT)),
        ("--nodes 2 --resource mem=8", Request((Need("mem", 8 * UNIT),), 2)),
        ("--nodes 0", Request((CPU,))),
    ],
)
def test_what_a_task_asks_for(submitted, words, asked):
    submit, _ = submitted(*words.split(), "prog")

    assert request_of(submit) == asked


@pytest.mark.parametrize(
    ("words", "pin"),
    [("", PinMode.NONE), ("--pin taskset", PinMode.TASKSET), ("--pin omp", PinMode.OMP)],
)
def test_tasks_are_pinned_only_if_that_was_asked_for(submitted, words, pin):
    submit, _ = submitted(*words.split(), "prog")

    assert submit.arrays[0].body.pin is pin


def test_requests_in_two_notations_are_one_class(submitted):
    first, _ = submitted("--cpus", "2", "--resource", "mem=5", "--weight", "1", "prog")
    other, _ = submitted("--resource=mem=5", "--resource", "cpus = 2 compact", "prog")

    assert request_of(first) == request_of(other)


def test_every_option(submitted):
    submit, _ = submitted(
        "--name=n", "--max-fails", "0", "--cpus", "4 compact!", "--resource", "gpus/nvidia = 0.5",
        "--env", "A=b=c", "--env=EMPTY", "--cwd", "/x/%{TASK_ID}", "--stdout", "none",
        "--stderr", "e:rm-if-finished", "--priority", "7", "--time-limit", "1:30",
        "--crash-limit", "never-restart", "--array", "0-10:2", "prog",
    )  # fmt: skip

    assert (submit.head.name, submit.head.max_fails) == ("n", 0)
    (array,) = submit.arrays
    assert array.ranges == parse_ids("0-10:2").ranges
    assert array.count == 6
    assert array.variants[0].needs == (
        Need(CPUS, 4 * UNIT, Policy.FORCE_COMPACT),
        Need("gpus/nvidia", 5000),
    )
    assert (array.settings.priority, array.settings.crash_limit) == (7, NEVER_RESTART)
    body = array.body
    assert body.env == ((b"A", b"b=c"), (b"EMPTY", b""))
    assert body.cwd == "/x/%{TASK_ID}"
    assert body.stdout == Stdio(None)
    assert body.stderr == Stdio("e", remove_if_finished=True)
    assert body.time_limit_s == 90.0


@pytest.mark.parametrize(
    ("value", "stdio"),
    [
        ("none", Stdio(None)),
        ("out", Stdio("out")),
        ("./out", Stdio("out")),
        (".//a/./b//../out", Stdio("a/b/../out")),
        ("//x/out", Stdio("/x/out")),
        ("./", Stdio("./")),
        (".", Stdio(".")),
        ("out:rm-if-finished", Stdio("out", remove_if_finished=True)),
        (
            ":rm-if-finished",
            Stdio("%{CWD}/job-%{JOB_ID}/%{TASK_ID}.stdout", remove_if_finished=True),
        ),
    ],
)
def test_stdout_values(submitted, value, stdio):
    assert submitted("--stdout", value, "ls")[0].arrays[0].body.stdout == stdio


@pytest.mark.parametrize(
    ("value", "need"),
    [
        ("2", Need(CPUS, 2 * UNIT)),
        ("0.5", Need(CPUS, 5000)),
        ("5_000", Need(CPUS, 5000 * UNIT)),
        ("4 compact", Need(CPUS, 4 * UNIT)),
        ("4compact!", Need(CPUS, 4 * UNIT, Policy.FORCE_COMPACT)),
        ("4 tight!", Need(CPUS, 4 * UNIT, Policy.FORCE_TIGHT)),
        ("8 scatter", Need(CPUS, 8 * UNIT, Policy.SCATTER)),
        ("all", Need(CPUS, 0, Policy.ALL)),
    ],
)
def test_cpu_requests(submitted, value, need):
    assert submitted("--cpus", value, "ls")[0].arrays[0].variants[0].needs == (need,)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--cpus=1", "--resource", "cpus=2", "ls"], "--cpus and --resource cpus=... cannot be"),
        (["--resource", "a=1", "--resource", "a=2", "ls"], "Resource 'a' defined more than once"),
        (["--cwd", "%{CWD}/x", "ls"], "cannot contain the working directory placeholder `%{CWD}`."),
        (["--job", "3", "--name", "x", "ls"], "Parameter --name is not allowed when submitting"),
        (["--job", "3", "--max-fails", "1", "ls"], "Parameter --max-fails is not allowed"),
        (["--name", "a\nb", "ls"], "name cannot have a newline or a tab"),
        (["--name", "a\tb", "map.yaml"], "name cannot have a newline or a tab"),
        (["a\tb"], "name cannot have a newline or a tab"),
        (["--job", "3", "--name", "x", "--each-line", "missing", "ls"], "Parameter --name is not"),
        (["--each-line", "missing", "ls"], "Cannot read missing"),
        (["--from-json", "deep.json", "ls"], "Could not parse JSON from deep.json: too many"),
        (["--from-json", "lines", "ls"], "Could not parse JSON from lines"),
        (["--from-json", "map.json", "ls"], "The top element of the provided JSON file has to be"),
        (["--each-line", "lines", "--array", "7-9", "ls"], "No tasks selected"),
        (["missing.yaml"], "Cannot read missing.yaml"),
    ],
)
def test_what_fails_after_parsing(hq, server, tmp_path, monkeypatch, words, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "map.json").write_text("{}")
    (tmp_path / "lines").write_text("a\nb\n")
    (tmp_path / "deep.json").write_text(100_000 * "[")

    result = hq("submit", *words)

    assert (result.code, result.out) == (1, "")
    assert text in result.err
    assert server.asked == []


@pytest.mark.parametrize("value", [("unlimited", UNLIMITED), ("3", 3)])
def test_crash_limits(submitted, value):
    assert submitted("--crash-limit", value[0], "ls")[0].arrays[0].settings.crash_limit == value[1]


@pytest.mark.parametrize(
    ("program", "name"), [("./run.py", "run.py"), ("/", "job"), ("..", "job"), ("a b", "a b")]
)
def test_default_names(submitted, program, name):
    assert submitted(program)[0].head.name == name


def test_lines_become_entries(submitted, tmp_path):
    (tmp_path / "lines").write_bytes(b"a\n\n\xff c\n")

    submit, result = submitted("--each-line", "lines", "ls")

    (array,) = submit.arrays
    assert array.count == 3
    assert array.entries == b"a\xff c"
    assert list(read_u64(array.entry_ends)) == [1, 1, 4]
    assert "INFO Reading file: lines" in result.err


def test_json_items_become_compact_entries(submitted, tmp_path):
    (tmp_path / "items").write_text(json.dumps([{"b": 1, "a": "é"}, 2, "x"]))

    (array,) = submitted("--from-json", "items", "ls")[0].arrays

    assert array.entries.decode() == '{"a":"é","b":1}2"x"'
    assert array.count == 3


def test_a_large_file_of_entries_is_remarked_on(submitted, tmp_path, monkeypatch):
    monkeypatch.setattr("hqtrio.cli.entries.LARGE_BYTES", 3)
    (tmp_path / "lines").write_text("a\nb\n")

    assert (
        "WARN Reading file lines, which is larger than"
        in submitted("--each-line", "lines", "ls")[1].err
    )


def test_an_array_selects_entries_by_their_index(submitted, tmp_path):
    (tmp_path / "lines").write_text("a\nb\nc\n")

    (array,) = submitted("--each-line", "lines", "--array", "5,2,0", "ls")[0].arrays

    assert array.ranges == ((0, 1, 1), (2, 1, 1))
    assert array.entries == b"ac"


@pytest.mark.parametrize(
    ("ids", "chosen"),
    [
        ("0-7:2", ((0, 4, 2),)),
        ("5-100:2,0-3", ((0, 4, 1), (5, 2, 2))),
        ("3-4,2,8-9", ((2, 3, 1),)),
        ("1-7:2,0-6:2", ((0, 8, 1),)),
        ("7-20:5", ((7, 1, 1),)),
        ("0-6:3,1-7:3", ((0, 2, 1), (3, 2, 1), (6, 2, 1))),
    ],
)
def test_chosen_entries_are_in_ascending_order_and_few_ranges(submitted, tmp_path, ids, chosen):
    (tmp_path / "lines").write_text("".join(f"{number}" + "\n" for number in range(8)))

    (array,) = submitted("--each-line", "lines", "--array", ids, "ls")[0].arrays

    numbers = sorted(number for number in parse_ids(ids) if number < 8)
    assert (array.ranges, array.count) == (chosen, len(numbers))
    assert array.entries.decode() == "".join(map(str, numbers))


def test_stdin_is_handed_over_with_a_hint(submitted, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"data\0")))
    submit, result = submitted("--stdin", "cat")
    assert submit.arrays[0].body.stdin == b"data\0"
    assert result.lines[0].startswith("Reading data from stdin")

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    _, result = submitted("--stdin", "--output-mode", "json", "cat")
    assert json.loads(result.out) == {"id": 1}
    assert result.err.startswith("Reading data from stdin")


def test_attaching_to_an_open_job(submitted):
    submit, _ = submitted("--job", "3", "--array", "5-6", "ls")

    assert (submit.head, submit.job) == (None, 3)


def test_server_refusals_of_an_attachment(hq, server):
    server.on(SubmitJob, Failure("Job 3 is not opened."))

    result = hq("submit", "--job", "3", "ls")

    assert (result.code, result.err) == (1, "Error: Job 3 is not opened.\n")


@pytest.mark.parametrize(
    ("words", "warning"),
    [
        (
            ["--array", "1-3", "--stdout", "out", "ls"],
            "You have submitted an array job, but the `stdout` path does not contain the task ID",
        ),
        (["--stdout", "%{FOO}", "ls"], "Found unknown placeholder `FOO` in stdout path"),
        (
            ["--stderr", "%{BAR}/%{BAZ}", "ls"],
            "Found unknown placeholders `BAR, BAZ` in stderr path",
        ),
        (["--cwd", "%{X}", "ls"], "Found unknown placeholder `X` in working directory path"),
        (["--array", "1-500", "ls"], "The job will create 1000 files for stdout and stderr"),
        (["--array", "0-998:2", "ls"], "The job will create 1000 files for stdout and stderr"),
        (["--array", "1-1000", "--stderr=none", "ls"], "The job will create 1000 files for stdout"),
        (["--env", "A=1", "--env", "A=2", "ls"], "Some environment variables were ignored"),
    ],
)
def test_warnings(submitted, words, warning):
    assert f"WARN {warning}" in submitted(*words)[1].err


@pytest.mark.parametrize(
    "words",
    [
        ["--array", "1-3", "--stdout", "out-%{TASK_ID}", "ls"],
        ["--array", "1-3", "--stdout", "out", "--cwd", "%{TASK_ID}", "ls"],
        ["--array", "3", "--stdout", "out", "ls"],
        ["--array", "1-3", "--stdout", "%{CWD}/out", "--cwd", "task-%{TASK_ID}", "ls"],
        ["--array", "0-997:2", "ls"],
        ["--array", "1-999", "--stderr=none", "ls"],
        ["--array", "1-1000", "--stdout=none", "--stderr=none", "ls"],
    ],
)
def test_no_warnings(submitted, words):
    assert submitted(*words)[1].err == ""


def row(*, running=0, finished=0, failed=0, waiting=0):
    counts = Counts(waiting, running, finished, failed)
    return JobRow(1, "j", counts, False, None, not waiting and not running)


def test_waiting_ends_when_the_job_is_completed(hq, server):
    server.on(SubmitJob, Submitted(1)).on(Watch, JobRows((row(running=1),), 1))
    server.notices[Watch] = [JobNotice(row(failed=1))]

    result = hq("submit", "--wait", "false")

    assert (result.code, result.out) == (0, "Job submitted successfully, job ID: 1\n")


def test_waiting_for_a_server_that_is_gone_fails(hq, server):
    server.on(SubmitJob, Submitted(1)).on(Watch, JobRows((row(running=1),), 1))
    server.hangs_up_after = Watch

    result = hq("submit", "--wait", "false")

    assert result.code == 1
    assert "The connection to the server was lost" in result.err


def test_progress_is_lines_when_piped(hq, server):
    server.on(SubmitJob, Submitted(1)).on(Watch, JobRows((row(running=1, waiting=3),), 1))
    server.notices[Watch] = [JobNotice(row(finished=3, failed=1))]

    result = hq("submit", "--progress", "false")

    assert result.lines[-1] == f"[{40 * '#'}] 1/1 jobs, 4/4 tasks 3 FINISHED 1 FAILED"
    assert "\r" not in result.out


def test_a_job_file_is_read_here(hq, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server.on(SubmitJob, Submitted(4))
    (tmp_path / "job.yaml").write_text(
        "name: sweep\ntasks:\n  one:\n    command: [echo, hello]\n    array: 1-3\n"
    )

    assert hq("submit", "job.yaml").out == "Job submitted successfully, job ID: 4\n"
    assert hq("submit", "--name", "mine", "job.yaml").code == 0
    assert hq("job", "submit-file", "job.yaml", "--job", "9").code == 0

    named, renamed, attached = (request.submit for request in server.asked)
    assert (named.head.name, renamed.head.name) == ("sweep", "mine")
    assert (attached.head, attached.job) == (None, 9)
    assert named.submit_dir == os.getcwd()
