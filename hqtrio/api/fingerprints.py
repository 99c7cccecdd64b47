"""Whether a function is still what it was when it was pickled.

Pickling a function of a script by value takes longer than many a call. Nothing changes unseen in
one that refers to nothing but constants, modules and other such functions; of any other function
nobody can tell, and it is pickled again each time.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

import cloudpickle

__all__ = ["fingerprint"]

_CONSTANTS: Final = (int, float, complex, str, bytes, bool, type(None), types.EllipsisType)
_DEPTH_MAX: Final = 4


class _Changeable(Exception):
    pass


def fingerprint(function: Callable[..., Any]) -> object:
    """A value that equals another one only while the function would be pickled to the same; None
    if there is no such value."""
    try:
        return tuple(_parts(function, 0))
    except _Changeable:
        return None


def _parts(value: Any, depth: int) -> Iterator[object]:
    if _is_named(value):
        yield value
    elif type(value) in _CONSTANTS:
        yield type(value), repr(value)  # 1, 1.0 and True are equal, 0.0 and -0.0 as well
    elif type(value) is tuple and depth < _DEPTH_MAX:
        yield len(value)
        for part in value:
            yield from _parts(part, depth + 1)
    elif _is_imported(value):
        yield value
    elif type(value) is types.FunctionType and depth < _DEPTH_MAX:
        yield from _function_parts(value, depth)
    else:
        raise _Changeable


def _function_parts(function: types.FunctionType, depth: int) -> Iterator[object]:
    if function.__dict__:
        raise _Changeable
    for name, annotation in function.__annotations__.items():
        yield name
        yield from _parts(annotation, depth + 1)
    yield function.__code__
    yield function.__name__, function.__qualname__, function.__module__, function.__doc__
    yield from _parts(function.__defaults__ or (), depth)
    defaults = function.__kwdefaults__ or {}
    for name in sorted(defaults):
        yield name
        yield from _parts(defaults[name], depth + 1)
    for cell in function.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:
            raise _Changeable from None
        yield from _parts(content, depth + 1)
    scope = function.__globals__
    for name in sorted(_names(function.__code__)):
        yield name
        if name in scope and scope[name] is not function:
            yield from _parts(scope[name], depth + 1)


def _is_named(value: Any) -> bool:
    """A module, or a built-in function of one; `known.get` is built in as well, and changes with
    what it is bound to."""
    if isinstance(value, types.BuiltinFunctionType):
        value = value.__self__
    return (
        isinstance(value, types.ModuleType)
        and sys.modules.get(value.__name__) is value
        and not _is_by_value(value.__name__)
    )


def _is_imported(value: Any) -> bool:
    """Whether it is pickled by its name only."""
    if not isinstance(value, types.FunctionType | type) or value.__module__ == "__main__":
        return False
    module = sys.modules.get(value.__module__)
    is_there = getattr(module, value.__qualname__, None) is value
    return is_there and not _is_by_value(value.__module__)


def _is_by_value(module: str) -> bool:
    """Whether the user wants what is in the module to be pickled as if the script defined it."""
    chosen = cloudpickle.list_registry_pickle_by_value()
    return any(module == name or module.startswith(f"{name}.") for name in chosen)


def _names(code: types.CodeType) -> set[str]:
    """Everything that may be a global of it or of what it defines; attributes are among these."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names
