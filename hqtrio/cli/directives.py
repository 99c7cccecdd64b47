"""`#HQ` lines at the head of a script: options that the script brings along.

    #!/bin/bash -l
    #HQ --cpus="2 compact"
    #HQ --time-limit=10m

Only comments and empty lines may stand before and between them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import click

from hqtrio.cli.task_options import CONFLICTS, CPUS_OPTION, NODES_OPTION, TASK_OPTIONS
from hqtrio.cli.words import check_words
from hqtrio.errors import InputError

PREFIX: Final = "#HQ "
HEAD_BYTES: Final = 32 * 1024
# Given together they choose the tasks, so one of them on the command line replaces all.
_CHOOSERS: Final = ("ids", "each_line", "from_json")


@dataclass(frozen=True, slots=True)
class Directives:
    """What a script says: options by parameter (with defaults), those `given`, its interpreter."""

    options: Mapping[str, Any] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    interpreter: tuple[str, ...] = ()


def read_directives(mode: str, program: str, stdin: bytes | None) -> Directives:
    """The directives that the mode asks for; none if there are none.

    InputError if the script cannot be read or says what is no option of a task.
    """
    if mode == "stdin":
        if stdin is None:
            raise InputError("You have to use `--stdin` when you specify `--directives=stdin`")
        return parse_directives(stdin[:HEAD_BYTES], "the standard input")
    if mode == "off" or (mode == "auto" and not program.endswith(".sh")):
        return Directives()
    return parse_directives(_head_of(program), program)


def _head_of(path: str) -> bytes:
    try:
        with open(path, "rb") as script:
            return script.read(HEAD_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(
            f"Could not parse directives from {path}: {reason}"
            " (--directives=off submits it without looking into it)"
        ) from None


def parse_directives(head: bytes, source: str) -> Directives:
    """The directives in the first bytes of a script; `source` names it in errors."""
    lines = head.split(b"\n")
    if len(head) == HEAD_BYTES and len(lines) > 1:
        del lines[-1]  # its other half may lie beyond what counts
    words: list[str] = []
    interpreter: list[str] = []
    for number, raw in enumerate(lines, 1):
        line = raw.decode("utf-8", "surrogateescape").removesuffix("\r").lstrip()
        try:
            if line.startswith(PREFIX):
                words += split_words(line.removeprefix(PREFIX))
            elif number == 1 and line.startswith("#!"):
                interpreter = split_words(line.removeprefix("#!"))
            elif line and not line.startswith("#"):
                break
        except InputError as error:
            where = f"line {number} of {source}"
            raise InputError(f"Could not parse directives from {where}: {error}") from None
    options, given = _read_options(words, source) if words else ({}, frozenset())
    return Directives(options, given, tuple(interpreter))


def split_words(text: str) -> list[str]:
    r"""The words of a line. Blanks inside `"..."` belong to the word.

    A backslash takes the meaning from a quotation mark or a blank behind it, and stays itself.
    """
    words: list[str] = []
    word: str | None = None
    is_quoted = is_escaped = False
    for character in text:
        if character == '"' and not is_escaped:
            is_quoted = not is_quoted
            word = word or ""
        elif character in " \t" and not (is_quoted or is_escaped):
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + character
        is_escaped = character == "\\" and not is_escaped
    if is_quoted:
        raise InputError('a quotation mark (") is not closed')
    if word is not None:
        words.append(word)
    return words


class _DirectiveLine(click.Command):
    """Options only: neither the global ones, nor those of one submit, nor help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        check_words(self, ctx, args, CONFLICTS)
        return super().parse_args(ctx, args)


def _read_options(words: Sequence[str], source: str) -> tuple[Mapping[str, Any], frozenset[str]]:
    def nothing(**_options: Any) -> None:
        """Only the parameters of the command are of use."""

    function: Any = nothing
    for decorate in (CPUS_OPTION, NODES_OPTION, *TASK_OPTIONS):
        function = decorate(function)
    line = click.command("#HQ", cls=_DirectiveLine, add_help_option=False)(function)
    try:
        ctx = line.make_context("#HQ", list(words))
    except click.UsageError as error:
        raise InputError(
            f"You have used invalid parameter(s) after a #HQ directive of {source}:"
            f" {error.message} (`hqtrio submit --help` lists the options)"
        ) from None
    given = frozenset(
        name
        for name in ctx.params
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    )
    return ctx.params, given


def merge(
    typed: Mapping[str, Any], given: Collection[str], directives: Directives
) -> dict[str, Any]:
    """The options of a submit: what was typed wins over what the script says.

    Resources and variables of both count; of two values of one variable the typed one.
    """
    merged = {**directives.options, **typed}
    for name in directives.given:
        if name in ("resources", "env"):
            merged[name] = (*directives.options[name], *typed[name])
        elif name not in given:
            merged[name] = directives.options[name]
    if any(name in given for name in _CHOOSERS):
        merged.update({name: typed[name] for name in _CHOOSERS})
    return merged
