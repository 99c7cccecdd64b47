"""How the allocator is opened in a server: its settings, and what it begins with."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from actors.daemon.program import own_file, own_words
from actors.kit.actor import open_actor
from actors.kit.mailbox import Mailbox
from actors.server.allocator import Allocator, AllocatorParts
from actors.server.crash_files import note_crash
from actors.server.links import ALLOCATOR_MAX, AllocatorMail, SchedulerMail, ServerMail
from actors.server.manager_commands import COMMAND_S
from hqtrio.autoalloc.books import Books
from hqtrio.autoalloc.context import Settings
from hqtrio.autoalloc.pbs import Pbs
from hqtrio.autoalloc.slurm import Slurm
from hqtrio.model.allocation import Manager

__all__ = ["allocator_box", "open_allocator", "settings_from"]

_MS: Final = 1000.0
LOG_VARIABLE: Final = "RUST_LOG"


def allocator_box() -> Mailbox[AllocatorMail]:
    """Bounded by the workers that come and go while one thing is recorded."""
    return Mailbox("allocator", hard_max=ALLOCATOR_MAX)


def settings_from(instance: Path, environment: Mapping[str, str]) -> Settings:
    """For a server of this instance directory; variables without a meaning are ignored."""
    usual = Settings("", ())
    refresh_s = _ms(environment, "HQ_AUTOALLOC_REFRESH_INTERVAL_MS", usual.refresh_s)
    tick_s = _ms(environment, "HQ_AUTOALLOC_SCHEDULE_TICK_INTERVAL_MS", usual.tick_s)
    delay_s = _ms(environment, "HQ_AUTOALLOC_MAX_SCHEDULE_DELAY_MS", usual.max_delay_s)
    fails = environment.get("HQ_AUTOALLOC_MAX_ALLOCATION_FAILS", "")
    limits = usual.limits
    if fails.isascii() and fails.isdigit() and len(fails) < 10 and int(fails):
        limits = replace(limits, allocation_failures=int(fails))
    log_levels = environment.get(LOG_VARIABLE)
    program = own_file()
    return Settings(
        os.path.realpath(instance),
        (str(program),) if program is not None else tuple(own_words()),
        () if log_levels is None else ((LOG_VARIABLE, log_levels),),
        limits,
        tick_s,
        delay_s,
        refresh_s,
        min(usual.watch_s, refresh_s),
    )


def _ms(environment: Mapping[str, str], name: str, usual: float) -> float:
    text = environment.get(name, "")
    digits = text.isascii() and text.isdigit() and len(text) < 12
    return max(0.01, int(text) / _MS) if digits else usual


@asynccontextmanager
async def open_allocator(
    box: Mailbox[AllocatorMail],
    instance: Path,
    history: bytes,
    *,
    books: Books,
    workers: frozenset[int],
    server: Mailbox[ServerMail],
    scheduler: Mailbox[SchedulerMail],
) -> AsyncIterator[Mailbox[AllocatorMail]]:
    """The allocator, for the block; commands that are under way at its end are killed."""
    environment = dict(os.environ)
    timeout_s = _ms(environment, "HQTRIO_MANAGER_TIMEOUT_MS", COMMAND_S)
    parts = AllocatorParts(
        settings_from(instance, environment),
        books,
        {Manager.SLURM: Slurm(), Manager.PBS: Pbs(environment.get("LOGNAME", ""))},
        environment,
        workers,
        timeout_s,
    )
    allocator = Allocator(
        parts,
        server=server,
        scheduler=scheduler,
        on_crash=partial(note_crash, instance, history, "allocator"),
    )
    async with open_actor(allocator.run, mailbox=box):
        yield box
