"""Speaks as many workers to a real server, over real connections; their tasks are pretended.

Prints one line of JSON a second: what it did since it began.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Sequence
from heapq import heappop, heappush
from math import inf
from pathlib import Path
from random import Random
from typing import Final

import trio

from benchmarks.scheduling.scenarios import big_node
from benchmarks.scheduling.worker import Worker
from hqtrio.messages.worker import Register, ToWorker
from hqtrio.net.access import Endpoint, read_access
from hqtrio.net.connection import Connection
from hqtrio.net.connector import connect
from hqtrio.net.listener import raise_file_limit

TICK_S: Final = 0.002
DIAL_AT_ONCE: Final = 8
HEARTBEAT_S: Final = 3600.0  # they never have nothing to say
# A lane of such tasks has none ahead, so its launcher tells of an end at once, and of the start
# after it 5 ms later.
LAUNCHER_S: Final = 0.005


class Crowd:
    """All workers, and what they did."""

    def __init__(self, endpoint: Endpoint, *, task_s: float) -> None:
        self._endpoint, self._task_s = endpoint, task_s
        self._rng = Random(1)
        self._alarms: list[tuple[float, int, Worker]] = []
        self._armed: dict[int, float] = {}
        self._connections: dict[int, Connection[ToWorker]] = {}
        self._dialling = trio.CapacityLimiter(DIAL_AT_ONCE)
        self.joined = self.ended = self.frames_up = self.frames_down = 0
        self.running = self.drained = self.released = 0

    # --- what workers tell of themselves

    def start(self, task: int, instance: int, at: float) -> float:
        self.running += 1
        return self._task_s * self._rng.uniform(0.5, 1.5)

    def finish(self, task: int) -> None:
        self.running -= 1
        self.ended += 1

    def lose(self, task: int, instance: int, at: float) -> None:
        self.running -= 1

    def gave_back(self, worker: int, tasks: Sequence[int]) -> None:
        self.released += len(tasks)

    # --- links

    async def run(self, workers: int) -> None:
        """Until the server ends."""
        async with trio.open_nursery() as nursery:
            for link in range(1, workers + 1):
                nursery.start_soon(self._live, link)
            nursery.start_soon(self._tick)
            nursery.start_soon(self._tell)

    async def _live(self, link: int) -> None:
        config = big_node(link, heartbeat_s=HEARTBEAT_S)
        worker = Worker(link, config, self, self, company_s=LAUNCHER_S)
        await self._dialling.acquire()
        async with connect(self._endpoint, "worker", ToWorker) as connection:
            self._connections[link] = connection
            await connection.send([Register(config, b"%16d" % link)])
            messages = await connection.receive()
            self._dialling.release()
            self.joined += 1
            while True:
                self.frames_down += 1
                worker.obey(messages, time.monotonic())
                await self._go_on(worker)
                messages = await connection.receive()

    async def _go_on(self, worker: Worker) -> None:
        report = worker.report(time.monotonic())
        if worker.wake_at < self._armed.get(worker.link, inf):
            self._armed[worker.link] = worker.wake_at
            heappush(self._alarms, (worker.wake_at, worker.link, worker))
        if report:
            self.frames_up += 1
            await self._connections[worker.link].send([report])

    async def _tick(self) -> None:
        alarms = self._alarms
        while True:
            await trio.sleep(TICK_S)
            while alarms and alarms[0][0] <= time.monotonic():
                at, link, worker = heappop(alarms)
                if self._armed.get(link) == at:
                    del self._armed[link]
                now = time.monotonic()
                if worker.wake_at <= now:
                    worker.wake(now)
                await self._go_on(worker)

    async def _tell(self) -> None:
        began = time.monotonic()
        while True:
            await trio.sleep(1.0)
            figures = {
                "at": time.monotonic() - began,
                "joined": self.joined,
                "running": self.running,
                "ended": self.ended,
                "frames_up": self.frames_up,
                "frames_down": self.frames_down,
                "cpu_s": time.process_time(),
            }
            print(json.dumps(figures), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server_dir", type=Path)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--task-s", type=float, required=True)
    asked = parser.parse_args()
    raise_file_limit()
    endpoint = read_access(asked.server_dir, "worker").endpoint("worker")
    gc.freeze()
    gc.disable()  # what it makes is no cycle, and pauses would be taken for the server's
    trio.run(Crowd(endpoint, task_s=asked.task_s).run, asked.workers)


if __name__ == "__main__":
    main()
