"""What a worker holds, as it states it when it re-attaches."""

from __future__ import annotations

from collections.abc import Iterable

from hqtrio.messages.columns import f64, u32, u64
from hqtrio.messages.worker import Held, HeldSlot, Report
from hqtrio.worker.orders import TaskRan
from hqtrio.worker.tables import Klass, LaneTask, Slot


def state(
    classes: Iterable[Klass],
    slots: Iterable[Slot],
    lane_tasks: Iterable[LaneTask],
    held_back: Iterable[tuple[LaneTask, TaskRan, float]],
    reports: tuple[Report, ...],
    now: float,
) -> Held:
    """Slots, tasks in backlogs and lanes, and ends held back, which still count as running."""
    rows: list[tuple[int, int, int, int, float]] = [
        (task, run.instance, 0, 0, 0.0)
        for klass in classes
        for run in klass.backlog
        for task in range(run.first, run.first + run.count)
    ]
    rows += [
        (t.task, t.instance, t.slot.number, t.running, now - t.started_at if t.running else 0.0)
        for t in lane_tasks
        if not t.mute
    ]
    rows += [
        (t.task, t.instance, t.slot.number, 1, now - at + ran.started_age_s)
        for t, ran, at in held_back
    ]
    return Held(
        tuple(
            HeldSlot(s.number, s.klass.variants, s.variant, s.claim, s.drain is not None, s.nodes)
            for s in slots
        ),
        u64([row[0] for row in rows]),
        u32([row[1] for row in rows]),
        u32([row[2] for row in rows]),
        bytes(row[3] for row in rows),
        f64([row[4] for row in rows]),
        reports,
    )
