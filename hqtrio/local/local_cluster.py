"""A server inside the script's process, with workers beside it."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import weakref
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from hqtrio.api.client import Client
from hqtrio.api.portal import Portal
from hqtrio.api.validation import ValidationException, read_path, shown
from hqtrio.client import open_client
from hqtrio.client.opening import ungrouped
from hqtrio.local.cluster import end_worker, open_server, start_worker

if TYPE_CHECKING:
    import subprocess

__all__ = ["LocalCluster", "WorkerConfig"]

_LAST_WORDS: Final = 6  # lines: what is wrong with an option takes five
_open_clusters: weakref.WeakSet[LocalCluster] = weakref.WeakSet()


@dataclass(frozen=True)
class WorkerConfig:
    """A worker with so many CPUs (None: all of this machine) and nothing else."""

    cores: int | None = None

    def __post_init__(self) -> None:
        if self.cores is not None and (
            isinstance(self.cores, bool) or not isinstance(self.cores, int) or self.cores < 1
        ):
            raise ValidationException(
                f"cores has to be at least 1 or None, not {shown(self.cores)}"
            )

    @property
    def args(self) -> list[str]:
        """Options of `worker start`."""
        cores = os.cpu_count() if self.cores is None else self.cores
        return ["--cpus", str(cores), "--no-detect-resources"]


class LocalCluster:
    """A server, reachable from this machine only, for as long as this object is open.

    Its directory is `server_dir`, or a private one that is removed at the end; commands find the
    server there. With a `worker_config` there is a worker as well. Ending this process in whatever
    way ends them all.
    """

    def __init__(
        self,
        server_dir: str | os.PathLike[str] | None = None,
        worker_config: WorkerConfig | None = None,
    ) -> None:
        if server_dir is not None:
            read_path("server_dir", server_dir)
        if not isinstance(worker_config, WorkerConfig | None):
            raise ValidationException(
                f"worker_config has to be a WorkerConfig, not {shown(worker_config)}"
            )
        self._is_private = server_dir is None
        chosen = tempfile.mkdtemp(prefix="hqtrio-") if server_dir is None else server_dir
        self.server_dir = Path(chosen).absolute()
        self._workers: list[subprocess.Popen[bytes]] = []
        self._clients: list[Client] = []
        self._logs = Path(tempfile.mkdtemp(prefix="hqtrio-logs-"))
        self._portal = Portal("hqtrio cluster")
        self._is_open = True
        _open_clusters.add(self)
        try:
            self._portal.call(self._start)
            if worker_config is not None:
                self.start_worker(worker_config)
        except BaseException:
            self.stop()
            raise

    def start_worker(self, config: WorkerConfig | None = None) -> None:
        """Another worker is connected, or its last words are raised as a RuntimeError."""
        if not isinstance(config, WorkerConfig | None):
            raise ValidationException(f"config has to be a WorkerConfig, not {shown(config)}")
        self._check()
        self._portal.call(self._start_worker, config or WorkerConfig())

    def client(self, **options: Any) -> Client:
        """A new client of this server; it is closed with the cluster."""
        self._check()
        client = Client(self.server_dir, **options)
        self._clients.append(client)
        return client

    def stop(self) -> None:
        """Tasks that run are ended; server and workers are gone. RuntimeError if they were."""
        self._check()
        self._is_open = False
        if self._portal.is_forked:
            return  # it is the parent's
        for client in self._clients:
            client.close()
        try:
            self._portal.call(self._end)
        finally:
            self._portal.close()
            shutil.rmtree(self._logs, ignore_errors=True)
            if self._is_private:
                shutil.rmtree(self.server_dir, ignore_errors=True)

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_open:
            self.stop()

    def _check(self) -> None:
        if not self._is_open:
            raise RuntimeError("The cluster was stopped")

    # --- the loop

    async def _start(self) -> None:
        self._ending, self._ended = trio.Event(), trio.Event()
        await self._portal.nursery.start(self._serve)

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(open_server(self.server_dir))
                task_status.started()
                await self._ending.wait()
                async with trio.open_nursery() as nursery:
                    for worker in self._workers:
                        nursery.start_soon(end_worker, worker, trio.Event())
        finally:
            self._ended.set()

    async def _end(self) -> None:
        self._ending.set()
        await self._ended.wait()

    async def _start_worker(self, config: WorkerConfig) -> None:
        async with open_client(self.server_dir) as client:
            rows, _ = await client.workers()
            before = sum(row.ended_at is None for row in rows)
            log = self._logs / f"worker-{len(self._workers)}.log"
            worker = start_worker(self.server_dir, log, config.args)
            self._workers.append(worker)
            with ungrouped():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_watch, worker, log)
                    await client.wait_for_workers(before + 1)
                    nursery.cancel_scope.cancel()


async def _watch(worker: subprocess.Popen[bytes], log: Path) -> None:
    code = await trio.to_thread.run_sync(worker.wait, abandon_on_cancel=True)
    words = (await trio.Path(log).read_text(errors="replace")).strip().splitlines()[-_LAST_WORDS:]
    raise RuntimeError("\n".join([f"The worker ended with exit code {code}", *words]))


@atexit.register
def _stop_all() -> None:
    """A script that ends leaves neither processes nor keys behind."""
    for cluster in list(_open_clusters):
        if cluster._is_open:
            cluster.stop()
