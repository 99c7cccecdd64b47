"""Whether the words that were typed fit a command at all, looked at before any value is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import click

from hqtrio.cli.kinds import Usage, shown


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
