"""Bytes of every kind of record that journals hold since they exist: they stay readable."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from golden_records import VALUES

from hqtrio.journal.format import decode_records
from hqtrio.messages.records import Record
from hqtrio.wire.codec import encode

LINES = Path(__file__).with_name("golden_records.txt").read_text().splitlines()


def lines_of(values: tuple[Record, ...]) -> list[str]:
    return [f"{type(value).__name__} {encode([value]).hex()}" for value in values]


@pytest.mark.parametrize("number", range(len(LINES)))
def test_what_journals_hold_is_read_as_it_was_meant(number: int) -> None:
    kind, data = LINES[number].split()
    assert decode_records(bytes.fromhex(data)) == [VALUES[number]]
    assert type(VALUES[number]).__name__ == kind


def test_every_kind_has_a_line_with_the_bytes_of_today() -> None:
    newest = {type(value).__name__: line for value, line in zip(VALUES, LINES, strict=True)}
    assert newest.keys() == {kind.__name__ for kind in get_args(Record)}
    today = {
        type(value).__name__: line for value, line in zip(VALUES, lines_of(VALUES), strict=True)
    }
    assert newest == today


def test_every_field_is_in_some_line_as_something_else_than_its_default() -> None:
    used: dict[tuple[str, str], bool] = {}
    for value in VALUES:
        note_fields(value, used)
    assert [field for field, differs in used.items() if not differs] == []


def note_fields(value: Any, used: dict[tuple[str, str], bool]) -> None:
    if isinstance(value, tuple):
        for part in value:
            note_fields(part, used)
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            content = getattr(value, field.name)
            key = type(value).__name__, field.name
            used[key] = used.get(key, False) or content != field.default
            note_fields(content, used)
