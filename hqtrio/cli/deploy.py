"""`worker deploy-ssh`: workers on other machines, for as long as this command runs."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Final

import trio

from actors.daemon.program import own_file, own_words
from hqtrio.cli import worker_start
from hqtrio.cli.parsing import argument, command, fail, flag
from hqtrio.cli.session import Session
from hqtrio.errors import HqError, InputError

log = getLogger(__name__)

EXIT_INTERRUPTED: Final = 130
PORT_MAX: Final = 65535


@dataclass(frozen=True, slots=True)
class Host:
    """A line of a host file; without a port it is the one that ssh knows."""

    name: str
    port: int | None = None


class SomeFailed(HqError):
    """Some workers have ended with an error."""


@command("deploy-ssh", trailing=True, usage="HOSTFILE [WORKER_START_ARGS]...")
@argument("words", read=str, nargs=-1, required=True, metavar="HOSTFILE")
@flag("--show-output", help="Show what the workers print.")
def deploy_ssh(session: Session, words: tuple[str, ...], show_output: bool) -> int:
    """Start a worker on each host of a file, over ssh: HOSTFILE, then options of `worker start`.

    The file has one host a line, also as `host:port`. Ctrl-C ends the workers.
    """
    file, *args = words if not words[0].startswith("-") else ("", *words)
    _check_worker_options(args)
    if not file:
        fail("the following required arguments were not provided:\n  <HOSTFILE>")
    hosts = read_hosts(file)
    ssh = shutil.which("ssh")
    if ssh is None:
        raise InputError("Cannot find `ssh` binary: is it installed, and on the path?")
    return trio.run(partial(_deploy, ssh, hosts, args, is_shown=show_output))


def _check_worker_options(args: Sequence[str]) -> None:
    """A usage error, or the help text, as `worker start` itself has it."""
    worker_start.start.make_context("hqtrio worker start", list(args))


def read_hosts(file: str) -> list[Host]:
    """The hosts of a file, in order. InputError names what cannot be read."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"Cannot load hostfile from `{file}`: {why}") from error
    hosts = [read_host(line.strip()) for line in text.splitlines() if line.strip()]
    if not hosts:
        raise InputError(f"The provided hostname is empty: `{file}` names no host")
    return hosts


def read_host(line: str) -> Host:
    """`host`, `host:port`, `[address]:port`, or an address with colons of its own."""
    name, colon, port = line.rpartition(":")
    if line.startswith("["):
        name, _, rest = line[1:].partition("]")
        colon, port = rest[:1], rest[1:]
    elif not colon or ":" in name:
        name, colon, port = line, "", ""
    if not name:
        raise InputError(f"The provided hostname is empty: `{line}`")
    if name.startswith("-") or any(c.isspace() for c in name):
        raise InputError(f"`{name}` is no hostname")
    if not colon:
        return Host(name)
    if not (port.isascii() and port.isdigit() and 0 < int(port[:9]) <= PORT_MAX):
        raise InputError(f"Cannot parse port from `{line}`: use a number from 1 to {PORT_MAX}")
    return Host(name, int(port))


async def _deploy(ssh: str, hosts: Sequence[Host], args: Sequence[str], *, is_shown: bool) -> int:
    failed = False
    is_interrupted = False
    # The remote shell takes the words apart again.
    remote = [shlex.quote(word) for word in (*_own_command(), "worker", "start", *args)]
    output = None if is_shown else subprocess.DEVNULL

    async def run(host: Host, nursery: trio.Nursery) -> None:
        nonlocal failed
        port = () if host.port is None else ("-p", str(host.port))
        words = [ssh, host.name, "-t", "-t", *port, "--", *remote]
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        )
        log.info("Started worker process at `%s`", host.name)
        code = await process.wait()
        if code:
            failed = True
            log.error(
                "Worker at `%s` has ended with an error: Worker exited with code %d",
                host.name,
                code,
            )
        else:
            log.info("Worker at `%s` has ended successfully", host.name)

    async def obey_interrupt(
        nursery: trio.Nursery, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        nonlocal is_interrupted
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
            task_status.started()
            async for number in received:
                is_interrupted = True
                log.info("%s received, closing workers", signal.Signals(number).name)
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as outer:
        async with trio.open_nursery() as workers:
            await outer.start(obey_interrupt, workers)
            for host in hosts:
                workers.start_soon(run, host, workers)
        outer.cancel_scope.cancel()
    if is_interrupted:
        return EXIT_INTERRUPTED
    if failed:
        raise SomeFailed("Some workers have ended with an error")
    return 0


def _own_command() -> list[str]:
    """Words that run this program, where the same files are at the same place."""
    file = own_file()
    return own_words() if file is None else [str(file)]
