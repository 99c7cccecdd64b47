"""Progress of jobs: one line that is redrawn on a terminal, now and then a new line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, TextIO

from hqtrio.cli.render.frame import GREEN, MAGENTA, RED, RESET, YELLOW
from hqtrio.cli.render.job_table import bar
from hqtrio.cli.render.wording import ended, total
from hqtrio.messages.client import Counts, JobRow

ERASE_LINE: Final = "\r\x1b[2K"
REDRAW_S: Final = 0.1
# Piped output gets a line when this share of the tasks has ended, or after this time.
STEP_SHARE: Final = 0.1
STEP_S: Final = 10.0


class ProgressLine:
    """Draws the state of some jobs whenever it is told of a change."""

    def __init__(
        self,
        out: TextIO,
        *,
        live: bool,
        colors: bool,
        closed: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out
        self._live = live
        self._colors = colors
        self._closed = closed
        self._clock = clock
        self._drawn_at = float("-inf")
        self._drawn_ended = -1
        self._text = ""

    def update(self, rows: Iterable[JobRow]) -> None:
        """Show the new state, unless it was shown a moment ago and more is to come."""
        rows = list(rows)
        counts = sum_up(row.counts for row in rows)
        everything, done = total(counts), ended(counts)
        jobs_done = sum(not _is_active(row, self._closed) for row in rows)
        last = jobs_done == len(rows)
        now = self._clock()
        if not last and not self._is_due(now, done, everything):
            return
        text = self._line(counts, jobs_done, len(rows))
        if text == self._text:
            return
        self._drawn_at, self._drawn_ended, self._text = now, done, text
        if self._live:
            self._out.write(f"{ERASE_LINE}{text}")
        else:
            self._out.write(f"{text}\n")
        self._out.flush()

    def close(self) -> None:
        """Leave the last state on a line of its own."""
        if self._live and self._text:
            self._out.write("\n")
            self._out.flush()

    def _is_due(self, now: float, done: int, everything: int) -> bool:
        if self._live:
            return now - self._drawn_at >= REDRAW_S
        step = max(1.0, everything * STEP_SHARE)
        return now - self._drawn_at >= STEP_S or done - self._drawn_ended >= step

    def _line(self, counts: Counts, jobs_done: int, jobs: int) -> str:
        states = (
            ("RUNNING", counts.running, YELLOW),
            ("FINISHED", counts.finished, GREEN),
            ("FAILED", counts.failed, RED),
            ("CANCELED", counts.cancelled, MAGENTA),
            ("ABORTED", counts.aborted, MAGENTA),
        )
        words = [f"{n} {self._paint(name, style)}" for name, n, style in states if n]
        head = f"{bar(counts)} {jobs_done}/{jobs} jobs, {ended(counts)}/{total(counts)} tasks"
        return " ".join([head, *words])

    def _paint(self, text: str, style: str) -> str:
        return f"{style}{text}{RESET}" if self._colors else text


def sum_up(parts: Iterable[Counts]) -> Counts:
    """Tasks of several jobs per state."""
    waiting = running = finished = failed = cancelled = aborted = 0
    for part in parts:
        waiting += part.waiting
        running += part.running
        finished += part.finished
        failed += part.failed
        cancelled += part.cancelled
        aborted += part.aborted
    return Counts(waiting, running, finished, failed, cancelled, aborted)


def _is_active(row: JobRow, closed: bool) -> bool:
    return bool(row.counts.waiting or row.counts.running or (closed and row.is_open))
