"""What must hold across all tables of a worker between two batches."""

from __future__ import annotations

from hqtrio.worker.bodies import Body
from hqtrio.worker.holdings import Holdings
from hqtrio.worker.tables import Slot


def check(held: Holdings) -> None:
    """Assert it; the cost grows with the number of tasks."""
    _check_backlogs(held)
    for lane_task in held.tasks.values():
        slot = lane_task.slot
        assert slot.tasks.get(lane_task.task) is lane_task, lane_task.task
        assert slot.void or held.slots.get(slot.number) is slot, slot.number
        assert held.crew.is_ready(slot.launcher), slot.launcher
        assert slot.lane, slot.number
        assert lane_task.body.held > 0, lane_task.task
        assert lane_task.body.content.pin == slot.pin, lane_task.task
    for slot in held.slots.values():
        assert not slot.void, slot.number
        assert all(t.slot is slot for t in slot.tasks.values()), slot.number
        assert slot.spent or not slot.nodes or not slot.tasks, slot.number
        assert len(slot.tasks) <= 1 or not slot.nodes, slot.number
        if (group := slot.drain) is not None:
            assert group.slots.get(slot.number) is slot, slot.number
            assert group.wanted > 0, slot.number
            assert all(held.slots.get(number) is s for number, s in group.slots.items())
            assert slot.tasks or slot.held_back, f"drained slot {slot.number} is empty and open"
    speaking = {id(task): token for token, task in held.tokens.items()}
    known = {id(task): task.token for task in held.tasks.values() if task.token}
    assert speaking == known, held.tokens.keys()
    _check_bodies(held)
    void = sum(1 for t in held.tasks.values() if t.slot.void)
    assert void == held.void_tasks, (void, held.void_tasks)
    held.recalls.check()
    assert not held.dirty
    held.crew.check({slot.launcher for slot in _placed(held)})


def _check_backlogs(held: Holdings) -> None:
    seen: set[int] = set()
    for klass in held.classes.values():
        klass.backlog.check()
        assert klass.taking >= 0, klass
        for slot in klass.slots.values():
            assert held.slots.get(slot.number) is slot, slot.number
            assert slot.klass is klass, slot.number
        if klass.backlog:
            served = any(slot.may_go_on for slot in klass.slots.values())
            assert served or klass.orphaned_until, "backlog without slot"
        for run in klass.backlog:
            for task in range(run.first, run.first + run.count):
                twin = held.tasks.get(task)
                assert twin is None or twin.slot.void, task
                assert task not in seen, task
                seen.add(task)


def _check_bodies(held: Holdings) -> None:
    counts: dict[int, int] = {}
    bodies: dict[int, Body] = {}
    for lane_task in held.tasks.values():
        counts[lane_task.body.key] = counts.get(lane_task.body.key, 0) + 1
        bodies[lane_task.body.key] = lane_task.body
    for klass in held.classes.values():
        for run in klass.backlog:
            counts[run.body.key] = counts.get(run.body.key, 0) + run.count
            bodies[run.body.key] = run.body
    for key, count in counts.items():
        assert bodies[key].held == count, (key, bodies[key].held, count)


def _placed(held: Holdings) -> list[Slot]:
    placed = {id(s): s for s in held.slots.values() if s.launcher}
    placed.update({id(t.slot): t.slot for t in held.tasks.values()})
    return list(placed.values())
