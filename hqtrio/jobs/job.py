"""One job's tables: what its tasks are, how they stand, and what follows from each change.

States are one byte per task, everything rarer is sparse. Methods change the tables and say what
follows; nothing here tells anybody.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from hqtrio.jobs.blocks import ArrayBlock, Block, GraphBlock
from hqtrio.jobs.executions import (
    Execution,
    Executions,
)
from hqtrio.jobs.numbering import Numbering
from hqtrio.model.job import JobHead
from hqtrio.model.task import TaskSettings, TaskState

WAITING: Final = int(TaskState.WAITING)
RUNNING: Final = int(TaskState.RUNNING)
FINISHED: Final = int(TaskState.FINISHED)
FAILED: Final = int(TaskState.FAILED)
CANCELLED: Final = int(TaskState.CANCELLED)
ABORTED: Final = int(TaskState.ABORTED)

Runs = list[tuple[int, int]]

_ACTIVE_RUN: Final = re.compile(rb"[\x00\x01]+")
_RUNNING_ONE: Final = re.compile(rb"\x01")
_SWEPT: Final = {
    state: bytes([state, state, 2, 3, 4, 5]) + bytes(range(6, 256))
    for state in (CANCELLED, ABORTED)
}
_RUNS_MAX: Final = 4096
_RANGES_FEW: Final = 16
_TASKS_MANY: Final = 1000


class Job:
    """Everything the server knows about one job."""

    __slots__ = (
        "blocks",
        "cancel_reason",
        "completed_at",
        "counts",
        "crashes",
        "errors",
        "executions",
        "firsts",
        "gangs",
        "head",
        "id",
        "instances",
        "is_open",
        "keys",
        "linked",
        "numbering",
        "outside",
        "ran",
        "simple",
        "states",
        "submits",
        "submitted_at",
        "sweeps",
    )

    def __init__(self, number: int, head: JobHead, at: float) -> None:
        self.id = number
        self.head = head
        self.submitted_at = at
        self.is_open = head.is_open
        self.completed_at: float | None = None
        self.cancel_reason: str | None = None
        self.keys: list[bytes] = []
        self.numbering = Numbering()
        self.states = bytearray()
        self.counts = [0] * len(TaskState)
        self.executions = Executions()
        self.instances: dict[int, int] = {}  # of tasks that are past their first
        self.crashes: dict[int, int] = {}
        self.errors: dict[int, str] = {}
        self.gangs: dict[int, tuple[int, ...]] = {}  # all workers of multi-node tasks, root first
        self.ran: dict[int, None] = {}  # workers that ran tasks
        self.blocks: list[Block] = []
        self.firsts: list[int] = []  # block.first of each
        self.submits: list[tuple[str, int, int]] = []  # submit dir, first block, end
        self.sweeps: list[tuple[int, int, float]] = []  # (from, to, when) the active ones ended
        self.outside: dict[int, array[int]] = {}  # consumers in other blocks, by position
        # A simple job has one array: nobody needs to know which block a task belongs to.
        self.simple = True
        # In a linked job the end of a task may concern others.
        self.linked = False

    # --- looking

    @property
    def count(self) -> int:
        return len(self.states)

    @property
    def active(self) -> int:
        """Tasks that wait or run."""
        return self.counts[WAITING] + self.counts[RUNNING]

    @property
    def terminated(self) -> bool:
        return not self.is_open and not self.active

    def block_at(self, position: int) -> Block:
        return self.blocks[bisect_right(self.firsts, position) - 1]

    def settings_at(self, position: int) -> TaskSettings:
        block = self.block_at(position)
        if isinstance(block, ArrayBlock):
            return block.settings
        return block.settings[block.settings_of[position - block.first]]

    def chain_through(self, position: int) -> int:
        """How long a chain of unfinished tasks ends with this one; 0 if it has ended itself."""
        if self.states[position] >= FINISHED:
            return 0
        block = self.block_at(position)
        if isinstance(block, ArrayBlock):
            return block.chain + 1
        return block.chain(position - block.first) + 1

    def swept_at(self, position: int) -> float | None:
        """When a task ended that ended with all others."""
        return next((at for begin, end, at in self.sweeps if begin <= position < end), None)

    def active_runs(self) -> Runs:
        """Runs `(number, count)` that hold every active task, and perhaps ended ones."""
        runs: Runs = []
        for match in _ACTIVE_RUN.finditer(self.states):
            begin, end = match.span()
            for run in self.numbering.runs(begin, end - begin):
                runs.append(run)
                if len(runs) > _RUNS_MAX:
                    first = min(start for start, _, _ in self.numbering.segments)
                    return [(first, self.numbering.largest - first + 1)]
        return runs

    def running(self) -> Iterator[int]:
        """Positions of the running tasks."""
        return (match.start() for match in _RUNNING_ONE.finditer(self.states))

    # --- growing

    def grow(self, count: int) -> None:
        """`count` more tasks wait; their numbers are given by the caller."""
        self.states.extend(bytes(count))
        self.counts[WAITING] += count
        self.executions.grow(len(self.states))

    def add_block(self, block: Block) -> None:
        """The next tasks are those of `block`; simple jobs learn to look blocks up."""
        if self.simple and self.blocks:
            self.simple = False
            only = self.blocks[0]
            assert isinstance(only, ArrayBlock), self.id
            only.active = self.active
            only.unfinished = only.count - self.counts[FINISHED]
            only.dead = only.dead or not only.active
        if isinstance(block, GraphBlock):
            self.simple = False
            self.linked = self.linked or bool(block.edge_to)
        self.blocks.append(block)
        self.firsts.append(block.first)

    # --- changing one task

    def put_ended(self, position: int, ended: float) -> int:
        """Date the end of a task that somebody else ended; says on which worker it ran, or 0."""
        row = self.executions.get(position)
        self.executions.put(position, row._replace(ended=ended))
        return row.worker

    def requeue(self, position: int) -> int:
        """The task waits again, under the next instance, which is returned."""
        self.counts[self.states[position]] -= 1
        self.counts[WAITING] += 1
        self.states[position] = WAITING
        self.executions.put(position, Execution())
        self.gangs.pop(position, None)
        instance = self.instances.get(position, 0) + 1
        self.instances[position] = instance
        return instance

    # --- changing many

    def sweep(self, state: int, at: float) -> list[int]:
        """Every active task ends in `state`; says the workers of those that ran, one per task."""
        workers = [self.put_ended(position, at) for position in self.running()]
        self.states[:] = self.states.translate(_SWEPT[state])
        self.counts[state] += self.active
        self.counts[WAITING] = self.counts[RUNNING] = 0
        self.sweeps.append((0, self.count, at))
        self.outside.clear()
        for block in self.blocks:
            block.dead = True
        return workers

    def give_up_bodies(self) -> list[int]:
        """No task is active: the numbers of all bodies that the scheduler still knows."""
        done: list[int] = []
        for block in self.blocks:
            if isinstance(block, GraphBlock):
                done += [body.number for body in block.made.values()]
                block.made.clear()
            elif not block.done:
                block.done = True
                block.active = 0
                done.append(block.body.number)
        return done

    def leave(self, position: int, done: list[int]) -> None:
        """A task has ended other than by finishing: add to `done` the body nobody needs now."""
        block = self.block_at(position)
        if isinstance(block, ArrayBlock):
            block.active -= 1
            if not block.active and not block.done:
                block.done = True
                done.append(block.body.number)
            return
        block.drop_body(position - block.first, done)

    def finish(
        self, position: int, woken: list[int], freed: list[ArrayBlock], done: list[int]
    ) -> None:
        """A task has finished: add the tasks and whole arrays that may start for it, and the
        body that nobody needs now."""
        block = self.block_at(position)
        if isinstance(block, GraphBlock):
            place = position - block.first
            edge = block.head[place]
            if edge >= 0:
                unmet, edge_to, edge_next = block.unmet, block.edge_to, block.edge_next
                released, first = block.released, block.first
                while edge >= 0:
                    consumer = edge_to[edge]
                    left = unmet[consumer] - 1
                    unmet[consumer] = left
                    if not left and consumer < released:
                        woken.append(first + consumer)
                    edge = edge_next[edge]
            block.drop_body(place, done)
        else:
            self.leave(position, done)
            block.unfinished -= 1
            if not block.unfinished and block.feeds:
                freed += self._freed(block)
        if self.outside and position in self.outside:
            for consumer in self.outside.pop(position):
                self._met(consumer, woken)

    def _met(self, consumer: int, woken: list[int]) -> None:
        block = self.block_at(consumer)
        assert isinstance(block, GraphBlock), (self.id, consumer)
        place = consumer - block.first
        block.unmet[place] -= 1
        if not block.unmet[place] and place < block.released:
            woken.append(consumer)

    def _freed(self, block: ArrayBlock) -> list[ArrayBlock]:
        """A whole array has finished: the arrays that waited for nothing else may start."""
        free: list[ArrayBlock] = []
        for index in block.feeds:
            fed = self.blocks[index]
            assert isinstance(fed, ArrayBlock), (self.id, index)
            fed.waits -= 1
            if not fed.waits and not fed.dead:
                free.append(fed)
        return free

    def abort_consumers(self, position: int, at: float, done: list[int]) -> Runs:
        """Abort everything that needs this task, however far away; says the runs of positions."""
        if not self.linked:
            return []
        aborted: list[int] = []
        whole: Runs = []
        todo = [position]
        while todo:
            producer = todo.pop()
            block = self.block_at(producer)
            if isinstance(block, ArrayBlock):
                todo += self._abort_fed(block, whole)
            else:
                todo += self._abort_near(block, producer - block.first, aborted, done)
            for consumer in self.outside.pop(producer, ()) if self.outside else ():
                if self.states[consumer] == WAITING:
                    self.states[consumer] = ABORTED
                    self.leave(consumer, done)
                    aborted.append(consumer)
                    todo.append(consumer)
        runs = _merged(aborted, whole)
        total = sum(count for _, count in runs)
        self.counts[WAITING] -= total
        self.counts[ABORTED] += total
        self._date_aborted(runs, total, at)
        return runs

    def _date_aborted(self, runs: Runs, total: int, at: float) -> None:
        """Keep when these tasks ended: many at once in ranges, few in their rows."""
        if len(runs) <= _RANGES_FEW and total >= _TASKS_MANY:
            self.sweeps += [(start, start + count, at) for start, count in runs]
            return
        for start, count in runs:
            for position in range(start, start + count):
                self.put_ended(position, at)

    def abort_waiting(self, position: int, at: float, done: list[int]) -> None:
        """Abort one task that waits; its consumers are the caller's affair."""
        self.states[position] = ABORTED
        self.counts[WAITING] -= 1
        self.counts[ABORTED] += 1
        self.put_ended(position, at)
        self.leave(position, done)

    def _abort_near(
        self, block: GraphBlock, place: int, aborted: list[int], done: list[int]
    ) -> list[int]:
        """Abort the consumers of a task inside its own block; says who has consumers elsewhere."""
        first, head, edge_to, edge_next = block.first, block.head, block.edge_to, block.edge_next
        states = self.states
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
        if not self.outside:
            return []
        return [first + place for place in places if first + place in self.outside]

    def _abort_fed(self, block: ArrayBlock, whole: Runs) -> list[int]:
        """Abort the arrays that wait for this one; says which of their tasks others wait for."""
        more: list[int] = []
        todo = [block]
        while todo:
            for index in todo.pop().feeds:
                fed = self.blocks[index]
                assert isinstance(fed, ArrayBlock), (self.id, index)
                if fed.dead:
                    continue
                fed.dead = fed.done = True
                fed.active = 0
                end = fed.first + fed.count
                self.states[fed.first : end] = bytes([ABORTED]) * fed.count
                if fed.count:
                    whole.append((fed.first, fed.count))
                more += [p for p in self.outside if fed.first <= p < end]
                todo.append(fed)
        return more


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
