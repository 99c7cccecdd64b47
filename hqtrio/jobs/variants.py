"""Which of the alternatives of their requests tasks run in."""

from __future__ import annotations

from collections.abc import Sequence

from hqtrio.ids import NUMBER_BITS, NUMBER_MASK
from hqtrio.jobs.job import RUNNING
from hqtrio.jobs.tables import Tables


def choose_variants(
    tables: Tables, tasks: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """Remember the variants of these tasks, packed id and variant, which are about to be told as
    started; says those that are news."""
    chosen = []
    for task, variant in tasks:
        job = tables.jobs.get(task >> NUMBER_BITS)
        position = -1 if job is None else job.numbering.position(task & NUMBER_MASK)
        if job is not None and position >= 0 and job.states[position] <= RUNNING:
            job.variants[position] = variant
            chosen.append((task, variant))
    return tuple(chosen)
