"""What workers offer and what tasks ask for.

Amounts are whole numbers of 1/10 000 units: sums and comparisons are exact.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from hqtrio.model.value import Value

UNIT: Final = 10_000  # amount of one whole unit
CPUS: Final = "cpus"
MEM: Final = "mem"


class Policy(IntEnum):
    """How indices are picked from groups; `!` on the command line is FORCE_ here."""

    COMPACT = 0
    FORCE_COMPACT = 1
    TIGHT = 2
    FORCE_TIGHT = 3
    SCATTER = 4
    ALL = 5


POLICY_TEXT: Final = {
    Policy.COMPACT: "compact",
    Policy.FORCE_COMPACT: "compact!",
    Policy.TIGHT: "tight",
    Policy.FORCE_TIGHT: "tight!",
    Policy.SCATTER: "scatter",
    Policy.ALL: "all",
}


class Need(Value, frozen=True):
    """One entry of a request. With Policy.ALL the amount is 0 and means the whole pool."""

    resource: str
    amount: int
    policy: Policy = Policy.COMPACT


class Request(Value, frozen=True):
    """One alternative of what a task needs on a worker; `nodes` > 0 makes it multi-node.

    Needs are sorted by resource, `cpus` first. `time_s` is the remaining lifetime that a worker
    must have. `weight` is an amount (1.0 is UNIT).
    """

    needs: tuple[Need, ...] = ()
    nodes: int = 0
    time_s: float = 0.0
    weight: int = UNIT


Variants = tuple[Request, ...]  # alternatives, earlier ones preferred; equal ones make a class
ONE_CPU: Final[Variants] = (Request((Need(CPUS, UNIT),)),)


class Pool(Value, frozen=True):
    """A named resource of one worker: labels in groups, or a sum.

    Indexed and grouped pools have `groups` (an indexed pool has one); a sum pool has none and
    `size` instead. `size` of the others is UNIT times the number of labels.
    """

    resource: str
    groups: tuple[tuple[str, ...], ...]
    size: int
    is_range: bool = False  # shown as range(a-b) instead of as a list


class Link(Value, frozen=True):
    """Coupling of two groups; indices refer to the pools of the descriptor, lower pool first."""

    pool1: int
    group1: int
    pool2: int
    group2: int
    weight: int = 256


class Descriptor(Value, frozen=True):
    """Everything one worker offers; pools are sorted by resource name."""

    pools: tuple[Pool, ...]
    coupling: tuple[Link, ...] = ()


class Share(Value, frozen=True):
    """Part of one pool held by a claim: whole labels, then a partly used one if `fraction` > 0.

    For a sum pool `labels` is empty and `amount` says it all.
    """

    resource: str
    amount: int
    labels: tuple[str, ...] = ()
    fraction: int = 0  # amount taken from the last label, when it is only partly used


class Claim(Value, frozen=True):
    """Concrete resources held on one worker, in the order of the request's needs."""

    shares: tuple[Share, ...] = ()


def single_pool(resource: str, labels: tuple[str, ...]) -> Pool:
    """An indexed pool."""
    return Pool(resource, (labels,), UNIT * len(labels))
