"""A call of a function as it travels to the interpreter that carries it out.

The format is explained where it is read, in `actors.functions.runner`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import pickle
import shutil
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import cloudpickle

__all__ = [
    "INLINE_BYTES",
    "RESULTS",
    "Pickled",
    "arguments_file",
    "pack_arguments",
    "pack_call",
    "pack_function",
    "pickled",
    "remove_files",
]

INLINE_BYTES: Final = 64 * 1024  # larger functions and arguments travel as files
RESULTS: Final = ".hqtrio-results"  # where they lie, in the current directory
_IN_FILE: Final = b"file:"  # before the name in an entry
_PROTOCOL: Final = 4  # any Python from 3.4 on reads it

Pickled = bytes


def pickled(value: Any) -> Pickled:
    """The value as bytes: by value what is defined in a script, by reference what is imported."""
    return bytes(cloudpickle.dumps(value, _PROTOCOL))


def pack_call(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    results: str | None,
    directory: str = "",
) -> bytes:
    """The stdin of a task that calls the function once.

    `results` is the directory for results that are too large to be told ("": there is none; None:
    what the function returns is dropped), `directory` the one for large functions and arguments.
    """
    return CallPacker(directory).pack(function, args, kwargs, results=results)


class CallPacker:
    """Packs the calls of one submit as `pack_call` does: a function that is called many times is
    pickled, and stored if it is large, only once."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        # With the function itself: while it is kept, no other has its id.
        self._known: dict[int, tuple[Callable[..., Any], Pickled, str | None]] = {}

    def pack(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        results: str | None,
    ) -> bytes:
        """The stdin of a task that calls the function once."""
        if id(function) not in self._known:
            data = pickled(function)
            self._known[id(function)] = function, data, _file(data, self._directory)
        _, data, file = self._known[id(function)]
        arguments = pickled((tuple(args), dict(kwargs)))
        return _packed(data, file, arguments, results, self._directory)


def pack_function(function: Pickled, *, results: str | None, directory: str = "") -> bytes:
    """The stdin of tasks that call the function with what `pack_arguments` makes of theirs."""
    name = hashlib.sha256(function).hexdigest()  # the same one again takes no more room
    return _packed(function, _file(function, directory, name), None, results, directory)


def pack_arguments(args: Sequence[Any], kwargs: Mapping[str, Any], *, directory: str = "") -> bytes:
    """One call's entry: text without a NUL, as it travels in the environment."""
    data = pickled((tuple(args), dict(kwargs)))
    path = _file(data, directory)
    return base64.b85encode(data) if path is None else _IN_FILE + os.fsencode(path)


def arguments_file(entry: bytes) -> Path | None:
    """The file that an entry names, which is that call's alone."""
    if not entry.startswith(_IN_FILE):
        return None
    return Path(os.fsdecode(entry.removeprefix(_IN_FILE)))


def remove_files(directory: Path) -> None:
    """Nothing is left of what was too large to travel, nor of the place if it was the last."""
    shutil.rmtree(directory, ignore_errors=True)
    try:
        directory.parent.rmdir()
    except OSError:
        pass  # others have files there, or nobody had any


def _packed(
    function: Pickled,
    function_file: str | None,
    arguments: Pickled | None,
    results: str | None,
    directory: str,
) -> bytes:
    arguments_file = None if arguments is None else _file(arguments, directory)
    call = {
        "python": tuple(sys.version_info[:2]),
        "path": _own_path(tuple(sys.path)),
        "function": function if function_file is None else None,
        "function_file": function_file,
        "arguments": arguments if arguments_file is None else None,
        "arguments_file": arguments_file,
        "results": results,
    }
    return pickle.dumps(call, _PROTOCOL)


@lru_cache(maxsize=4)
def _own_path(path: tuple[str, ...]) -> list[str]:
    """Directories of sys.path that do not belong to the interpreter: what the script imports from
    there (its own directory, for one), its functions may import."""
    roots = {os.path.abspath(root) for root in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    places = (os.path.abspath(place) for place in path if place)
    return [
        place
        for place in dict.fromkeys(places)
        if os.path.isdir(place) and not any(Path(place).is_relative_to(root) for root in roots)
    ]


def _file(data: bytes, directory: str, name: str = "") -> str | None:
    """Where the data lies if it is too large to travel; None: it travels."""
    if len(data) <= INLINE_BYTES or not directory:
        return None
    path = Path(directory, f"{name or uuid.uuid4().hex}.call")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if name and path.exists():
        return str(path)
    new = path.with_suffix(".new")
    try:
        new.write_bytes(data)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)  # a part of it only keeps the disk full
        raise
    return str(path)
