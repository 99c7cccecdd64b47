"""What the tasks of both dialects have in common: body, outputs, limits."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Final

from hqtrio import placeholders
from hqtrio.errors import InputError
from hqtrio.jobfile.reader import Reader
from hqtrio.jobfile.settings import Setting
from hqtrio.jobfile.tree import Kind, Node, Scalar, Table, resolve
from hqtrio.model.matrix import check_field_name
from hqtrio.model.task import (
    DEFAULT_CRASH_LIMIT,
    NEVER_RESTART,
    UNLIMITED,
    PinMode,
    Stdio,
    TaskBody,
    TaskSettings,
)
from hqtrio.units import parse_duration, parse_human_duration, parse_integer, quote

Keys = dict[str, tuple[Scalar, Node]]
Names = Collection[str] | None

BODY_KEYS: Final = frozenset(
    ["cwd", "env", "pin", "stderr", "stdin", "stdout", "task_dir", "time_limit"]
)
SETTINGS_KEYS: Final = frozenset(["crash_limit", "priority"])

DEFAULT_CWD: Final = "%{SUBMIT_DIR}"
DEFAULT_OUTPUT: Final = "%{CWD}/job-%{JOB_ID}/%{TASK_ID}"

PATH_NAMES: Final = ("JOB_ID", "TASK_ID", "INSTANCE_ID", "SUBMIT_DIR", "SERVER_UID", "CWD")
PINS: Final = {"none": PinMode.NONE, "taskset": PinMode.TASKSET, "omp": PinMode.OMP}
ON_CLOSE: Final = {"none": False, "rm-if-finished": True}
_CRASH_WORDS: Final = {"never-restart": NEVER_RESTART, "unlimited": UNLIMITED}
_CRASH_MAX: Final = 65_535
_PRIORITY_MAX: Final = 2**31 - 1


def read_body(
    reader: Reader,
    keys: Keys,
    path: str,
    setting: Setting,
    *,
    args: tuple[bytes, ...],
    script: bytes = b"",
    names: Names = PATH_NAMES,
) -> TaskBody:
    """The body made of the keys; `args` is the command, or the shell of a script.

    `names` may be used as placeholders; None: nobody knows yet which.
    """
    return TaskBody(
        args=args,
        env=_env(reader, keys, path, names),
        cwd=_cwd(reader, keys, path, names),
        stdout=_stdio(reader, keys, path, "stdout", names, setting),
        stderr=_stdio(reader, keys, path, "stderr", names, setting),
        submit_dir=setting.submit_dir,
        stdin=encode(_text(reader, keys, path, "stdin", names)),
        time_limit_s=_time_limit(reader, keys, path),
        pin=_pin(reader, keys, path),
        task_dir=bool(script) or _task_dir(reader, keys, path),
        stream_dir=setting.stream or "",
        script=script,
        shell=args if script else (),
    )


def read_settings(reader: Reader, keys: Keys, path: str, setting: Setting) -> TaskSettings:
    """What the server decides with."""
    priority = setting.priority or 0
    crash_limit = DEFAULT_CRASH_LIMIT
    if entry := keys.get("priority"):
        low, high = -_PRIORITY_MAX - 1, _PRIORITY_MAX
        priority = reader.whole(entry[1], f"{path}.priority", minimum=low, maximum=high)
    if entry := keys.get("crash_limit"):
        crash_limit = _crash_limit(reader, entry[1], f"{path}.crash_limit")
    return TaskSettings(priority, crash_limit)


def encode(text: str) -> bytes:
    """Text of the file as bytes for a program."""
    return text.encode("utf-8", "surrogateescape")


def _text(reader: Reader, keys: Keys, path: str, name: str, names: Names) -> str:
    entry = keys.get(name)
    if entry is None:
        return ""
    return _filled_text(reader, entry[1], f"{path}.{name}", names)


def _filled_text(reader: Reader, node: Node, path: str, names: Names) -> str:
    """A text in which the native dialect has placeholders filled in."""
    text = reader.text(node, path)
    if reader.by_source:
        check_placeholders(reader, node, path, text, names)
    return text


def _env(reader: Reader, keys: Keys, path: str, names: Names) -> tuple[tuple[bytes, bytes], ...]:
    entry = keys.get("env")
    if entry is None:
        return ()
    pairs = []
    for name, (key, value) in reader.mapping(entry[1], f"{path}.env").items():
        inner = f"{path}.env.{name}"
        if not name or "=" in name or "\0" in name:
            reader.refuse(key, f"{path}.env", "a variable needs a name without `=`")
            continue
        pairs.append((encode(name), encode(_filled_text(reader, value, inner, names))))
    return tuple(pairs)


def _cwd(reader: Reader, keys: Keys, path: str, names: Names) -> str:
    entry = keys.get("cwd")
    if entry is None:
        return DEFAULT_CWD
    text = _path(reader, entry[1], f"{path}.cwd", names)
    if "CWD" in placeholders.names(text):
        reader.refuse(
            entry[1],
            f"{path}.cwd",
            "Working directory path cannot contain the working directory placeholder `%{CWD}`.",
        )
    return text


def _path(reader: Reader, node: Node, path: str, names: Names) -> str:
    text = reader.text(node, path)
    if not text and isinstance(node, Scalar):
        reader.refuse(node, path, "a path cannot be empty")
    # The compatible dialect leaves unknown names as they are; the command line warns of them.
    if reader.by_source:
        check_placeholders(reader, node, path, text, names)
    return text


def check_placeholders(reader: Reader, node: Node, path: str, text: str, names: Names) -> None:
    """Note placeholders that nobody will fill in."""
    if names is None or "%{" not in text:
        return
    for name in placeholders.unknown(text, names):
        hint = reader.suggest(name, names) or f"; known: {', '.join(names)}"
        reader.refuse(node, path, f"nobody defines the placeholder %{{{quote(name)}}}{hint}")


def field_name_problem(name: str) -> str:
    """Why placeholders cannot name a field like this, or nothing."""
    try:
        check_field_name(name)
    except InputError as error:
        return str(error)
    return f"the name `{name}` is taken by a placeholder of ours" if name in PATH_NAMES else ""


def refuse_field_name(reader: Reader, key: Scalar, path: str, name: str) -> bool:
    """Note a name that no placeholder can have; whether it was one."""
    if problem := field_name_problem(name):
        reader.refuse(key, path, problem)
    return bool(problem)


def _stdio(
    reader: Reader, keys: Keys, path: str, name: str, names: Names, setting: Setting
) -> Stdio:
    default = f"{DEFAULT_OUTPUT}.{name}"
    entry = keys.get(name)
    if entry is None:
        return Stdio(default) if setting.stream is None else Stdio(None, stream=True)
    node, inner = entry[1], f"{path}.{name}"
    if not isinstance(node, Table):
        text = _path(reader, node, inner, names)
        return Stdio(None if text == "none" else text)
    return _stdio_table(reader, node, inner, default, names)


def _stdio_table(reader: Reader, node: Table, path: str, default: str, names: Names) -> Stdio:
    known = ["path", "on_close", "mode"]
    # HyperQueue's manual says `mode`, its program `on_close`; it ignores other keys here.
    keys = reader.table(node, path, known if reader.by_source else [*known, *node.entries])
    where, end = keys.get("path"), keys.get("on_close", keys.get("mode"))
    if not reader.by_source:
        for name, entry in (("path", where), ("on_close", end)):
            if entry is None:
                reader.misshapen(node, path, f"`{name}` is missing")
    text = _path(reader, where[1], f"{path}.path", names) if where else default
    remove = reader.choice(end[1], f"{path}.on_close", ON_CLOSE) if end else False
    return Stdio(text, remove_if_finished=remove)


def _time_limit(reader: Reader, keys: Keys, path: str) -> float:
    entry = keys.get("time_limit")
    if entry is None:
        return 0.0
    seconds = read_duration(reader, entry[1], f"{path}.time_limit")
    if seconds == 0:
        reader.refuse(entry[1], f"{path}.time_limit", "a time limit must be longer than 0 s")
    return seconds


def read_duration(reader: Reader, node: Node, path: str) -> float:
    """Seconds, in the notations that the dialect knows; 1.0 for a bad one."""
    parse = parse_duration if reader.by_source else parse_human_duration
    return reader.parsed(node, path, parse, 1.0)


def _pin(reader: Reader, keys: Keys, path: str) -> PinMode:
    entry = keys.get("pin")
    return reader.choice(entry[1], f"{path}.pin", PINS) if entry else PinMode.NONE


def _task_dir(reader: Reader, keys: Keys, path: str) -> bool:
    entry = keys.get("task_dir")
    return reader.boolean(entry[1], f"{path}.task_dir") if entry else False


def _crash_limit(reader: Reader, node: Node, path: str) -> int:
    def parse(text: str) -> int:
        if text in _CRASH_WORDS:
            return _CRASH_WORDS[text]
        try:
            limit = parse_integer(text, maximum=_CRASH_MAX)
        except InputError as error:
            words = ", ".join(f"`{word}`" for word in _CRASH_WORDS)
            raise InputError(f"{error}; a number from 1 to {_CRASH_MAX} or {words}") from error
        if limit == 0:
            raise InputError("Crash limit cannot be 0")
        return limit

    if isinstance(node, Scalar) and resolve(node) is Kind.INTEGER:
        return reader.converted(node, path, partial(parse, node.text)) or DEFAULT_CRASH_LIMIT
    return reader.parsed(node, path, parse, DEFAULT_CRASH_LIMIT)
