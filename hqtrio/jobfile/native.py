"""The native dialect: named groups of tasks that need each other."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from hqtrio.errors import InputError
from hqtrio.ids import MAX_NUMBER, IdArray, parse_ids
from hqtrio.jobfile.entries import pack_entries
from hqtrio.jobfile.head import read_head, stem
from hqtrio.jobfile.order import find_cycle, sort_by_needs
from hqtrio.jobfile.reader import Reader
from hqtrio.jobfile.requests import read_native, refuse_pin
from hqtrio.jobfile.settings import Setting
from hqtrio.jobfile.task import BODY_KEYS, SETTINGS_KEYS, Keys, encode, read_body, read_settings
from hqtrio.jobfile.tree import Items, Kind, Node, Scalar, Table
from hqtrio.model.job import ArraySpec, Submit
from hqtrio.model.resources import ONE_CPU, Variants
from hqtrio.model.task import TaskBody, TaskSettings
from hqtrio.units import quote

TOP_KEYS: Final = frozenset(["defaults", "max_fails", "name", "tasks"])
LATER_TOP_KEYS: Final = frozenset(["stream"])

_SHARED_KEYS: Final = BODY_KEYS | SETTINGS_KEYS | {"command", "request", "script", "shell"}
_TASK_KEYS: Final = _SHARED_KEYS | {"array", "entries", "needs"}
_LATER_KEYS: Final = frozenset(["matrix", "retry", "when"])
_MERGED_KEYS: Final = ("env", "request")
_SHELL: Final = ("bash", "-euo", "pipefail")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


@dataclass(slots=True)
class _Group:
    """One entry of `tasks`, read but not yet put into order."""

    name: str
    path: str
    at: Node
    body: TaskBody
    variants: Variants
    settings: TaskSettings
    ids: IdArray | None
    entries: list[bytes]
    needs: list[tuple[str, Node, str]]

    @property
    def count(self) -> int:
        if self.ids is not None:
            return self.ids.count
        return len(self.entries) or 1


def read_native_job(reader: Reader, root: Node, setting: Setting) -> Submit:
    """The submit that the file asks for; problems are left with the reader."""
    keys = reader.table(root, "", TOP_KEYS, later=LATER_TOP_KEYS)
    head = read_head(reader, keys, setting, default_name=stem(setting.filename))
    defaults = _defaults(reader, keys, setting)
    groups = _groups(reader, keys, defaults, setting) if "tasks" in keys else []
    if not groups:
        reader.problems.settle()
        reader.refuse(keys["tasks"][1] if "tasks" in keys else root, "tasks", "No tasks defined")
    _settle_needs(reader, groups)
    if groups and sum(group.count for group in groups) > MAX_NUMBER + 1:
        reader.refuse(groups[-1].at, "tasks", "a job holds at most 2^32 tasks")
    reader.problems.settle()
    return Submit(
        key=setting.key,
        submit_dir=setting.submit_dir,
        head=None if setting.job else head,
        job=setting.job,
        arrays=_arrays(groups, numbered=not setting.job),
    )


# --- tasks


def _defaults(reader: Reader, keys: Keys, setting: Setting) -> Keys:
    """The default keys, checked where they stand even if every task replaces them."""
    entry = keys.get("defaults")
    if entry is None:
        return {}
    keys = reader.table(entry[1], "defaults", _TASK_KEYS, later=_LATER_KEYS)
    found = {name: named for name, named in keys.items() if name in _SHARED_KEYS}
    for name, (key, _) in keys.items():
        if name not in found:
            reader.refuse(key, f"defaults.{name}", f"`{name}` belongs to a task; move it there")
    read_body(reader, found, "defaults", setting, args=())
    read_settings(reader, found, "defaults", setting)
    _request(reader, found, "defaults")
    if "command" in found and "script" in found:
        _both(reader, found, "defaults")
    if "command" in found or "script" in found:
        _command(reader, found, "defaults")
    return found


def _groups(reader: Reader, keys: Keys, defaults: Keys, setting: Setting) -> list[_Group]:
    node = keys["tasks"][1]
    groups: dict[str, _Group] = {}
    if isinstance(node, Items):
        named = [_listed(reader, item, f"tasks[{i}]") for i, item in enumerate(node.items)]
    else:
        named = [(key.text, key, value) for key, value in reader.mapping(node, "tasks").values()]
    for name, at, value in named:
        path = f"tasks.{name}" if _NAME.fullmatch(name) else "tasks"
        if path == "tasks":
            if name:
                reader.refuse(
                    at,
                    path,
                    f"'{quote(name)}' is not a name: a letter, then letters, digits, _, - or .",
                )
            continue
        if name in groups:
            reader.refuse(at, path, f"the name `{name}` is taken by another task")
            continue
        groups[name] = _group(reader, name, path, (at, value), defaults, setting)
    return list(groups.values())


def _listed(reader: Reader, item: Node, path: str) -> tuple[str, Node, Node]:
    """Name, place of the name and body of a task in a list."""
    entry = reader.mapping(item, path).get("name")
    if entry is None:
        if isinstance(item, Table):
            reader.misshapen(item, path, "`name` is missing")
        return "", item, item
    rest = {name: value for name, value in reader.mapping(item, path).items() if name != "name"}
    return reader.text(entry[1], f"{path}.name"), entry[1], Table(item.line, item.column, rest)


def _group(
    reader: Reader,
    name: str,
    path: str,
    named: tuple[Node, Node],
    defaults: Keys,
    setting: Setting,
) -> _Group:
    at, value = named
    own = reader.table(value, path, _TASK_KEYS, later=_LATER_KEYS)
    if "command" in own and "script" in own:
        _both(reader, own, path)
    keys = _with_defaults(own, defaults)
    if "command" not in keys and "script" not in keys and isinstance(value, Table):
        reader.misshapen(at, path, "`command` or `script` is missing")
    if "shell" in own and "script" not in keys:
        reader.refuse(own["shell"][0], f"{path}.shell", "`shell` is for a `script`; add one")
    args, script = _command(reader, keys, path)
    body = read_body(reader, keys, path, setting, args=args, script=script)
    variants = _request(reader, keys, path)
    refuse_pin(reader, keys, path, body.pin, variants)
    return _Group(
        name,
        path,
        at,
        body,
        variants,
        read_settings(reader, keys, path, setting),
        _ids(reader, keys, path),
        _entries(reader, keys, path),
        _needs(reader, keys, path),
    )


def _both(reader: Reader, keys: Keys, path: str) -> None:
    reader.refuse(keys["script"][0], f"{path}.script", "give either `command` or `script`")


def _with_defaults(own: Keys, defaults: Keys) -> Keys:
    """The task's keys over the defaults; env and request are merged key by key."""
    keys = {**defaults, **own}
    for one, other in (("command", "script"), ("script", "command")):
        if one in own and other not in own:
            keys.pop(other, None)
    for name in _MERGED_KEYS:
        if name in own and name in defaults:
            keys[name] = (own[name][0], _over(own[name][1], defaults[name][1]))
    return keys


def _over(node: Node, default: Node) -> Node:
    if not isinstance(default, Table):
        return node
    if isinstance(node, Items):
        return Items(node.line, node.column, [_over(item, default) for item in node.items])
    if isinstance(node, Table):
        return Table(node.line, node.column, {**default.entries, **node.entries})
    return node


# --- keys of a task


def _command(reader: Reader, keys: Keys, path: str) -> tuple[tuple[bytes, ...], bytes]:
    """Command words and nothing, or the shell's words and a script."""
    if entry := keys.get("command"):
        node, inner = entry[1], f"{path}.command"
        words = (
            reader.texts(node, inner) if isinstance(node, Items) else _split(reader, node, inner)
        )
        if isinstance(node, Items | Scalar) and not words:
            reader.refuse(node, inner, "No command arguments")
        return tuple(map(encode, words)), b""
    if entry := keys.get("script"):
        script = encode(reader.text(entry[1], f"{path}.script"))
        if not script.strip():
            reader.refuse(entry[1], f"{path}.script", "the script is empty")
        return _shell(reader, keys, path), script
    return (), b""


def _split(reader: Reader, node: Node, path: str) -> list[str]:
    def split(text: str) -> list[str]:
        try:
            return shlex.split(text)
        except ValueError as error:
            reason = str(error).lower()
            raise InputError(
                f"cannot split into words: {reason}; quote it, or give a list"
            ) from error

    if not isinstance(node, Scalar):
        reader.misshapen(node, path, "expected a list of text, or one text, got a mapping")
        return []
    return reader.parsed(node, path, split, ["?"])


def _shell(reader: Reader, keys: Keys, path: str) -> tuple[bytes, ...]:
    entry = keys.get("shell")
    if entry is None:
        return tuple(map(encode, _SHELL))
    words = reader.texts(entry[1], f"{path}.shell")
    if not words and isinstance(entry[1], Items):
        reader.refuse(entry[1], f"{path}.shell", "the list is empty; the default is bash")
    return tuple(map(encode, words))


def _request(reader: Reader, keys: Keys, path: str) -> Variants:
    entry = keys.get("request")
    return read_native(reader, entry[1], f"{path}.request") if entry else ONE_CPU


def _ids(reader: Reader, keys: Keys, path: str) -> IdArray | None:
    entry = keys.get("array")
    if entry is None:
        return None
    if "entries" in keys:
        reader.refuse(
            keys["entries"][0], f"{path}.entries", "give at most one of `array` and `entries`"
        )
    return reader.parsed(entry[1], f"{path}.array", parse_ids, None)


def _entries(reader: Reader, keys: Keys, path: str) -> list[bytes]:
    entry = keys.get("entries")
    if entry is None:
        return []
    node, inner = entry[1], f"{path}.entries"
    if isinstance(node, Table):
        reader.refuse(
            node, inner, "entries from a file are not available in this version; list them here"
        )
        return []
    nodes = reader.items(node, inner)
    if not nodes and isinstance(node, Items):
        reader.refuse(node, inner, "the list is empty, so there would be no task")
    found = []
    for at, item in enumerate(nodes):
        if isinstance(item, Table):
            reader.refuse(
                item,
                f"{inner}[{at}]",
                "mappings as entries are not available in this version; use text",
            )
        else:
            found.append(encode(reader.text(item, f"{inner}[{at}]")))
    return found


# --- needs


def _needs(reader: Reader, keys: Keys, path: str) -> list[tuple[str, Node, str]]:
    """Names of the groups needed, where each was named, and its path."""
    entry = keys.get("needs")
    if entry is None:
        return []
    node, inner = entry[1], f"{path}.needs"
    match node:
        case Scalar():
            return [(reader.text(node, inner), node, inner)]
        case Items(items=items):
            paths = [f"{inner}[{i}]" for i in range(len(items))]
            return [
                (reader.text(item, at), item, at) for item, at in zip(items, paths, strict=True)
            ]
        case Table():
            return _needs_by_mode(reader, node, inner)


def _needs_by_mode(reader: Reader, node: Table, path: str) -> list[tuple[str, Node, str]]:
    found: list[tuple[str, Node, str]] = []
    for name, (key, value) in node.entries.items():
        inner = f"{path}.{name}"
        if isinstance(value, Scalar) and value.text == "each":
            reader.refuse(
                value, inner, "`each` is not available in this version; `all` waits for every task"
            )
        else:
            reader.choice(value, inner, {"all": True})
        found.append((name, key, inner))
    return found


def _settle_needs(reader: Reader, groups: list[_Group]) -> None:
    """Note needs of groups that do not exist, and circles of groups that wait for each other."""
    names = {group.name for group in groups}
    graph: dict[str, list[str]] = {}
    for group in groups:
        graph[group.name] = []
        for name, at, path in group.needs:
            if name in names:
                graph[group.name].append(name)
            elif not (isinstance(at, Scalar) and at.kind is Kind.NULL):
                reader.refuse(
                    at, path, f"no task is called `{quote(name)}`{reader.suggest(name, names)}"
                )
    circle = find_cycle(graph)
    if circle:
        first = next(group for group in groups if group.name == circle[0])
        at, path = next((at, path) for name, at, path in first.needs if name == circle[1])
        reader.refuse(at, path, f"the tasks need each other: {' -> '.join(circle)}")


def _arrays(groups: list[_Group], *, numbered: bool) -> tuple[ArraySpec, ...]:
    """The groups, each behind those that it needs."""
    ranges: dict[str, tuple[tuple[int, int, int], ...]] = {}
    first = 0
    for group in groups:
        if len(groups) == 1 and group.ids is not None:
            ranges[group.name] = group.ids.ranges
        elif numbered:
            ranges[group.name] = ((first, group.count, 1),)
        first += group.count
    by_name = {group.name: group for group in groups}
    order = sort_by_needs({g.name: [name for name, _, _ in g.needs] for g in groups})
    places = {name: place for place, name in enumerate(order)}
    return tuple(
        _array(by_name[name], ranges.get(name, ()), _places(by_name[name], places))
        for name in order
    )


def _places(group: _Group, places: dict[str, int]) -> tuple[int, ...]:
    return tuple(sorted({places[name] for name, _, _ in group.needs}))


def _array(
    group: _Group, ranges: Collection[tuple[int, int, int]], needs: tuple[int, ...]
) -> ArraySpec:
    blob, ends = pack_entries(group.entries)
    return ArraySpec(
        body=group.body,
        count=group.count,
        ranges=tuple(ranges),
        variants=group.variants,
        settings=group.settings,
        entries=blob,
        entry_ends=ends,
        group=group.name,
        needs=needs,
    )
