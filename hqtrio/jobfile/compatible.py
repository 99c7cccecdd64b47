"""The compatible dialect: HyperQueue's `task:` and `array:`."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from hqtrio.ids import MAX_NUMBER, IdArray, format_ids, parse_ids
from hqtrio.jobfile.entries import pack_entries
from hqtrio.jobfile.head import read_head, read_stream
from hqtrio.jobfile.order import find_cycle, sort_by_needs
from hqtrio.jobfile.reader import Reader
from hqtrio.jobfile.requests import read_compatible, refuse_pin
from hqtrio.jobfile.settings import Setting
from hqtrio.jobfile.task import BODY_KEYS, SETTINGS_KEYS, Keys, encode, read_body, read_settings
from hqtrio.jobfile.tree import Items, Node, Table
from hqtrio.model.job import ArraySpec, GraphSpec, GraphTask, Submit
from hqtrio.model.resources import ONE_CPU, Variants
from hqtrio.model.task import TaskBody, TaskSettings

TOP_KEYS: Final = frozenset(["array", "data_layer", "max_fails", "name", "stream", "task"])

_SHARED_KEYS: Final = BODY_KEYS | SETTINGS_KEYS | {"command", "request"}
_TASK_KEYS: Final = _SHARED_KEYS | {"deps", "id"}
_ARRAY_KEYS: Final = _SHARED_KEYS | {"entries", "ids"}

_SHOWN_MAX: Final = 20  # members of a circle

T = TypeVar("T", bound=Hashable)


class _Interned(Generic[T]):
    """Equal values once, in order of appearance."""

    def __init__(self) -> None:
        self._places: dict[T, int] = {}

    def place(self, value: T) -> int:
        return self._places.setdefault(value, len(self._places))

    def values(self) -> tuple[T, ...]:
        return tuple(self._places)


@dataclass(slots=True)
class _Task:
    path: str
    at: Node
    number: int | None
    body: int
    variants: int
    settings: int
    needs: list[tuple[int, Node]] = field(default_factory=list)


def read_compatible_job(reader: Reader, root: Node, setting: Setting) -> Submit:
    """The submit that the file asks for; problems are left with the reader."""
    keys = reader.table(root, "", TOP_KEYS)
    setting = read_stream(reader, keys, setting)
    head = read_head(reader, keys, setting, default_name="")
    if entry := keys.get("data_layer"):
        reader.boolean(entry[1], "data_layer")
    tasks = reader.items(keys["task"][1], "task") if "task" in keys else []
    if tasks and "array" in keys:
        reader.refuse(
            keys["array"][0], "", "Definition of array job and individual task cannot be mixed"
        )
    arrays: tuple[ArraySpec, ...] = ()
    graph = None
    if "array" in keys:
        arrays = (_array(reader, keys["array"][1], setting),)
    elif tasks:
        graph = _graph(reader, tasks, setting)
    else:
        reader.problems.settle()
        reader.refuse(keys["task"][1] if "task" in keys else root, "", "No tasks defined")
    reader.problems.settle()
    return Submit(
        key=setting.key,
        submit_dir=setting.submit_dir,
        head=None if setting.job else head,
        job=setting.job,
        arrays=arrays,
        graph=graph,
    )


def _content(
    reader: Reader, keys: Keys, at: Node, path: str, setting: Setting
) -> tuple[TaskBody, Variants, TaskSettings]:
    words: list[str] = []
    if entry := keys.get("command"):
        words = reader.texts(entry[1], f"{path}.command")
        if not words and isinstance(entry[1], Items):
            reader.refuse(entry[1], f"{path}.command", "No command arguments")
    elif isinstance(at, Table):
        reader.misshapen(at, path, "`command` is missing")
    body = read_body(reader, keys, path, setting, args=tuple(map(encode, words)))
    variants = ONE_CPU
    if entry := keys.get("request"):
        variants = read_compatible(reader, entry[1], f"{path}.request")
    refuse_pin(reader, keys, path, body.pin, variants)
    return body, variants, read_settings(reader, keys, path, setting)


# --- array


def _array(reader: Reader, node: Node, setting: Setting) -> ArraySpec:
    keys = reader.table(node, "array", _ARRAY_KEYS)
    body, variants, settings = _content(reader, keys, node, "array", setting)
    ids: IdArray | None = None
    entries: list[bytes] = []
    if entry := keys.get("ids"):
        ids = reader.parsed(entry[1], "array.ids", parse_ids, None)
    if entry := keys.get("entries"):
        entries = [encode(text) for text in reader.texts(entry[1], "array.entries")]
    if "ids" not in keys and not entries:
        reader.refuse(node, "array", "One of attributes of array must be defined: 'ids', 'entries'")
    if ids is not None and entries and len(entries) != ids.count:
        reader.refuse(
            keys["entries"][1],
            "array.entries",
            f"Items 'ids' and 'entries' does not match: {ids.count} ids ({format_ids(ids)}),"
            f" {len(entries)} entries",
        )
    blob, ends = pack_entries(entries)
    count = len(entries) if ids is None else ids.count
    ranges = ids.ranges if ids is not None else ()
    if ids is None and not setting.job:
        ranges = ((0, count, 1),)
    return ArraySpec(
        body=body,
        count=count,
        ranges=ranges,
        variants=variants,
        settings=settings,
        entries=blob,
        entry_ends=ends,
    )


# --- graph


def _graph(reader: Reader, nodes: list[Node], setting: Setting) -> GraphSpec:
    bodies: _Interned[TaskBody] = _Interned()
    requests: _Interned[Variants] = _Interned()
    settings: _Interned[TaskSettings] = _Interned()
    tasks = []
    for at, node in enumerate(nodes):
        path = f"task[{at}]"
        keys = reader.table(node, path, _TASK_KEYS)
        body, variants, setting_of_task = _content(reader, keys, node, path, setting)
        task = _Task(
            path,
            node,
            _number(reader, keys, path),
            bodies.place(body),
            requests.place(variants),
            settings.place(setting_of_task),
        )
        if entry := keys.get("deps"):
            for i, item in enumerate(reader.items(entry[1], f"{path}.deps")):
                need = reader.whole(item, f"{path}.deps[{i}]", minimum=0, maximum=MAX_NUMBER)
                task.needs.append((need, item))
        tasks.append(task)
    numbered = _numbered(reader, tasks)
    order = _order(reader, numbered, may_need_others=bool(setting.job))
    return GraphSpec(
        bodies=bodies.values(),
        variants=requests.values(),
        settings=settings.values(),
        tasks=tuple(_graph_task(number, numbered[number]) for number in order),
    )


def _graph_task(number: int, task: _Task) -> GraphTask:
    needs = tuple(dict.fromkeys(need for need, _ in task.needs))
    return GraphTask(number, task.body, task.variants, task.settings, needs)


def _number(reader: Reader, keys: Keys, path: str) -> int | None:
    entry = keys.get("id")
    if entry is None:
        return None
    return reader.whole(entry[1], f"{path}.id", minimum=0, maximum=MAX_NUMBER)


def _numbered(reader: Reader, tasks: list[_Task]) -> dict[int, _Task]:
    """The tasks by number; those without one follow the largest that was given."""
    free = max((task.number for task in tasks if task.number is not None), default=0) + 1
    numbered: dict[int, _Task] = {}
    for task in tasks:
        number = task.number
        if number is None:
            number, free = free, free + 1
        if number in numbered:
            reader.refuse(task.at, f"{task.path}.id", f"Task {number} is defined multiple times")
        elif number > MAX_NUMBER:
            reader.refuse(task.at, task.path, f"no number is left for it (at most {MAX_NUMBER})")
        else:
            numbered[number] = task
    return numbered


def _order(reader: Reader, tasks: dict[int, _Task], *, may_need_others: bool) -> list[int]:
    """The numbers, each behind those it needs; in an open job some may be there already."""
    graph = {number: [need for need, _ in task.needs] for number, task in tasks.items()}
    for number, task in tasks.items():
        for i, (need, at) in enumerate(task.needs):
            if need not in tasks and not may_need_others:
                reader.refuse(
                    at,
                    f"{task.path}.deps[{i}]",
                    f"{_bad_dependencies(number)} (this file has no task {need})",
                )
    circle = find_cycle(graph)
    if circle:
        task = tasks[circle[0]]
        i, at = next((i, at) for i, (need, at) in enumerate(task.needs) if need == circle[1])
        shown = " -> ".join(map(str, circle[:_SHOWN_MAX])) + " ..." * (len(circle) > _SHOWN_MAX)
        reader.refuse(at, f"{task.path}.deps[{i}]", f"{_bad_dependencies(circle[0])} ({shown})")
    return sort_by_needs(graph)


def _bad_dependencies(number: int) -> str:
    return f"Task {number} is part of dependency cycle or has an invalid dependencies"
