"""A server inside this process and a worker beside it, for the length of a block.

The server listens on the loopback interface only and keeps its access file in a private temporary
directory, so that `$HQ submit --job $HQ_JOB_ID` inside a task reaches it, and never another server
of the same user. The worker is a process of its own: it adopts and reaps strangers, which must not
happen in a user's process, and it has a core of its own to run on.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from actors.daemon.program import own_words
from actors.server.main import ServerSettings, run_server
from hqtrio.client import Client, open_client
from hqtrio.client.opening import ungrouped
from hqtrio.errors import HqError
from hqtrio.messages.client import ServerDetails

GRACE_S: Final = 8.0  # a worker kills its tasks within 5 s of being told to end
KILLED_S: Final = 5.0  # for a killed process to be gone; a hung file system may keep it longer
STOP_S: Final = 5.0


class LocalWorkerFailed(HqError):
    """The embedded worker ended while it was needed."""


@dataclass(slots=True)
class RunCluster:
    """The embedded server, its client, and the worker's process."""

    server_dir: Path
    client: Client
    worker: subprocess.Popen[bytes]
    log: Path
    killed: trio.Event = field(default_factory=trio.Event)

    def kill(self) -> None:
        """End the worker without grace; its launchers kill every task process at once."""
        self.killed.set()
        self.worker.kill()

    async def wait_worker_failed(self) -> None:
        """Wait for the worker to end; raises LocalWorkerFailed with its last words."""
        code = await trio.to_thread.run_sync(self.worker.wait, abandon_on_cancel=True)
        words = self.log.read_text(errors="replace").strip().splitlines()[-3:]
        raise LocalWorkerFailed(
            "\n".join([f"the embedded worker ended with exit code {code}", *words])
        )


@asynccontextmanager
async def open_local(
    worker_args: Sequence[str] = (), *, jobs_before: int = 0
) -> AsyncIterator[RunCluster]:
    """Server, worker and client; leaving kills what still runs and removes every trace.

    `worker_args` are options of `worker start`. The first job's id is the one after `jobs_before`.
    """
    root = Path(tempfile.mkdtemp(prefix="hqtrio-run-"))  # 0700
    try:
        async with open_server(root, jobs_before=jobs_before), open_client(root) as client:
            log = root / "worker.log"
            worker = start_worker(root, log, worker_args)
            cluster = RunCluster(root, client, worker, log)
            try:
                yield cluster
            finally:
                await end_worker(worker, cluster.killed)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@asynccontextmanager
async def open_server(server_dir: Path, *, jobs_before: int = 0) -> AsyncIterator[None]:
    """A server of this directory, on the loopback interface, for the length of the block."""
    with ungrouped():  # what goes wrong with the server does so when it starts
        async with trio.open_nursery() as nursery:
            stop = trio.Event()
            lifetime = trio.CancelScope(shield=True)  # the server outlives what the block starts
            try:
                await nursery.start(_serve, server_dir, jobs_before, stop, lifetime)
                yield
            finally:
                stop.set()
                lifetime.deadline = trio.current_time() + STOP_S


async def _serve(
    root: Path,
    jobs_before: int,
    stop: trio.Event,
    lifetime: trio.CancelScope,
    task_status: trio.TaskStatus[ServerDetails] = trio.TASK_STATUS_IGNORED,
) -> None:
    settings = ServerSettings(
        server_dir=root, host="127.0.0.1", loopback=True, jobs_before=jobs_before
    )
    with lifetime:
        await run_server(settings, on_ready=task_status.started, stop=stop, signals=False)


def start_worker(root: Path, log: Path, args: Sequence[str]) -> subprocess.Popen[bytes]:
    """A worker of the server there, which ends with it; its words go to the log."""
    command = [
        *own_words(),
        "--server-dir",
        str(root),
        "worker",
        "start",
        f"--parent={os.getpid()}",
    ]
    with log.open("wb") as file:
        return subprocess.Popen(
            # A server in a process that is suspended, or busy in a library, is silent for long and
            # not lost; when the process ends, so does the connection.
            [*command, "--on-server-lost", "stop", "--heartbeat", "1h", *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            env={**os.environ, "HQ_SERVER_DIR": str(root)},
            start_new_session=True,  # the terminal's Ctrl-C is ours to translate
        )


async def end_worker(worker: subprocess.Popen[bytes], killed: trio.Event) -> None:
    """SIGTERM, so that tasks get their grace; SIGKILL when it is over or the user insists.

    The process is gone then, unless a file system holds it for longer than we wait.
    """
    with trio.move_on_after(GRACE_S + KILLED_S, shield=True):
        await _end_worker(worker, killed)


async def _end_worker(worker: subprocess.Popen[bytes], killed: trio.Event) -> None:
    if worker.poll() is None and not killed.is_set():
        worker.send_signal(signal.SIGTERM)

    async def wait() -> None:
        await trio.to_thread.run_sync(worker.wait, abandon_on_cancel=True)
        waiting.cancel_scope.cancel()

    async with trio.open_nursery() as waiting:
        waiting.start_soon(wait)
        with trio.move_on_after(GRACE_S):
            await killed.wait()
        worker.kill()
    if worker.poll() is None:
        worker.kill()
        await trio.to_thread.run_sync(worker.wait)
