"""Which of the alternatives of their requests tasks run in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hqtrio.ids import NUMBER_BITS, NUMBER_MASK
from hqtrio.jobs.job import RUNNING
from hqtrio.jobs.tables import Tables
from hqtrio.messages.columns import read_u32, read_u64
from hqtrio.messages.worker import Ended, Held, Started


def choose_variants(
    tables: Tables, tasks: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """Remember the variants of these tasks, packed id and variant, which are about to be told as
    started; says those that are news."""
    chosen = []
    for task, variant in tasks:
        job = tables.jobs.get(task >> NUMBER_BITS)
        position = -1 if job is None else job.numbering.position(task & NUMBER_MASK)
        if job is None or position < 0 or job.states[position] > RUNNING:
            continue
        if job.variants.get(position, 0) != variant:
            job.variants[position] = variant
            chosen.append((task, variant))
    return tuple(chosen)


def stated(held: Held, facts: Iterable[Started | Ended]) -> list[tuple[int, int]]:
    """Tasks of which a returning worker tells, in open slots of another variant than the first,
    with the variant."""
    variants = {slot.slot: slot.variant for slot in held.slots if slot.variant}
    if not variants:
        return []
    found = []
    for fact in facts:
        rows = zip(read_u64(fact.tasks), read_u32(fact.slots), strict=True)
        found += [(task, variants[slot]) for task, slot in rows if slot in variants]
    return found
