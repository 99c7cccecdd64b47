"""`entries`: listed in the job file, or in a file of lines, JSON or CSV beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from hqtrio.errors import InputError
from hqtrio.jobfile.literals import json_of, json_text
from hqtrio.jobfile.reader import Reader
from hqtrio.jobfile.settings import Setting
from hqtrio.jobfile.task import encode, field_name_problem
from hqtrio.jobfile.tree import Items, Node, Table
from hqtrio.units import quote

ENTRY_FILES: Final = ("lines", "json", "csv")


@dataclass(slots=True)
class EntryList:
    """Entries in order. `fields` has the names in those that are mappings, and how many have it."""

    items: list[bytes] = field(default_factory=list)
    fields: dict[str, int] = field(default_factory=dict)

    def add_mapping(self, names: Iterable[str], text: str) -> None:
        self.items.append(text.encode("utf-8", "surrogatepass"))
        for name in names:
            self.fields[name] = self.fields.get(name, 0) + 1


def read_entries(reader: Reader, node: Node, path: str, setting: Setting) -> EntryList:
    """The entries; empty if a problem was noted."""
    if isinstance(node, Table):
        return _from_file(reader, node, path, setting)
    found = EntryList()
    nodes = reader.items(node, path)
    if not nodes and isinstance(node, Items):
        reader.refuse(node, path, "the list is empty, so there would be no task")
    for at, item in enumerate(nodes):
        if isinstance(item, Table):
            found.add_mapping(item.entries, json_of(item))
        else:
            found.items.append(encode(reader.text(item, f"{path}[{at}]")))
    return found


def _from_file(reader: Reader, node: Table, path: str, setting: Setting) -> EntryList:
    keys = reader.table(node, path, ENTRY_FILES)
    if len(keys) != 1:
        if len(node.entries) == len(keys):
            one = ", ".join(f"`{name}: FILE`" for name in ENTRY_FILES)
            reader.misshapen(node, path, f"expected one of {one}")
        return EntryList()
    kind, (_, value) = next(iter(keys.items()))
    inner = f"{path}.{kind}"
    name = reader.text(value, inner)
    if not name:
        reader.refuse(value, inner, "a path cannot be empty")
        return EntryList()

    def read() -> EntryList:
        try:
            entries = _READERS[kind](setting.read_file(name), quote(name))
        except RecursionError as error:
            raise InputError(f"{quote(name)} is nested too deeply") from error
        if not entries.items:
            raise InputError(f"{quote(name)} is empty, so there would be no task")
        return entries

    return reader.converted(value, inner, read) or EntryList()


def _lines(data: bytes, name: str) -> EntryList:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    if any(b"\0" in line for line in lines):
        raise InputError(f"{name} holds a NUL character, which no program can be passed")
    return EntryList(lines)


def _json(data: bytes, name: str) -> EntryList:
    import json

    try:
        items = json.loads(data)
    except ValueError as error:
        raise InputError(f"Could not parse JSON from {name}: {error}") from error
    if not isinstance(items, list):
        raise InputError(f"The top element of {name} has to be an array")
    entries = EntryList()
    for item in items:
        text = json.dumps(item, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        entries.add_mapping(item if isinstance(item, dict) else (), text)
    return entries


def _csv(data: bytes, name: str) -> EntryList:
    import csv

    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8; save it as UTF-8") from error
    rows = csv.reader(text.splitlines(keepends=True), strict=True)
    entries = EntryList()
    names: list[str] = []
    heads: list[str] = []
    try:
        for row in rows:
            if not row:
                continue
            if not names:
                names, heads = row, _heads(row, f"{name}:{rows.line_num}")
            elif len(row) != len(names):
                raise InputError(
                    f"{name}:{rows.line_num}: {len(row)} fields, but the header names {len(names)}"
                )
            else:
                pairs = (head + json_text(value) for head, value in zip(heads, row, strict=True))
                entries.items.append(("{" + ",".join(pairs) + "}").encode())
    except csv.Error as error:
        raise InputError(f"{name}:{rows.line_num}: {error}") from error
    entries.fields = dict.fromkeys(names, len(entries.items))
    return entries


def _heads(names: list[str], where: str) -> list[str]:
    """The beginning of each field's JSON; refuses names that no placeholder can have."""
    for name in names:
        if problem := field_name_problem(name):
            raise InputError(f"{where}: {problem}")
        if names.count(name) > 1:
            raise InputError(f"{where}: the header names `{name}` twice")
    return [f"{json_text(name)}:" for name in names]


_READERS: Final = {"lines": _lines, "json": _json, "csv": _csv}
