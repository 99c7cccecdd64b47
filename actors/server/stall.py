"""How long the event loop is held by one thing: the collector's part in that, and the figure."""

from __future__ import annotations

import gc
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Final

import trio

log = logging.getLogger(__name__)

YOUNG_MAX: Final = 2000  # objects made since the last collection
MIDDLE_MAX: Final = 40  # young collections since the last of the middle generation
MADE_MAX: Final = 50_000  # objects made since then; while many are made, most of them stay
# Every link has hundreds of objects that are young at any time, and looking at those of a thousand
# links takes 50 ms. So young objects are dealt with often, and while there has been no garbage for
# long most of them are only put aside.
EVERY_S: Final = 0.1
CLEAN_MIN: Final = 50  # collections in a row without garbage
SAMPLES: Final = 8  # one of so many is a collection then


class Collector(trio.abc.Instrument):
    """Collects young objects between two turns of the loop, never within a handler.

    A full collection pauses in proportion to the tables: 80 ms at 100,000 graph tasks. The tables
    hold no cycles, nor do connections, so nothing is lost by never running one.
    """

    def __init__(self) -> None:
        # The incremental collector says 0 here. It has no middle generation; what it does in
        # place of collecting one starts with a walk over everything alive.
        self._has_middle = gc.get_threshold()[2] != 0
        self._next_at = -inf
        self._turns = 0
        self._clean = 0  # collections in a row that found nothing
        self._made = 0  # objects since the last collection of the middle generation

    def before_io_wait(self, timeout: float) -> None:
        young, middle, _ = gc.get_count()
        now = time.monotonic()
        if young < YOUNG_MAX and now < self._next_at:
            return
        self._next_at = now + EVERY_S
        self._turns += 1
        self._made += young
        if self._clean >= CLEAN_MIN and self._turns % SAMPLES:
            gc.freeze()
            self._made = 0
            return
        is_middle = self._has_middle and (middle >= MIDDLE_MAX or self._made >= MADE_MAX)
        if is_middle:
            self._made = 0
        if gc.collect(int(is_middle)):
            self._clean = 0
        else:
            self._clean += 1


@contextmanager
def collections_kept_short() -> Iterator[None]:
    """Inside, nothing that exists now is ever looked at, and only what is new is collected."""
    gc.collect()
    gc.freeze()
    was_enabled = gc.isenabled()
    gc.disable()
    collector = Collector()
    trio.lowlevel.add_instrument(collector)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(collector)
        if was_enabled:
            gc.enable()
        gc.unfreeze()


class StallMeter(trio.abc.Instrument):
    """Keeps the longest step of any task, or collection between steps."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.handler = ""
        self._began = inf  # the step that installs it has no beginning
        self._collection_began = inf

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._took(time.perf_counter() - self._began, task.name)

    def collecting(self, phase: str, info: dict[str, int]) -> None:
        """For gc.callbacks. Collections within a step count as part of it as well."""
        if phase == "start":
            self._collection_began = time.perf_counter()
        else:
            took = time.perf_counter() - self._collection_began
            self._took(took, f"collection of generation {info['generation']}")

    def _took(self, seconds: float, handler: str) -> None:
        if seconds > self.longest_s:
            self.longest_s, self.handler = seconds, handler

    def write(self, path: str) -> None:
        """Leave the figure in a file, as one line of JSON."""
        line = {"longest_stall_s": round(self.longest_s, 6), "handler": self.handler}
        Path(path).write_text(json.dumps(line) + "\n")


@contextmanager
def stalls_measured(path: str | None) -> Iterator[None]:
    """Inside, the longest stall is kept; it is in the file afterwards. Nothing without a path."""
    if not path:
        yield
        return
    meter = StallMeter()
    gc.callbacks.append(meter.collecting)
    trio.lowlevel.add_instrument(meter)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(meter)
        gc.callbacks.remove(meter.collecting)
        try:
            meter.write(path)
        except OSError as error:
            log.error("cannot write the stall log %s: %s", path, error.strerror)
