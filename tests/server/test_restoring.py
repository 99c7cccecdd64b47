"""Starting from a journal that exists, and from what cannot be used as one."""

from __future__ import annotations

import pytest

from actors.server.restoring import restore
from hqtrio.errors import InputError
from hqtrio.journal.format import Header, encode_frames, encode_header
from hqtrio.messages.records import JobClosed, JobOpened, Record, ServerStarted
from hqtrio.model.job import JobHead

HISTORY = b"history of sixt."
BEGINNING = (ServerStarted("uid123", "0", 1.0), JobOpened(1, JobHead("one"), 2.0))


def written(path, *groups: tuple[Record, ...]) -> list[int]:
    """A journal with a frame for each group; says where each begins."""
    data = encode_header(Header(HISTORY, "uid123", 0.0))
    offsets = []
    for group in groups:
        offsets.append(len(data))
        data += encode_frames(group, mark=HISTORY[:4])
    path.write_bytes(data)
    return offsets


def test_the_tables_are_those_of_the_records(tmp_path):
    journal = tmp_path / "journal"
    written(journal, BEGINNING, (JobOpened(2, JobHead("two"), 3.0), JobClosed(1, 4.0)))
    replayed = restore(journal)
    assert replayed.server_uid == "uid123"
    assert {n: (job.head.name, job.is_open) for n, job in replayed.tables.jobs.items()} == {
        1: ("one", False),
        2: ("two", True),
    }


def test_b21_a_damaged_journal_is_refused_with_the_place_and_the_remedy(tmp_path):
    journal = tmp_path / "journal"
    _, damaged, _ = written(journal, BEGINNING, (JobClosed(1, 4.0),), (JobClosed(1, 5.0),))
    data = bytearray(journal.read_bytes())
    data[damaged + 20] ^= 0xFF
    journal.write_bytes(data)
    with pytest.raises(InputError, match="corrupted") as refused:
        restore(journal)
    words = str(refused.value)
    assert f"byte {damaged}" in words
    assert f"hqtrio journal repair {journal}" in words
    assert "\n" not in words
    assert journal.read_bytes() == data


def test_a_record_that_does_not_fit_is_named_with_its_place_and_the_remedy(tmp_path):
    journal = tmp_path / "journal"
    _, poison = written(journal, BEGINNING, (JobClosed(7, 4.0),))
    words = f"JobClosed at byte {poison}: .*job 7 does not exist.*hqtrio journal repair"
    with pytest.raises(InputError, match=words) as refused:
        restore(journal)
    assert "\n" not in str(refused.value)
