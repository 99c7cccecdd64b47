"""TOML text to nodes.

The standard library's parser tells no places, so a second, shallow look at the lines finds where
keys stand. What it cannot see (keys of inline tables) takes the place of the nearest key above.
"""

from __future__ import annotations

import re
from typing import Final

from hqtrio.jobfile.problems import Problems
from hqtrio.jobfile.tree import Items, Kind, Node, Scalar, Table
from hqtrio.units import quote

_SYNTAX: Final = "Deserialization error: "
_AT: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_PART: Final = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_KEYS: Final = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER: Final = re.compile(rf"[ \t]*(\[\[?)[ \t]*({_KEYS})[ \t]*\]")
_ASSIGNMENT: Final = re.compile(rf"[ \t]*({_KEYS})[ \t]*=[ \t]*")
_ONE: Final = re.compile(_PART)

_Path = tuple[str | int, ...]
_Spot = tuple[int, int]


class _Float(str):
    """A float by its source text."""


def read_toml(text: str, problems: Problems) -> Node:
    """The tables of the text; gives up on broken syntax."""
    import tomllib

    try:
        data = tomllib.loads(text, parse_float=_Float)
    except RecursionError:
        problems.stop(Table(1, 1), "", f"{_SYNTAX}nested too deeply")
    except ValueError as error:
        message = str(error)
        at = _AT.search(message)
        lines = text.split("\n")
        line, column = len(lines), len(lines[-1]) + 1
        if at and at[1]:
            line, column = int(at[1]), int(at[2])
        reason = quote(_AT.sub("", message).replace("\n", " "))
        problems.stop(Table(line, column), "", f"{_SYNTAX}{reason}")
    spots = _spots(text)
    return _node(data, (), (1, 1), spots)


def _node(value: object, path: _Path, above: _Spot, spots: dict[_Path, _Spot]) -> Node:
    line, column = spot = spots.get(path, above)
    if isinstance(value, dict):
        table = Table(line, column)
        for name, item in value.items():
            place = spots.get((*path, name), spot)
            key = Scalar(name, Kind.TEXT, *place)
            table.entries[name] = (key, _node(item, (*path, name), spot, spots))
        return table
    if isinstance(value, list):
        items = [_node(item, (*path, i), spot, spots) for i, item in enumerate(value)]
        return Items(line, column, items)
    if isinstance(value, bool):
        return Scalar("true" if value else "false", Kind.BOOLEAN, line, column)
    if isinstance(value, int):
        # Python does not turn a number of thousands of digits into decimal text.
        shown = str(value) if abs(value) < 2**64 else hex(value)
        return Scalar(shown, Kind.INTEGER, line, column)
    if isinstance(value, _Float):
        return Scalar(str(value), Kind.NUMBER, line, column)
    if isinstance(value, str):
        return Scalar(value, Kind.TEXT, line, column)
    return Scalar(str(value), Kind.MOMENT, line, column)


def _spots(text: str) -> dict[_Path, _Spot]:
    """Line and column of every table header and every key at the start of a line."""
    spots: dict[_Path, _Spot] = {}
    counts: dict[_Path, int] = {}
    table: _Path = ()
    closing = ""
    for number, line in enumerate(text.split("\n"), 1):
        if closing:
            if closing in line:
                closing = ""
            continue
        if header := _HEADER.match(line):
            table = _open_table(_names(header[2]), header[1] == "[[", counts)
            spots.setdefault(table, (number, header.start(2) + 1))
        elif assignment := _ASSIGNMENT.match(line):
            path = (*table, *_names(assignment[1]))
            spots.setdefault(path, (number, assignment.start(1) + 1))
            value = line[assignment.end() :]
            for mark in ('"""', "'" * 3):
                if value.startswith(mark) and mark not in value[len(mark) :]:
                    closing = mark
    return spots


def _open_table(names: list[str], is_item: bool, counts: dict[_Path, int]) -> _Path:
    """The path of a header, where every array of tables on the way means its newest item."""
    path: _Path = ()
    for at, name in enumerate(names):
        path = (*path, name)
        if is_item and at == len(names) - 1:
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = (*path, counts[path] - 1)
    return path


def _names(keys: str) -> list[str]:
    return [name.strip("\"'") for name in _ONE.findall(keys)]
