"""Announcing tasks to the scheduler: at first, slice by slice, and again after a loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count as counter
from typing import Final

from hqtrio.ids import task_id
from hqtrio.jobs.blocks import ArrayBlock, Block, GraphBlock
from hqtrio.jobs.effects import Outbox
from hqtrio.jobs.instances import RaisedInstances
from hqtrio.jobs.job import WAITING, Job, Runs
from hqtrio.jobs.pairing import is_met
from hqtrio.messages.scheduling import Body, TasksReady
from hqtrio.model.task import NEVER_RESTART

PLACES_SLICE: Final = 20_000  # tasks of a pair of arrays that are looked at
SLICE: Final = 2000  # runs, or tasks with bodies of their own, announced before others get a turn


# Tasks that start together and differ in depth alone make at most so many announcements more.
_STEPS_MAX: Final = 8


class BodyNumbers:
    """Numbers for task bodies, never used twice."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = counter(1)

    def take(self) -> int:
        return next(self._next)


def release(job: Job, block: Block, numbers: BodyNumbers, out: Outbox) -> Iterator[None]:
    """Announce every task of the block that waits for nothing; yields between slices."""
    if isinstance(block, ArrayBlock):
        return _release_array(job, block, out)
    return _release_graph(job, block, numbers, out)


def _release_array(job: Job, block: ArrayBlock, out: Outbox) -> Iterator[None]:
    if block.each:
        yield from _release_pairs(job, block, out)
        return
    if isinstance(job.instances, RaisedInstances):
        yield from _release_raised(job, block, out)
        return
    runs: Runs = []
    place = 0
    covered = 0
    for first, count in job.numbering.runs(block.first, block.count):
        runs.append((task_id(job.id, first), count))
        covered += count
        if len(runs) == SLICE:
            out.command(_ready(block, runs, place))
            runs, place = [], covered
            yield
            if block.dead:
                return
    if runs:
        out.command(_ready(block, runs, place))


def _release_pairs(job: Job, block: ArrayBlock, out: Outbox) -> Iterator[None]:
    while block.released < block.count and not block.dead:
        begin = block.released
        end = block.released = min(begin + PLACES_SLICE, block.count)
        met = [block.first + place for place in range(begin, end) if is_met(job, block, place)]
        if met:
            _announce_array(job, block, met, out)
        yield


def release_places(job: Job, block: ArrayBlock, places: bytes, out: Outbox) -> Iterator[None]:
    """Announce the tasks at the places marked 1 that wait still; yields between slices."""
    states, first = job.states, block.first
    for begin in range(0, len(places), PLACES_SLICE):
        if block.dead:
            return
        end = min(begin + PLACES_SLICE, len(places))
        met = [
            first + place
            for place in range(begin, end)
            if places[place] and states[first + place] == WAITING
        ]
        if met:
            _announce_array(job, block, met, out)
        yield


def _release_raised(job: Job, block: ArrayBlock, out: Outbox) -> Iterator[None]:
    """Announce an array none of whose tasks has started, though they are past their first
    instance."""
    end = block.first + block.count
    for begin in range(block.first, end, SLICE):
        if block.dead:
            return
        _announce_array(job, block, list(range(begin, min(begin + SLICE, end))), out)
        yield


def _ready(
    block: ArrayBlock, runs: Sequence[tuple[int, int]], place: int, instance: int = 0
) -> TasksReady:
    return TasksReady(
        block.variants,
        block.settings.priority,
        block.body,
        tuple(runs),
        instance,
        block.entries(place),
        gates=bool(block.feeds or block.feeds_each),
        depth=block.depth,
        alone=block.settings.crash_limit == NEVER_RESTART,
    )


def _release_graph(
    job: Job, block: GraphBlock, numbers: BodyNumbers, out: Outbox
) -> Iterator[None]:
    total = block.count
    while block.released < total:
        begin = block.released
        end = block.released = min(begin + SLICE, total)
        first = block.first
        unmet = block.unmet[begin:end]
        states = job.states[first + begin : first + end]
        announce(
            job,
            [
                first + begin + i
                for i, (left, state) in enumerate(zip(unmet, states, strict=True))
                if not left and state == WAITING
            ],
            numbers,
            out,
        )
        if end < total:
            yield


def announce(job: Job, positions: list[int], numbers: BodyNumbers, out: Outbox) -> None:
    """Tell the scheduler that these tasks may start, each under its present instance."""
    if not positions:
        return
    positions.sort()
    at = 0
    while at < len(positions):
        block = job.block_at(positions[at])
        end = block.first + block.count
        here = at
        while at < len(positions) and positions[at] < end:
            at += 1
        chosen = positions[here:at] if here or at < len(positions) else positions
        if isinstance(block, ArrayBlock):
            _announce_array(job, block, chosen, out)
        else:
            _announce_graph(job, block, chosen, numbers, out)


def _announce_array(job: Job, block: ArrayBlock, positions: list[int], out: Outbox) -> None:
    by_instance: dict[int, Runs] = {}
    for position in positions:
        instance = job.instances.get(position, 0)
        runs = by_instance.setdefault(instance, [])
        if runs and runs[-1][0] + runs[-1][1] == position:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((position, 1))
    for instance, runs in by_instance.items():
        named = [
            [(task_id(job.id, first), count) for first, count in job.numbering.runs(*run)]
            for run in runs
        ]
        if block.ends is None:
            named = [[run for part in named for run in part]]
        # Entries follow the runs without a gap, so each gap begins a new announcement.
        for (position, _), part in zip(runs, named, strict=False):
            out.command(_ready(block, part, position - block.first, instance))


def _announce_graph(
    job: Job, block: GraphBlock, positions: list[int], numbers: BodyNumbers, out: Outbox
) -> None:
    first, body_of, variants_of = block.first, block.body_of, block.variants_of
    settings_of, number, instances = block.settings_of, job.numbering.number, job.instances
    depths = block.depths
    base = task_id(job.id, 0)
    step = _depth_step([depths[position - first] for position in positions])
    alike: dict[tuple[int, int, int, int, int], Runs] = {}
    for position in positions:
        place = position - first
        key = (
            body_of[place],
            variants_of[place],
            settings_of[place],
            instances.get(position, 0) if instances else 0,
            depths[place] // step,
        )
        task = base + number(position)
        runs = alike.get(key)
        if runs is None:
            alike[key] = [(task, 1)]
        elif runs[-1][0] + runs[-1][1] == task:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((task, 1))
    made = block.made
    for (index, variants, settings, instance, steps), runs in alike.items():
        body = made.get(index)
        if body is None:
            body = made[index] = Body(numbers.take(), job.id, block.content(index))
        chosen = block.settings[settings]
        out.command(
            TasksReady(
                block.variants[variants],
                chosen.priority,
                body,
                tuple(runs),
                instance,
                gates=bool(block.needs),
                depth=steps * step,
                alone=chosen.crash_limit == NEVER_RESTART,
            )
        )


def _depth_step(depths: list[int]) -> int:
    """Depths that differ by less are one: as exact as a few announcements can be."""
    return (max(depths) - min(depths)) // _STEPS_MAX + 1
