"""`--on-notify`: a program of the user's for everything that tasks say."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from logging import getLogger
from math import inf

import trio

from hqtrio.cli.parsing import option
from hqtrio.client import Client
from hqtrio.messages.client import TaskNotice

log = getLogger(__name__)

ON_NOTIFY_OPTION = option(
    "--on-notify",
    metavar="COMMAND",
    help="Start this, with the message behind it, for every notification of the tasks.",
)


@asynccontextmanager
async def calling(client: Client, command: str | None) -> AsyncIterator[None]:
    """For each notification heard in the block the command is started, one after another.

    Leaving the block waits until it has run for all of them.
    """
    if command is None:
        yield
        return
    # Without a bound: the server keeps no notification, and one call may take long.
    heard, waiting = trio.open_memory_channel[TaskNotice](inf)
    client.listener = heard.send_nowait
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_call_each, _words(command), waiting)
        async with heard:
            yield
            client.listener = None


def _words(command: str) -> list[str]:
    """Split as a shell does it; what a shell would refuse is the name of a program."""
    try:
        return shlex.split(command) or [command]
    except ValueError:
        return [command]


async def _call_each(words: Sequence[str], waiting: trio.MemoryReceiveChannel[TaskNotice]) -> None:
    async for notice in waiting:
        variables = {
            "HQ_JOB_ID": str(notice.job),
            "HQ_TASK_ID": str(notice.number),
            "HQ_WORKER_ID": str(notice.worker),
        }
        try:
            done = await trio.run_process(
                [*words, os.fsdecode(notice.text)],
                stdin=subprocess.DEVNULL,
                check=False,
                env={**os.environ, **variables},
            )
        except (OSError, ValueError) as error:
            log.warning("on_notify callback cannot be started: %s", error)
        else:
            if done.returncode:
                log.warning("on_notify callback ended with exit code %d", done.returncode)
