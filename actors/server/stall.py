"""How long the event loop was ever held by one step, collections included."""

from __future__ import annotations

import gc
import json
import time
from math import inf
from pathlib import Path

import trio


class StallMeter(trio.abc.Instrument):
    """Keeps the longest step of any task; costs two clock readings per step."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.handler = ""
        self._began = inf  # the step that installs it has no beginning

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took = time.perf_counter() - self._began
        if took > self.longest_s:
            self.longest_s, self.handler = took, task.name

    def write(self, path: str) -> None:
        """Leave the figure in a file, as one line of JSON."""
        line = {"longest_stall_s": round(self.longest_s, 6), "handler": self.handler}
        Path(path).write_text(json.dumps(line) + "\n")


def keep_collections_short() -> None:
    """Freeze what exists, and let only the young generations be collected from now on.

    A full collection pauses in proportion to the tables: 80 ms at 100,000 graph tasks. The tables
    hold no cycles, so nothing is lost by never running one.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, 1_000_000_000)
