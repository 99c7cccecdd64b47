"""Progress of jobs: one line that is redrawn on a terminal, now and then a new line elsewhere."""

from __future__ import annotations

import re
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TextIO

from hqtrio.cli.render.frame import GREEN, MAGENTA, RED, RESET, YELLOW
from hqtrio.cli.render.job_table import BAR_CHARACTERS, bar
from hqtrio.cli.render.wording import ended, total
from hqtrio.messages.client import Counts, JobRow
from hqtrio.units import format_elapsed

if TYPE_CHECKING:
    from hqtrio.cli.session import Session
    from hqtrio.client import Client, Watching

ERASE_LINE: Final = "\r\x1b[2K"
REDRAW_S: Final = 0.1
BAR_CHARACTERS_MIN: Final = 10
FRAME_CHARACTERS: Final = 3
NUMBERS_MIN: Final = 24  # of jobs and tasks: room for some hundreds of each
_STYLE: Final = re.compile("(\x1b\\[[0-9;]*m)")
# Piped output gets a line when this share of the tasks has ended, or after this time.
STEP_SHARE: Final = 0.1
STEP_S: Final = 10.0
# The longer it takes, the fewer lines: not before this share of the time so far has passed again.
STEP_GROWTH: Final = 0.1
# The rate is that of the last half minute; it says nothing before a second has passed.
RATE_WINDOW_S: Final = 30.0
RATE_AFTER_S: Final = 1.0
# Estimates grow even while nothing changes.
TICK_S: Final = 1.0


async def follow(session: Session, client: Client, jobs: Sequence[int]) -> None:
    """Draw the progress of these jobs until they are completed."""
    import trio

    line = ProgressLine(session.out, live=session.is_live, colors=session.has_colors)

    def show(watching: Watching) -> None:
        line.update(watching.rows.values())

    async def tick() -> None:
        while True:
            await trio.sleep(TICK_S)
            line.redraw()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            await client.wait_for_jobs(jobs, on_change=show)
            nursery.cancel_scope.cancel()
    finally:
        line.close()


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
        self._began_at = clock()
        self._drawn_at = float("-inf")
        self._drawn_ended = -1
        self._text = ""
        self._rows: list[JobRow] = []
        self._pace = _Pace()

    def update(self, rows: Iterable[JobRow]) -> None:
        """Show the new state, unless it was shown a moment ago and more is to come."""
        self._rows = list(rows)
        self._pace.add(self._clock(), ended(sum_up(row.counts for row in self._rows)))
        self.redraw()

    def redraw(self) -> None:
        """Show how things stand by now."""
        rows = self._rows
        if not rows:
            return
        counts = sum_up(row.counts for row in rows)
        everything, done = total(counts), ended(counts)
        jobs_done = sum(not _is_active(row, self._closed) for row in rows)
        last = jobs_done == len(rows)
        now = self._clock()
        if not last and not self._is_due(now, done, everything):
            return
        text = self._line(counts, jobs_done, len(rows))
        pace = self._pace.text(now, everything - done)
        if text + pace == self._text or (not self._live and self._text.startswith(text)):
            return
        self._drawn_at, self._drawn_ended, self._text = now, done, text + pace
        if self._live:
            self._out.write(f"{ERASE_LINE}{_fitted(self._text, bar(counts), counts)}")
        else:
            self._out.write(f"{self._text}\n")
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
        step_s = max(STEP_S, (now - self._began_at) * STEP_GROWTH)
        return now - self._drawn_at >= step_s or done - self._drawn_ended >= step

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


class _Pace:
    """How many tasks end per second, and how long the rest takes at that rate."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, at: float, done: int) -> None:
        """So many tasks have ended by now; fewer than before if a job was forgotten."""
        if self._samples and done < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((at, done))
        while len(self._samples) > 1 and self._samples[1][0] < at - RATE_WINDOW_S:
            self._samples.popleft()

    def text(self, now: float, left: int) -> str:
        """`, 12/s, 3m 20s left`, as far as it is known."""
        if not self._samples:
            return ""
        (first_at, first), (_, last) = self._samples[0], self._samples[-1]
        took = now - first_at
        if took < RATE_AFTER_S or last == first:
            return ""
        rate = (last - first) / took
        text = f", {rate:.0f}/s" if rate >= 10 else f", {rate:.2g}/s"
        return f"{text}, {format_elapsed(float(round(left / rate)))} left" if left else text


def _fitted(text: str, full_bar: str, counts: Counts) -> str:
    """The text, not wider than the terminal: a second line would not be erased.

    The bar gives way first, then what comes last; where there is no room for both the shortest
    bar and the numbers behind it, the numbers stay.
    """
    room = shutil.get_terminal_size().columns - 1
    excess = len(_STYLE.sub("", text)) - room
    if excess <= 0:
        return text
    if room < NUMBERS_MIN + BAR_CHARACTERS_MIN + FRAME_CHARACTERS:
        text = text.replace(f"{full_bar} ", "", 1)
    else:
        narrow = bar(counts, max(BAR_CHARACTERS_MIN, BAR_CHARACTERS - excess))
        text = text.replace(full_bar, narrow, 1)
    shown = 0
    parts = _STYLE.split(text)
    for at in range(0, len(parts), 2):
        parts[at] = parts[at][: max(0, room - shown)]
        shown += len(parts[at])
    return "".join(parts)


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
