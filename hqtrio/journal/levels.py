"""How something that goes up and down stood over time, in bins that widen as time goes on."""

from __future__ import annotations

from itertools import accumulate
from math import inf
from typing import Final

__all__ = ["Clock", "Level"]

BINS_MAX: Final = 480
_WIDTH_S: Final = 0.05


class Clock:
    """The span of time that is looked at: seconds from `zero`, from `start_s` to `end_s`.

    All levels of one clock have the same bins; a moment beyond the last one makes all of them
    twice as wide.
    """

    def __init__(self, start_s: float = 0.0, end_s: float = inf) -> None:
        self.zero: float | None = None
        self.start_s, self.end_s = start_s, end_s
        self.width_s = _WIDTH_S
        self.last_s = 0.0  # the latest moment, from `start_s` on
        self._levels: list[Level] = []

    def level(self) -> Level:
        """A new level, at 0."""
        level = Level(self)
        self._levels.append(level)
        return level

    def place(self, at: float) -> float | None:
        """The moment in bins; what was before is at 0, what is later than the span is nowhere."""
        assert self.zero is not None
        moment = at - self.zero
        if moment >= self.end_s:
            return None
        seconds = max(0.0, moment - self.start_s)
        self.last_s = max(self.last_s, seconds)
        while seconds >= BINS_MAX * self.width_s:
            self.width_s *= 2
            for level in self._levels:
                level.halve()
        return seconds / self.width_s

    def within(self, at: float) -> bool:
        """Whether the moment is in the span."""
        assert self.zero is not None
        return self.start_s <= at - self.zero < self.end_s

    @property
    def bins(self) -> int:
        """How many bins there is something to say of."""
        end_s = min(self.last_s, self.end_s - self.start_s)
        return min(BINS_MAX, int(end_s / self.width_s) + 1)


class Level:
    """Changes by amounts at moments, in any order; known afterwards as the mean of each bin."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._inside = [0.0] * BINS_MAX  # what changes of a bin count for within it
        self._after = [0.0] * BINS_MAX  # and for all later ones

    def change(self, at: float, by: float) -> None:
        """From this moment on it is higher by so much."""
        place = self._clock.place(at)
        if place is not None:
            index = int(place)
            self._inside[index] += by * (index + 1 - place)
            self._after[index] += by

    def halve(self) -> None:
        """Two bins become one."""
        inside, after = self._inside, self._after
        half = BINS_MAX // 2
        pairs = range(0, BINS_MAX, 2)
        self._inside = [(inside[i] + after[i] + inside[i + 1]) / 2 for i in pairs] + [0.0] * half
        self._after = [after[i] + after[i + 1] for i in pairs] + [0.0] * half

    def means(self) -> list[float]:
        """The mean of each bin."""
        before = accumulate(self._after[:-1], initial=0.0)
        means = [now + past for now, past in zip(self._inside, before, strict=True)]
        return [max(0.0, mean) for mean in means[: self._clock.bins]]
