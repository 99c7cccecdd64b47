"""Submits of any size in frames of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from msgspec.structs import replace

from hqtrio.errors import InputError
from hqtrio.messages.client import SubmitBegin, SubmitCommit, SubmitPart
from hqtrio.messages.columns import read_u64
from hqtrio.model.job import ArraySpec, GraphSpec, GraphTask, Submit
from hqtrio.model.matrix import Matrix
from hqtrio.model.task import TaskBody

T = TypeVar("T")

# Frames are refused above 1 MiB and aim at a quarter of that.
PART_BYTES: Final = 200 * 1024
BODIES_BYTES_MAX: Final = 900 * 1024
END_BYTES: Final = 8
TASK_BYTES: Final = 32  # a graph task without its needs, generously


def fits_one_frame(submit: Submit) -> bool:
    """Whether the submit can be sent in one message."""
    return _weight(submit) <= PART_BYTES


def parts_of(submit: Submit) -> Iterator[SubmitBegin | SubmitPart | SubmitCommit]:
    """The messages of a large submit, the commit last."""
    _check_bodies(submit)
    graph = None if submit.graph is None else GraphSpec((), (), (), ())
    bare = [replace(array, entries=b"", entry_ends=b"") for array in submit.arrays]
    first, *others = _by_weight(bare, _array_bytes) if bare else [()]
    yield SubmitBegin(replace(submit, arrays=first, graph=graph))
    # Arrays name earlier ones by index, and so do entries: those come after all arrays.
    for arrays in others:
        yield SubmitPart(submit.key, arrays=arrays)
    for at, array in enumerate(submit.arrays):
        yield from _entry_parts(submit.key, at, array)
    if submit.graph is not None:
        yield from _graph_parts(submit.key, submit.graph)
    yield SubmitCommit(submit.key)


def _entry_parts(key: bytes, at: int, array: ArraySpec) -> Iterator[SubmitPart]:
    ends = read_u64(array.entry_ends)
    first, start = 0, 0
    while first < len(ends):
        last = first
        while last < len(ends) and (
            last == first or ends[last] - start + END_BYTES * (last - first + 1) <= PART_BYTES
        ):
            last += 1
        if ends[last - 1] - start > BODIES_BYTES_MAX:
            raise InputError(
                f"Entry {first} has {ends[first] - start} bytes (at most {BODIES_BYTES_MAX}): "
                "put it into a file and give the file's name"
            )
        yield SubmitPart(
            key,
            at,
            array.entries[start : ends[last - 1]],
            array.entry_ends[first * END_BYTES : last * END_BYTES],
        )
        first, start = last, ends[last - 1]


def _graph_parts(key: bytes, graph: GraphSpec) -> Iterator[SubmitPart]:
    """Bodies, requests and settings travel before the tasks that name them."""
    for bodies in _by_weight(graph.bodies, body_bytes):
        yield SubmitPart(key, graph=GraphSpec(bodies, (), (), ()))
    yield SubmitPart(key, graph=GraphSpec((), graph.variants, graph.settings, ()))
    for tasks in _by_weight(graph.tasks, _task_bytes):
        yield SubmitPart(key, graph=GraphSpec((), (), (), tasks))


def _by_weight(items: Sequence[T], weight: Callable[[T], int]) -> Iterator[tuple[T, ...]]:
    chunk: list[T] = []
    room = PART_BYTES
    for item in items:
        size = weight(item)
        if chunk and size > room:
            yield tuple(chunk)
            chunk, room = [], PART_BYTES
        chunk.append(item)
        room -= size
    if chunk:
        yield tuple(chunk)


def body_bytes(body: TaskBody) -> int:
    """About how much room a body takes in a frame."""
    words = sum(len(arg) + 5 for arg in body.args)
    env = sum(len(name) + len(value) + 10 for name, value in body.env)
    fields = 0 if body.matrix is None else _matrix_bytes(body.matrix)
    return words + env + fields + len(body.stdin) + len(body.script) + 4 * len(body.cwd) + 200


def _matrix_bytes(matrix: Matrix) -> int:
    rows = [axis.values for axis in matrix.axes] + list(matrix.include)
    texts = sum(4 * len(text) + 5 for row in rows for text in row)
    return texts + 10 * len(matrix.axes) * (len(matrix.exclude) + 1)


def _array_bytes(array: ArraySpec) -> int:
    needs = 5 * (len(array.needs) + len(array.each))
    return body_bytes(array.body) + 20 * len(array.ranges) + needs + 4 * len(array.group) + 100


def _task_bytes(task: GraphTask) -> int:
    return TASK_BYTES + 5 * len(task.needs)


def _weight(submit: Submit) -> int:
    weight = 0
    for array in submit.arrays:
        weight += _array_bytes(array) + len(array.entries) + len(array.entry_ends)
    if submit.graph is not None:
        weight += sum(map(body_bytes, submit.graph.bodies))
        weight += sum(map(_task_bytes, submit.graph.tasks))
    return weight


def _check_bodies(submit: Submit) -> None:
    """Refuse what no frame can hold."""
    for array in submit.arrays:
        weight = _array_bytes(array)
        if weight > BODIES_BYTES_MAX:
            which = f"of `{array.group}`" if array.group else "of the submit"
            raise InputError(
                f"Command, environment, standard input, matrix and id ranges {which} take {weight}"
                f" bytes (at most {BODIES_BYTES_MAX}): put large inputs into files"
            )
    if submit.graph is not None:
        weights = list(map(body_bytes, submit.graph.bodies))
        for task in submit.graph.tasks:
            if weights[task.body] > BODIES_BYTES_MAX:
                raise InputError(
                    f"Command, environment and standard input of task {task.number} take "
                    f"{weights[task.body]} bytes (at most {BODIES_BYTES_MAX}): put large inputs "
                    "into files"
                )
