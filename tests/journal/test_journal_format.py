"""The bytes of a journal: what is read back, what is torn, what is damaged."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_story import HISTORY, NOW, closed

from hqtrio.journal import format as journal_format
from hqtrio.journal.format import Header, JournalError, encode_frames, encode_header
from hqtrio.journal.reading import JournalDamaged, Reading
from hqtrio.messages import records
from hqtrio.messages.records import JobCancelled, Record, SubmitDropped

HEADER = Header(HISTORY, "abc123", NOW)
START = encode_header(HEADER)
MARK = HISTORY[:4]

TAGS = (
    "JobOpened JobClosed JobCancelled JobsForgotten JobCompleted SubmitBegun SubmitContinued "
    "SubmitCommitted SubmitDropped TasksStarted TasksEnded TasksRequeued WorkerConnected "
    "WorkerStopping WorkerLost TasksShipped TasksTakenBack NodeDropped TasksRepeated "
    "ServerStarted ServerStopped IdsUsed InstancesRaised"
)


def in_chunks(data: bytes, size: int):
    return (data[i : i + size] for i in range(0, len(data), size))


def journal(*groups: int, unsynced: bool = False) -> bytes:
    data = START
    for job in groups:
        data += encode_frames([closed(job)], mark=MARK, unsynced=len(data) if unsynced else 0)
    return data


def test_tags_of_records_are_only_ever_appended() -> None:
    promised = {name: number for number, name in enumerate(TAGS.split(), 1)}
    actual = {kind.__name__: kind.__struct_config__.tag for kind in get_args(Record)}
    assert {name: actual.get(name) for name in promised} == promised
    assert len(set(actual.values())) == len(actual)


def test_golden_bytes_of_header_and_frame() -> None:
    assert START.hex() == (
        "68717472696f1a4a0100000023000000598c84aa"
        "818350000102030405060708090a0b0c0d0e0f66616263313233fb41d954fc40000000"
    )
    frame = encode_frames([SubmitDropped(7)], mark=MARK, unsynced=5)
    assert frame.hex() == "0001020304000000050000002ec3c1c881820907"


@given(st.lists(st.lists(st.integers(0, 1 << 31), min_size=1), max_size=8), st.integers(1, 99))
def test_what_was_written_is_read_whatever_the_chunks(groups: list[list[int]], size: int) -> None:
    data = START + b"".join(
        encode_frames([closed(job) for job in group], mark=MARK) for group in groups
    )
    reading = Reading(in_chunks(data, size))
    assert [r for _, r in reading] == [closed(job) for group in groups for job in group]
    assert (reading.header, reading.torn, reading.end) == (HEADER, None, len(data))


def test_a_batch_too_long_for_one_frame_becomes_several() -> None:
    batch = [JobCancelled(job, "x" * 100_000, NOW) for job in range(20)]
    reading = Reading([START, encode_frames(batch, mark=MARK)])
    pairs = list(reading)
    assert [record for _, record in pairs] == batch
    assert len({offset for offset, _ in pairs}) > 4


@pytest.mark.parametrize("cut", range(1, 30))
def test_s4_13_a_last_frame_that_is_not_whole_is_torn(cut: int) -> None:
    whole, data = journal(1), journal(1, 2)
    reading = Reading([data[: max(len(whole) + 1, len(data) - cut)]])
    assert [record for _, record in reading] == [closed(1)]
    assert reading.torn is not None
    assert reading.end == reading.torn.offset == len(whole)


@pytest.mark.parametrize("at", range(24))
def test_b21_a_broken_byte_that_later_frames_vouch_for_is_damage_with_its_place(at: int) -> None:
    first = journal(1)
    data = bytearray(journal(1, 2, 3, 4))
    data[len(first) + at] ^= 0x40
    with pytest.raises(JournalDamaged, match=f"damaged at byte {len(first)}"):
        list(Reading(in_chunks(bytes(data), 7)))


def test_frames_that_were_never_on_the_disk_for_sure_are_torn_with_the_gap_before_them() -> None:
    first = journal(1)
    data = bytearray(journal(1, 2, 3, unsynced=True))
    data[len(first) : len(first) + 20] = bytes(20)  # a page that the machine had not written
    reading = Reading([bytes(data)])
    assert [record for _, record in reading] == [closed(1)]
    assert reading.torn is not None and reading.torn.size == len(data) - len(first)


def test_a_frame_of_another_journal_inside_a_torn_tail_vouches_for_nothing() -> None:
    other = encode_frames([closed(9)], mark=b"else")
    reading = Reading([journal(1), b"torn", other])
    assert [record for _, record in reading] == [closed(1)]
    assert reading.torn is not None


def test_b15_an_empty_file_is_a_journal_that_was_never_begun() -> None:
    reading = Reading([])
    assert reading.header is None
    assert list(reading) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\3\4" + bytes(100), "not a journal"),
        (START[:5], "not a journal"),
        (START[:20], "header is damaged"),
        (START[:8] + b"\2\0" + START[10:], "its format is 2.0"),
        (START[:10] + b"\1\0" + START[12:], "newer than 1.0"),
        (START[:30] + b"\xff" + START[31:], "header is damaged"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(JournalError, match=reason):
        Reading([data])


def test_an_older_minor_version_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_format, "MINOR", 3)
    assert [record for _, record in Reading([journal(5)])] == [closed(5)]


def test_every_record_with_a_tag_belongs_to_the_union() -> None:
    kinds = [kind for kind in vars(records).values() if hasattr(kind, "__struct_config__")]
    tagged = {kind for kind in kinds if kind.__struct_config__.tag is not None}
    assert tagged == set(get_args(Record))
