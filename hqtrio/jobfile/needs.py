"""`needs`: which groups wait for which others, as a whole or task by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hqtrio.jobfile.order import find_cycle
from hqtrio.jobfile.reader import Reader
from hqtrio.jobfile.task import Keys
from hqtrio.jobfile.tree import Items, Kind, Node, Scalar, Table
from hqtrio.units import quote

_SCOPES: Final = {"all": False, "each": True}


@dataclass(frozen=True, slots=True)
class Need:
    """A group that is needed, and where that is said."""

    name: str
    at: Node
    path: str
    is_each: bool = False


class Needy(Protocol):
    """A group as far as its needs are concerned."""

    @property
    def needs(self) -> Sequence[Need]: ...


def read_needs(reader: Reader, keys: Keys, path: str) -> list[Need]:
    """A name, a list of names, or a mapping from names to `all` or `each`."""
    entry = keys.get("needs")
    if entry is None:
        return []
    node, inner = entry[1], f"{path}.needs"
    match node:
        case Scalar():
            return [Need(reader.text(node, inner), node, inner)]
        case Items(items=items):
            paths = [f"{inner}[{i}]" for i in range(len(items))]
            return [
                Need(reader.text(item, at), item, at) for item, at in zip(items, paths, strict=True)
            ]
        case Table():
            return [
                Need(name, key, f"{inner}.{name}", reader.choice(value, f"{inner}.{name}", _SCOPES))
                for name, (key, value) in node.entries.items()
            ]


def settle_needs(reader: Reader, groups: Mapping[str, Needy]) -> bool:
    """Note needs of groups that do not exist, and circles; whether there were no circles."""
    graph: dict[str, list[str]] = {}
    for name, group in groups.items():
        graph[name] = []
        for need in group.needs:
            if need.name in groups:
                graph[name].append(need.name)
            elif not (isinstance(need.at, Scalar) and need.at.kind is Kind.NULL):
                text = f"no task is called `{quote(need.name)}`{reader.suggest(need.name, groups)}"
                reader.refuse(need.at, need.path, text)
    circle = find_cycle(graph)
    if not circle:
        return True
    needs = groups[circle[0]].needs
    need = next(need for need in needs if need.name == circle[1])
    text = f"the tasks need each other: {' -> '.join(circle)}"
    reader.refuse(need.at, need.path, text)
    return False
