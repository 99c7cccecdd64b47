"""How many tasks a group has, and what tells them apart: ids, entries or a matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Final

from hqtrio.ids import IdArray, parse_ids
from hqtrio.jobfile.lists import EntryList, read_entries
from hqtrio.jobfile.literals import json_of
from hqtrio.jobfile.reader import Reader
from hqtrio.jobfile.settings import Setting
from hqtrio.jobfile.task import Keys, refuse_field_name
from hqtrio.jobfile.tree import Items, Node, Scalar, Table
from hqtrio.model.matrix import ANY, Axis, Combinations, Matrix, check_matrix, product
from hqtrio.units import quote

SPREAD_KEYS: Final = ("array", "entries", "matrix")

EXCLUDE: Final = "exclude"
INCLUDE: Final = "include"


@dataclass(slots=True)
class Spread:
    """The tasks of one group. `fields` are the names that placeholders may use."""

    count: int = 1
    ids: IdArray | None = None
    entries: EntryList = field(default_factory=EntryList)
    matrix: Matrix | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        if self.matrix is not None:
            return tuple(axis.name for axis in self.matrix.axes)
        return tuple(self.entries.fields)


def read_spread(reader: Reader, keys: Keys, path: str, setting: Setting) -> Spread | None:
    """What the group's own keys say, or None if they say nothing of it."""
    given = [name for name in SPREAD_KEYS if name in keys]
    for name in given[1:]:
        text = f"give at most one of {', '.join(f'`{other}`' for other in SPREAD_KEYS)}"
        reader.refuse(keys[name][0], f"{path}.{name}", text)
    if not given:
        return None
    node, inner = keys[given[0]][1], f"{path}.{given[0]}"
    if given[0] == "array":
        ids = reader.parsed(node, inner, parse_ids, None)
        return Spread() if ids is None else Spread(ids.count, ids)
    if given[0] == "entries":
        entries = read_entries(reader, node, inner, setting)
        return Spread(max(len(entries.items), 1), entries=entries)
    matrix = _matrix(reader, node, inner)
    if matrix is None:
        return Spread()
    return Spread(Combinations(matrix).count, matrix=matrix)


# --- matrix


def _matrix(reader: Reader, node: Node, path: str) -> Matrix | None:
    found_before = reader.problems.total
    texts: dict[str, list[str] | IdArray] = {}
    axes = []
    named = reader.mapping(node, path)
    for name, (key, value) in named.items():
        if name in (EXCLUDE, INCLUDE):
            continue
        if not refuse_field_name(reader, key, path, name):
            texts[name], axis = _axis(reader, name, value, f"{path}.{name}")
            axes.append(axis)
    if not axes and reader.problems.total == found_before:
        reader.refuse(node, path, "the matrix names nothing to combine")
    exclude = _rows(reader, named, EXCLUDE, path)
    include = _rows(reader, named, INCLUDE, path)
    matrix = Matrix(
        tuple(axes),
        tuple(_excluded(reader, at, inner, row, texts) for at, inner, row in exclude),
        tuple(_included(reader, at, inner, row, texts) for at, inner, row in include),
    )
    if reader.problems.total > found_before:
        return None
    reader.converted(node, path, partial(check_matrix, matrix))
    if reader.problems.total > found_before:
        return None
    if matrix.exclude and not Combinations(matrix).count:
        text = f"nothing is left of {product(matrix)} combinations"
        reader.refuse(named[EXCLUDE][0], f"{path}.{EXCLUDE}", text)
        return None
    return matrix


def _axis(reader: Reader, name: str, node: Node, path: str) -> tuple[list[str] | IdArray, Axis]:
    """The values by their texts, and as they travel."""
    if isinstance(node, Scalar):
        ids = reader.parsed(node, path, parse_ids, IdArray.span(0, 1))
        return ids, Axis(name, (), ids.ranges)
    if isinstance(node, Table):
        reader.misshapen(node, path, "expected a list, or a range such as 1-10, got a mapping")
        return [], Axis(name)
    seen: dict[str, Node] = {}
    values = []
    for at, item in enumerate(reader.items(node, path)):
        text = reader.text(item, f"{path}[{at}]")
        if not isinstance(item, Scalar):
            continue
        if text in seen:
            reader.refuse(item, f"{path}[{at}]", f"'{quote(text)}' stands here twice")
        seen[text] = item
        values.append(json_of(item))
    if isinstance(node, Items) and not node.items:
        reader.refuse(node, path, "the list is empty, so there would be no task")
    return list(seen), Axis(name, tuple(values))


def _rows(reader: Reader, named: Keys, which: str, path: str) -> list[tuple[Node, str, Keys]]:
    entry = named.get(which)
    if entry is None:
        return []
    found = []
    for at, item in enumerate(reader.items(entry[1], f"{path}.{which}")):
        inner = f"{path}.{which}[{at}]"
        row = reader.mapping(item, inner)
        if isinstance(item, Table) and not row:
            reader.refuse(item, inner, "the mapping is empty")
        found.append((item, inner, row))
    return found


def _known(
    reader: Reader, key: Scalar, path: str, name: str, texts: dict[str, list[str] | IdArray]
) -> bool:
    if name in texts:
        return True
    hint = reader.suggest(name, texts)
    reader.refuse(key, path, f"the matrix has no `{quote(name)}`{hint}")
    return False


def _excluded(
    reader: Reader, at: Node, path: str, row: Keys, texts: dict[str, list[str] | IdArray]
) -> tuple[int, ...]:
    places = dict.fromkeys(texts, ANY)
    for name, (key, value) in row.items():
        if not _known(reader, key, path, name, texts):
            continue
        text, values = reader.text(value, f"{path}.{name}"), texts[name]
        if isinstance(values, IdArray):
            short = text.isascii() and text.isdigit() and len(text) < 20
            place = values.position(int(text)) if short else -1
            hint = ""
        else:
            place = values.index(text) if text in values else -1
            hint = reader.suggest(text, values)
        if place < 0:
            reader.refuse(value, f"{path}.{name}", f"`{name}` is never '{quote(text)}'{hint}")
        places[name] = place
    return tuple(places.values())


def _included(
    reader: Reader, at: Node, path: str, row: Keys, texts: dict[str, list[str] | IdArray]
) -> tuple[str, ...]:
    values = dict.fromkeys(texts, "null")
    for name, (key, value) in row.items():
        if not _known(reader, key, path, name, texts):
            continue
        reader.text(value, f"{path}.{name}")
        if isinstance(value, Scalar):
            values[name] = json_of(value)
    missing = [f"`{name}`" for name in texts if name not in row]
    if missing and row:
        reader.refuse(at, path, f"a combination names everything; {', '.join(missing)} missing")
    return tuple(values.values())
