"""The native dialect: named groups of tasks that need each other."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from hqtrio import placeholders
from hqtrio.errors import InputError
from hqtrio.ids import MAX_NUMBER
from hqtrio.jobfile.entries import pack_entries
from hqtrio.jobfile.head import read_head, read_stream, stem
from hqtrio.jobfile.needs import Need, read_needs, settle_needs
from hqtrio.jobfile.order import sort_by_needs
from hqtrio.jobfile.reader import Reader
from hqtrio.jobfile.requests import read_native, refuse_pin
from hqtrio.jobfile.retry import read_retry
from hqtrio.jobfile.settings import Setting
from hqtrio.jobfile.spread import SPREAD_KEYS, Spread, read_spread
from hqtrio.jobfile.task import (
    BODY_KEYS,
    PATH_NAMES,
    SETTINGS_KEYS,
    Keys,
    Names,
    check_placeholders,
    encode,
    read_body,
    read_settings,
)
from hqtrio.jobfile.tree import Items, Node, Scalar, Table
from hqtrio.model.fields import field_names
from hqtrio.model.job import ArraySpec, Submit
from hqtrio.model.resources import ONE_CPU, Variants
from hqtrio.model.task import TaskBody, TaskSettings
from hqtrio.units import quote

TOP_KEYS: Final = frozenset(["defaults", "max_fails", "name", "stream", "tasks"])

DEFAULT_KEYS: Final = (
    BODY_KEYS | SETTINGS_KEYS | {"command", "request", "retry", "script", "shell", "when"}
)
TASK_KEYS: Final = DEFAULT_KEYS | {"needs", *SPREAD_KEYS}
WHEN: Final = {"success": False, "always": True}
NAME_PATTERN: Final = "[A-Za-z][A-Za-z0-9_.-]*"

_MERGED_KEYS: Final = ("env", "request")
_SHELL: Final = ("bash", "-euo", "pipefail")
_NAME: Final = re.compile(NAME_PATTERN)


@dataclass(slots=True)
class _Group:
    """One entry of `tasks`; what its tasks run is read when it is known how many there are."""

    name: str
    path: str
    at: Node
    keys: Keys
    spread: Spread | None
    needs: list[Need]
    body: TaskBody | None = None
    variants: Variants = ONE_CPU
    settings: TaskSettings = field(default_factory=TaskSettings)
    always: bool = False

    @property
    def tasks(self) -> Spread:
        """What tells its tasks apart; a group that says nothing is one task."""
        return self.spread or Spread()


def read_native_job(reader: Reader, root: Node, setting: Setting) -> Submit:
    """The submit that the file asks for; problems are left with the reader."""
    keys = reader.table(root, "", TOP_KEYS)
    setting = read_stream(reader, keys, setting)
    head = read_head(reader, keys, setting, default_name=stem(setting.filename))
    defaults = _defaults(reader, keys, setting)
    groups = _groups(reader, keys, defaults, setting) if "tasks" in keys else {}
    if not groups:
        reader.problems.settle()
        reader.refuse(keys["tasks"][1] if "tasks" in keys else root, "tasks", "No tasks defined")
    if settle_needs(reader, groups):
        _pair(reader, groups)
    for group in groups.values():
        _fill(reader, group, setting)
    if groups and sum(group.tasks.count for group in groups.values()) > MAX_NUMBER + 1:
        last = list(groups.values())[-1]
        reader.refuse(last.at, "tasks", "a job holds at most 2^32 tasks")
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
    keys = reader.table(entry[1], "defaults", TASK_KEYS)
    found = {name: named for name, named in keys.items() if name in DEFAULT_KEYS}
    for name, (key, _) in keys.items():
        if name not in found:
            reader.refuse(key, f"defaults.{name}", f"`{name}` belongs to a task; move it there")
    read_body(reader, found, "defaults", setting, args=(), names=None)
    _settings(reader, found, "defaults", setting)
    _request(reader, found, "defaults")
    if "command" in found and "script" in found:
        _both(reader, found, "defaults")
    if "command" in found or "script" in found:
        _command(reader, found, "defaults", None)
    return found


def _groups(reader: Reader, keys: Keys, defaults: Keys, setting: Setting) -> dict[str, _Group]:
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
    return groups


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
    own = reader.table(value, path, TASK_KEYS)
    if "command" in own and "script" in own:
        _both(reader, own, path)
    keys = _with_defaults(own, defaults)
    if "command" not in keys and "script" not in keys and isinstance(value, Table):
        reader.misshapen(at, path, "`command` or `script` is missing")
    if "shell" in own and "script" not in keys:
        reader.refuse(own["shell"][0], f"{path}.shell", "`shell` is for a `script`; add one")
    spread = read_spread(reader, keys, path, setting)
    return _Group(name, path, at, keys, spread, read_needs(reader, keys, path))


def _fill(reader: Reader, group: _Group, setting: Setting) -> None:
    """Read what the group's tasks run, now that the names of their fields are known."""
    keys, path, spread = group.keys, group.path, group.tasks
    names = (*PATH_NAMES, *spread.fields)
    args, script = _command(reader, keys, path, names)
    body = read_body(reader, keys, path, setting, args=args, script=script, names=names)
    group.variants = _request(reader, keys, path)
    refuse_pin(reader, keys, path, body.pin, group.variants)
    group.settings = _settings(reader, keys, path, setting)
    if entry := keys.get("when"):
        group.always = reader.choice(entry[1], f"{path}.when", WHEN)
    filled, in_paths = _used(body)
    fields = tuple(name for name in spread.fields if name in filled | in_paths)
    for name in fields:
        _refuse_missing(reader, group, name)
    group.body = replace(body, fields=fields, fills=bool(filled), matrix=spread.matrix)


def _used(body: TaskBody) -> tuple[set[str], set[str]]:
    """The names of all placeholders in what the program gets, and in paths."""
    data = [*body.args, *(value for _, value in body.env), body.stdin]
    texts = [text.decode("utf-8", "surrogateescape") for text in data if b"%{" in text]
    paths = [body.cwd, body.stdout.path or "", body.stderr.path or ""]
    return _names(texts), _names(paths)


def _names(texts: list[str]) -> set[str]:
    return {name for text in texts for name in placeholders.names(text)}


def _refuse_missing(reader: Reader, group: _Group, name: str) -> None:
    """Note that some entries lack a field that the task uses."""
    entries = group.tasks.entries
    if entries.fields.get(name, len(entries.items)) == len(entries.items):
        return
    for place, item in enumerate(entries.items):
        if name not in field_names(item):
            at = group.keys["entries"][1] if "entries" in group.keys else group.at
            text = f"entry {place} has no `{name}`, which the task uses as %{{{name}}}"
            reader.refuse(at, f"{group.path}.entries", text)
            return


def _pair(reader: Reader, groups: dict[str, _Group]) -> None:
    """Give groups that need each task of another its entries; note pairs of different size."""
    order = sort_by_needs({name: [n.name for n in g.needs] for name, g in groups.items()})
    for group in (groups[name] for name in order):
        for need in group.needs:
            other = groups.get(need.name)
            if not need.is_each or other is None:
                continue
            if group.spread is None:
                theirs = other.tasks
                group.spread = Spread(theirs.count, None, theirs.entries, theirs.matrix)
            elif group.spread.count != other.tasks.count:
                text = (
                    f"`each` needs groups of one size: {group.name} has {group.spread.count} tasks"
                    f" and {other.name} has {other.tasks.count}"
                )
                reader.refuse(need.at, need.path, text)


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


def _command(
    reader: Reader, keys: Keys, path: str, names: Names
) -> tuple[tuple[bytes, ...], bytes]:
    """Command words and nothing, or the shell's words and a script."""
    if entry := keys.get("command"):
        node, inner = entry[1], f"{path}.command"
        if isinstance(node, Items):
            words = _words(reader, node, inner, names)
        else:
            words = _split(reader, node, inner)
            for word in words:
                check_placeholders(reader, node, inner, word, names)
        if isinstance(node, Items | Scalar) and not words:
            reader.refuse(node, inner, "No command arguments")
        return tuple(map(encode, words)), b""
    if entry := keys.get("script"):
        script = encode(reader.text(entry[1], f"{path}.script"))
        if not script.strip():
            reader.refuse(entry[1], f"{path}.script", "the script is empty")
        return _shell(reader, keys, path, names), script
    return (), b""


def _words(reader: Reader, node: Node, path: str, names: Names) -> list[str]:
    words = reader.texts(node, path)
    for at, (word, item) in enumerate(zip(words, reader.items(node, path), strict=True)):
        check_placeholders(reader, item, f"{path}[{at}]", word, names)
    return words


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


def _shell(reader: Reader, keys: Keys, path: str, names: Names) -> tuple[bytes, ...]:
    entry = keys.get("shell")
    if entry is None:
        return tuple(map(encode, _SHELL))
    if not isinstance(entry[1], Items):
        reader.items(entry[1], f"{path}.shell")
        return ()
    words = _words(reader, entry[1], f"{path}.shell", names)
    if not words:
        reader.refuse(entry[1], f"{path}.shell", "the list is empty; the default is bash")
    return tuple(map(encode, words))


def _request(reader: Reader, keys: Keys, path: str) -> Variants:
    entry = keys.get("request")
    return read_native(reader, entry[1], f"{path}.request") if entry else ONE_CPU


def _settings(reader: Reader, keys: Keys, path: str, setting: Setting) -> TaskSettings:
    settings = read_settings(reader, keys, path, setting)
    if entry := keys.get("retry"):
        return replace(settings, retry=read_retry(reader, entry[1], f"{path}.retry"))
    return settings


# --- the submit


def _arrays(groups: dict[str, _Group], *, numbered: bool) -> tuple[ArraySpec, ...]:
    """The groups, each behind those that it needs."""
    ranges: dict[str, tuple[tuple[int, int, int], ...]] = {}
    first = 0
    for group in groups.values():
        if len(groups) == 1 and group.tasks.ids is not None:
            ranges[group.name] = group.tasks.ids.ranges
        elif numbered:
            ranges[group.name] = ((first, group.tasks.count, 1),)
        first += group.tasks.count
    order = sort_by_needs({name: [n.name for n in g.needs] for name, g in groups.items()})
    places = {name: place for place, name in enumerate(order)}
    packed: dict[int, tuple[bytes, bytes]] = {}
    arrays = []
    for group in (groups[name] for name in order):
        assert group.body is not None, group.name
        entries = group.tasks.entries
        if id(entries) not in packed:
            packed[id(entries)] = pack_entries(entries.items)
        blob, ends = packed[id(entries)]
        arrays.append(
            ArraySpec(
                body=group.body,
                count=group.tasks.count,
                ranges=ranges.get(group.name, ()),
                variants=group.variants,
                settings=group.settings,
                entries=blob,
                entry_ends=ends,
                group=group.name,
                needs=tuple(sorted({places[n.name] for n in group.needs if not n.is_each})),
                each=tuple(sorted({places[n.name] for n in group.needs if n.is_each})),
                always=group.always and bool(group.needs),
            )
        )
    return tuple(arrays)
