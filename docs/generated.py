"""Pages that are made while the guide is built: the reference of commands, and the changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
from mkdocs.structure.files import File, Files

from hqtrio.cli.main import root
from hqtrio.cli.session import GLOBAL_OPTIONS

_CHANGES: Final = Path(__file__).parent.parent / "CHANGELOG.md"
_GLOBAL: Final = {name for names, *_ in GLOBAL_OPTIONS for name in names}
_HEAD: Final = """\
# Reference of every command

This page is generated from the program, version {version}. `hqtrio COMMAND --help` prints the same.
"""


def on_files(files: Files, config: Any) -> Files:
    """The generated pages are among the files of the guide."""
    files.append(File.generated(config, "reference.md", content=reference()))
    files.append(File.generated(config, "changelog.md", content=_CHANGES.read_text()))
    return files


def reference() -> str:
    """The page with a section for each command, in the order of the program's own lists."""
    from hqtrio import __version__

    return "\n".join([_HEAD.format(version=__version__), *_everywhere(), *_sections(root, ())])


def _everywhere() -> Iterator[str]:
    yield "## Options of every command\n"
    yield "They may stand before or after any word of the command.\n"
    yield "| option | variable | meaning |"
    yield "|---|---|---|"
    for names, _, text, variable in GLOBAL_OPTIONS:
        yield f"| `{', '.join(names)}` | {f'`{variable}`' if variable else ''} | {_cell(text)} |"
    yield "| `-h, --help` | | Show the help of a command and exit |"
    yield "| `-V, --version` | | Show the version and exit (of `hqtrio` alone) |"
    yield ""


def _sections(group: click.Group, words: tuple[str, ...]) -> Iterator[str]:
    context = click.Context(group, info_name=" ".join(("hqtrio", *words)))
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        assert command is not None, word
        path = (*words, word)
        if isinstance(command, click.Group):
            yield from _sections(command, path)
        else:
            yield from _section(command, path)


def _section(command: click.Command, path: tuple[str, ...]) -> Iterator[str]:
    name = " ".join(("hqtrio", *path))
    context = click.Context(command, info_name=name)
    yield f"## {name}\n"
    yield f"```text\n{_usage(command, context, name)}\n```\n"
    for paragraph in (command.help or "").split("\n\n"):
        yield " ".join(paragraph.split()) + "\n"
    rows = list(_options(command, context))
    if rows:
        yield "| option | meaning |"
        yield "|---|---|"
        yield from rows
        yield ""


def _usage(command: click.Command, context: click.Context, name: str) -> str:
    return " ".join([name, *command.collect_usage_pieces(context)])


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for param in command.get_params(context):
        if not isinstance(param, click.Option) or param.hidden or "--help" in param.opts:
            continue
        if _GLOBAL.intersection(param.opts):
            continue
        names = ", ".join(param.opts)
        value = "" if param.is_flag else f" {param.make_metavar(context)}"
        required = " Required." if param.required else ""
        yield f"| `{names}{value}` | {_cell(param.help or '')}{required} |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
