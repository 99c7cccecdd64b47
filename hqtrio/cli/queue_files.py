"""Allocation queues as YAML files describe them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from hqtrio.cli.queue_options import (
    MANAGERS,
    ON_SERVER_LOST,
    params_of,
    read_backlog,
    read_node_hours,
    read_worker_count,
    read_workers,
)
from hqtrio.cli.worker_start import detectable
from hqtrio.errors import InputError
from hqtrio.jobfile.problems import Problems
from hqtrio.jobfile.reader import Reader
from hqtrio.jobfile.tree import Items, Node, Table
from hqtrio.jobfile.yamltext import read_yaml
from hqtrio.model.allocation import Manager, QueueParams
from hqtrio.model.resources import Pool
from hqtrio.units import parse_duration, parse_human_duration
from hqtrio.worker.definitions import parse_cpus, parse_resource

__all__ = ["queue_of", "read_queue"]

FILE_BYTES_MAX: Final = 1 << 20
_QUEUE: Final = (
    "manager", "name", "time_limit", "backlog", "max_workers_per_alloc", "max_worker_count",
    "max_node_hours", "min_utilization", "worker", "args",
)  # fmt: skip
_WORKER: Final = (
    "cpus", "resources", "coupling", "group", "no_hyper_threading", "detect_resources",
    "overview_interval", "idle_timeout", "on_server_lost", "time_limit", "start_cmd", "stop_cmd",
    "wrap_cmd", "program",
)  # fmt: skip


def read_queue(path: str) -> QueueParams:
    """The queue of a file; InputError with line and column of every mistake."""
    try:
        with open(path, "rb") as source:
            data = source.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise InputError(f"Cannot read {path}: it is larger than a queue can be")
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"Cannot read {path}: byte {error.start} is not UTF-8; save it as UTF-8"
        ) from None
    return queue_of(text, path)


def queue_of(text: str, path: str) -> QueueParams:
    """The queue that the text describes; `path` stands in errors."""
    problems = Problems(path)
    root = read_yaml(text, problems)
    if root is None:
        raise InputError(f"{path}: it is empty; a queue has at least `manager` and `time_limit`")
    reader = _QueueReader(Reader(problems, by_source=True))
    params = reader.queue(root)
    problems.settle()
    assert params is not None
    return params


class _QueueReader:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def queue(self, root: Node) -> QueueParams | None:
        """The queue, or None if something about it was noted."""
        reader = self._reader
        found = reader.table(root, "", _QUEUE)
        for name in ("manager", "time_limit"):
            if name not in found and isinstance(root, Table):
                reader.refuse(root, "", f"`{name}` is missing")
        values: dict[str, Any] = {}
        manager = Manager.SLURM
        for name, (_, node) in found.items():
            match name:
                case "manager":
                    manager = reader.choice(node, name, MANAGERS)
                case "name":
                    values[name] = reader.text(node, name)
                case "time_limit":
                    values["time_limit_s"] = reader.parsed(node, name, parse_duration, 1.0)
                case "backlog":
                    values[name] = reader.parsed(node, name, read_backlog, 1)
                case "max_workers_per_alloc":
                    values[name] = reader.parsed(node, name, read_workers, 1)
                case "max_worker_count":
                    values[name] = reader.parsed(node, name, read_worker_count, None)
                case "max_node_hours":
                    values[name] = reader.parsed(node, name, read_node_hours, None)
                case "min_utilization":
                    values[name] = self._fraction(node, name)
                case "worker":
                    values.update(self._worker(node))
                case "args":
                    values["manager_args"] = self._words(node, name)
        if reader.problems.total:
            return None
        # What does not go together is about the workers, by and large.
        path = "worker" if "worker" in found else ""
        at = found[path][0] if path else root
        return reader.converted(at, path, lambda: params_of(manager, values))

    def _fraction(self, node: Node, path: str) -> float:
        value = self._reader.number(node, path)
        if not 0.0 <= value <= 1.0:
            self._reader.refuse(node, path, "expected a number from 0.0 to 1.0")
        return value

    def _words(self, node: Node, path: str) -> tuple[str, ...]:
        """A list of words, or a text that a shell would split."""
        reader = self._reader
        if isinstance(node, Items):
            return tuple(reader.texts(node, path))
        try:
            return tuple(shlex.split(reader.text(node, path)))
        except ValueError as error:
            reader.refuse(node, path, f"{error}: it cannot be split into words".lower())
            return ()

    def _worker(self, root: Node) -> dict[str, Any]:
        reader, values = self._reader, dict[str, Any]()
        for name, (_, node) in reader.table(root, "worker", _WORKER).items():
            path = f"worker.{name}"
            match name:
                case "cpus":
                    values[name] = self._checked(node, path, parse_cpus)
                case "resources":
                    values[name] = self._resources(node, path)
                case "coupling" | "group":
                    values[name] = reader.text(node, path)
                case "no_hyper_threading":
                    values[name] = reader.boolean(node, path)
                case "detect_resources":
                    values["detect"] = self._detected(node, path)
                case "overview_interval":
                    interval = reader.parsed(node, path, parse_human_duration, 1.0)
                    values["overview_interval_s"] = interval
                case "idle_timeout":
                    values["idle_timeout_s"] = reader.parsed(node, path, parse_duration, 1.0)
                case "on_server_lost":
                    values[name] = reader.choice(node, path, ON_SERVER_LOST)
                case "time_limit":
                    values["worker_time_limit_s"] = reader.parsed(node, path, parse_duration, 1.0)
                case _:
                    values[f"worker_{name}"] = reader.text(node, path)
        return values

    def _resources(self, root: Node, path: str) -> tuple[str, ...]:
        """Definitions by name."""
        return tuple(
            f"{name}={self._checked(node, f'{path}.{name}', partial(_parse_pool, name))}"
            for name, (_, node) in self._reader.mapping(root, path).items()
        )

    def _detected(self, node: Node, path: str) -> str:
        """A word, or names in a list or between commas."""
        if not isinstance(node, Items):
            return self._checked(node, path, detectable)
        names = ",".join(self._reader.texts(node, path))
        self._reader.converted(node, path, partial(detectable, names))
        return names

    def _checked(self, node: Node, path: str, parse: Callable[[str], object]) -> str:
        """The text, which `parse` understands."""

        def read(text: str) -> str:
            parse(text)
            return text

        return self._reader.parsed(node, path, read, "")


def _parse_pool(name: str, definition: str) -> Pool:
    return parse_resource(f"{name}={definition}")
