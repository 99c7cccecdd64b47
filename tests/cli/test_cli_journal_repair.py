"""`journal check` and `journal repair`: torn, damaged and poisoned files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.server.journal_opening import read_header
from actors.server.restoring import restore
from hqtrio.cli.journal_examining import examine, save_usable
from hqtrio.errors import InputError
from hqtrio.jobs.job import Job
from hqtrio.jobs.machine import JobBook
from hqtrio.journal.format import Header, encode_frames, encode_header
from hqtrio.messages.client import ServerDetails
from hqtrio.messages.columns import f32, f64, u32, u64
from hqtrio.messages.records import (
    JobClosed,
    JobCompleted,
    JobOpened,
    Record,
    ServerStarted,
    SubmitBegun,
    SubmitCommitted,
    TasksEnded,
    TasksShipped,
    TasksStarted,
    WorkerConnected,
)
from hqtrio.model.job import ArraySpec, JobHead, Submit
from hqtrio.model.resources import CPUS, Descriptor, single_pool
from hqtrio.model.task import Stdio, TaskBody, TaskState
from hqtrio.model.worker import WorkerConfig
from hqtrio.now import Now

HISTORY = b"history of sixt."
DETAILS = ServerDetails("uid123", "h", 1, "h", 2, "0", 7, 0.0)
BODY = TaskBody((b"true",), (), "/", Stdio(None), Stdio(None), "/")
CONFIG = WorkerConfig("n", "n", "/", "g", Descriptor((single_pool(CPUS, ("0", "1")),)))


def written(path: Path, records: list[Record]) -> list[int]:
    """A journal with a frame for each record; says where each begins."""
    data, offsets = encode_header(Header(HISTORY, "uid123", 0.0)), []
    for record in records:
        offsets.append(len(data))
        data += encode_frames([record], mark=HISTORY[:4])
    path.write_bytes(data)
    return offsets


def submitted(job: int, count: int) -> list[Record]:
    submit = Submit(b"", "/", JobHead(f"job{job}"), arrays=(ArraySpec(BODY, count),))
    return [SubmitBegun(job, submit), SubmitCommitted(job, job, (((0, count, 1),),), 2.0)]


def finished(job: int, number: int) -> TasksEnded:
    return TasksEnded(
        1, 4.0, u64([job << 32 | number]), u32([0]), bytes([TaskState.FINISHED]), f64([3.0]),
        f64([4.0]), f32([1.0]), u32([1]),
    )  # fmt: skip


def story() -> list[Record]:
    """Job 1 has completed, job 2 runs, job 3 was open and is closed."""
    running = u64([2 << 32 | 1]), u32([1]), u32([0])
    return [
        ServerStarted("uid123", "0", 1.0),
        WorkerConnected(1, b"k", 1, CONFIG, 1.0),
        *submitted(1, 1),
        *submitted(2, 3),
        finished(1, 0),
        JobCompleted(1, 4.0),
        TasksShipped(1, *running),
        TasksStarted(1, running[0], u32([0]), f64([5.0])),
        JobOpened(3, JobHead("open", is_open=True), 6.0),
        finished(2, 0),
        JobClosed(3, 7.0),
    ]


def started_with(path: Path, *, checked: bool = True) -> dict[int, Job]:
    """The jobs of a server that has started with the journal."""
    book = JobBook("uid123", b"", DETAILS, replayed=restore(path))
    book.begin(Now(0.0, 10.0), 5.0)
    if checked:
        book.check()
    return book._tables.jobs


def test_a_record_that_poisons_every_start_is_named_and_dropped(hq, tmp_path) -> None:
    path, saved = tmp_path / "journal", tmp_path / "saved"
    records = story()
    records.insert(5, JobClosed(9, 1.0))
    offset = written(path, records)[5]
    with pytest.raises(InputError, match=f"JobClosed at byte {offset}.*journal repair"):
        restore(path)
    words = f"JobClosed cannot be used: job 9 does not exist at this point, at byte {offset}"
    checked = hq("journal", "check", str(path))
    assert checked.code == 1 and words in checked.err
    assert "1 of 14 records that cannot be used" in checked.err
    repaired = hq("journal", "repair", str(path), str(saved))
    assert repaired.code == 0 and words in repaired.err
    assert "Saved 13 records" in repaired.err and "dropped 1 records" in repaired.err
    assert saved.stat().st_mode & 0o777 == 0o600
    jobs = started_with(saved)
    assert [job.head.name for job in jobs.values()] == ["job2"]
    # What had finished stays finished, and what may run somewhere is fenced off.
    assert list(jobs[2].states) == [TaskState.FINISHED, TaskState.WAITING, TaskState.WAITING]
    assert [jobs[2].instances.get(p) for p in (1, 2)] == [1, 1]
    assert read_header(saved).history != HISTORY
    assert hq("journal", "check", str(saved)).code == 0


def test_a_record_that_fails_half_way_leaves_no_trace(hq, tmp_path) -> None:
    """Its second row is of a task that does not exist: the first must not count either."""
    path, saved = tmp_path / "journal", tmp_path / "saved"
    two = finished(2, 2)
    bad = TasksEnded(
        1, 4.0, two.tasks + u64([2 << 32 | 77]), u32([0, 0]), two.states * 2, two.started * 2,
        two.ended * 2, two.cpu_s * 2, two.peak_kib * 2,
    )  # fmt: skip
    records = story()
    written(path, [*records[:6], bad, *records[6:]])
    assert len(examine(path).refused) == 1
    assert hq("journal", "repair", str(path), str(saved)).code == 0
    states = list(started_with(saved)[2].states)
    assert states == [TaskState.FINISHED, TaskState.WAITING, TaskState.WAITING]


def test_what_ended_behind_a_gap_stays_ended(hq, tmp_path) -> None:
    path, saved = tmp_path / "journal", tmp_path / "saved"
    offset = written(path, story())[8]
    data = bytearray(path.read_bytes())
    data[offset + 20] ^= 1
    path.write_bytes(data)
    assert "cannot be read" in hq("journal", "repair", str(path), str(saved)).err
    job = started_with(saved)[2]
    assert list(job.states) == [TaskState.FINISHED, TaskState.WAITING, TaskState.WAITING]


def test_a_whole_journal_is_copied_as_it_is(hq, tmp_path) -> None:
    path, saved = tmp_path / "journal", tmp_path / "saved"
    written(path, story())
    assert hq("journal", "repair", str(path), str(saved)).code == 0
    assert saved.read_bytes() == path.read_bytes()
    taken = hq("journal", "repair", str(path), str(saved))
    assert taken.code == 1 and f"Cannot create `{saved}`: File exists" in taken.err


def test_of_many_findings_the_first_are_named(hq, tmp_path) -> None:
    path = tmp_path / "journal"
    written(path, [ServerStarted("u", "0", 1.0), *(JobClosed(n, 1.0) for n in range(1, 60))])
    told = hq("journal", "check", str(path)).err
    assert "job 20 does not exist" in told and "job 21 does" not in told
    assert "... and 39 more" in told


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_missing_doubled_or_displaced_a_repaired_journal_starts(data) -> None:
    records = story()
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(records) - 1))
        match data.draw(st.sampled_from(["drop", "double", "move"])):
            case "drop" if len(records) > 1:
                del records[place]
            case "double":
                records.insert(data.draw(st.integers(0, len(records))), records[place])
            case _:
                records.insert(data.draw(st.integers(0, len(records) - 1)), records.pop(place))
    with tempfile.TemporaryDirectory() as directory:
        path, saved = Path(directory, "journal"), Path(directory, "saved")
        written(path, records)
        save_usable(path, saved)
        # Records that are merely out of order may all be usable, and are left as they are.
        was_whole = examine(path).is_whole
        jobs = started_with(saved, checked=not was_whole)
        assert was_whole or not any(job.counts[TaskState.RUNNING] for job in jobs.values())
        assert examine(saved).is_whole
