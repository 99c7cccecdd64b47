"""`generate-completion`, and what the script that it prints asks for at each press of the key."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from hqtrio.cli.kinds import Choice
from hqtrio.cli.parsing import argument, command
from hqtrio.cli.session import Session
from hqtrio.errors import InputError

if TYPE_CHECKING:
    import click

PROGRAM: Final = "hqtrio"
VARIABLE: Final = "_HQTRIO_COMPLETE"
_SHELLS: Final = ("bash", "elvish", "fish", "powershell", "zsh")


@command("generate-completion")
@argument("shell", read=Choice(_SHELLS), metavar="SHELL")
def generate_completion(session: Session, shell: str) -> None:
    """Print a script that completes words of command lines: for bash, fish or zsh.

    Try it by `source <(hqtrio generate-completion bash)`.
    """
    import click
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise InputError(f"There is no completion for {shell}: choose bash, fish or zsh")
    sys.stderr.write(f"Generating completion file for {shell}...\n")
    root = click.get_current_context().find_root().command
    session.out.write(kind(root, {}, PROGRAM, VARIABLE).source())
    session.render.raw()


def complete(root: click.Command) -> int:
    """Print what could follow in the command line that the shell hands over; the exit code."""
    from click.shell_completion import shell_complete

    return shell_complete(root, {}, PROGRAM, VARIABLE, os.environ[VARIABLE])
