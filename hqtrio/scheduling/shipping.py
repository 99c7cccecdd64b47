"""From decisions to frames: definitions, grants, enqueues, and the records of what was shipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from hqtrio.messages.columns import ROWS_MAX, u32, u64
from hqtrio.messages.scheduling import Body
from hqtrio.messages.worker import (
    Cancel,
    DefineBody,
    DefineClass,
    Drain,
    Enqueue,
    Grant,
    Retract,
    ToWorker,
    Undrain,
)
from hqtrio.model.resources import Claim
from hqtrio.scheduling.events import Effect, Shipped, ToLink
from hqtrio.scheduling.mirror import Mirror, OpenedSlot, RequestClass, Slot, Unit
from hqtrio.scheduling.ready import Batch, ReadyQueue, Run
from hqtrio.scheduling.tables import Tables

FRAME_BYTES: Final = 256 * 1024
ENTRY_BYTES: Final = 128 * 1024  # entries in one enqueue
MESSAGE_BYTES: Final = 24  # about what a small message costs beside its columns
ROW_BYTES: Final = 8 + 4 + 4


def ship(
    tables: Tables, mirror: Mirror, queue: ReadyQueue, count: int, opened: Sequence[OpenedSlot] = ()
) -> None:
    """Give the worker the first `count` tasks of the queue, after the slots opened for them."""
    klass = queue.klass
    runs = tables.ship(mirror, queue, count)
    grants = [grant(mirror, klass, *slot) for slot in opened]
    for batch, part, tasks in _parts(runs):
        messages, size = _definitions(mirror, klass, batch.body)
        # Grants travel with as many tasks, or a slot of a later frame's tasks would close empty.
        for message, grant_bytes in grants[:tasks]:
            messages.append(message)
            size += grant_bytes
        del grants[:tasks]
        enqueue, shipped, enqueue_bytes = _enqueue(mirror, klass, batch, part)
        messages.append(enqueue)
        mirror.post(Unit(tuple(messages), size + enqueue_bytes, shipped))


def ship_slot(mirror: Mirror, klass: RequestClass, opened: OpenedSlot) -> None:
    """Grant a slot to tasks that the worker already has."""
    message, size = grant(mirror, klass, *opened)
    definitions, more = _definitions(mirror, klass, None)
    mirror.post(Unit((*definitions, message), size + more))


def grant(mirror: Mirror, klass: RequestClass, number: int, slot: Slot) -> tuple[Grant, int]:
    """The message that opens a slot, and about how long it is."""
    if slot.gang is not None:
        nodes = tuple(member.config.hostname for member in slot.gang.members)
        size = MESSAGE_BYTES + sum(len(name) + 3 for name in nodes)
        return Grant(number, klass.id, slot.variant, Claim(()), nodes), size
    claim = mirror.pools.claim(slot.request, slot.taken)
    labels = sum(len(label) + 1 for share in claim.shares for label in share.labels)
    size = MESSAGE_BYTES + labels + sum(len(share.resource) + 12 for share in claim.shares)
    return Grant(number, klass.id, slot.variant, claim), size


def _parts(runs: Iterable[Run]) -> Iterator[tuple[Batch, list[Run], int]]:
    """Cut runs into what one enqueue may hold: one body, few rows, bounded entries."""
    part: list[Run] = []
    tasks = entry_bytes = 0
    for run in runs:
        for piece in _pieces(run):
            _, count, position, batch = piece
            size = batch.entry_bytes(position, count)
            if part:
                last = part[-1][3]
                alike = last is batch or (
                    last.body.number == batch.body.number
                    and (last.slice is None) == (batch.slice is None)
                )
                crowded = len(part) >= ROWS_MAX or entry_bytes + size > ENTRY_BYTES
                many = batch.slice is not None and tasks + count > ROWS_MAX
                if not alike or crowded or many:
                    yield last, part, tasks
                    part, tasks, entry_bytes = [], 0, 0
            part.append(piece)
            tasks += count
            entry_bytes += size
    if part:
        yield part[-1][3], part, tasks


def _pieces(run: Run) -> Iterator[Run]:
    """A run in pieces whose entries fit into one enqueue; as it is without entries."""
    first, count, position, batch = run
    if batch.slice is None:
        yield run
        return
    while count:
        length = min(count, ROWS_MAX)
        while length > 1 and batch.entry_bytes(position, length) > ENTRY_BYTES:
            length = (length + 1) // 2
        yield first, length, position, batch
        first, count, position = first + length, count - length, position + length


def _definitions(
    mirror: Mirror, klass: RequestClass, body: Body | None
) -> tuple[list[ToWorker], int]:
    """What must be defined on the worker's connection before it is named."""
    messages: list[ToWorker] = []
    size = 0
    if klass.id not in mirror.classes:
        mirror.classes.add(klass.id)
        messages.append(DefineClass(klass.id, klass.variants))
        size += MESSAGE_BYTES + 32 * sum(len(request.needs) + 1 for request in klass.variants)
    if body is not None and body.number not in mirror.bodies:
        mirror.bodies.add(body.number)
        messages.append(DefineBody(body.number, body.job, body.content))
        size += _body_bytes(body)
    return messages, size


def _body_bytes(body: Body) -> int:
    content = body.content
    texts = (*content.args, *(part for pair in content.env for part in pair))
    return (
        8 * MESSAGE_BYTES
        + sum(len(text) + 3 for text in texts)
        + len(content.stdin)
        + len(content.script)
        + len(content.cwd)
        + len(content.submit_dir)
    )


def _enqueue(
    mirror: Mirror, klass: RequestClass, batch: Batch, runs: list[Run]
) -> tuple[Enqueue, Shipped, int]:
    firsts = u64([run[0] for run in runs])
    counts = u32([run[1] for run in runs])
    instances = u32([run[3].instance for run in runs])
    entries: tuple[bytes, ...] = ()
    size = MESSAGE_BYTES + ROW_BYTES * len(runs)
    if batch.slice is not None:
        for _, count, position, owner in runs:
            entries += owner.entries(position, count)
            size += owner.entry_bytes(position, count) + 3 * count
    enqueue = Enqueue(
        klass.id, batch.body.number, batch.priority, firsts, counts, instances, entries
    )
    return enqueue, Shipped(mirror.id, firsts, counts, instances), size


def retract(mirror: Mirror, tasks: Sequence[int]) -> None:
    """Ask the worker for these tasks back."""
    for at in range(0, len(tasks), ROWS_MAX):
        some = tuple(tasks[at : at + ROWS_MAX])
        seq = mirror.next_retract(some)
        mirror.post(Unit((Retract(seq, u64(some)),), MESSAGE_BYTES + 8 * len(some)))


def drain(mirror: Mirror, slots: Sequence[int], count: int) -> None:
    """Tell the worker to close so many of these slots (0: all) when they are empty."""
    mirror.post(Unit((Drain(u32(slots), count),), MESSAGE_BYTES + 4 * len(slots)))


def undrain(mirror: Mirror, slots: Sequence[int]) -> None:
    """Tell the worker that these slots may go on."""
    mirror.post(Unit((Undrain(u32(slots)),), MESSAGE_BYTES + 4 * len(slots)))


def cancel(mirror: Mirror, tasks: Sequence[int]) -> None:
    """Tell the worker to drop or kill these tasks; they stay its own until it answers."""
    mirror.cancelled.update(tasks)
    for at in range(0, len(tasks), ROWS_MAX):
        some = tasks[at : at + ROWS_MAX]
        mirror.post(Unit((Cancel(u64(some)),), MESSAGE_BYTES + 8 * len(some)))


def flush(mirror: Mirror) -> Iterator[Effect]:
    """Empty the outbox into frames, each after the record of what it ships."""
    units, mirror.outbox[:] = mirror.outbox[:], []
    frame: list[Unit] = []
    size = 0
    for unit in units:
        if frame and size + unit.size > FRAME_BYTES:
            yield from _frame(mirror, frame)
            frame, size = [], 0
        frame.append(unit)
        size += unit.size
    if frame:
        yield from _frame(mirror, frame)


def _frame(mirror: Mirror, units: list[Unit]) -> Iterator[Effect]:
    shipped = [unit.shipped for unit in units if unit.shipped is not None]
    if len(shipped) == 1:
        yield shipped[0]
    elif shipped:
        yield Shipped(
            mirror.id,
            b"".join(one.firsts for one in shipped),
            b"".join(one.counts for one in shipped),
            b"".join(one.instances for one in shipped),
        )
    yield ToLink(mirror.link, tuple(message for unit in units for message in unit.messages))
