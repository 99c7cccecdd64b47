"""What single values of the command line may be, and how errors name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from hqtrio.errors import InputError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Usage(click.UsageError):
    """What was typed cannot be understood; the message follows the word `error:`."""


class Parsed(click.ParamType[Any, Any]):
    """A value read by a function that raises InputError for what it cannot read."""

    name = "text"

    def __init__(self, read: Callable[[str], object], words: Iterable[str] = ()) -> None:
        self._read = read
        self._words = tuple(words)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        begun, comma, last = incomplete.rpartition(",")
        return [CompletionItem(begun + comma + w) for w in self._words if w.startswith(last)]

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except InputError as error:
            raise Usage(f"invalid value '{value}' for '{shown(param)}': {error}", ctx) from error


class Choice(Parsed):
    """One of a few words; the command gets what the word stands for."""

    def __init__(self, words: Mapping[str, object] | Sequence[str]) -> None:
        meaning = words if isinstance(words, Mapping) else {word: word for word in words}

        def read(text: str) -> object:
            if text not in meaning:
                raise InputError(f"possible values: {', '.join(meaning)}")
            return meaning[text]

        super().__init__(read, meaning)


class Choices(Parsed):
    """Words separated by commas; the option may also be repeated."""

    def __init__(self, words: Mapping[str, object]) -> None:
        def read(text: str) -> object:
            for word in text.split(","):
                if word not in words:
                    raise InputError(f"'{word}' is none of the possible values: {', '.join(words)}")
            return tuple(words[word] for word in text.split(","))

        super().__init__(read, words)


def shown(param: click.Parameter | None) -> str:
    """A parameter as usage errors name it: `--time-limit <TIME_LIMIT>` or `<PROGRAM>...`."""
    if param is None:
        return "value"
    if isinstance(param, click.Option):
        name = max(param.opts, key=len)
        return name if param.is_flag else f"{name} <{_metavar(param)}>"
    return f"<{_metavar(param)}>" + ("..." if param.nargs == -1 else "")


def _metavar(param: click.Parameter) -> str:
    name = max(param.opts, key=len).lstrip("-") if isinstance(param, click.Option) else param.name
    return param.metavar or str(name).upper().replace("-", "_")
