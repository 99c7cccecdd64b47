"""`alloc add`, `alloc dry-run`, `alloc edit`: descriptions of allocation queues."""

from __future__ import annotations

from logging import getLogger
from typing import Any, Final

import click

from hqtrio.cli import values
from hqtrio.cli.parsing import HqGroup, argument, client_command, fail, flag, given_options
from hqtrio.cli.queue_files import read_queue
from hqtrio.cli.queue_options import MANAGERS, changed, params_of, queue_options, warn_about
from hqtrio.cli.session import Session
from hqtrio.client import Client
from hqtrio.errors import InputError
from hqtrio.messages.allocations import (
    AddQueue,
    EditQueue,
    QueueAnswer,
    TryQueue,
)
from hqtrio.messages.client import Done
from hqtrio.model.allocation import Manager, QueueParams

__all__ = ["add", "dry_run", "edit"]

log = getLogger(__name__)

ACCEPTED: Final = (
    "A trial allocation was submitted successfully. It was immediately canceled to avoid wasting "
    "resources."
)
_USAGE: Final = "[--] [MANAGER_ARGS]..."
_HERE: Final = "hqtrio.cli.alloc_add"
_MANAGERS: Final = {
    "pbs": "Allocations are made by PBS (qsub)",
    "slurm": "Allocations are made by Slurm (sbatch)",
}


class QueueGroup(HqGroup):
    """A command for each manager, and one for files, whose names no command has."""

    def __init__(self, name: str, file_command: str, **attributes: Any) -> None:
        lazy = {
            word: (_HERE, f"{name.replace('-', '_')}_{word}", text)
            for word, text in _MANAGERS.items()
        }
        super().__init__(
            name,
            lazy=lazy,
            hidden={"FILE": (_HERE, file_command, "")},
            **attributes,
        )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in MANAGERS and ("." in args[0] or "/" in args[0]):
            return "FILE", self.get_command(ctx, "FILE"), args
        return super().resolve_command(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS]", "pbs|slurm|FILE", "..."]


add = QueueGroup(
    "add",
    "add_file",
    help="Add an allocation queue: of a manager with options, or as a YAML FILE describes it.",
)
dry_run = QueueGroup(
    "dry-run",
    "dry_run_file",
    help="Have the manager accept, and cancel, an allocation such as a queue would submit.",
)


async def _add(client: Client, params: QueueParams, *, trial: bool) -> None:
    warn_about(params)
    answer = await client.ask(AddQueue(params, trial), QueueAnswer)
    if trial:
        log.info(ACCEPTED)
    log.info("Allocation queue %d successfully created", answer.queue)


async def _try(client: Client, params: QueueParams) -> None:
    await client.ask(TryQueue(params), Done)
    log.info(ACCEPTED)


@client_command("pbs", trailing=True, usage=_USAGE)
@flag("--no-dry-run", help="Do not try first whether PBS accepts such an allocation.")
@queue_options(time_limit=True)
async def add_pbs(_: Session, client: Client, no_dry_run: bool, **given: Any) -> None:
    """Add a queue whose allocations are made by PBS; MANAGER_ARGS are given to qsub."""
    await _add(client, params_of(Manager.PBS, given), trial=not no_dry_run)


@client_command("slurm", trailing=True, usage=_USAGE)
@flag("--no-dry-run", help="Do not try first whether Slurm accepts such an allocation.")
@queue_options(time_limit=True)
async def add_slurm(_: Session, client: Client, no_dry_run: bool, **given: Any) -> None:
    """Add a queue whose allocations are made by Slurm; MANAGER_ARGS are given to sbatch."""
    await _add(client, params_of(Manager.SLURM, given), trial=not no_dry_run)


@client_command("FILE")
@argument("file", read=str, metavar="FILE")
@flag("--no-dry-run", help="Do not try first whether the manager accepts such an allocation.")
async def add_file(_: Session, client: Client, file: str, no_dry_run: bool) -> None:
    """Add the queue that a YAML file describes."""
    await _add(client, read_queue(file), trial=not no_dry_run)


@client_command("pbs", trailing=True, usage=_USAGE)
@queue_options(time_limit=True)
async def dry_run_pbs(_: Session, client: Client, **given: Any) -> None:
    """Have PBS accept, hold and delete an allocation as it would be submitted."""
    await _try(client, params_of(Manager.PBS, given))


@client_command("slurm", trailing=True, usage=_USAGE)
@queue_options(time_limit=True)
async def dry_run_slurm(_: Session, client: Client, **given: Any) -> None:
    """Have Slurm accept, hold and cancel an allocation as it would be submitted."""
    await _try(client, params_of(Manager.SLURM, given))


@client_command("FILE")
@argument("file", read=str, metavar="FILE")
async def dry_run_file(_: Session, client: Client, file: str) -> None:
    """Try the queue that a YAML file describes."""
    await _try(client, read_queue(file))


@client_command(
    "edit",
    usage="QUEUE [-- MANAGER_ARGS...]",
    conflicts=[("hyper_threading", "no_hyper_threading")],
)
@argument("queue", read=values.whole, metavar="QUEUE")
@flag("--no-manager-args", help="Hand no arguments to the manager's command any more.")
@flag("--hyper-threading", help="Workers use every hardware thread again.")
@queue_options(time_limit=False)
async def edit(
    session: Session,
    client: Client,
    queue: int,
    no_manager_args: bool,
    hyper_threading: bool,
    manager_args: tuple[str, ...],
    **given: Any,
) -> None:
    """Change a queue for allocations to come; only what is given is changed.

    `unlimited` lifts --max-worker-count, --max-node-hours and --worker-time-limit; an empty text
    takes back any other. What follows `--` takes the place of all arguments of the manager's
    command.
    """
    if manager_args and "--" not in session.arguments:
        fail(f"unexpected argument '{manager_args[0]}' found; the manager's arguments follow `--`")
    changes = {name: given[name] for name in given_options() if name in given}
    if manager_args or no_manager_args:
        changes["manager_args"] = manager_args
    if hyper_threading:
        changes["no_hyper_threading"] = False
    if not changes:
        fail("nothing to change: give at least one option")
    present = next((row.params for row in await client.queues() if row.id == queue), None)
    if present is None:
        raise InputError(f"Queue {queue} not found")
    await client.ask(EditQueue(queue, changed(present, changes)), Done)
    log.info("Allocation queue %d successfully changed", queue)
