"""Command words, options and arguments as users of `hq` know them, on top of click.

Every command accepts the global options, so that they may stand before or after any word. Usage
errors carry the texts that scripts look for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click
from click.core import ParameterSource

from hqtrio.cli import logs
from hqtrio.cli.session import GLOBAL_OPTIONS, Session
from hqtrio.errors import InputError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

HELP_NAMES: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_DASHES: Final = "hqtrio.dashes"
F = TypeVar("F", bound=Callable[..., Any])


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


class HqCommand(click.Command):
    """A command with the global options.

    `conflicts` lists names of parameters that must not be given together; a command with a
    trailing list takes every word from the list's first one on as it stands.
    """

    def __init__(
        self,
        *args: Any,
        conflicts: Sequence[tuple[str, str]] = (),
        trailing: bool = False,
        **attributes: Any,
    ) -> None:
        attributes["context_settings"] = HELP_NAMES
        super().__init__(*args, **attributes)
        self.params = [*self.params, *_global_options()]
        self.allow_interspersed_args = not trailing
        self._conflicts = conflicts

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # a shell asks what could follow
            return super().parse_args(ctx, args)
        check_words(self, ctx, args, self._conflicts)
        words = list(args)
        rest = super().parse_args(ctx, args)
        _take_global_options(ctx)
        for param in self.params:
            if not self.allow_interspersed_args and param.nargs == -1:
                before = len(words) - len(ctx.params[str(param.name)]) - 1
                ctx.meta[_DASHES] = before >= 0 and words[before] == "--"
        return rest


class HqGroup(click.Group):
    """A noun, whose commands (`word -> (module, attribute, help)`) are imported when named."""

    def __init__(
        self, *args: Any, lazy: Mapping[str, tuple[str, str, str]], **attributes: Any
    ) -> None:
        attributes["context_settings"] = HELP_NAMES
        super().__init__(*args, **{**attributes, "no_args_is_help": False})
        self.params = [*self.params, *_global_options()]
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        module, attribute, _ = self._lazy[cmd_name]
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command), (module, attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The texts stand beside the names, so that help does not import every command.
        with formatter.section("Commands"):
            formatter.write_dl([(word, text) for word, (_, _, text) in self._lazy.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        words = check_words(self, ctx, args, ())
        rest = super().parse_args(ctx, args)
        _take_global_options(ctx)
        if not words:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return rest

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is None:
            meant = similar(args[0], self._lazy)
            raise Usage(f"unrecognized subcommand '{args[0]}'{meant}", ctx)
        return args[0], command, args[1:]


def command(
    name: str, *, conflicts: Sequence[tuple[str, str]] = (), trailing: bool = False
) -> Callable[[Callable[..., Any]], click.Command]:
    """Decorate the function `f(session, **parameters)` that performs a command.

    Its docstring is the help text; a number that it returns is the exit code.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        @wraps(function)
        def perform(**parameters: Any) -> Any:
            return function(_ready_session(), **parameters)

        return click.command(name, cls=HqCommand, conflicts=conflicts, trailing=trailing)(perform)

    return decorate


def client_command(
    name: str, *, conflicts: Sequence[tuple[str, str]] = (), trailing: bool = False
) -> Callable[[Callable[..., Awaitable[Any]]], click.Command]:
    """As `command`, for `async f(session, client, **parameters)`, which runs connected."""

    def decorate(function: Callable[..., Awaitable[Any]]) -> click.Command:
        @wraps(function)
        def perform(**parameters: Any) -> Any:
            session = _ready_session()
            return session.with_client(lambda client: function(session, client, **parameters))

        return click.command(name, cls=HqCommand, conflicts=conflicts, trailing=trailing)(perform)

    return decorate


def _ready_session() -> Session:
    session = click.get_current_context().find_object(Session)
    assert session is not None
    logs.set_up(debug=session.debug)
    return session


def option(
    *names: str,
    read: Callable[[str], object] | click.ParamType[Any, Any] | None = None,
    **rest: Any,
) -> Callable[[F], F]:
    """An option whose value `read` turns into what the command gets."""
    if read is not None:
        rest["type"] = read if isinstance(read, click.ParamType) else Parsed(read)
    elif not rest.get("is_flag"):
        rest.setdefault("type", click.STRING)
    return click.option(*names, **rest)


def flag(*names: str, help: str) -> Callable[[F], F]:
    """An option without a value."""
    return click.option(*names, is_flag=True, default=False, help=help)


def argument(
    name: str, *, read: Callable[[str], object] | click.ParamType[Any, Any], **rest: Any
) -> Callable[[F], F]:
    """A positional argument."""
    kind = read if isinstance(read, click.ParamType) else Parsed(read)
    return click.argument(name, type=kind, **rest)


def check_words(
    command: click.Command,
    ctx: click.Context,
    args: Sequence[str],
    conflicts: Sequence[tuple[str, str]],
) -> list[str]:
    """Refuse what is unknown, repeated, missing or in conflict, before any value is read.

    Returns the words that belong to no parameter.
    """
    params = {str(param.name): param for param in command.get_params(ctx)}
    _check_values_present(command, ctx, args)
    try:
        given, rest, order = command.make_parser(ctx).parse_args(args=list(args))
    except click.NoSuchOption as error:
        options = [
            name
            for param in params.values()
            if isinstance(param, click.Option) and not param.hidden
            for name in param.opts
            if name.startswith("--")
        ]
        meant = similar(error.option_name, options)
        raise Usage(f"unexpected argument '{error.option_name}' found{meant}", ctx) from error
    except click.BadOptionUsage as error:
        raise Usage(_bad_option(error, params), ctx) from error
    if any(param.is_eager for param in order):
        return rest  # help or version is asked for
    for param in order:
        single = isinstance(param, click.Option) and not param.multiple
        if single and sum(other is param for other in order) > 1:
            raise Usage(f"the argument '{shown(param)}' cannot be used multiple times", ctx)
    if rest and not ctx.allow_extra_args:
        raise Usage(f"unexpected argument '{rest[0]}' found", ctx)
    named = {param.name for param in order if isinstance(param, click.Option)}
    for one, other in conflicts:
        if one in named and other in named:
            raise Usage(
                f"the argument '{shown(params[one])}' cannot be used with '{shown(params[other])}'",
                ctx,
            )
    values = {name for name, value in given.items() if isinstance(value, str | list | tuple)}
    missing = [p for p in params.values() if p.required and p.name not in named | values]
    if missing:
        lines = "".join(f"\n  {shown(param)}" for param in missing)
        raise Usage(f"the following required arguments were not provided:{lines}", ctx)
    return rest


def similar(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` if one of the known words is near, or nothing."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean '{near[0]}'?" if near else ""


def _check_values_present(command: click.Command, ctx: click.Context, args: Sequence[str]) -> None:
    """Refuse `--name --wait`: an option is no value, but a negative number is."""
    takers = {
        name: param
        for param in command.get_params(ctx)
        if isinstance(param, click.Option) and not param.is_flag and not param.count
        for name in param.opts
    }
    words = iter(args)
    for word in words:
        if word == "--" or (not word.startswith("-") and not ctx.allow_interspersed_args):
            return
        if word in takers:
            value = next(words, None)
            if value is None or _looks_like_option(value):
                raise Usage(
                    f"a value is required for '{shown(takers[word])}' but none was supplied", ctx
                )


def _looks_like_option(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and not word[1].isdigit()


def _bad_option(error: click.BadOptionUsage, params: Mapping[str, click.Parameter]) -> str:
    for param in params.values():
        if error.option_name in param.opts:
            return f"unexpected value for '{shown(param)}' found; no more were expected"
    return error.format_message()


def _global_options() -> list[click.Option]:
    return [
        click.Option(
            names,
            is_flag=kind is bool,
            default=None,
            type=_kind(kind),
            help=text,
            envvar=variable,
            expose_value=False,
            callback=_keep,
        )
        for names, kind, text, variable in GLOBAL_OPTIONS
    ]


def _kind(kind: type[bool] | tuple[str, ...] | None) -> click.ParamType[Any, Any]:
    if kind is bool:
        return click.BOOL
    return Choice(kind) if isinstance(kind, tuple) else click.STRING


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> object:
    """Remember a global option; the one nearest to the last command word wins."""
    given: dict[str, object] = ctx.meta.setdefault("hqtrio.given", {})
    source = ctx.get_parameter_source(str(param.name))
    explicit: set[str] = ctx.meta.setdefault("hqtrio.explicit", set())
    if value is None or param.name is None:
        return value
    if source is ParameterSource.COMMANDLINE:
        given[param.name] = value
        explicit.add(param.name)
    elif param.name not in explicit:
        given.setdefault(param.name, value)
    return value


def _take_global_options(ctx: click.Context) -> None:
    session = ctx.find_object(Session)
    if session is not None:
        session.take(ctx.meta.get("hqtrio.given", {}))


def list_follows_dashes() -> bool:
    """Whether `--` stood right before the trailing list of the command that runs."""
    return bool(click.get_current_context().meta.get(_DASHES))


def given_options() -> dict[str, str]:
    """The command's own options that were typed: names, and how usage errors show them."""
    ctx = click.get_current_context()
    return {
        str(param.name): shown(param)
        for param in ctx.command.params
        if isinstance(param, click.Option)
        and param.expose_value
        and ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
    }


def fail(message: str) -> NoReturn:
    """End with a usage error found by the command itself."""
    raise Usage(message, click.get_current_context(silent=True))
