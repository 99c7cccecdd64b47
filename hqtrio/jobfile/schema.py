"""The JSON Schema of the native dialect, for editors that complete and check while one types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from hqtrio.jobfile.lists import ENTRY_FILES
from hqtrio.jobfile.native import NAME_PATTERN, WHEN
from hqtrio.jobfile.requests import NATIVE_KEYS
from hqtrio.jobfile.retry import RETRY_KEYS
from hqtrio.jobfile.spread import EXCLUDE, INCLUDE
from hqtrio.jobfile.task import ON_CLOSE, PINS

JsonValue = str | int | float | bool | None | Mapping[str, "JsonValue"] | Sequence["JsonValue"]
Json = dict[str, JsonValue]

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_SCALARS: Final[tuple[JsonValue, ...]] = ("string", "number", "boolean")
_SCALAR: Final[JsonValue] = list(_SCALARS)
_TEXTS: Final[Json] = {"type": "array", "items": {"type": _SCALAR}, "minItems": 1}
_DURATION_HINT: Final = "a duration: 90, 1:30:00, 500ms or 1h 30m"


def json_schema() -> Json:
    """What a native job file may hold. Placeholders, amounts and circles are `job check`'s."""
    task: Json = {"type": "object", "properties": _task(), "additionalProperties": False}
    named: Json = {
        **task,
        "properties": {"name": {"type": "string", "pattern": f"^{NAME_PATTERN}$"}, **_task()},
        "required": ["name"],
    }
    defaults: Json = {**task, "properties": _defaults()}
    return {
        "$schema": _DRAFT,
        "title": "hqtrio job file",
        "type": "object",
        "required": ["tasks"],
        "additionalProperties": False,
        "properties": {
            "name": _about("what the job is called (the file's stem)", {"type": _SCALAR}),
            "max_fails": _about("abort the rest when more tasks have failed", _whole(0)),
            "stream": _about("write outputs into few files of this directory", {"type": _SCALAR}),
            "defaults": _about("keys of every task that does not say otherwise", defaults),
            "tasks": _about(
                "groups of tasks by name",
                {
                    "anyOf": [
                        {
                            "type": "object",
                            "minProperties": 1,
                            "propertyNames": {"pattern": f"^{NAME_PATTERN}$"},
                            "additionalProperties": task,
                        },
                        {"type": "array", "minItems": 1, "items": named},
                    ]
                },
            ),
        },
    }


def _about(text: str, schema: Mapping[str, JsonValue]) -> Json:
    return {"description": text, **schema}


def _whole(minimum: int) -> Json:
    return {"type": "integer", "minimum": minimum}


def _words(words: Sequence[str]) -> Json:
    return {"enum": list(words)}


def _task() -> Json:
    return {**_defaults(), **_spread(), "needs": _about("groups that come before", _needs())}


def _defaults() -> Json:
    command: Json = {"anyOf": [{"type": "string", "minLength": 1}, _TEXTS]}
    output: Json = {
        "anyOf": [
            {"type": _SCALAR},
            {
                "type": "object",
                "properties": {"path": {"type": _SCALAR}, "on_close": _words(list(ON_CLOSE))},
                "additionalProperties": False,
            },
        ]
    }
    duration: Json = {"type": ["string", "number"]}
    variants: Json = {"type": "array", "minItems": 1, "maxItems": 32, "items": _request()}
    return {
        "command": _about("program and arguments; one text is split like a shell does", command),
        "script": _about("run by `shell` from a file", {"type": "string", "minLength": 1}),
        "shell": _about("what runs the script (bash -euo pipefail)", _TEXTS),
        "env": _about(
            "variables", {"type": "object", "additionalProperties": {"type": [*_SCALARS, "null"]}}
        ),
        "cwd": _about("working directory", {"type": _SCALAR}),
        "stdin": _about("what the program reads", {"type": _SCALAR}),
        "stdout": _about("file, or `none`", output),
        "stderr": _about("file, or `none`", output),
        "task_dir": _about("a private directory for each task", {"type": "boolean"}),
        "pin": _about("bind the task to its CPUs", _words(list(PINS))),
        "priority": _about("larger first", {"type": "integer"}),
        "time_limit": _about(_DURATION_HINT, duration),
        "crash_limit": _about(
            "how often it may lose its worker",
            {
                "anyOf": [
                    {"type": "integer", "minimum": 1, "maximum": 65_535},
                    _words(["never-restart", "unlimited"]),
                ]
            },
        ),
        "request": _about("resources, or alternatives in order", {"anyOf": [_request(), variants]}),
        "when": _about("start only after success, or however needs ended", _words(list(WHEN))),
        "retry": _about("repeat failed runs", {"anyOf": [_whole(0), _retry(duration)]}),
    }


def _request() -> Json:
    known: Json = {
        "nodes": _about("whole workers of one group", _whole(0)),
        "time": _about("minimal lifetime left to the worker", {"type": ["string", "number"]}),
        "weight": _about("how much it counts", {"type": "number", "exclusiveMinimum": 0}),
    }
    assert set(known) == NATIVE_KEYS, known
    return {
        "type": "object",
        "properties": known,
        "additionalProperties": _about(
            "an amount such as 2, 0.5, `4 compact!`, `16 GiB` or `all`",
            {"type": ["string", "number"]},
        ),
    }


def _retry(duration: Json) -> Json:
    kind: Json = {"type": ["string", "integer"]}
    properties: Json = {
        "times": _about("how often", _whole(0)),
        "on": _about(
            "exit codes, signals, timeout, any",
            {"anyOf": [kind, {"type": "array", "minItems": 1, "items": kind}]},
        ),
        "backoff": _about("pause before the first repetition", duration),
        "factor": _about("by which the pause grows", {"type": "number", "minimum": 1}),
        "max_backoff": _about("the longest pause", duration),
    }
    assert set(properties) == set(RETRY_KEYS), properties
    return {
        "type": "object",
        "properties": properties,
        "required": ["times"],
        "additionalProperties": False,
    }


def _needs() -> Json:
    return {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}},
            {"type": "object", "additionalProperties": _words(["all", "each"])},
        ]
    }


def _spread() -> Json:
    files: Json = {name: {"type": "string"} for name in ENTRY_FILES}
    values: Json = {
        "anyOf": [
            {"type": ["string", "integer"]},
            {"type": "array", "minItems": 1, "items": {"type": [*_SCALARS, "null"]}},
        ]
    }
    rows: Json = {"type": "array", "items": {"type": "object", "minProperties": 1}}
    return {
        "array": _about("ids such as 1-100 or 0-50:10", {"type": ["string", "integer"]}),
        "entries": _about(
            "one task per entry",
            {
                "anyOf": [
                    {"type": "array", "minItems": 1, "items": {"type": [*_SCALARS, "object"]}},
                    {
                        "type": "object",
                        "properties": files,
                        "additionalProperties": False,
                        "minProperties": 1,
                        "maxProperties": 1,
                    },
                ]
            },
        ),
        "matrix": _about(
            "one task per combination",
            {
                "type": "object",
                "minProperties": 1,
                "properties": {EXCLUDE: rows, INCLUDE: rows},
                "additionalProperties": values,
            },
        ),
    }
