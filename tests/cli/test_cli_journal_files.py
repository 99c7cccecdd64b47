"""Journal files from the command line: export and report, without a server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hqtrio.journal.format import Header, encode_frames, encode_header
from hqtrio.messages.columns import f32, f64, u32, u64
from hqtrio.messages.records import (
    IdsUsed,
    JobCompleted,
    Record,
    ServerStarted,
    SubmitBegun,
    SubmitCommitted,
    TasksEnded,
    TasksStarted,
    WorkerConnected,
    WorkerLost,
)
from hqtrio.model.job import ArraySpec, JobHead, Submit
from hqtrio.model.requests import parse_need
from hqtrio.model.resources import CPUS, ONE_CPU, Descriptor, Request, single_pool
from hqtrio.model.task import Stdio, TaskBody, TaskState
from hqtrio.model.worker import LossReason, WorkerConfig

HEADER = Header(b"0123456789abcdef", "uid123", 0.0)
BODY = TaskBody((b"true",), (), "/", Stdio(None), Stdio(None), "/")
BEGAN = 1_700_000_000.0


def journal(tmp_path: Path, *records: Record, tail: bytes = b"") -> str:
    path = tmp_path / "journal"
    frames = (encode_frames([record], mark=HEADER.history[:4]) for record in records)
    path.write_bytes(encode_header(HEADER) + b"".join(frames) + tail)
    return str(path)


def ended(job: int, numbers: list[int], state: TaskState, *, worker=1, at=BEGAN + 60.0, error=""):
    count = len(numbers)
    return TasksEnded(
        worker, at, u64(job << 32 | n for n in numbers), u32([0] * count), bytes([state] * count),
        f64([at - 30.0] * count), f64([at] * count), f32([1.0] * count), u32([0] * count),
        tuple((row, error) for row in range(count) if error),
    )  # fmt: skip


def story() -> list[Record]:
    """Single-node and multi-node tasks, some of which fail."""
    workers = Descriptor((single_pool(CPUS, ("0", "1")),))
    config = WorkerConfig("node", "node", "/w", "g", workers)
    two_nodes = (Request((), nodes=2),)
    return [
        ServerStarted("uid123", "0", BEGAN),
        SubmitBegun(1, Submit(b"", "/d", JobHead("one"), arrays=(ArraySpec(BODY, 4),))),
        SubmitCommitted(1, 1, (((0, 4, 1),),), BEGAN + 1),
        SubmitBegun(
            2, Submit(b"", "/d", JobHead("two"), arrays=(ArraySpec(BODY, 1, (), two_nodes),))
        ),
        SubmitCommitted(2, 2, (((0, 1, 1),),), BEGAN + 2),
        WorkerConnected(1, b"k", 1, config, BEGAN + 10),
        WorkerConnected(2, b"l", 1, config, BEGAN + 20),
        ended(1, [0, 1], TaskState.FINISHED),
        ended(1, [2, 3], TaskState.FAILED, error="<no> & never"),
        JobCompleted(1, BEGAN + 60),
        TasksStarted(1, u64([2 << 32]), u32([0]), f64([BEGAN + 61]), ((2 << 32, (1, 2)),)),
        ended(2, [0], TaskState.FINISHED, at=BEGAN + 100),
        JobCompleted(2, BEGAN + 100),
        WorkerLost(2, LossReason.CONNECTION_LOST, BEGAN + 120),
    ]


def events(text: str) -> list[dict]:
    return [json.loads(line)["event"] for line in text.splitlines()]


def test_export_prints_a_line_for_each_event_and_then_how_many(hq, tmp_path):
    result = hq("journal", "export", journal(tmp_path, *story()))
    assert result.code == 0
    types = [event["type"] for event in events(result.out)]
    assert types[:4] == ["server-start", "job-created", "job-created", "worker-connected"]
    assert types.count("task-started") == 5
    assert types[-1] == "worker-lost"
    assert f"Outputted {len(types)} events" in result.err


@pytest.mark.parametrize("mode", ["json", "quiet"])
def test_export_prints_the_same_in_every_mode(hq, tmp_path, mode):
    path = journal(tmp_path, *story())
    plain = hq("journal", "export", path)
    assert hq("journal", "export", path, "--output-mode", mode).out == plain.out
    assert len(events(plain.out)) == 18


def test_a_torn_tail_ends_the_export_silently(hq, tmp_path):
    whole = hq("journal", "export", journal(tmp_path, *story()))
    cut = encode_frames([JobCompleted(9, 0.0)], mark=HEADER.history[:4])[:-1]
    torn = hq("journal", "export", journal(tmp_path, *story(), tail=cut))
    assert (torn.code, torn.out) == (0, whole.out)
    assert "damaged" not in torn.err


def test_what_follows_damage_is_left_out_and_that_is_said(hq, tmp_path):
    path = Path(journal(tmp_path, *story()))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    result = hq("journal", "export", str(path))
    assert result.code == 0
    assert "damaged" in result.err
    assert 0 < len(events(result.out)) < len(story())


@pytest.mark.parametrize("content", [None, b"", b"something else"])
@pytest.mark.parametrize("words", [("export",), ("report",)])
def test_what_is_no_journal_is_refused(hq, tmp_path, content, words):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    more = (str(tmp_path / "out.html"),) if words == ("report",) else ()
    result = hq("journal", *words, str(path), *more)
    assert result.code == 1
    assert f"Cannot open event log file at `{path}`" in result.err
    assert not (tmp_path / "out.html").exists()


# --- report


def report(hq, tmp_path, *records: Record, options: tuple[str, ...] = ()) -> str:
    out = tmp_path / "out.html"
    result = hq("journal", "report", journal(tmp_path, *records), str(out), *options)
    assert result.code == 0, result.err
    return out.read_text()


def tile(page: str, name: str) -> str:
    (value,) = re.findall(rf"<b[^>]*>([^<]*)</b><span>{name}</span>", page)
    return value


def test_s4_23_a_report_of_single_and_multi_node_jobs_is_one_page_of_its_own(hq, tmp_path):
    page = report(hq, tmp_path, *story())
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(r"https?:|src=|@import|url\(", page)
    assert "&lt;no&gt; &amp; never" in page
    figures = {name: tile(page, name) for name in ("jobs", "tasks", "finished", "failed")}
    assert figures == {"jobs": "2", "tasks": "5", "finished": "3", "failed": "2"}
    assert tile(page, "workers lost") == "1"
    for words in ("nodes: 2", "cpus: 1 compact", "2 workers with 2 cpus"):
        assert words in page


def test_a_report_tells_how_much_was_used(hq, tmp_path):
    """Two workers with two CPUs each: on the first one, one task of 1 CPU for half of its time."""
    one = Descriptor((single_pool(CPUS, ("0", "1")),))
    config = WorkerConfig("node", "node", "/w", "g", one)
    page = report(
        hq, tmp_path,
        ServerStarted("uid123", "0", BEGAN),
        SubmitBegun(1, Submit(b"", "/d", JobHead("one"), arrays=(ArraySpec(BODY, 1),))),
        SubmitCommitted(1, 1, (((0, 1, 1),),), BEGAN),
        WorkerConnected(1, b"k", 1, config, BEGAN),
        ended(1, [0], TaskState.FINISHED, at=BEGAN + 30.0),
        WorkerLost(1, LossReason.STOPPED, BEGAN + 60.0),
    )  # fmt: skip
    assert "cpus: 25 % used on average" in page


def test_only_the_chosen_time_is_reported(hq, tmp_path):
    page = report(hq, tmp_path, *story(), options=("--end-time", "70s"))
    assert (tile(page, "finished"), tile(page, "failed")) == ("2", "2")
    page = report(hq, tmp_path, *story(), options=("--start-time", "70s"))
    assert (tile(page, "finished"), tile(page, "failed")) == ("1", "0")
    bad = ("--start-time", "10s", "--end-time", "10s")
    result = hq("journal", "report", str(tmp_path / "journal"), str(tmp_path / "x"), *bad)
    assert (result.code, "--end-time must be later" in result.err) == (1, True)


def test_a_report_needs_the_start_of_a_server(hq, tmp_path):
    out = str(tmp_path / "out.html")
    for records, refusal in (
        ((), "Empty journal"),
        ((JobCompleted(1, 0.0),), "Journal does not start with server start event"),
    ):
        result = hq("journal", "report", journal(tmp_path, *records), out)
        assert (result.code, refusal in result.err) == (1, True)


def test_b9_a_pruned_journal_is_reported_as_far_as_it_tells(hq, tmp_path):
    """Workers and jobs that nobody has told of are no reason to give up."""
    pruned = [IdsUsed(9, 9, 9), story()[0], ended(1, [0, 1], TaskState.FINISHED, worker=7)]
    page = report(hq, tmp_path, *pruned)
    assert (tile(page, "finished"), tile(page, "workers")) == ("2", "0")


def test_requests_are_told_apart(hq, tmp_path):
    big = (Request((parse_need("cpus", "2 compact!"), parse_need("mem", "1GiB"))),)
    page = report(
        hq, tmp_path,
        *story()[:1],
        SubmitBegun(
            1, Submit(b"", "/", JobHead("j"), arrays=(
                ArraySpec(BODY, 1, (), ONE_CPU), ArraySpec(BODY, 1, (), big)
            )),
        ),
        SubmitCommitted(1, 1, (((0, 1, 1),), ((1, 1, 1),)), BEGAN),
        ended(1, [0, 1], TaskState.FINISHED),
    )  # fmt: skip
    assert len(re.findall(r"<tr><td><pre>cpus", page)) == 2
    assert "cpus: 2 compact!\nmem: 1024 compact" in page
