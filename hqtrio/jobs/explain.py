"""The job book's part of an explanation: what a task depends on, and what it asks for."""

from __future__ import annotations

from hqtrio.errors import InputError
from hqtrio.jobs.blocks import ArrayBlock
from hqtrio.jobs.job import FINISHED, RUNNING, WAITING, Job
from hqtrio.messages.client import TaskExplained
from hqtrio.model.task import TaskState


def explain_task(job: Job, number: int, after: int) -> TaskExplained:
    """The explanation of a task without any workers; refused unless it waits or runs."""
    position = job.numbering.position(number)
    if position < 0:
        raise InputError("Task not found")
    if job.states[position] not in (WAITING, RUNNING):
        raise InputError("Explain command works only for tasks in WAITING or RUNNING state")
    block = job.block_at(position)
    if isinstance(block, ArrayBlock):
        needs, unfinished = _needs_of_array(job, block, position - block.first)
        variants = block.variants
    else:
        place = position - block.first
        needs, unfinished = block.needs_count(place), block.unmet[place]
        variants = block.variants[block.variants_of[place]]
    retry_at, error = job.pauses.get(position, (None, ""))
    return TaskExplained(
        job.id,
        number,
        needs,
        unfinished,
        variants,
        after,
        tries=job.tries.get(position, 0),
        retry_at=retry_at,
        error=error,
    )


def _needs_of_array(job: Job, block: ArrayBlock, place: int) -> tuple[int, int]:
    """How many tasks this one waits or waited for, and how many of them it still waits for."""
    # Graphs feed no arrays.
    producers = [b for b in (job.blocks[i] for i in block.needs) if isinstance(b, ArrayBlock)]
    needs = sum(producer.count for producer in producers)
    unfinished = sum(b.active if block.always else b.unfinished for b in producers)
    enough = range(FINISHED, len(TaskState)) if block.always else (FINISHED,)
    pairs = [job.states[job.firsts[index] + place] for index in block.each]
    return needs + len(pairs), unfinished + sum(state not in enough for state in pairs)
