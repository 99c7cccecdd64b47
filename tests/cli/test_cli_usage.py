"""Usage errors, global options, help."""

from __future__ import annotations

import json

import pytest

from hqtrio import __version__
from hqtrio.errors import InputError
from hqtrio.messages.client import JobRows, ListJobs, ListWorkers, SubmitJob, Submitted, WorkerRows


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        ("job list --foo", "unexpected argument '--foo' found"),
        ("job list --foo=1", "unexpected argument '--foo' found"),
        ("job list extra", "unexpected argument 'extra' found"),
        ("job list --al", "unexpected argument '--al' found"),
        ("job lis", "unrecognized subcommand 'lis'"),
        ("frobnicate", "unrecognized subcommand 'frobnicate'"),
        ("submit", "the following required arguments were not provided:\n  <PROGRAM>..."),
        ("task info", "the following required arguments were not provided:\n  <JOB>\n  <TASKS>"),
        (
            "server generate-access a.json",
            "not provided:\n  --client-port <CLIENT_PORT>\n  --worker-port <WORKER_PORT>",
        ),
        ("submit --wait --progress ls", "'--wait' cannot be used with '--progress'"),
        (
            "submit --each-line a --from-json b ls",
            "the argument '--each-line <FILE>' cannot be used with '--from-json <FILE>'",
        ),
        ("job list --all --filter running", "'--all' cannot be used with '--filter <STATES>'"),
        ("worker list --all --filter running", "'--all' cannot be used with '--filter <STATE>'"),
        ("submit --name a --name b ls", "'--name <NAME>' cannot be used multiple times"),
        ("submit --wait --wait ls", "the argument '--wait' cannot be used multiple times"),
        ("submit --name --wait ls", "a value is required for '--name <NAME>'"),
        ("submit --wait=yes ls", "unexpected value for '--wait' found"),
        ("submit --priority x ls", "invalid value 'x' for '--priority <PRIORITY>': "),
        ("submit --time-limit 1x ls", "Use either `HH:MM:SS`"),
        ("submit --env= ls", "Environment variable cannot be empty"),
        ("submit --cpus 0 ls", "Zero resources cannot be requested"),
        ("submit --cpus 0.00001 ls", "Resource precision exceeded"),
        ("submit --resource gpus=0 ls", "Zero resources cannot be requested"),
        ("submit --resource gpus ls", "Unexpected end of input in 'gpus': expected NAME=REQUEST"),
        ("submit --resource gp-us=1 ls", "Unexpected token 'gp-us': expected a resource name"),
        ("submit --cpus 4294967296 ls", "Cannot parse as 4-byte unsigned integer: '4294967296'"),
        ("submit --cpus 2fair ls", "Unexpected token 'fair' in '2fair': expected a policy"),
        ("submit --cpus=-1 ls", "Unexpected token '-1': expected an amount"),
        ("submit --nodes 2 --cpus 4 ls", "'--nodes <NODES>' cannot be used with '--cpus <CPUS>'"),
        ("submit --pin omp --nodes 0 ls", "'--nodes <NODES>' cannot be used with '--pin <PIN>'"),
        ("submit --nodes 1_0 ls", "invalid value '1_0' for '--nodes <NODES>'"),
        ("submit --nodes=-1 ls", "invalid value '-1' for '--nodes <NODES>'"),
        ("submit --nodes 4294967296 ls", "must lie between 0 and 4294967295"),
        ("submit --pin none ls", "possible values: taskset, omp"),
        ("submit --time-request 1x ls", "Use either `HH:MM:SS`"),
        ("submit --weight 0 ls", "'--weight <WEIGHT>': Resource weight has to be positive number"),
        ("submit --weight -1 ls", "Resource weight has to be positive number"),
        ("submit --weight 0.00004 ls", "Resource weight has to be positive number"),
        ("submit --weight nan ls", "'--weight <WEIGHT>': expected a number such as 2 or 0.5"),
        ("submit --weight 1_0 ls", "'--weight <WEIGHT>': expected a number such as 2 or 0.5"),
        ("submit --job 0 job.yaml", "must lie between 1 and 4294967295"),
        ("submit --job last ls", "invalid value 'last' for '--job <JOB>'"),
        ("submit --array 5-2 ls", "Invalid range"),
        ("submit --array 0-10,5 ls", "Ranges overlap"),
        ("submit --stdout a:b ls", "Cannot parse stream"),
        ("submit --crash-limit 0 ls", "Crash limit cannot be 0"),
        ("submit --max-fails 1_000 ls", "invalid value '1_000' for '--max-fails <MAX_FAILS>'"),
        ("job list --filter running,foo", "invalid value 'running,foo' for '--filter <STATES>'"),
        ("job cancel --reason " + 201 * "x" + " 1", "Cancel reason must be shorter than 200"),
        ("--output-mode xml job list", "invalid value 'xml' for '--output-mode <OUTPUT_MODE>'"),
        ("server start --client-port 65536", "invalid value '65536' for '--client-port"),
        ("submit --cpus 2 job.yaml", "'--cpus <CPUS>' cannot be used with a job file"),
        ("submit --nodes 2 job.yaml", "'--nodes <NODES>' cannot be used with a job file"),
        ("submit --weight 1 job.yaml", "'--weight <WEIGHT>' cannot be used with a job file"),
    ],
)
def test_usage_errors_exit_2_with_the_known_fragment(hq, server, words, fragment):
    result = hq(*words.split())

    assert result.code == 2
    assert result.err.startswith("error: ")
    assert fragment in result.err
    assert result.out == ""
    assert server.asked == []


@pytest.mark.parametrize("words", ["", "job", "server", "worker", "task", "job --debug"])
def test_a_group_without_a_command_prints_its_help_on_stderr(hq, words):
    result = hq(*words.split())

    assert result.code == 2
    assert result.err.startswith("Usage: hqtrio")
    assert "Commands:" in result.err
    assert result.out == ""


@pytest.mark.parametrize("words", ["--help", "-h", "job --help", "submit -h", "submit --help"])
def test_help_goes_to_stdout(hq, words):
    result = hq(*words.split())

    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Usage: hqtrio")


@pytest.mark.parametrize("words", ["--version", "-V"])
def test_version(hq, words):
    result = hq(words)

    assert (result.code, result.out) == (0, f"hqtrio {__version__}\n")


@pytest.mark.parametrize(
    "words",
    [
        "--output-mode json job list",
        "job --output-mode json list",
        "job list --output-mode json",
        "job list --output-mode=json",
        "--output-mode quiet job --output-mode cli list --output-mode json",
    ],
)
def test_global_options_stand_before_or_after_any_word(hq, server, words):
    server.on(ListJobs, JobRows((), 0))

    result = hq(*words.split())

    assert json.loads(result.out) == []


def test_the_environment_chooses_the_output_mode_and_the_command_line_wins(hq, server, monkeypatch):
    server.on(ListWorkers, WorkerRows(()))
    monkeypatch.setenv("HQ_OUTPUT_MODE", "quiet")

    assert hq("worker", "list").out == ""
    assert hq("worker", "--output-mode", "json", "list").out == "[]\n"

    monkeypatch.setenv("HQ_OUTPUT_MODE", "xml")
    assert hq("worker", "list").code == 2


def test_a_failure_is_told_on_stderr_and_in_json_mode_on_stdout(hq, server):
    server.refusal = InputError("No running instance of hqtrio found")

    plain = hq("job", "list")
    assert (plain.code, plain.out) == (1, "")
    assert plain.err == "No running instance of hqtrio found\n"

    as_json = hq("--output-mode", "json", "job", "list")
    assert (as_json.code, as_json.err) == (1, "")
    assert json.loads(as_json.out) == {"error": "No running instance of hqtrio found"}


def test_what_the_server_refuses_carries_the_prefix(hq):
    result = hq("job", "list")

    assert (result.code, result.err) == (1, "Error: no answer for ListJobs\n")


def test_a_lost_connection_is_an_error_of_one_line(hq, server):
    server.on(ListJobs, JobRows((), 0)).hangs_up_after = ListJobs
    server.answers[ListJobs] = lambda request: JobRows((), 0, more=True)

    result = hq("job", "list")

    assert result.code == 1
    assert result.err.startswith("The connection to the server was lost")


def test_words_after_the_program_belong_to_the_program(hq, server):
    server.on(SubmitJob, Submitted(1))

    assert hq("submit", "prog", "--name", "x", "--", "-h").code == 0

    (request,) = server.asked
    assert request.submit.arrays[0].body.args == (b"prog", b"--name", b"x", b"--", b"-h")


def test_dashes_start_the_program(hq, server):
    server.on(SubmitJob, Submitted(1))

    assert hq("submit", "--priority", "-1", "--", "job.yaml").code == 0

    (request,) = server.asked
    assert request.submit.arrays[0].body.args == (b"job.yaml",)
    assert request.submit.arrays[0].settings.priority == -1


def chain(*texts):
    """An error that each of the following texts has caused."""
    first, *rest = [InputError(text) for text in texts]
    error = first
    for cause in rest:
        error.__cause__, error = cause, cause
    return first


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["a"], "a"),
        (["a", "b"], "a\n\nCaused by:\n    b"),
        (["a", "b", "c"], "a\n\nCaused by:\n    0: b\n    1: c"),
        (["cannot read x: gone", "gone"], "cannot read x: gone"),
        (["a", "cannot read x: gone", "gone"], "a\n\nCaused by:\n    cannot read x: gone"),
        (["a", "gone", "gone"], "a\n\nCaused by:\n    gone"),
    ],
)
def test_each_cause_is_told_once(hq, server, texts, told):
    server.refusal = chain(*texts)

    assert hq("job", "list").err == f"{told}\n"


def test_of_errors_that_happen_together_one_is_told(hq, server, monkeypatch):
    async def both(*_):
        raise ExceptionGroup("", [InputError("first"), ExceptionGroup("", [InputError("second")])])

    monkeypatch.setattr("hqtrio.client.Client.jobs", both)

    assert (hq("job", "list").code, hq("job", "list").err) == (1, "first\n")
