"""Command words, options and arguments as users of `hq` know them, on top of click.

Every command accepts the global options, so that they may stand before or after any word. Usage
errors carry the texts that scripts look for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from importlib import import_module
from typing import Any, Final, NoReturn, TypeVar

import click
from click.core import ParameterSource

from hqtrio.cli import logs
from hqtrio.cli.kinds import Choice, Parsed, Usage, shown
from hqtrio.cli.session import GLOBAL_OPTIONS, Session
from hqtrio.cli.words import check_words, similar

HELP_NAMES: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_DASHES: Final = "hqtrio.dashes"
F = TypeVar("F", bound=Callable[..., Any])


class HqCommand(click.Command):
    """A command with the global options.

    `conflicts` lists names of parameters that must not be given together; a command with a
    trailing list takes every word from the list's first one on as it stands. `usage` is what
    help shows of the arguments.
    """

    def __init__(
        self,
        *args: Any,
        conflicts: Sequence[tuple[str, str]] = (),
        trailing: bool = False,
        usage: str = "",
        **attributes: Any,
    ) -> None:
        attributes["context_settings"] = HELP_NAMES
        super().__init__(*args, **attributes)
        self.params = [*self.params, *_global_options()]
        self.allow_interspersed_args = not trailing
        self._conflicts = conflicts
        self._usage = usage

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS]", self._usage] if self._usage else super().collect_usage_pieces(ctx)

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
    """A noun, whose commands (`word -> (module, attribute, help)`) are imported when named.

    Those in `hidden` are understood and not shown.
    """

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, tuple[str, str, str]],
        hidden: Mapping[str, tuple[str, str, str]] | None = None,
        **attributes: Any,
    ) -> None:
        attributes["context_settings"] = HELP_NAMES
        super().__init__(*args, **{**attributes, "no_args_is_help": False})
        self.params = [*self.params, *_global_options()]
        self._lazy = lazy
        self._known = {**lazy, **(hidden or {})}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._known:
            return None
        module, attribute, _ = self._known[cmd_name]
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
    name: str,
    *,
    conflicts: Sequence[tuple[str, str]] = (),
    trailing: bool = False,
    usage: str = "",
) -> Callable[[Callable[..., Any]], click.Command]:
    """Decorate the function `f(session, **parameters)` that performs a command.

    Its docstring is the help text; a number that it returns is the exit code.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        @wraps(function)
        def perform(**parameters: Any) -> Any:
            return function(_ready_session(), **parameters)

        settings: dict[str, Any] = {"conflicts": conflicts, "trailing": trailing, "usage": usage}
        return click.command(name, cls=HqCommand, **settings)(perform)

    return decorate


def client_command(
    name: str,
    *,
    conflicts: Sequence[tuple[str, str]] = (),
    trailing: bool = False,
    usage: str = "",
) -> Callable[[Callable[..., Awaitable[Any]]], click.Command]:
    """As `command`, for `async f(session, client, **parameters)`, which runs connected."""

    def decorate(function: Callable[..., Awaitable[Any]]) -> click.Command:
        @wraps(function)
        def perform(**parameters: Any) -> Any:
            session = _ready_session()
            return session.with_client(lambda client: function(session, client, **parameters))

        settings: dict[str, Any] = {"conflicts": conflicts, "trailing": trailing, "usage": usage}
        return click.command(name, cls=HqCommand, **settings)(perform)

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
