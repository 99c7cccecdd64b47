"""A server whose queues submit to a manager, looked at as users look at it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from process_cluster import Cluster, wait_until

FAST = {
    "HQ_AUTOALLOC_SCHEDULE_TICK_INTERVAL_MS": "200",
    "HQ_AUTOALLOC_MAX_SCHEDULE_DELAY_MS": "1000",
    "HQ_AUTOALLOC_REFRESH_INTERVAL_MS": "1500",
}


class Site:
    """`manager` is the word of `alloc add`."""

    def __init__(self, cluster: Cluster, manager: str, environment: Mapping[str, str]) -> None:
        self.cluster, self.manager = cluster, manager
        self.environment = {**FAST, **environment}
        self.journal = cluster.root / "journal"
        self._servers = 0

    def start(self, **environment: str) -> None:
        """The server, or the next one, which goes on with the journal."""
        self._servers += 1
        env = {**self.environment, **environment}
        self.server = self.cluster.start_server(
            "--journal", str(self.journal), name=f"server{self._servers}", **env
        )

    def kill(self) -> None:
        self.server.kill()
        self.server.wait()

    def stop(self) -> None:
        """`server stop`: everything at the manager is cancelled."""
        self.cluster.run("server", "stop")
        self.server.wait()

    def add(self, *options: str, args: tuple[str, ...] = (), time_limit: str = "10m") -> int:
        """A queue without a trial."""
        words = ["alloc", "add", self.manager, "--no-dry-run", "--time-limit", time_limit]
        self.cluster.run(*words, *options, "--", *args)
        return int(self.queues()[-1]["id"])

    def queues(self) -> list[dict[str, Any]]:
        return self.cluster.json("alloc", "list")

    def queue(self, number: int = 1) -> dict[str, Any]:
        (row,) = (row for row in self.queues() if row["id"] == number)
        return row

    def allocations(self, queue: int = 1) -> list[dict[str, Any]]:
        return self.cluster.json("alloc", "info", str(queue))

    def statuses(self, queue: int = 1) -> list[str]:
        return [row["status"] for row in self.allocations(queue)]

    def wait_statuses(self, *statuses: str, queue: int = 1) -> None:
        """Of all allocations of the queue, in the order of their ids."""
        wait_until(
            lambda: self.statuses(queue) == list(statuses),
            lambda: f"{self.allocations(queue)}\n{self.log()}",
        )

    def wait_note(self, part: str, queue: int = 1) -> None:
        """`alloc list` says this of why nothing is submitted."""
        wait_until(
            lambda: part in (self.queue(queue)["not_submitting"] or ""),
            lambda: f"{self.queue(queue)}\n{self.log()}",
        )

    def wait_finished(self, job: int, tasks: int) -> None:
        """All tasks have finished, none of them twice and none has failed."""
        wait_until(
            lambda: self.cluster.counts(job) == {"finished": tasks},
            lambda: f"{self.cluster.run('task', 'list', str(job), '-v').stdout}\n{self.log()}",
        )

    @property
    def gated(self) -> tuple[str, ...]:
        """The words of a task that ends when the gate is opened."""
        return "--", "sh", "-c", f"while [ ! -e {self._gate} ]; do sleep 0.1; done"

    def open_gate(self) -> None:
        self._gate.touch()

    @property
    def _gate(self) -> Path:
        return self.cluster.root / "gate"

    def log(self) -> str:
        return "\n".join(self.cluster.log(f"server{n + 1}") for n in range(self._servers))
