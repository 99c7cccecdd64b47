"""A function is remembered in its pickled form only while it surely stays what it is."""

from __future__ import annotations

import math
import os.path
from collections.abc import Callable
from typing import Any

import pytest

from hqtrio.api.fingerprints import fingerprint


def made(code: str, **scope: Any) -> Callable[..., Any]:
    """The function `f` of a script."""
    names: dict[str, Any] = {"__name__": "__main__", **scope}
    exec(code, names)
    return names["f"]  # type: ignore[no-any-return]


SAME = [
    "def f(x): return x * 2",
    "def f(x: int, *, y: float = 0.5) -> str: return str(x)",
    "f = lambda x: x",
    "def g(x): return x\ndef f(x): return g(x) + 1",
    "import math\ndef f(x): return math.sin(x)",
    "K = 5\ndef f(x): return x + K",
    "K = (1, ('a', None))\ndef f(x): return K",
    "def f(n): return 1 if n < 2 else n * f(n - 1)",
    "def outer(k):\n    def f(x): return x + k\n    return f\nf = outer(3)",
    "from os.path import join\ndef f(x): return join(x, x)",
    "from collections import OrderedDict\ndef f(): return OrderedDict()",
    "def f(x): return [y for y in range(x)]",
]


@pytest.mark.parametrize("code", SAME)
def test_what_cannot_change_unseen_is_known_again(code: str) -> None:
    function = made(code)
    assert fingerprint(function) is not None
    assert fingerprint(function) == fingerprint(function)
    hash(fingerprint(function))


CHANGEABLE = [
    "f = {}.get",
    "get = [1].count\ndef f(x): return get(x)",
    "import types\ndynamic = types.ModuleType('dynamic')\ndef f(x): return dynamic",
    "K = [1]\ndef f(x): return K",
    "def f(x, known={}): return known",
    "def outer(k):\n    def f(x): return x + k[0]\n    return f\nf = outer([3])",
    "class A: pass\ndef f(x): return A()",
    "class A:\n    def __call__(self): pass\nf = A()",
    "def f(x): return x\nf.memory = 1",
    "import functools\nf = functools.partial(print, [])",
    "def g(): return K\nK = [1]\ndef f(x): return g()",
    "def outer():\n    def f(x): return late\n    if 0: late = 1\n    return f\nf = outer()",
]


@pytest.mark.parametrize("code", CHANGEABLE)
def test_what_may_change_is_pickled_each_time(code: str) -> None:
    assert fingerprint(made(code)) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [(1, 2), (1, 1.0), (1, True), (0.0, -0.0), ("a", "b"), ((1, 2), (1, 3)), (len, abs),
     (math, os.path)],
)  # fmt: skip
def test_another_value_of_a_global_is_another_function(before: object, after: object) -> None:
    function = made("def f(): return K", K=before)
    was = fingerprint(function)
    function.__globals__["K"] = after  # type: ignore[attr-defined]
    assert was is not None and fingerprint(function) != was


def test_the_same_text_twice_is_the_same_or_costs_a_pickling_at_most() -> None:
    one, other = made("def f(): return 1"), made("def f(): return 2")
    assert fingerprint(one) != fingerprint(other)


def test_imported_functions_are_known_by_name() -> None:
    assert fingerprint(os.path.join) == fingerprint(os.path.join) is not None
    assert fingerprint(len) is not None
    assert fingerprint(int) is not None
