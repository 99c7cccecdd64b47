"""Coupling of a worker's resources: `cpus[0]:gpus[0], cpus[1]:gpus[1]=512`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hqtrio.errors import InputError
from hqtrio.model.descriptors import WEIGHT_MAX
from hqtrio.model.resources import Link, Pool
from hqtrio.units import quote

DEFAULT_WEIGHT: Final = 256
GROUP_MAX: Final = 255


def parse_coupling(text: str, pools: Sequence[Pool]) -> tuple[Link, ...]:
    """The links in order, each with its earlier resource or group first.

    `pools` are all pools of the worker, sorted by name.
    """
    links: dict[tuple[int, int, int, int], Link] = {}
    for item in "".join(text.split()).split(","):
        link = _link(item, pools)
        ends = link.pool1, link.group1, link.pool2, link.group2
        if ends in links:
            raise InputError(f"Repeated coupling definition: '{quote(item)}'")
        links[ends] = link
    return tuple(links[ends] for ends in sorted(links))


def _link(item: str, pools: Sequence[Pool]) -> Link:
    ends, equals, weight_text = item.partition("=")
    weight = DEFAULT_WEIGHT
    if equals:
        weight = _number(weight_text)
        if not 0 < weight <= WEIGHT_MAX:
            raise InputError(f"Invalid weight: {quote(weight_text)} (expected 1 to {WEIGHT_MAX})")
    one, colon, other = ends.partition(":")
    if not colon:
        raise InputError(f"Missing ':' in '{quote(item)}': expected NAME[GROUP]:NAME[GROUP]")
    first, second = sorted((_end(one, pools), _end(other, pools)))
    if first == second:
        raise InputError(f"'{quote(item)}': a group cannot be coupled with itself")
    return Link(*first, *second, weight)


def _end(text: str, pools: Sequence[Pool]) -> tuple[int, int]:
    """Position of a pool, and a group of it."""
    name, bracket, rest = text.partition("[")
    if not bracket:
        raise InputError(f"Missing '[' in '{quote(text)}': expected NAME[GROUP]")
    group_text, bracket, after = rest.partition("]")
    if not bracket:
        raise InputError(f"Missing ']' in '{quote(text)}': expected NAME[GROUP]")
    if after:
        raise InputError(f"Unexpected token '{quote(after)}' in '{quote(text)}'")
    group = _number(group_text)
    if not 0 <= group <= GROUP_MAX:
        raise InputError(f"Invalid group index: {quote(group_text)} (expected 0 to {GROUP_MAX})")
    at = next((at for at, pool in enumerate(pools) if pool.resource == name), None)
    if at is None:
        raise InputError(f"Resource not found: {quote(name)}")
    groups = len(pools[at].groups)
    if groups < 2:
        raise InputError(f"Resource '{name}' has only a single group")
    if group >= groups:
        raise InputError(f"Invalid group id {group} for resource '{name}' (it has {groups} groups)")
    return at, group


def _number(text: str) -> int:
    """A plain number of a few digits; -1 for anything else."""
    plain = text.isascii() and text.isdigit() and len(text) <= len(str(WEIGHT_MAX))
    return int(text) if plain else -1
