"""Resource requests in job files."""

from __future__ import annotations

from functools import partial
from typing import Final

from hqtrio.errors import InputError
from hqtrio.jobfile.problems import Marked
from hqtrio.jobfile.reader import Reader
from hqtrio.jobfile.task import Keys, read_duration
from hqtrio.jobfile.tree import Items, Kind, Node, Scalar, resolve
from hqtrio.model.requests import (
    add_default_cpus,
    check_resource_name,
    make_request,
    make_weight,
    parse_need,
    validate_variants,
)
from hqtrio.model.resources import CPUS, ONE_CPU, UNIT, Need, Request, Variants
from hqtrio.model.task import PinMode
from hqtrio.units import MAX_U32, amount_of_number

NATIVE_KEYS: Final = frozenset(["nodes", "time", "weight"])
_OTHER_DIALECT: Final = {"n_nodes": "nodes", "time_request": "time"}  # no names of resources
_COMPATIBLE_KEYS: Final = frozenset(["n_nodes", "resources", "time_request", "weight"])


def read_native(reader: Reader, node: Node, path: str) -> Variants:
    """A mapping, or a list of mappings in order of preference."""
    if not isinstance(node, Items):
        return _checked(reader, node, path, [_native_request(reader, node, path)])
    variants = [_native_request(reader, n, f"{path}[{i}]") for i, n in enumerate(node.items)]
    return _checked(reader, node, path, variants)


def read_compatible(reader: Reader, node: Node, path: str) -> Variants:
    """A list of mappings in order of preference."""
    nodes = reader.items(node, path)
    if not isinstance(node, Items):
        return ONE_CPU
    variants = [_compatible_request(reader, n, f"{path}[{i}]") for i, n in enumerate(nodes)]
    return _checked(reader, node, path, variants)


def refuse_pin(reader: Reader, keys: Keys, path: str, pin: PinMode, variants: Variants) -> None:
    """Refuse to pin what takes whole workers."""
    if pin is not PinMode.NONE and any(request.nodes for request in variants):
        reader.refuse(keys["pin"][1], f"{path}.pin", "tasks on several nodes cannot be pinned")


def _native_request(reader: Reader, node: Node, path: str) -> Request | None:
    found_before = reader.problems.total
    entries = reader.mapping(node, path)
    keys = {name: entry for name, entry in entries.items() if name in NATIVE_KEYS}
    needs, without_cpus, good = [], False, True
    for name, (key, value) in entries.items():
        if name in NATIVE_KEYS:
            continue
        inner = f"{path}.{name}"
        if name in _OTHER_DIALECT:
            reader.misshapen(key, inner, f"here it is called `{_OTHER_DIALECT[name]}`")
            good = False
            continue
        if name == CPUS and isinstance(value, Scalar) and value.text.strip() == "0":
            without_cpus = True
            continue
        need = _need(reader, name, (key, value), inner)
        good = good and need is not None
        if need is not None:
            needs.append(need)
    nodes = _nodes(reader, keys.get("nodes"), f"{path}.nodes")
    if not without_cpus and CPUS not in entries:
        needs = add_default_cpus(needs, nodes=nodes)
    time_s = _time(reader, keys.get("time"), f"{path}.time")
    weight = _weight(reader, keys.get("weight"), f"{path}.weight")
    good = good and reader.problems.total == found_before
    return _make(reader, node, path, needs, nodes, time_s, weight) if good else None


def _compatible_request(reader: Reader, node: Node, path: str) -> Request | None:
    found_before = reader.problems.total
    keys = reader.table(node, path, _COMPATIBLE_KEYS)
    needs, good = [], True
    if entry := keys.get("resources"):
        inner = f"{path}.resources"
        for name, named in reader.mapping(entry[1], inner).items():
            need = _need(reader, name, named, f"{inner}.{name}")
            good = good and need is not None
            if need is not None:
                needs.append(need)
    nodes = _nodes(reader, keys.get("n_nodes"), f"{path}.n_nodes")
    time_s = _time(reader, keys.get("time_request"), f"{path}.time_request")
    weight = _weight(reader, keys.get("weight"), f"{path}.weight")
    good = good and reader.problems.total == found_before
    return _make(reader, node, path, needs, nodes, time_s, weight) if good else None


def _need(reader: Reader, name: str, entry: tuple[Scalar, Node], path: str) -> Need | None:
    key, value = entry
    try:
        check_resource_name(name)
    except InputError as error:
        reader.refuse(key, path, str(error))
        return None
    kind = resolve(value) if isinstance(value, Scalar) else Kind.NULL
    if not reader.by_source and kind in (Kind.INTEGER, Kind.NUMBER):
        found_before = reader.problems.total
        if kind is Kind.INTEGER:
            amount: float = reader.whole(value, path, minimum=0, maximum=MAX_U32)
        else:
            amount = reader.number(value, path)
        if reader.problems.total > found_before:
            return None
        return reader.converted(value, path, partial(_need_of_number, name, amount))
    return reader.parsed(value, path, partial(parse_need, name), None)


def _need_of_number(name: str, number: float) -> Need:
    amount = amount_of_number(number)
    if not amount:
        raise InputError("Zero resources cannot be requested")
    return Need(name, amount)


def _nodes(reader: Reader, entry: tuple[Scalar, Node] | None, path: str) -> int:
    return reader.whole(entry[1], path, minimum=0, maximum=MAX_U32) if entry else 0


def _time(reader: Reader, entry: tuple[Scalar, Node] | None, path: str) -> float:
    return read_duration(reader, entry[1], path) if entry else 0.0


def _weight(reader: Reader, entry: tuple[Scalar, Node] | None, path: str) -> int:
    if entry is None:
        return UNIT
    number = reader.number(entry[1], path)
    return reader.converted(entry[1], path, partial(make_weight, number)) or UNIT


def _make(
    reader: Reader,
    at: Marked,
    path: str,
    needs: list[Need],
    nodes: int,
    time_s: float,
    weight: int,
) -> Request | None:
    def make() -> Request:
        return make_request(needs, nodes=nodes, time_s=time_s, weight=weight)

    return reader.converted(at, path, make)


def _checked(reader: Reader, at: Marked, path: str, variants: list[Request | None]) -> Variants:
    """The variants if all of them could be read and may stand together."""
    good = tuple(request for request in variants if request is not None)
    if len(good) < len(variants):
        return ONE_CPU
    reader.converted(at, path, partial(validate_variants, good))
    return good
