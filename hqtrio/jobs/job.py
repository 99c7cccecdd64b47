"""One job's tables: what its tasks are, how they stand, and what follows from each change.

States are one byte per task, everything rarer is sparse. Methods change the tables and say what
follows; nothing here tells anybody.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from hqtrio.jobs.blocks import ArrayBlock, Block, GraphBlock
from hqtrio.jobs.executions import (
    Execution,
    Executions,
)
from hqtrio.jobs.numbering import Numbering
from hqtrio.jobs.pairing import freed_places, wake, wake_unconditional
from hqtrio.model.job import JobHead
from hqtrio.model.task import TaskSettings, TaskState

if TYPE_CHECKING:
    from hqtrio.jobs.ends import Ends

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


class Job:
    """Everything the server knows about one job."""

    __slots__ = (
        "blocks",
        "cancel_reason",
        "closed_at",
        "completed_at",
        "counts",
        "crashes",
        "ends",
        "errors",
        "executions",
        "firsts",
        "freed",
        "gangs",
        "head",
        "id",
        "instances",
        "is_open",
        "keys",
        "late",
        "linked",
        "met",
        "numbering",
        "outside",
        "pauses",
        "ran",
        "results",
        "simple",
        "skipping",
        "states",
        "submit_dates",
        "submits",
        "submitted_at",
        "sweeps",
        "tries",
        "unconditional",
        "variants",
    )

    def __init__(self, number: int, head: JobHead, at: float) -> None:
        self.id = number
        self.head = head
        self.submitted_at = at
        self.is_open = head.is_open
        self.completed_at: float | None = None
        self.closed_at: float | None = None  # if it was open and is no more
        self.cancel_reason: str | None = None
        self.keys: list[bytes] = []
        self.numbering = Numbering()
        self.states = bytearray()
        self.counts = [0] * len(TaskState)
        self.executions = Executions()
        self.instances: dict[int, int] = {}  # of tasks that are past their first
        self.skipping: set[int] = set()  # tasks whose next instance may be in use somewhere
        self.crashes: dict[int, int] = {}
        self.errors: dict[int, str] = {}
        self.ends: Ends | None = None  # once somebody has asked
        self.results: dict[int, bytes] = {}  # what functions returned or raised
        self.gangs: dict[int, tuple[int, ...]] = {}  # all workers of multi-node tasks, root first
        self.variants: dict[int, int] = {}  # of tasks that run, or ran, in another than the first
        self.ran: dict[int, None] = {}  # workers that ran tasks
        self.blocks: list[Block] = []
        self.firsts: list[int] = []  # block.first of each
        self.submits: list[tuple[str, int, int]] = []  # submit dir, first block, end
        self.submit_dates: list[float] = []
        self.sweeps: list[tuple[int, int, float]] = []  # (from, to, when) the active ones ended
        self.outside: dict[int, array[int]] = {}  # consumers in other blocks, by position
        # Failed tries of tasks that are repeated; until when some of them wait, and after what.
        self.tries: dict[int, int] = {}
        self.pauses: dict[int, tuple[float, str]] = {}
        # Groups that start however those end that they need, and which of their tasks may now.
        self.unconditional: list[int] = []
        self.met: list[int] = []
        self.freed: list[ArrayBlock] = []
        self.late: list[tuple[ArrayBlock, bytes]] = []  # as `met`, by place, of a great many
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

    def active_runs(self, spared: Sequence[ArrayBlock] = ()) -> Runs:
        """Runs `(number, count)` that hold every active task, and perhaps ended ones.

        They hold none of `spared`, however many runs that takes.
        """
        runs: Runs = []
        states = self.states
        if spared:
            states = states.copy()
            for block in spared:
                states[block.first : block.first + block.count] = b"\xff" * block.count
        for match in _ACTIVE_RUN.finditer(states):
            begin, end = match.span()
            for run in self.numbering.runs(begin, end - begin):
                runs.append(run)
                if len(runs) > _RUNS_MAX and not spared:
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
        if not row.started:
            row = Execution()  # nothing is known of it, wherever it stands
        self.executions.put(position, row._replace(ended=ended))
        return row.worker

    def requeue(self, position: int) -> int:
        """The task waits again, under the next instance that is free, which is returned."""
        self.counts[self.states[position]] -= 1
        self.counts[WAITING] += 1
        self.states[position] = WAITING
        self.executions.put(position, Execution())
        self.gangs.pop(position, None)
        self.variants.pop(position, None)
        instance = self.instances.get(position, 0) + 1
        if position in self.skipping:
            self.skipping.remove(position)
            instance += 1
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
        self.pauses.clear()
        self.met.clear()
        self.freed.clear()
        for block in self.blocks:
            block.dead = True
        return workers

    def abort_all_but(self, spared: Sequence[ArrayBlock], at: float) -> list[int]:
        """As `sweep` into ABORTED, but for these blocks; notes which of their tasks may start."""
        paired = [block for block in spared if block.each and not block.waits]
        before = bytes(self.states) if paired else b""
        workers: list[int] = []
        kept = {block.first for block in spared}
        for block in self.blocks:
            if block.count and block.first not in kept:
                workers += self._abort_block(block, at)
        self.outside.clear()
        self.pauses = {p: pause for p, pause in self.pauses.items() if self.states[p] == WAITING}
        for block in paired:
            places = freed_places(self, block, before)
            if any(places):
                self.late.append((block, places))
        return workers

    def _abort_block(self, block: Block, at: float) -> list[int]:
        first, end = block.first, block.first + block.count
        block.dead = True
        states = self.states[first:end]
        waiting, running = states.count(WAITING), states.count(RUNNING)
        if not waiting + running:
            return []
        found = _RUNNING_ONE.finditer(self.states, first, end)
        workers = [self.put_ended(match.start(), at) for match in found]
        self.states[first:end] = states.translate(_SWEPT[ABORTED])
        self.counts[WAITING] -= waiting
        self.counts[RUNNING] -= running
        self.counts[ABORTED] += waiting + running
        self.sweeps.append((first, end, at))
        return workers

    def give_up_bodies(self, spared: Sequence[ArrayBlock] = ()) -> list[int]:
        """No task is active, except in `spared`: the numbers of all bodies that the scheduler
        still knows for others."""
        done: list[int] = []
        for block in self.blocks:
            if block in spared:
                continue
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
            if block.feeds_each:
                wake(self, block, position - block.first, woken)
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

    def ended_badly(self, position: int) -> None:
        """A task has ended other than by finishing: note what starts all the same."""
        if self.unconditional:
            block = self.block_at(position)
            if isinstance(block, ArrayBlock):
                wake_unconditional(self, block, (position - block.first,))

    def abort_waiting(self, position: int, at: float, done: list[int]) -> None:
        """Abort one task that waits; its consumers are the caller's affair."""
        self.states[position] = ABORTED
        self.counts[WAITING] -= 1
        self.counts[ABORTED] += 1
        self.put_ended(position, at)
        self.leave(position, done)
