"""Resource requests as users write them, and the rules that every request obeys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from typing import Final

from hqtrio.errors import InputError
from hqtrio.model.resources import (
    CPUS,
    MEM,
    POLICY_TEXT,
    UNIT,
    Need,
    Policy,
    Request,
    Variants,
)
from hqtrio.units import MAX_AMOUNT, MAX_U32, format_amount, parse_amount, parse_mem_amount, quote

__all__ = [
    "VARIANTS_MAX",
    "add_default_cpus",
    "check_resource_name",
    "format_need",
    "format_request",
    "make_request",
    "make_weight",
    "parse_named_need",
    "parse_need",
    "validate_request",
    "validate_variants",
]

VARIANTS_MAX: Final = 32
_POLICIES: Final = {text: policy for policy, text in POLICY_TEXT.items() if text != "all"}
_ALL: Final = POLICY_TEXT[Policy.ALL]
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9/]*")
_NEED: Final = re.compile(r"\s*([0-9._]*)\s*(.*?)\s*", re.DOTALL)
_MEM_NEED: Final = re.compile(r"\s*([0-9._]+(?:\s*[MGT]iB)?|)\s*(.*?)\s*", re.DOTALL)


def check_resource_name(name: str) -> None:
    """Refuse what cannot be the name of a resource."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"Unexpected token '{quote(name)}': expected a resource name"
            " (a letter, then letters, digits or /)"
        )


def parse_need(resource: str, text: str) -> Need:
    """Read `2`, `0.5 scatter`, `4 compact!` or `all`; memory also as `4GiB`."""
    check_resource_name(resource)
    if text.strip() == _ALL:
        return Need(resource, 0, Policy.ALL)
    is_mem = resource == MEM
    match = (_MEM_NEED if is_mem else _NEED).fullmatch(text)
    amount_text, policy_text = match.groups() if match else ("", text)
    if not amount_text:
        found = f"token '{quote(text.strip())}'" if text.strip() else "end of input"
        raise InputError(f"Unexpected {found}: expected an amount such as 2, 0.5 compact or all")
    amount = parse_mem_amount(amount_text) if is_mem else parse_amount(amount_text)
    policy = _POLICIES.get(policy_text or POLICY_TEXT[Policy.COMPACT])
    if policy is None:
        raise InputError(
            f"Unexpected token '{quote(policy_text)}' in '{quote(text.strip())}':"
            f" expected {'MiB, GiB, TiB or ' if is_mem else ''}a policy ({', '.join(_POLICIES)})"
        )
    if amount == 0:
        raise InputError("Zero resources cannot be requested")
    return Need(resource, amount, policy)


def parse_named_need(text: str) -> Need:
    """Read `NAME=REQUEST`; blanks around the `=` do not matter."""
    name, equals, need = text.partition("=")
    if not equals:
        raise InputError(f"Unexpected end of input in '{quote(text)}': expected NAME=REQUEST")
    return parse_need(name.strip(), need)


def format_need(need: Need) -> str:
    """`2 compact`, `0.5 scatter` or `all`."""
    if need.policy is Policy.ALL:
        return _ALL
    return f"{format_amount(need.amount)} {POLICY_TEXT[need.policy]}"


def format_request(request: Request) -> list[str]:
    """One line per need (`cpus: 2 compact`), or the number of nodes."""
    if request.nodes:
        return [f"nodes: {request.nodes}"]
    return [f"{need.resource}: {format_need(need)}" for need in request.needs]


def make_weight(weight: float) -> int:
    """The amount that stands for a weight; it must not round to nothing."""
    if not 0 < weight <= MAX_U32:
        raise InputError("Resource weight has to be positive number")
    exact = Decimal(repr(float(weight))) * UNIT
    amount = int(exact.to_integral_value(rounding=ROUND_HALF_EVEN))
    if not amount:
        raise InputError(f"Resource weight has to be positive number (at least {1 / UNIT})")
    return amount


def make_request(
    needs: Iterable[Need], *, nodes: int = 0, time_s: float = 0.0, weight: int = UNIT
) -> Request:
    """A request with its needs in order; refuses a resource named twice."""
    ordered = sorted(needs, key=_place)
    for one, other in pairwise(ordered):
        if one.resource == other.resource:
            raise InputError(f"Resource '{one.resource}' defined more than once")
    return Request(tuple(ordered), nodes, time_s, weight)


def add_default_cpus(needs: Sequence[Need], *, nodes: int = 0) -> list[Need]:
    """The needs, and one cpu if they do not mention cpus and the task runs on one node."""
    if nodes or any(need.resource == CPUS for need in needs):
        return list(needs)
    return [Need(CPUS, UNIT), *needs]


def validate_request(request: Request) -> None:
    """Refuse a request that no parser of ours could have made."""
    if not request.needs and not request.nodes:
        raise InputError("Resource request is empty")
    if not 0 <= request.nodes <= MAX_U32:
        raise InputError(f"The number of nodes must be between 0 and {MAX_U32}")
    if not 0 <= request.time_s < float("inf"):
        raise InputError("A time request must be a duration of at least 0 s")
    if not 0 < request.weight <= MAX_AMOUNT:
        raise InputError("Resource weight has to be positive number")
    for need in request.needs:
        check_resource_name(need.resource)
        if (need.policy is Policy.ALL) != (need.amount == 0):
            raise InputError("Zero resources cannot be requested")
        if not 0 <= need.amount <= MAX_AMOUNT:
            raise InputError(f"The amount of {need.resource} is out of range")
    if make_request(request.needs).needs != request.needs:
        raise InputError("Resources of a request must be sorted, cpus first")


def validate_variants(variants: Variants) -> None:
    """Refuse alternatives that cannot stand together, or any that is wrong in itself."""
    if not variants:
        raise InputError("Resource are empty")
    if len(variants) > VARIANTS_MAX:
        raise InputError(
            f"Too many resource variants ({len(variants)}, at most {VARIANTS_MAX} are possible)"
        )
    if len({request.nodes > 0 for request in variants}) > 1:
        raise InputError("Resources mixes multi-node and non-multi-node requests")
    for request in variants:
        validate_request(request)


def _place(need: Need) -> tuple[bool, str]:
    return need.resource != CPUS, need.resource
