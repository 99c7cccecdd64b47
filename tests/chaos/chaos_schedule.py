"""What is submitted and what is broken when, from nothing but a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

GRACE_S: Final = 15.0
WORKERS: Final = 4

# How often, against each other.
FAULTS: Final = {
    "kill server": 6,
    "terminate server": 2,
    "kill worker": 4,
    "terminate worker": 1,
    "kill launcher": 3,
    "kill client": 2,
    "cut": 5,
    "stall": 3,
    "forget": 2,
    "long cut": 1,
    "long stall": 1,
}
JOBS: Final = {
    "array": 6,
    "never-restart": 2,
    "fragile": 2,
    "failing": 1,
    "retried": 2,
    "graph": 3,
    "wide": 2,
    "gang": 1,
    "open": 2,
    "cancelled": 2,
}


@dataclass(frozen=True, slots=True)
class Break:
    """`target` picks one of those that there are then; it lasts for `duration_s`."""

    at_s: float
    what: str
    target: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class Order:
    """A job of `tasks` tasks, each of which takes about `task_s`."""

    pause_s: float  # before it is submitted
    kind: str
    tasks: int
    task_s: float


def breaks(seed: int, length_s: float) -> list[Break]:
    """Never one that is about as long as the grace: what it costs would be luck."""
    random, at_s, found = Random(f"breaks {seed}"), 1.0, []
    quiet_until: dict[int, float] = {}
    is_down_until = 0.0
    while True:
        at_s += random.expovariate(1 / 1.2)
        if at_s > length_s:
            return found
        (what,) = random.choices(list(FAULTS), list(FAULTS.values()))
        target = random.randrange(WORKERS)
        duration_s = 0.0
        if what.endswith("server"):
            duration_s = random.uniform(0.0, 2.0)
            if at_s < is_down_until:
                continue
            is_down_until = at_s + duration_s + 1.0
        elif what in ("cut", "stall", "forget"):
            duration_s = random.uniform(0.1, GRACE_S / 5)
        elif what.startswith("long"):
            duration_s = GRACE_S * 1.6
        if duration_s and not what.endswith("server"):
            # Two in a row would be one that is longer.
            if at_s < quiet_until.get(target, 0.0):
                continue
            quiet_until[target] = at_s + duration_s + GRACE_S / 2
        found.append(Break(at_s, what, target, duration_s))


def orders(seed: int, client: int) -> Iterator[Order]:
    """What one of the clients submits, one after another, without an end."""
    random = Random(f"orders {seed} {client}")
    while True:
        (kind,) = random.choices(list(JOBS), list(JOBS.values()))
        yield Order(
            random.expovariate(1 / 0.3),
            kind,
            random.choice((1, 2, 4, 8, 16)),
            random.choice((0.0, 0.05, 0.3, 1.0, 3.0)),
        )
