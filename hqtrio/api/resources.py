"""What tasks ask for, as Python values."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Final

from hqtrio.api.validation import ValidationException, shown
from hqtrio.errors import InputError
from hqtrio.model.requests import (
    add_default_cpus,
    make_request,
    make_weight,
    parse_need,
    validate_variants,
)
from hqtrio.model.resources import CPUS, Need, Request, Variants
from hqtrio.units import amount_of_number, format_amount, parse_duration

__all__ = ["ResourceRequest", "read_resources", "read_seconds"]

Amount = int | float | str


class ResourceRequest:
    """One alternative of what a task needs.

    Amounts are numbers or what the command line takes (`"all"`, `"2 compact!"`, `"0.5"`,
    `"4 GiB"` of `mem`). Without `cpus` the task needs one CPU, with `cpus=0` none. `min_time` is
    the lifetime that a worker must have left: seconds, a timedelta or text as `"2h 30m"`. With
    `n_nodes` the task has so many whole nodes, whatever CPUs they have. Of tasks with equal
    priority, a larger `weight` is preferred.
    """

    def __init__(
        self,
        *,
        n_nodes: int = 0,
        cpus: Amount | None = None,
        resources: Mapping[str, Amount] | None = None,
        min_time: float | str | datetime.timedelta | None = None,
        weight: float = 1.0,
    ) -> None:
        if isinstance(n_nodes, bool) or not isinstance(n_nodes, int) or n_nodes < 0:
            raise ValidationException(f"n_nodes has to be a number of nodes, not {shown(n_nodes)}")
        if not isinstance(resources, Mapping | None):
            raise ValidationException(
                f"resources has to map names to amounts, not {shown(resources)}"
            )
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ValidationException(f"weight has to be a number, not {shown(weight)}")
        wanted = dict(resources or {})
        if cpus is not None:
            if CPUS in wanted:
                raise ValidationException("cpus are given twice: as cpus and in resources")
            if not n_nodes:
                wanted[CPUS] = cpus
        self.n_nodes, self.resources, self.weight = n_nodes, wanted, weight
        self.min_time = 0.0 if min_time is None else read_seconds("min_time", min_time)
        self._request = self._made()

    @property
    def cpus(self) -> Amount | None:
        return self.resources.get(CPUS)

    @property
    def request(self) -> Request:
        """As the server is asked for it."""
        return self._request

    def _made(self) -> Request:
        try:
            wanted = dict(self.resources)
            without_cpus = CPUS in wanted and _is_none(wanted[CPUS])
            if without_cpus:
                del wanted[CPUS]
            needs = [_need(name, amount) for name, amount in wanted.items()]
            request = make_request(
                needs if without_cpus else add_default_cpus(needs, nodes=self.n_nodes),
                nodes=self.n_nodes,
                time_s=self.min_time,
                weight=make_weight(self.weight),
            )
            validate_variants((request,))
        except InputError as error:
            raise ValidationException(str(error)) from None
        return request

    def __repr__(self) -> str:
        return (
            f"ResourceRequest(n_nodes={self.n_nodes}, resources={self.resources!r}, "
            f"min_time={self.min_time}, weight={self.weight})"
        )


_KINDS: Final = "a ResourceRequest, a mapping of names to amounts, or a list of these"


def read_resources(name: str, value: Any) -> Variants:
    """Alternatives, earlier ones preferred."""
    if value is None:
        value = ResourceRequest()
    items = [value] if isinstance(value, ResourceRequest | Mapping) else value
    if not isinstance(items, list | tuple):
        raise ValidationException(f"{name} has to be {_KINDS}, not {shown(value)}")
    variants = tuple(_request(name, item) for item in items)
    try:
        validate_variants(variants)
    except InputError as error:
        raise ValidationException(f"{name}: {error}") from None
    return variants


def _request(name: str, value: Any) -> Request:
    if isinstance(value, ResourceRequest):
        return value.request
    if isinstance(value, Mapping):
        return ResourceRequest(resources=value).request
    raise ValidationException(f"{name} has to be {_KINDS}, not {shown(value)}")


def read_seconds(name: str, value: Any) -> float:
    """A time as seconds, a timedelta, or text as the command line takes it."""
    seconds: float
    if isinstance(value, datetime.timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, str):
        try:
            seconds = parse_duration(value)
        except InputError as error:
            raise ValidationException(f"{name}: {error}") from None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        raise ValidationException(
            f"{name} has to be seconds, a timedelta or a text as '1h 30m', not {shown(value)}"
        )
    if not 0 <= seconds < float("inf"):
        raise ValidationException(f"{name} has to be a time of at least 0 s, not {shown(value)}")
    return seconds


def _is_none(amount: Amount) -> bool:
    return not isinstance(amount, bool) and (
        amount == 0 or (isinstance(amount, str) and amount.strip() == "0")
    )


def _need(name: str, amount: Amount) -> Need:
    if not isinstance(name, str):
        raise ValidationException(f"The name of a resource has to be a text, not {shown(name)}")
    if isinstance(amount, bool) or not isinstance(amount, int | float | str):
        raise ValidationException(
            f"{name} has to be an amount as 2 or '2 compact', not {shown(amount)}"
        )
    try:
        text = amount if isinstance(amount, str) else format_amount(amount_of_number(amount))
        return parse_need(name, text)
    except InputError as error:
        raise ValidationException(f"{name}: {error}") from None
