"""YAML text to nodes.

The tree grows from parser events and not from PyYAML's composer, whose C code overflows the stack
on deep nesting and which reveals an alias bomb only when it has gone off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from hqtrio.jobfile.problems import Problems
from hqtrio.jobfile.tree import Items, Kind, Node, Scalar, Table, describe
from hqtrio.units import quote

if TYPE_CHECKING:
    import yaml

DEPTH_MAX: Final = 64
ALIAS_NODES_MAX: Final = 1_000_000  # nodes that aliases may add to any file ...
ALIAS_FACTOR: Final = 10  # ... and to a large one, as a multiple of its own nodes

_SYNTAX: Final = "Deserialization error: "
_TEXT_TAGS: Final = frozenset(["!", "tag:yaml.org,2002:str"])
_LIST_TAGS: Final = frozenset([None, "!", "tag:yaml.org,2002:seq"])
_TABLE_TAGS: Final = frozenset([None, "!", "tag:yaml.org,2002:map"])


@dataclass(slots=True)
class _Place:
    line: int
    column: int


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been seen."""

    node: Items | Table
    anchor: str | None
    nodes: int = 1  # with what aliases stand for
    has_key: bool = False
    key: Scalar | None = None  # None although has_key: refused, so the value is dropped
    merges: list[Node] = field(default_factory=list)


def read_yaml(text: str, problems: Problems) -> Node | None:
    """The only document of the text, or None if it is empty; gives up on broken syntax."""
    import yaml

    try:
        return _Builder(problems).build(yaml.parse(text, Loader=_loader()))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _Place(mark.line + 1, mark.column + 1) if mark else _Place(1, 1)
        parts = [part for part in (error.context, error.problem) if part]
        hint = ""
        if "cannot start any token" in (error.problem or ""):
            hint = "; quote a value that begins with %, @ or `, and indent with blanks, not tabs"
        problems.stop(place, "", f"{_SYNTAX}{', '.join(parts)}{hint}")
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", None) or str(error)
        at = _first_unprintable(text)
        problems.stop(at, "", f"{_SYNTAX}{quote(' '.join(str(reason).split()))}")


def _loader() -> type[yaml.SafeLoader]:
    import yaml

    return cast("type[yaml.SafeLoader]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _first_unprintable(text: str) -> _Place:
    """Where the first character stands that YAML does not allow."""
    line, column = 1, 1
    for char in text:
        if char == "\n":
            line, column = line + 1, 1
            continue
        if (char < " " and char not in "\t\r") or char in "\x7f\ufffe\uffff":
            return _Place(line, column)
        column += 1
    return _Place(1, 1)


class _Builder:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._open: list[_Open] = []
        self._root: Node | None = None
        self._documents = 0
        self._own_nodes = 0

    def build(self, events: Iterable[yaml.Event]) -> Node | None:
        import yaml

        for event in events:
            if isinstance(event, yaml.ScalarEvent):
                self._add(self._scalar(event), 1, event.anchor)
            elif isinstance(event, yaml.MappingStartEvent):
                place = self._start(event, _TABLE_TAGS)
                self._open.append(_Open(Table(place.line, place.column), event.anchor))
            elif isinstance(event, yaml.SequenceStartEvent):
                place = self._start(event, _LIST_TAGS)
                self._open.append(_Open(Items(place.line, place.column), event.anchor))
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                closed = self._open.pop()
                if isinstance(closed.node, Table):
                    self._merge(closed.node, closed.merges)
                self._add(closed.node, closed.nodes, closed.anchor)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    self._problems.stop(
                        _place(event), "", f"{_SYNTAX}a file holds one document, not several"
                    )
        return self._root

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        tag, mark = event.tag, event.start_mark
        assert mark is not None, event
        if tag is not None and tag not in _TEXT_TAGS:
            self._problems.add(
                _place(event), "", f"the tag {quote(str(tag))} is not supported; remove it"
            )
        kind = Kind.PLAIN if tag is None and event.implicit[0] else Kind.TEXT
        self._own_nodes += 1
        return Scalar(event.value, kind, mark.line + 1, mark.column + 1)

    def _start(self, event: yaml.CollectionStartEvent, tags: frozenset[str | None]) -> _Place:
        place = _place(event)
        if event.tag not in tags:
            self._problems.add(
                place, "", f"the tag {quote(str(event.tag))} is not supported; remove it"
            )
        if len(self._open) >= DEPTH_MAX:
            self._problems.stop(place, "", f"{_SYNTAX}nested deeper than {DEPTH_MAX} levels")
        self._own_nodes += 1
        return place

    def _alias(self, event: yaml.AliasEvent) -> None:
        name = event.anchor or ""
        known = self._anchors.get(name)
        if known is None:
            inside = any(frame.anchor == name for frame in self._open)
            what = "stands inside what it names" if inside else "is not defined above"
            self._problems.stop(_place(event), "", f"{_SYNTAX}the alias *{quote(name)} {what}")
        node, nodes = known
        allowed = ALIAS_NODES_MAX + (1 + ALIAS_FACTOR) * self._own_nodes
        if sum(frame.nodes for frame in self._open) + nodes > allowed:
            self._problems.stop(
                _place(event), "", f"aliases make the file too large (over {allowed} nodes)"
            )
        self._add(node, nodes, None)

    def _add(self, node: Node, nodes: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, nodes)
        if not self._open:
            self._root = node
            return
        frame = self._open[-1]
        frame.nodes += nodes
        if isinstance(frame.node, Items):
            frame.node.items.append(node)
        elif not frame.has_key:
            frame.key, frame.has_key = self._key(node), True
        else:
            self._entry(frame, frame.node, node)
            frame.has_key = False

    def _key(self, node: Node) -> Scalar | None:
        if isinstance(node, Scalar):
            return node
        self._problems.add(node, "", f"{_SYNTAX}a key must be text, got {describe(node)}")
        return None

    def _entry(self, frame: _Open, table: Table, node: Node) -> None:
        key = frame.key
        if key is None:
            return
        if key.text == "<<" and key.kind is Kind.PLAIN:
            frame.merges.append(node)
        elif (first := table.entries.get(key.text)) is not None:
            self._problems.add(
                key,
                "",
                f"{_SYNTAX}duplicate key '{quote(key.text)}' (first in line {first[0].line})",
            )
        else:
            table.entries[key.text] = (key, node)

    def _merge(self, table: Table, merges: list[Node]) -> None:
        """Add what `<<` names; own keys win, then the mapping named first."""
        for merge in merges:
            for source in merge.items if isinstance(merge, Items) else [merge]:
                if not isinstance(source, Table):
                    self._problems.add(
                        source, "", f"{_SYNTAX}<< needs a mapping, got {describe(source)}"
                    )
                    continue
                for name, entry in source.entries.items():
                    table.entries.setdefault(name, entry)


def _place(event: yaml.Event) -> _Place:
    mark = event.start_mark
    assert mark is not None, event
    return _Place(mark.line + 1, mark.column + 1)
