"""From single measurements to a table, a verdict on each budget and a JSON document. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.workloads import HQTRIO, Budget, Workload


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure of one series, in the workload's unit."""

    workload: str
    series: str
    round: int
    value: float


@dataclass(frozen=True, slots=True)
class Skip:
    """Why a peer has no figures; `workload` is empty if it has none at all."""

    peer: str
    workload: str
    reason: str


@dataclass(frozen=True, slots=True)
class Summary:
    median: float
    lowest: float
    highest: float
    rounds: int


def summarise(values: Sequence[float]) -> Summary:
    assert values
    return Summary(median(values), min(values), max(values), len(values))


def summaries(samples: Iterable[Sample], workload: str) -> dict[str, Summary]:
    """Each series of one workload, in the order of its first sample."""
    values: dict[str, list[float]] = {}
    for sample in samples:
        if sample.workload == workload:
            values.setdefault(sample.series, []).append(sample.value)
    return {series: summarise(each) for series, each in values.items()}


def ratio(value: float, reference: Summary | None) -> float | None:
    """How many times the reference's median; None without one to divide by."""
    if reference is None or reference.median == 0:
        return None
    return value / reference.median


def reached(budget: Budget, figures: Mapping[str, Summary], workload: Workload) -> bool | None:
    """Whether the medians keep the budget; None if a needed series was not measured."""
    if budget.series not in figures:
        return None
    value: float | None = figures[budget.series].median
    if budget.against:
        assert value is not None
        value = ratio(value, figures.get(budget.against))
    if value is None:
        return None
    return value >= budget.limit if workload.more_is_better else value <= budget.limit


def budget_text(budget: Budget, workload: Workload) -> str:
    sign = ">=" if workload.more_is_better else "<="
    if budget.against:
        return f"{sign} {budget.limit:g} x {budget.against}"
    return f"{sign} {budget.limit:g} {workload.unit}"


def table(
    workload: Workload, samples: Iterable[Sample], skips: Iterable[Skip], notes: Sequence[str] = ()
) -> str:
    """One workload as text: a row for each series, then budgets, notes and who was skipped."""
    figures = summaries(samples, workload.name)
    rows = [("", "median", "min - max", "/ hqtrio", "/ bare", "rounds")]
    for series, summary in figures.items():
        rows.append(
            (
                series,
                figure(summary.median),
                f"{figure(summary.lowest)} - {figure(summary.highest)}",
                optional(ratio(summary.median, figures.get(HQTRIO))),
                optional(ratio(summary.median, figures.get(workload.bare))),
                str(summary.rounds),
            )
        )
    lines = [f"## {workload.name}: {workload.title}", direction(workload), ""]
    lines += aligned(rows) if figures else ["  nothing measured"]
    for budget in workload.budgets:
        kept = reached(budget, figures, workload)
        verdict = "not measured" if kept is None else "reached" if kept else "MISSED"
        lines.append(f"  budget: {budget.series} {budget_text(budget, workload)}: {verdict}")
    lines += [f"  note: {note}" for note in notes]
    lines += [
        f"  skipped: {skip.peer}: {skip.reason}" for skip in skips if skip.workload == workload.name
    ]
    return "\n".join(lines)


def direction(workload: Workload) -> str:
    better = "more" if workload.more_is_better else "less"
    return f"{workload.tasks} {workload.counted}; {workload.unit}, {better} is better"


def figure(value: float) -> str:
    """Three significant digits, without an exponent."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"


def optional(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """First column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def document(
    workloads: Iterable[Workload],
    samples: Sequence[Sample],
    skips: Sequence[Skip],
    machine: Mapping[str, object],
    notes: Mapping[str, Sequence[str]],
) -> dict[str, object]:
    """Everything that was measured, ready for json.dump."""
    parts: dict[str, object] = {}
    for workload in workloads:
        figures = summaries(samples, workload.name)
        parts[workload.name] = {
            "title": workload.title,
            "unit": workload.unit,
            "tasks": workload.tasks,
            "more_is_better": workload.more_is_better,
            "series": {
                series: {
                    **asdict(summary),
                    "values": [
                        s.value
                        for s in samples
                        if (s.workload, s.series) == (workload.name, series)
                    ],
                    "ratio_to_hqtrio": ratio(summary.median, figures.get(HQTRIO)),
                    "ratio_to_bare": ratio(summary.median, figures.get(workload.bare)),
                }
                for series, summary in figures.items()
            },
            "budgets": [
                {
                    "series": budget.series,
                    "budget": budget_text(budget, workload),
                    "reached": reached(budget, figures, workload),
                }
                for budget in workload.budgets
            ],
            "notes": list(notes.get(workload.name, ())),
        }
    return {"machine": dict(machine), "workloads": parts, "skipped": [asdict(s) for s in skips]}
