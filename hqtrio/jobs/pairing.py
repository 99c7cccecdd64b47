"""Array tasks that wait for the task at their own place in other arrays, and groups that start
however those end that they need.

Whether such a task may start is read from the states of what it needs; nothing is counted. What
an abort makes ready is noted in the job (`met`, `freed`): an abort has other things to tell first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from hqtrio.jobs.blocks import ArrayBlock
from hqtrio.model.task import TaskState

if TYPE_CHECKING:
    from hqtrio.jobs.job import Job

WAITING: Final = int(TaskState.WAITING)
FINISHED: Final = int(TaskState.FINISHED)
ABORTED: Final = int(TaskState.ABORTED)
_WAITING_RUN: Final = re.compile(rb"\x00+")
_IS_WAITING: Final = bytes(state == WAITING for state in range(256))
_IS_ACTIVE: Final = bytes(state < FINISHED for state in range(256))
_HAS_ENDED: Final = bytes(state >= FINISHED for state in range(256))


def array_at(job: Job, index: int) -> ArrayBlock:
    """The block of that index; producers and consumers of arrays are arrays."""
    block = job.blocks[index]
    assert isinstance(block, ArrayBlock), (job.id, index)
    return block


def is_met(job: Job, block: ArrayBlock, place: int) -> bool:
    """Whether a waiting task waits for none of the tasks at its place any more."""
    states = job.states
    if states[block.first + place] != WAITING:
        return False
    if block.always:
        return all(states[job.firsts[index] + place] >= FINISHED for index in block.each)
    return all(states[job.firsts[index] + place] == FINISHED for index in block.each)


def freed_places(job: Job, block: ArrayBlock, before: bytes) -> bytes:
    """1 at each place of the block that waited for a task in the states `before`, and waits for
    none now. As bytes, since there may be a million of them."""
    count = block.released
    waited, met = 0, _truth(job.states, block.first, count, _IS_WAITING)
    for index in block.each:
        first = job.firsts[index]
        waited |= _truth(before, first, count, _IS_ACTIVE)
        met &= _truth(job.states, first, count, _HAS_ENDED)
    return (waited & met).to_bytes(count, "little")


def _truth(states: bytes | bytearray, first: int, count: int, table: bytes) -> int:
    """A number with one byte for each of these states, 1 where the table says so."""
    return int.from_bytes(states[first : first + count].translate(table), "little")


def wake(job: Job, block: ArrayBlock, place: int, woken: list[int]) -> None:
    """A task has finished: add those that waited for nothing else."""
    for index in block.feeds_each:
        fed = array_at(job, index)
        if place < fed.released and not fed.waits and not fed.dead and is_met(job, fed, place):
            woken.append(fed.first + place)


def wake_unconditional(job: Job, block: ArrayBlock, places: Iterable[int]) -> None:
    """Tasks have ended badly: note those that start all the same and waited for nothing else."""
    feds = [array_at(job, index) for index in block.feeds_each]
    feds = [fed for fed in feds if fed.always and not fed.waits and not fed.dead]
    if not feds:
        return
    for place in places:
        for fed in feds:
            if place < fed.released and is_met(job, fed, place):
                job.met.append(fed.first + place)


def abort_pairs(job: Job, block: ArrayBlock, place: int, done: list[int]) -> list[int]:
    """Abort the tasks that need this one alone; says their positions."""
    aborted = []
    for index in block.feeds_each:
        fed = array_at(job, index)
        position = fed.first + place
        if not fed.always and not fed.dead and job.states[position] == WAITING:
            job.states[position] = ABORTED
            job.leave(position, done)
            aborted.append(position)
    return aborted


def abort_fed(job: Job, block: ArrayBlock, whole: list[tuple[int, int]]) -> list[int]:
    """Abort the arrays that wait for all of this one, and those that wait for them.

    Nothing of them has been announced. Adds the runs of what was aborted; says which of these
    tasks others wait for that are not of arrays.
    """
    more: list[int] = []
    todo = [(block, False)]
    while todo:
        producer, is_whole = todo.pop()
        for index in [*producer.feeds, *(producer.feeds_each if is_whole else ())]:
            fed = array_at(job, index)
            if fed.dead or fed.always:
                continue
            fed.dead = fed.done = True
            fed.active = 0
            end = fed.first + fed.count
            runs = [(fed.first, fed.count)] if fed.count else []
            if fed.each:
                # Some of its tasks may have been aborted before, one by one.
                found = _WAITING_RUN.finditer(job.states, fed.first, end)
                runs = [(match.start(), match.end() - match.start()) for match in found]
            for start, count in runs:
                job.states[start : start + count] = bytes([ABORTED]) * count
            whole += runs
            more += [p for p in job.outside if fed.first <= p < end]
            todo.append((fed, True))
            _wake_after(job, fed, runs)
    return more


def _wake_after(job: Job, block: ArrayBlock, runs: list[tuple[int, int]]) -> None:
    if not block.each:
        # Not one of its tasks had ended, so nothing that waits for them has been announced.
        for index in block.feeds_each:
            fed = array_at(job, index)
            if fed.always and not fed.waits and not fed.dead:
                fed.released = 0
                job.freed.append(fed)
        return
    for start, count in runs:
        first = start - block.first
        wake_unconditional(job, block, range(first, first + count))


# --- groups that start however others end


def spared(job: Job) -> list[ArrayBlock]:
    """The groups with active tasks that are not aborted with the rest of the job."""
    blocks = [array_at(job, index) for index in job.unconditional]
    return [block for block in blocks if block.active and not block.dead]


def free_unconditional(job: Job) -> list[ArrayBlock]:
    """Groups all of whose tasks may start now, since what they need has ended."""
    free, job.freed = job.freed, []
    for index in job.unconditional:
        block = array_at(job, index)
        if block.waits and not block.dead and not any(array_at(job, n).active for n in block.needs):
            block.waits = 0
            free.append(block)
    return [block for block in free if not block.dead]
