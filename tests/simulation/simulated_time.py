"""Virtual time: events happen in the order of their instants, then of their making."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Final

from hqtrio.now import Now

WALL_AT_ZERO: Final = 1_700_000_000.0
# Whoever does this much without letting time pass would hold a real process for ever.
EVENTS_AT_ONE_INSTANT_MAX: Final = 20_000


class Timeline:
    """A queue of calls. Nothing happens outside of it, so the same calls give the same history."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self._at_once = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._made = count()

    def at(self, when: float, call: Callable[..., None], *args: object) -> None:
        """`call(*args)` happens then, or next if that is past."""
        heappush(self._heap, (max(when, self.now), next(self._made), call, args))

    def after(self, delay_s: float, call: Callable[..., None], *args: object) -> None:
        self.at(self.now + delay_s, call, *args)

    def step(self, until: float = inf) -> bool:
        """The next event has happened; False if there is none up to that time."""
        if not self._heap or self._heap[0][0] > until:
            return False
        when, _, call, args = heappop(self._heap)
        self._at_once = self._at_once + 1 if when == self.now else 0
        assert self._at_once < EVENTS_AT_ONE_INSTANT_MAX, f"time stands still at {when}: {call}"
        self.now = when
        self.events += 1
        call(*args)
        return True

    def instant(self) -> Now:
        return Now(self.now, WALL_AT_ZERO + self.now)


class Alarm:
    """Calls once, at the time it was last set to."""

    def __init__(self, timeline: Timeline, call: Callable[[], None]) -> None:
        self._timeline, self._call = timeline, call
        self.at = inf

    def set(self, at: float) -> None:
        """Ring then instead of at any other time; inf: never."""
        if at != self.at:
            self.at = at
            if at < inf:
                self._timeline.at(at, self._ring, at)

    def _ring(self, at: float) -> None:
        if at == self.at:
            self.at = inf
            self._call()


class Core:
    """A mailbox and the turns in which all its mail is taken, as the loop of an actor does it.

    `turn(batch)` handles a batch and what is due; `deadline()` says when a turn without mail is
    needed; `lag()` is how long mail lies before the loop comes round.
    """

    def __init__(
        self,
        timeline: Timeline,
        turn: Callable[[Sequence[object]], None],
        deadline: Callable[[], float],
        lag: Callable[[], float],
    ) -> None:
        self._timeline, self._turn, self._deadline, self._lag = timeline, turn, deadline, lag
        self._mail: list[object] = []
        self._mail_at = inf
        self._asleep_until = 0.0
        self._alarm = Alarm(timeline, self._wake)
        self.stopped = False

    def put(self, *mail: object) -> None:
        if self.stopped or not mail:
            return
        if not self._mail:
            self._mail_at = self._timeline.now + self._lag()
        self._mail += mail
        self._plan()

    def sleep(self, until: float) -> None:
        """No turn before that: the loop is busy, or (inf) the process is suspended."""
        self._asleep_until = max(self._asleep_until, until)
        self._plan()

    def wake(self) -> None:
        """Turns are taken again from now on."""
        self._asleep_until = 0.0
        self._plan()

    def stop(self) -> None:
        """No turn ever again; mail is lost."""
        self.stopped = True
        self._mail.clear()
        self._alarm.set(inf)

    def _plan(self) -> None:
        at = min(self._mail_at if self._mail else inf, self._deadline())
        self._alarm.set(max(at, self._asleep_until, self._timeline.now))

    def _wake(self) -> None:
        batch, self._mail = self._mail, []
        self._turn(batch)
        if not self.stopped:
            self._plan()
