"""What a worker that comes back says it holds, checked as a whole before anything is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hqtrio.errors import RemoteFault
from hqtrio.messages.columns import read_u32, read_u64
from hqtrio.messages.worker import Held, HeldSlot
from hqtrio.model.resources import Descriptor
from hqtrio.scheduling.pools import Layout, Pools
from hqtrio.scheduling.reports import check_report

SLOT_MAX: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class HeldTask:
    """One row. `slot` is 0 for what waits without one."""

    task: int
    instance: int
    slot: int
    running: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """A sound statement; `last_report` is the highest number among its reports, or 0."""

    slots: tuple[HeldSlot, ...] = ()
    tasks: tuple[HeldTask, ...] = ()
    last_report: int = 0


def read_statement(held: Held, descriptor: Descriptor) -> Statement:
    """The statement of a worker with these resources; RemoteFault if it cannot be true."""
    _check_slots(held.slots, descriptor)
    tasks = _read_tasks(held)
    slots = {slot.slot: slot for slot in held.slots}
    for row in tasks:
        if (row.slot or row.running) and row.slot not in slots:
            raise RemoteFault(f"a task is said to be in slot {row.slot}, which is not")
    last = 0
    for report in held.reports:
        if report.seq <= last:
            raise RemoteFault(f"report {report.seq} is stated after report {last}")
        last = report.seq
        check_report(report)
    return Statement(held.slots, tasks, last)


def _check_slots(slots: tuple[HeldSlot, ...], descriptor: Descriptor) -> None:
    """Each is what could have been granted, and all fit the worker together."""
    pools = Pools(Layout(descriptor))
    numbers = {slot.slot for slot in slots}
    if len(numbers) != len(slots) or not all(0 < number <= SLOT_MAX for number in numbers):
        raise RemoteFault("a slot is stated twice, or has no number")
    for slot in slots:
        if not 0 <= slot.variant < len(slot.variants):
            raise RemoteFault(f"slot {slot.slot} has no variant {slot.variant}")
        request = slot.variants[slot.variant]
        if bool(request.nodes) != bool(slot.nodes):
            raise RemoteFault(f"slot {slot.slot} is of a multi-node task or not, but not both")
        if request.nodes:
            if len(slots) > 1 or slot.claim.shares:
                raise RemoteFault("a multi-node task has the whole worker for itself")
        elif not request.needs or pools.retake(request, slot.claim) is None:
            raise RemoteFault(f"the claim of slot {slot.slot} does not fit")


def _read_tasks(held: Held) -> tuple[HeldTask, ...]:
    tasks, instances = read_u64(held.tasks), read_u32(held.instances)
    slots = read_u32(held.task_slots)
    if not len(tasks) == len(instances) == len(slots) == len(held.running):
        raise RemoteFault("columns of held tasks differ in length")
    if len(set(tasks)) != len(tasks):
        raise RemoteFault("a task is held twice")
    rows = zip(tasks, instances, slots, held.running, strict=True)
    return tuple(HeldTask(task, i, slot, bool(runs)) for task, i, slot, runs in rows)
