"""From nodes to typed values, noting every problem on the way.

Each `x()` returns a value of its type even when it has noted a problem, so that reading goes on;
nothing made of such values leaves the room.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeVar

from hqtrio.errors import InputError
from hqtrio.jobfile.problems import Marked, Problems
from hqtrio.jobfile.tree import Items, Kind, Node, Scalar, Table, describe, is_null, resolve
from hqtrio.units import quote

_T = TypeVar("_T")
_DECIMAL: Final = re.compile(r"[-+]?[0-9][0-9_]*")
_DIGITS_MAX: Final = 30
_KEY_MAX: Final = 60  # longer ones are no misspelling of ours
_KNOWN_MAX: Final = 1000  # comparing with more takes too long


class Reader:
    """Reads values by their source text (native dialect) or by the file format's types."""

    def __init__(self, problems: Problems, *, by_source: bool) -> None:
        self.by_source: Final = by_source
        self.problems: Final = problems
        self._shape: Final = "" if by_source else "Deserialization error: "

    # --- noting problems

    def refuse(self, at: Marked, path: str, text: str) -> None:
        """Note that the value has the right shape and cannot be used all the same."""
        self.problems.add(at, path, text)

    def misshapen(self, at: Marked, path: str, text: str) -> None:
        """Note that something of another shape was expected here."""
        self.problems.add(at, path, self._shape + text)

    def _expected(self, node: Node, path: str, what: str) -> None:
        self.misshapen(node, path, f"expected {what}, got {describe(node)}")

    # --- containers

    def table(
        self,
        node: Node,
        path: str,
        known: Collection[str],
    ) -> dict[str, tuple[Scalar, Node]]:
        """The keys of a mapping that are known and not null; others are noted."""
        found = {}
        for name, (key, value) in self.mapping(node, path).items():
            if name not in known:
                self.misshapen(key, path, self._unknown_key(name, known))
            elif not is_null(value):
                found[name] = (key, value)
        return found

    def mapping(self, node: Node, path: str) -> dict[str, tuple[Scalar, Node]]:
        """All keys of a mapping; the compatible dialect takes null for an absent key."""
        if isinstance(node, Table):
            if self.by_source:
                return node.entries
            return {name: entry for name, entry in node.entries.items() if not is_null(entry[1])}
        self._expected(node, path, "a mapping")
        return {}

    def items(self, node: Node, path: str) -> list[Node]:
        """The items of a list."""
        if isinstance(node, Items):
            return node.items
        self._expected(node, path, "a list")
        return []

    # --- scalars

    def text(self, node: Node, path: str) -> str:
        """A text."""
        if isinstance(node, Scalar) and self._is_text(node):
            if "\0" in node.text:
                self.refuse(node, path, "a NUL character cannot be passed to a program")
            return node.text
        hint = ""
        if isinstance(node, Scalar) and node.kind is not Kind.TEXT:
            hint = " (put it into quotes)"
        self._expected(node, path, f"text{hint}")
        return ""

    def _is_text(self, scalar: Scalar) -> bool:
        if scalar.kind is Kind.TEXT:
            return True
        if self.by_source:
            return scalar.kind is not Kind.MOMENT
        kind = resolve(scalar)
        return scalar.kind is Kind.PLAIN and kind in (Kind.TEXT, Kind.INTEGER, Kind.NUMBER)

    def texts(self, node: Node, path: str) -> list[str]:
        """A list of texts."""
        return [self.text(item, f"{path}[{i}]") for i, item in enumerate(self.items(node, path))]

    def whole(self, node: Node, path: str, *, minimum: int, maximum: int) -> int:
        """A whole number within bounds."""
        value = self._integer(node)
        if value is None:
            self._expected(node, path, "a whole number")
            return minimum
        if not minimum <= value <= maximum:
            self.refuse(node, path, f"expected a number from {minimum} to {maximum}")
            return minimum
        return value

    def _integer(self, node: Node) -> int | None:
        if not isinstance(node, Scalar):
            return None
        if not self.by_source and resolve(node) is not Kind.INTEGER:
            return None
        text = node.text.strip()
        if _DECIMAL.fullmatch(text) and len(text) <= _DIGITS_MAX:
            return int(text.replace("_", ""))
        if not self.by_source and text.startswith(("0x", "0o")) and len(text) <= _DIGITS_MAX:
            return int(text, 0)
        return None

    def boolean(self, node: Node, path: str) -> bool:
        """True or false."""
        if isinstance(node, Scalar) and resolve(node) is Kind.BOOLEAN:
            return node.text.lower() == "true"
        self._expected(node, path, "true or false")
        return False

    def number(self, node: Node, path: str) -> float:
        """A number with or without a fraction."""
        if isinstance(node, Scalar) and resolve(node) in (Kind.INTEGER, Kind.NUMBER):
            try:
                return float(node.text)
            except ValueError:
                pass
        self._expected(node, path, "a number")
        return 1.0

    def choice(self, node: Node, path: str, choices: Mapping[str, _T]) -> _T:
        """One of a few words; the first stands in for a bad one."""
        text = self.text(node, path)
        if text not in choices:
            if isinstance(node, Scalar) and self._is_text(node):
                accepted = ", ".join(f"`{name}`" for name in choices)
                self.misshapen(
                    node,
                    path,
                    f"expected {accepted}, got '{quote(text)}'{self.suggest(text, choices)}",
                )
            return next(iter(choices.values()))
        return choices[text]

    def parsed(self, node: Node, path: str, parse: Callable[[str], _T], fallback: _T) -> _T:
        """A text read by one of the common parsers."""
        text = self.text(node, path)
        if isinstance(node, Scalar) and self._is_text(node):
            try:
                return parse(text)
            except InputError as error:
                self.refuse(node, path, str(error))
        return fallback

    def converted(self, at: Marked, path: str, make: Callable[[], _T]) -> _T | None:
        """What `make` returns, or None if it refuses."""
        try:
            return make()
        except InputError as error:
            self.refuse(at, path, str(error))
            return None

    def suggest(self, word: str, known: Collection[str]) -> str:
        """The nearest known word as the end of an error line, or nothing."""
        if self.problems.are_enough or len(word) > _KEY_MAX or len(known) > _KNOWN_MAX:
            return ""
        from difflib import get_close_matches

        near = get_close_matches(word, sorted(known), n=1)
        return f"; did you mean `{near[0]}`?" if near else ""

    def _unknown_key(self, name: str, known: Collection[str]) -> str:
        hint = self.suggest(name, known) or f"; known here: {', '.join(sorted(known))}"
        return f"unknown key `{quote(name)}`{hint}"
