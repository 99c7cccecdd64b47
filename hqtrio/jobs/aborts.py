"""Aborting what can never start: the consumers of a task that has ended badly."""

from __future__ import annotations

from typing import Final

from hqtrio.jobs.blocks import ArrayBlock, GraphBlock
from hqtrio.jobs.job import ABORTED, WAITING, Job, Runs
from hqtrio.jobs.pairing import abort_fed, abort_pairs

_RANGES_FEW: Final = 16
_TASKS_MANY: Final = 1000


def abort_consumers(job: Job, position: int, at: float, done: list[int]) -> Runs:
    """Abort everything that needs this task, however far away; says the runs of positions."""
    if not job.linked:
        return []
    aborted: list[int] = []
    whole: Runs = []
    todo = [position]
    while todo:
        producer = todo.pop()
        block = job.block_at(producer)
        if isinstance(block, ArrayBlock):
            todo += abort_fed(job, block, whole)
            pairs = abort_pairs(job, block, producer - block.first, done)
            aborted += pairs
            todo += pairs
        else:
            todo += _abort_near(job, block, producer - block.first, aborted, done)
        for consumer in job.outside.pop(producer, ()) if job.outside else ():
            if job.states[consumer] == WAITING:
                job.states[consumer] = ABORTED
                job.leave(consumer, done)
                aborted.append(consumer)
                todo.append(consumer)
    if job.unconditional:
        for position in aborted:
            job.ended_badly(position)
    runs = _merged(aborted, whole)
    total = sum(count for _, count in runs)
    job.counts[WAITING] -= total
    job.counts[ABORTED] += total
    _date_aborted(job, runs, total, at)
    return runs


def _date_aborted(job: Job, runs: Runs, total: int, at: float) -> None:
    """Keep when these tasks ended: many at once in ranges, few in their rows."""
    if len(runs) <= _RANGES_FEW and total >= _TASKS_MANY:
        job.sweeps += [(start, start + count, at) for start, count in runs]
        return
    for start, count in runs:
        for position in range(start, start + count):
            job.put_ended(position, at)


def _abort_near(
    job: Job, block: GraphBlock, place: int, aborted: list[int], done: list[int]
) -> list[int]:
    """Abort the consumers of a task inside its own block; says who has consumers elsewhere."""
    first, head, edge_to, edge_next = block.first, block.head, block.edge_to, block.edge_next
    states = job.states
    todo, places = [place], []
    while todo:
        edge = head[todo.pop()]
        while edge >= 0:
            place = edge_to[edge]
            if not states[first + place]:
                states[first + place] = ABORTED
                places.append(place)
                todo.append(place)
            edge = edge_next[edge]
    aborted += [first + place for place in places]
    if block.is_shared:
        for place in places:
            block.drop_body(place, done)
    if not job.outside:
        return []
    return [first + place for place in places if first + place in job.outside]


def _merged(positions: list[int], runs: Runs) -> Runs:
    """The positions and runs as sorted runs, adjacent ones made one."""
    merged: Runs = []
    start = end = -1
    positions.sort()
    for position in positions:
        if position != end:
            if end >= 0:
                merged.append((start, end - start))
            start = position
        end = position + 1
    if end >= 0:
        merged.append((start, end - start))
    return sorted(merged + runs)
