"""Input of scripts in the wild: older spellings, units, negative numbers."""

from __future__ import annotations

import pytest

from hqtrio.messages.client import ForgetJobs, Forgotten, SubmitJob, Submitted
from hqtrio.model.job import JobState
from hqtrio.model.resources import CPUS, MEM, UNIT, Need, Policy
from hqtrio.units import parse_mem_amount
from hqtrio.worker.definitions import parse_resource
from hqtrio.worker.hardware import DETECTABLE


@pytest.fixture
def submitted(hq, server):
    """Submit a program with these options; the array that was submitted."""
    server.on(SubmitJob, Submitted(1))

    def submit(*words):
        server.asked.clear()
        result = hq("submit", *words, "prog")
        assert (result.code, result.err) == (0, ""), result.err
        return server.asked[0].submit.arrays[0]

    return submit


@pytest.fixture
def started(hq, monkeypatch):
    """Start a worker with these options; the settings it would run with, and the result."""
    from actors.worker import main

    kept = []

    async def run_worker(settings, **_more):
        kept.append(settings)
        return 0

    monkeypatch.setattr(main, "run_worker", run_worker)

    def start(*words):
        result = hq("worker", "start", *words)
        return (kept.pop() if kept else None), result

    return start


@pytest.mark.parametrize(
    ("text", "need"),
    [
        ("4GiB", Need(MEM, 4096 * UNIT)),
        ("1.5 GiB", Need(MEM, 1536 * UNIT)),
        ("512MiB", Need(MEM, 512 * UNIT)),
        ("2TiB", Need(MEM, 2 * 2**20 * UNIT)),
        ("1GiB tight!", Need(MEM, 1024 * UNIT, Policy.FORCE_TIGHT)),
        ("1_000MiB", Need(MEM, 1000 * UNIT)),
        ("100", Need(MEM, 100 * UNIT)),
        ("all", Need(MEM, 0, Policy.ALL)),
    ],
)
def test_memory_may_be_asked_for_in_its_usual_units(submitted, text, need):
    assert submitted("--resource", f"mem={text}").variants[0].needs == (Need(CPUS, UNIT), need)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("mem=4GB", "Unexpected token 'GB' in '4GB': expected MiB, GiB, TiB or a policy"),
        ("mem=GiB", "Unexpected token 'GiB'"),
        ("mem=0GiB", "Zero resources cannot be requested"),
        ("mem=9999999TiB", "is too large"),
        ("gpus=4GiB", "Unexpected token 'GiB' in '4GiB': expected a policy"),
    ],
)
def test_other_units_and_other_resources_are_refused(hq, text, fragment):
    result = hq("submit", "--resource", text, "prog")

    assert result.code == 2
    assert fragment in result.err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("job.yaml", "tasks: {one: {command: ls, request: {mem: 4GiB}, time_limit: 60sec}}\n"),
        (
            "job.toml",
            """
            [[task]]
            command = ["ls"]
            time_limit = "60sec"
            [[task.request]]
            resources = { "cpus" = 1, "mem" = "4GiB" }
            """,
        ),
    ],
)
def test_job_files_use_the_same_units(hq, server, tmp_path, monkeypatch, name, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text)
    server.on(SubmitJob, Submitted(1))

    result = hq("submit", name)

    assert result.code == 0, result.err
    submit = server.asked[0].submit
    (kind,) = submit.arrays or (submit.graph,)
    variants = kind.variants if submit.arrays else kind.variants[0]
    assert variants[0].needs == (Need(CPUS, UNIT), Need(MEM, 4096 * UNIT))
    body = kind.body if submit.arrays else kind.bodies[0]
    assert body.time_limit_s == 60


def test_memory_that_looks_like_bytes_is_remarked_on(hq, server):
    server.on(SubmitJob, Submitted(1))

    assert hq("submit", "--resource", "mem=1073741824", "prog").err.endswith(
        "WARN The tasks ask for 1048576.00 GiB of memory each: `mem` is counted in MiB\n"
    )
    assert hq("submit", "--resource", "mem=1TiB", "prog").err == ""


def test_workers_offer_memory_in_its_usual_units():
    assert parse_resource("mem=sum(64GiB)") == parse_resource("mem=sum(65536)")
    assert parse_mem_amount(" 0.5 GiB ") == 512 * UNIT


@pytest.mark.parametrize("words", [["--priority", "-1"], ["--priority=-1"]])
def test_negative_numbers_may_follow_a_blank(submitted, words):
    assert submitted(*words).settings.priority == -1


def test_durations_have_long_units(submitted):
    assert submitted("--time-limit", "60sec").body.time_limit_s == 60
    assert submitted("--time-request", "1 hour 30 mins").variants[0].time_s == 5400


def test_an_escaped_colon_belongs_to_the_path(submitted):
    body = submitted("--stdout", r"at-10\:30\:00.txt:rm-if-finished", "--stderr", r"\:x").body

    assert (body.stdout.path, body.stdout.remove_if_finished) == ("at-10:30:00.txt", True)
    assert (body.stderr.path, body.stderr.remove_if_finished) == (":x", False)


def test_a_plain_colon_says_how_to_write_it(hq):
    result = hq("submit", "--stdout", "10:30", "prog")

    assert result.code == 2
    assert "Cannot parse stream" in result.err
    assert r"a colon of the path itself is written `\:`" in result.err


# --- options that older releases had


def test_no_detect_resources_still_looks_for_cpus(started):
    settings, result = started("--no-detect-resources")

    assert result.code == 0
    assert settings.detect == (CPUS,)
    assert started()[0].detect == DETECTABLE
    assert "--no-detect-resources" not in started("--help")[1].out


def test_no_detect_resources_contradicts_its_successor(started):
    settings, result = started("--no-detect-resources", "--detect-resources", "mem")

    assert (settings, result.code) == (None, 2)
    assert "'--no-detect-resources' cannot be used with '--detect-resources <NAMES>'" in result.err


@pytest.mark.parametrize(("word", "hyper_threading"), [("auto", True), ("no-ht", False)])
def test_words_for_cpus(started, word, hyper_threading):
    settings, _ = started("--cpus", word)

    assert (settings.cpus, settings.hyper_threading) == (None, hyper_threading)


@pytest.mark.parametrize(
    ("old", "new"),
    [("x=list(1,3,8)", "x=[1,3,8]"), ("x=indices(1-3)", "x=range(1-3)")],
)
def test_older_definitions_of_resources(old, new):
    assert parse_resource(old) == parse_resource(new)


def test_forget_takes_the_older_name_of_its_filter(hq, server):
    server.on(ForgetJobs, Forgotten(1, 0))

    assert hq("job", "forget", "all", "--status", "failed").code == 0
    assert server.asked[0].states == (int(JobState.FAILED),)
    assert "--status" not in hq("job", "forget", "--help").out
