"""What every description of a worker obeys, checked by the worker and again by the server.

Without bounds on groups and links, the choice of groups for coupled resources, which looks at sets
of groups of all of them together, could hold the server up.
"""

from __future__ import annotations

from typing import Final

from hqtrio.errors import InputError
from hqtrio.model.requests import check_resource_name
from hqtrio.model.resources import CPUS, UNIT, Descriptor, Link, Pool
from hqtrio.units import MAX_AMOUNT, quote

__all__ = [
    "COUPLED_GROUPS_MAX",
    "COUPLED_POOLS_MAX",
    "GROUPS_MAX",
    "LABELS_MAX",
    "LINKS_MAX",
    "POOLS_MAX",
    "WEIGHT_MAX",
    "check_descriptor",
    "check_pool",
]

POOLS_MAX: Final = 256
LABELS_MAX: Final = 100_000  # of one pool
LABEL_CHARACTERS_MAX: Final = 4096
GROUPS_MAX: Final = 256  # of one pool: group numbers have eight bits
COUPLED_POOLS_MAX: Final = 4
COUPLED_GROUPS_MAX: Final = 32  # of one pool that links name
LINKS_MAX: Final = 256
WEIGHT_MAX: Final = 2**16 - 1

_SUM_CPUS: Final = (
    "Resource kind `sum` cannot be used with CPUs. CPUs must have identity and cannot be empty:"
    " use a list, groups, a range or a count of at least 1"
)


def check_descriptor(descriptor: Descriptor) -> None:
    """Refuse what no worker can be."""
    names = [pool.resource for pool in descriptor.pools]
    for name in names:
        check_resource_name(name)
        if names.count(name) > 1:
            raise InputError(f"Resource {name} defined twice")
    if len(names) > POOLS_MAX:
        raise InputError(f"A worker has at most {POOLS_MAX} resources, got {len(names)}")
    if names != sorted(names):
        raise InputError("The resources of a worker must be sorted by name")
    if CPUS not in names:
        raise InputError(f"Resource '{CPUS}' is missing")
    for pool in descriptor.pools:
        check_pool(pool)
    _check_coupling(descriptor)


def check_pool(pool: Pool) -> None:
    """Refuse a pool that is empty, or whose items cannot be told apart."""
    name = pool.resource
    if name == CPUS and not pool.groups:
        raise InputError(_SUM_CPUS)
    if pool.size <= 0 or not all(pool.groups):
        raise InputError(f"Resource {name} is empty")
    if pool.size > MAX_AMOUNT:
        raise InputError(f"Resource {name} is too large")
    if not pool.groups:
        return
    wrong = f"Invalid resource definition for {name}:"
    if len(pool.groups) > GROUPS_MAX:
        raise InputError(f"{wrong} {len(pool.groups)} groups, at most {GROUPS_MAX} are possible")
    count = sum(map(len, pool.groups))
    if count > LABELS_MAX:
        raise InputError(f"{wrong} more than {LABELS_MAX} items")
    if pool.size != UNIT * count:
        raise InputError(f"{wrong} size and items disagree")
    seen: set[str] = set()
    for label in (label for group in pool.groups for label in group):
        if label in seen:
            raise InputError(f"{wrong} '{quote(label)}' is there twice; items have to be unique")
        if len(label) > LABEL_CHARACTERS_MAX:
            raise InputError(f"{wrong} an item has more than {LABEL_CHARACTERS_MAX} characters")
        seen.add(label)


def _check_coupling(descriptor: Descriptor) -> None:
    links, pools = descriptor.coupling, descriptor.pools
    if len(links) > LINKS_MAX:
        raise InputError(f"A worker has at most {LINKS_MAX} coupling links, got {len(links)}")
    before: tuple[int, int, int, int] | None = None
    for link in links:
        _check_link(link, pools)
        ends = link.pool1, link.group1, link.pool2, link.group2
        if ends == before:
            raise InputError("Repeated coupling definition")
        if before is not None and ends < before:
            raise InputError("the coupling of a worker must be sorted")
        before = ends
    coupled = {at for link in links for at in (link.pool1, link.pool2)}
    if len(coupled) > COUPLED_POOLS_MAX:
        raise InputError(
            f"Coupling joins at most {COUPLED_POOLS_MAX} resources, got {len(coupled)}"
        )
    for at in sorted(coupled):
        if len(pools[at].groups) > COUPLED_GROUPS_MAX:
            raise InputError(
                f"A coupled resource has at most {COUPLED_GROUPS_MAX} groups,"
                f" '{pools[at].resource}' has {len(pools[at].groups)}"
            )


def _check_link(link: Link, pools: tuple[Pool, ...]) -> None:
    for at, group in ((link.pool1, link.group1), (link.pool2, link.group2)):
        if not (0 <= at < len(pools) and 0 <= group < len(pools[at].groups)):
            raise InputError("the coupling of a worker names a group that it does not have")
    if not 0 < link.weight <= WEIGHT_MAX:
        raise InputError(f"Invalid weight: {link.weight} (expected 1 to {WEIGHT_MAX})")
    if (link.pool1, link.group1) == (link.pool2, link.group2):
        raise InputError("the coupling of a worker links a group with itself")
    if (link.pool1, link.group1) > (link.pool2, link.group2):
        raise InputError("the coupling of a worker must name the earlier group of a link first")
