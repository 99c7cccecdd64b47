"""Charts as SVG that stands in a page: levels over time, and durations in bins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Final

from hqtrio.journal.report import DURATIONS

__all__ = ["durations_chart", "figure_text", "time_chart", "time_text"]

WIDTH: Final = 720
HEIGHT: Final = 190
_LEFT: Final = 52
_TOP: Final = 12
_BOTTOM: Final = 24
_RIGHT: Final = 12

_STEPS_S: Final = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400,
    21_600, 43_200, 86_400, 172_800, 604_800, 1_209_600, 2_592_000, 7_776_000, 31_536_000,
)  # fmt: skip
_TICKS: Final = 7


def time_text(seconds: float) -> str:
    """A time since the beginning, as short as it can be: `45 s`, `2:05`, `1:30:00`, `3 d 4 h`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    if whole < 2 * 86_400:
        return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 86_400} d {whole // 3600 % 24} h"


def figure_text(value: float) -> str:
    """A number to be read, not to be calculated with."""
    if value >= 1e6:
        return f"{value / 1e6:.3g} M"
    if value >= 1e4:
        return f"{value / 1e3:.3g} k"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def time_chart(
    label: str,
    means: Sequence[float],
    *,
    colour: str,
    width_s: float,
    start_s: float,
    unit: str = "",
    top: float | None = None,
) -> str:
    """The means of equal spans of time from `start_s` on; `top` is the end of the scale."""
    highest = top or _nice(max(means, default=0.0))
    span_s = width_s * max(1, len(means))
    inner_w, inner_h = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def x(seconds: float) -> float:
        return round(_LEFT + inner_w * seconds / span_s, 1)

    def y(value: float) -> float:
        return round(_TOP + inner_h * (1 - min(value, highest) / highest), 1)

    parts = [_grid(highest, unit, y), _times(start_s, span_s, x)]
    line = [f"M{x(0)} {y(means[0]) if means else y(0)}"]
    last = None
    for index, mean in enumerate(means):
        height = y(mean)
        if height != last:
            line.append(f"H{x(index * width_s)}V{height}")
            last = height
    line.append(f"H{x(span_s)}")
    path = "".join(line)
    base = y(0)
    parts.append(f'<path class="area {colour}" d="{path}V{base}H{x(0)}Z"/>')
    parts.append(f'<path class="line {colour}" d="{path}"/>')
    parts.append(f'<line class="cursor" y1="{_TOP}" y2="{base}"/>')
    values = ",".join(f"{mean:.4g}" for mean in means)
    return (
        f'<figure class="chart" data-values="{values}" data-width="{width_s:g}" '
        f'data-start="{start_s:g}" data-unit="{escape(unit)}"><figcaption>{escape(label)}'
        f'<output></output></figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg></figure>'
    )


def durations_chart(counts: Sequence[int]) -> str:
    """How many durations lie in each bin, with as many bins as there is something in."""
    used = [index for index, count in enumerate(counts) if count]
    if not used:
        return '<span class="none">none finished</span>'
    bins = range(max(0, used[0] - 1), min(len(counts), used[-1] + 2))
    most = max(counts)
    width, height, step = 260, 64, 260 / len(bins)
    bars = []
    for place, index in enumerate(bins):
        tall = 0 if not counts[index] else max(1.5, 50 * counts[index] / most)
        below = time_text(DURATIONS[index]) if index < len(DURATIONS) else "longer"
        above = time_text(DURATIONS[index - 1]) if index else "0 s"
        bars.append(
            f'<rect x="{place * step + 1:.1f}" y="{50 - tall:.1f}" width="{max(1.0, step - 2):.1f}"'
            f' height="{tall:.1f}"><title>{above} to {below}: {counts[index]}</title></rect>'
        )
    ends = (
        DURATIONS[bins[0] - 1] if bins[0] else 0.0,
        DURATIONS[min(bins[-1], len(DURATIONS) - 1)],
    )
    texts = (
        f'<text x="0" y="62">{time_text(ends[0])}</text>'
        f'<text x="{width}" y="62" text-anchor="end">{time_text(ends[1])}</text>'
    )
    return (
        f'<svg class="bars" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="durations">{"".join(bars)}{texts}</svg>'
    )


def _nice(value: float) -> float:
    """A round number that is not below the value."""
    if value <= 1:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(m * power for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if m * power >= value * 0.9999)


def _grid(highest: float, unit: str, y: Callable[[float], float]) -> str:
    lines = []
    for value in (0.0, highest / 2, highest):
        at = y(value)
        lines.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>'
            f'<text x="{_LEFT - 6}" y="{at + 4}" text-anchor="end">'
            f"{figure_text(value)}{escape(unit)}</text>"
        )
    return "".join(lines)


def _times(start_s: float, span_s: float, x: Callable[[float], float]) -> str:
    step = next((s for s in _STEPS_S if span_s / s <= _TICKS), span_s)
    first = ceil(start_s / step)
    texts = []
    for number in range(first, first + _TICKS + 1):
        seconds = number * step - start_s
        if seconds > span_s:
            break
        anchor = "end" if x(seconds) > WIDTH - 40 else "middle"
        texts.append(
            f'<text x="{x(seconds)}" y="{HEIGHT - 6}" text-anchor="{anchor}">'
            f"{time_text(number * step)}</text>"
        )
    return "".join(texts)
