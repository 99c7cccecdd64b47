"""The job book's part of an explanation: what a task depends on, and what it asks for."""

from __future__ import annotations

from hqtrio.errors import InputError
from hqtrio.jobs.blocks import ArrayBlock
from hqtrio.jobs.job import RUNNING, WAITING, Job
from hqtrio.messages.client import TaskExplained


def explain_task(job: Job, number: int, after: int) -> TaskExplained:
    """The explanation of a task without any workers; refused unless it waits or runs."""
    position = job.numbering.position(number)
    if position < 0:
        raise InputError("Task not found")
    if job.states[position] not in (WAITING, RUNNING):
        raise InputError("Explain command works only for tasks in WAITING or RUNNING state")
    block = job.block_at(position)
    if isinstance(block, ArrayBlock):
        needs, unfinished = _needs_of_array(job, block)
        variants = block.variants
    else:
        place = position - block.first
        needs, unfinished = block.needs_count(place), block.unmet[place]
        variants = block.variants[block.variants_of[place]]
    return TaskExplained(job.id, number, needs, unfinished, variants, after)


def _needs_of_array(job: Job, block: ArrayBlock) -> tuple[int, int]:
    """How many tasks the array waits or waited for, and how many of them have not finished."""
    if not job.linked:
        return 0, 0
    index = job.blocks.index(block)
    # Its producers are the arrays that feed it; graphs feed no arrays.
    producers = [b for b in job.blocks if isinstance(b, ArrayBlock) and index in b.feeds]
    return sum(b.count for b in producers), sum(b.unfinished for b in producers)
