"""Resource definitions of a worker: `[a,b]`, `2x4`, `range(0-7)`, `sum(10)`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from hqtrio.errors import InputError
from hqtrio.model.descriptors import check_descriptor, check_pool
from hqtrio.model.resources import CPUS, MEM, UNIT, Descriptor, Pool
from hqtrio.units import parse_amount, parse_integer, parse_mem_amount, quote
from hqtrio.worker.coupling import parse_coupling
from hqtrio.worker.hardware import without_hyper_threads

# Labels of one pool: a mistyped range must not fill the memory, nor outgrow a registration.
ITEMS_MAX: Final = 1 << 16

_TOKEN: Final = re.compile(r'\s*(?:([\[\],])|"([^"]*)"|([^\s,\[\]"]+))')
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9/]*")
_PRODUCT: Final = re.compile(r"\s*([0-9][0-9_]*)\s*x\s*([0-9][0-9_]*)\s*")
_CALL: Final = re.compile(r"\s*(range|sum)\s*\(([^()]*)\)\s*")
# How HyperQueue spelled a range and a list before its releases 0.11 and 0.13.
_OLD_RANGE: Final = re.compile(r"\s*indices\s*\(([^()]*)\)\s*")
_OLD_LIST: Final = re.compile(r"\s*list\s*\(([^()]*)\)\s*")
_REMEDY: Final = "use [a,b], [[a,b],[c,d]], NxM, range(A-B) or sum(X)"


def parse_resource(text: str) -> Pool:
    """The pool of `NAME=DEFINITION`; whether a worker can have it, `compose` decides."""
    name, equals, definition = text.partition("=")
    name = name.strip()
    if not equals:
        raise InputError(f"Unexpected end of input in '{quote(text)}': expected NAME=DEFINITION")
    if not _NAME.fullmatch(name):
        raise InputError(
            f"Unexpected token '{quote(name)}' in '{quote(text)}': a resource name is a letter"
            " followed by letters, digits or /"
        )
    return parse_definition(name, definition)


def parse_cpus(text: str) -> Pool:
    """The value of `--cpus`: a definition, or a plain number of CPUs (0: a pool without any)."""
    stripped = text.strip()
    if stripped.isascii() and stripped.replace("_", "").isdigit():
        count = parse_integer(stripped)
        return _span(CPUS, 0, count, text) if count else Pool(CPUS, (), 0)
    return parse_definition(CPUS, text)


def parse_definition(name: str, text: str) -> Pool:
    """The pool that the definition describes."""
    if match := _PRODUCT.fullmatch(text):
        return _product(name, parse_integer(match[1]), parse_integer(match[2]), text)
    if match := _CALL.fullmatch(text):
        return _range(name, match[2], text) if match[1] == "range" else _sum(name, match[2])
    if match := _OLD_RANGE.fullmatch(text):
        return _range(name, match[1], text)
    if match := _OLD_LIST.fullmatch(text):
        return _listed(name, f"[{match[1]}]")
    return _listed(name, text)


def compose(
    explicit: Iterable[Pool],
    cpus: Pool | None,
    detected: Iterable[Pool],
    *,
    siblings: Mapping[int, str] | None = None,
    coupling: str = "",
) -> Descriptor:
    """Everything a worker offers: given resources first, detected ones where none was given.

    `siblings` (threads of a core by CPU) leaves one hardware thread of each core. The groups that
    `coupling` names are those that remain.
    """
    pools: dict[str, Pool] = {}
    for pool in explicit:
        if pool.resource in pools:
            raise InputError(f"Resource {pool.resource} defined twice")
        pools[pool.resource] = pool
    if cpus is not None:
        if CPUS in pools:
            raise InputError("Parameters --cpus and --resource cpus=... cannot be combined")
        pools[CPUS] = cpus
    for pool in detected:
        pools.setdefault(pool.resource, pool)
    if CPUS not in pools:
        raise InputError(
            "You have to specify --cpus explicitly when opting out of CPU automatic detection"
        )
    for pool in pools.values():
        check_pool(pool)
    if siblings is not None:
        pools[CPUS] = without_hyper_threads(pools[CPUS], siblings)
    ordered = tuple(pools[name] for name in sorted(pools))
    descriptor = Descriptor(ordered, parse_coupling(coupling, ordered) if coupling else ())
    check_descriptor(descriptor)
    return descriptor


def _span(name: str, first: int, count: int, text: str) -> Pool:
    if count > ITEMS_MAX:
        raise InputError(f"'{quote(text)}' has too many items (at most {ITEMS_MAX})")
    labels = tuple(map(str, range(first, first + count)))
    return Pool(name, (labels,), UNIT * count, is_range=True)


def _product(name: str, groups: int, size: int, text: str) -> Pool:
    if groups == 0 or size == 0:
        raise InputError(
            f"Invalid resource definition for {name}: '{quote(text.strip())}' has no items;"
            " both numbers must be at least 1"
        )
    if groups == 1:
        return _span(name, 0, size, text)
    if groups * size > ITEMS_MAX:
        raise InputError(f"'{quote(text)}' has too many items (at most {ITEMS_MAX})")
    return Pool(
        name,
        tuple(tuple(map(str, range(g * size, (g + 1) * size))) for g in range(groups)),
        UNIT * groups * size,
    )


def _range(name: str, bounds: str, text: str) -> Pool:
    first_text, dash, last_text = bounds.partition("-")
    if not dash:
        raise InputError(f"Unexpected token '{quote(bounds)}' in '{quote(text)}': expected A-B")
    first, last = parse_integer(first_text.strip()), parse_integer(last_text.strip())
    if first > last:
        raise InputError(f"Start must be greater or equal to end in '{quote(text.strip())}'")
    return _span(name, first, last - first + 1, text)


def _sum(name: str, amount: str) -> Pool:
    return Pool(name, (), parse_mem_amount(amount) if name == MEM else parse_amount(amount))


def _listed(name: str, text: str) -> Pool:
    tokens = _tokens(text)
    groups: list[tuple[str, ...]] = []
    tokens.take("[")
    if tokens.peek() == "[":
        while True:
            tokens.take("[")
            groups.append(tokens.labels("Each group has to contain at least a single element"))
            if len(set(groups[-1])) < len(groups[-1]):
                raise InputError(f"Group items have to be unique in '{quote(text)}'")
            if tokens.peek() != ",":
                break
            tokens.take(",")
        tokens.take("]")
    else:
        groups.append(tokens.labels("List has to contain at least a single element"))
        if len(set(groups[0])) < len(groups[0]):
            raise InputError(f"List items have to be unique in '{quote(text)}'")
    tokens.end()
    labels = [label for group in groups for label in group]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise InputError(
            f"Invalid resource definition for {name}: '{quote(twice)}' is in two groups"
        )
    return Pool(name, tuple(groups), UNIT * len(labels))


class _Tokens:
    """Brackets, commas and labels of a list, read from left to right."""

    def __init__(self, text: str, tokens: list[tuple[str, bool]]) -> None:
        self._text, self._tokens, self._at = text, tokens, 0

    def peek(self) -> str:
        """The mark that comes next; nothing for a label or the end."""
        if self._at < len(self._tokens) and self._tokens[self._at][1]:
            return self._tokens[self._at][0]
        return ""

    def take(self, mark: str) -> None:
        if self.peek() != mark:
            self._unexpected(f"expected {mark}")
        self._at += 1

    def labels(self, when_empty: str) -> tuple[str, ...]:
        """Labels up to the closing bracket, which is taken as well."""
        if self.peek() == "]":
            raise InputError(f"{when_empty} in '{quote(self._text)}'")
        labels: list[str] = []
        while True:
            if self._at >= len(self._tokens) or self._tokens[self._at][1]:
                self._unexpected("expected a label")
            labels.append(self._tokens[self._at][0])
            self._at += 1
            if self.peek() != ",":
                break
            self._at += 1
        self.take("]")
        return tuple(labels)

    def end(self) -> None:
        if self._at < len(self._tokens):
            self._unexpected("expected nothing more")

    def _unexpected(self, expected: str) -> None:
        where = f"in '{quote(self._text)}': {expected}; {_REMEDY}"
        if self._at >= len(self._tokens):
            raise InputError(f"Unexpected end of input {where}")
        raise InputError(f"Unexpected token '{quote(self._tokens[self._at][0])}' {where}")


def _tokens(text: str) -> _Tokens:
    tokens: list[tuple[str, bool]] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise InputError(
                f"Unexpected token '{quote(text[at:].strip())}' in '{quote(text)}': {_REMEDY}"
            )
        mark, quoted, bare = match.groups()
        tokens.append((mark, True) if mark else (quoted if quoted is not None else bare, False))
        at = match.end()
        if len(tokens) > 2 * ITEMS_MAX:
            raise InputError(f"'{quote(text)}' has too many items (at most {ITEMS_MAX})")
    return _Tokens(text, tokens)
