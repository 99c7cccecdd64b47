"""A call of a function as it travels to the interpreter that carries it out.

The format is explained where it is read, in `actors.functions.runner`.
"""

from __future__ import annotations

import base64
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import cloudpickle

__all__ = ["pack_arguments", "pack_call", "pack_function"]

_PROTOCOL: Final = 4  # any Python from 3.4 on reads it


def pack_call(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    results: str | None,
) -> bytes:
    """The stdin of a task that calls the function once.

    `results` is the directory for large results ("": there is none; None: what the function returns
    is dropped).
    """
    return _packed(_pickled(function), _pickled((tuple(args), dict(kwargs))), results)


def pack_function(function: Callable[..., Any], *, results: str | None) -> bytes:
    """The stdin of tasks that call the function with what `pack_arguments` makes of theirs."""
    return _packed(_pickled(function), None, results)


def pack_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """One call's entry: text without a NUL, as it travels in the environment."""
    return base64.b85encode(_pickled((tuple(args), dict(kwargs))))


def _pickled(value: Any) -> bytes:
    return bytes(cloudpickle.dumps(value, _PROTOCOL))


def _packed(function: bytes, arguments: bytes | None, results: str | None) -> bytes:
    call = {
        "python": tuple(sys.version_info[:2]),
        # Where the script lies: what it imports, its functions may import.
        "path": [place for place in sys.path[:1] if place],
        "function": function,
        "function_file": None,
        "arguments": arguments,
        "arguments_file": None,
        "results": results,
    }
    return pickle.dumps(call, _PROTOCOL)
