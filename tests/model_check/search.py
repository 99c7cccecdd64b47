"""Every order of steps in a small world, each state once; and from each a fair way to the end."""

from __future__ import annotations

import copy
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from math import inf
from random import Random
from typing import Any, Final

from small_world import Violation, World

_BAD: Final = ("kill", "cut", "grace")
FAIR_MAX: Final = 3000  # steps until everything must have ended
# Whatever tells only the time, or never changes: states that differ in nothing else are one.
_DATES: Final = frozenset(
    {"ages", "started_ages", "ended_ages", "at", "started", "ended", "now", "durable_at"}
)
_STATIC: Final = frozenset(
    {"WorkerConfig", "Descriptor", "Shape", "TaskBody", "ServerDetails", "Site", "Submit"}
)


@dataclass
class Found:
    """What a search came across."""

    states: int = 0
    steps: int = 0
    ends: int = 0  # states from which a fair way to the end was tried
    is_complete: bool = True
    path: list[str] = field(default_factory=list)  # to the violation, if there is one
    violation: str = ""

    def story(self) -> str:
        lines = [f"{number:3} {step}" for number, step in enumerate(self.path, 1)]
        return "\n".join([self.violation, *lines])


def search(make: Callable[[], World], *, states_max: int = 10**9, every: int = 1) -> Found:
    """Depth first through all states, or so many; stops at the first violation.

    A fair way to the end is tried from every `every`-th state.
    """
    found = Found()
    start = make()
    seen = {digest(start)}
    # Each entry is a state with the choices that are left in it.
    trail: list[tuple[World, list[str]]] = [(start, start.choices())]
    path: list[str] = []
    found.states = 1
    while trail:
        world, choices = trail[-1]
        if not choices:
            trail.pop()
            if path:
                path.pop()
            continue
        choice = choices.pop()
        after = copy.deepcopy(world) if choices else world
        path.append(choice)
        found.steps += 1
        try:
            after.do(choice)
            key = digest(after)
            if key in seen:
                path.pop()
                continue
            seen.add(key)
            found.states += 1
            left = after.choices()
            if found.states % every == 0 or not left:
                found.ends += 1
                finish(copy.deepcopy(after), path)
        except Violation as violation:
            found.violation, found.path = str(violation), path
            return found
        if found.states >= states_max:
            found.is_complete = False
            return found
        trail.append((after, left))
    return found


def stroll(make: Callable[[], World], seeds: Iterable[int]) -> Found:
    """One random way through each of so many worlds, to its end; what goes wrong comes rarely, so
    that it does not all come at the beginning."""
    found = Found(is_complete=False)
    for seed in seeds:
        random, world = Random(seed), make()
        found.path = []
        try:
            while (choices := world.choices()) and len(found.path) < FAIR_MAX:
                weights = [0.1 if c.startswith(_BAD) else 1.0 for c in choices]
                (choice,) = random.choices(choices, weights)
                found.path.append(choice)
                world.do(choice)
                found.steps += 1
            finish(world, found.path)
            found.ends += 1
        except Violation as violation:
            found.violation = f"seed {seed}: {violation}"
            return found
    return found


def finish(world: World, path: list[str]) -> None:
    """Nothing more goes wrong, and everybody gets a turn: all tasks end, each once."""
    length = len(path)
    budget = world.budget
    budget.server_kills = budget.power_cuts = budget.worker_kills = budget.cuts = 0
    budget.graces = 0
    has_waited = False
    for turn in range(FAIR_MAX):
        choices = world.choices()
        if not choices:
            if world.is_settled():
                break
            if has_waited:
                raise Violation("nothing happens any more, and not all tasks have ended")
            # Who is gone is given up, and somebody else comes.
            has_waited = True
            budget.graces = 1
            world._add_node(max(world.nodes) + 1)
            choices = ["grace"]
        choice = choices[turn % len(choices)]
        path.append(choice)
        world.do(choice)
    else:
        raise Violation("it never ends")
    world.check_end()
    del path[length:]


def digest(world: World) -> bytes:
    """Equal for states from which the same things can happen."""
    out: list[Any] = []
    _collect(world, {}, out.append)
    return blake2b(repr(out).encode(), digest_size=16).digest()


def _collect(value: Any, numbers: dict[int, int], put: Callable[[Any], None]) -> None:
    kind = type(value)
    if kind in _PLAIN:
        put(value)
    elif kind is float:
        put("inf" if value == inf else "")
    elif kind in _SEQUENCES:
        put(len(value))
        for item in value:
            _collect(item, numbers, put)
    elif kind is dict or isinstance(value, dict):
        put(-1 - len(value))
        for key, item in value.items():
            _collect(key, numbers, put)
            _collect(item, numbers, put)
    elif isinstance(value, Enum):
        put(value.name)
    elif kind is set or kind is frozenset:
        put(sorted(map(repr, value)))
    elif kind is array:
        put(value.tobytes() if value.typecode not in "fd" else len(value))
    elif kind.__name__ in _STATIC or callable(value):
        put(kind.__name__)
    elif (number := numbers.get(id(value))) is not None:
        put(("#", number))
    else:
        numbers[id(value)] = len(numbers)
        put(kind.__name__)
        for name in _names(kind):
            _collect(getattr(value, name, None), numbers, put)
        for name, item in getattr(value, "__dict__", _NOTHING).items():
            if name not in _DATES:
                _collect(item, numbers, put)


_PLAIN: Final = frozenset({int, str, bytes, bool, bytearray, type(None)})
_SEQUENCES: Final = frozenset({tuple, list, deque})
_NOTHING: Final[dict[str, Any]] = {}
_NAMES: dict[type, tuple[str, ...]] = {}


def _names(kind: type) -> tuple[str, ...]:
    if kind not in _NAMES:
        found: dict[str, None] = {}
        for base in reversed(kind.__mro__):
            slots = base.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in ("__dict__", "__weakref__") and name not in _DATES:
                    found[name] = None
        _NAMES[kind] = tuple(found)
    return _NAMES[kind]
