"""A submit on its way in: checked part by part, and turned into blocks when it is complete."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from hqtrio.errors import InputError, RemoteFault
from hqtrio.ids import MAX_NUMBER
from hqtrio.jobs.blocks import ArrayBlock, GraphBlock
from hqtrio.jobs.bodies import Resolver, body_bytes
from hqtrio.jobs.checks import (
    check_body,
    check_head,
    check_key,
    check_settings,
    check_variants,
)
from hqtrio.jobs.job import FINISHED, Job
from hqtrio.jobs.numbering import Numbering, check_ranges
from hqtrio.jobs.release import BodyNumbers
from hqtrio.messages.client import SubmitPart
from hqtrio.messages.columns import read_u64
from hqtrio.messages.scheduling import Body
from hqtrio.model.job import ArraySpec, GraphSpec, GraphTask, Ranges, Submit
from hqtrio.model.matrix import Combinations, Matrix, check_matrix

TASKS_MAX: Final = 100_000_000  # of one job: one byte each, and more once they start
_TASK_BYTES: Final = 64  # about what a staged graph task takes beside its body


class _Entries:
    """Entries of one array as they come in."""

    __slots__ = ("blob", "ends")

    def __init__(self) -> None:
        self.blob = bytearray()
        self.ends = array("Q")

    def add(self, entries: bytes, entry_ends: bytes) -> None:
        """More of the blob and more end offsets, which continue those before."""
        try:
            ends = read_u64(entry_ends)
        except RemoteFault as error:
            raise InputError(f"Invalid ends of entries: {error}.") from error
        numbers = ends.tolist()
        if numbers and (numbers != sorted(numbers) or numbers[0] < (self.ends or [0])[-1]):
            raise InputError("The ends of entries must not decrease.")
        self.blob += entries
        self.ends += ends

    def check(self, tasks: int) -> None:
        if len(self.ends) != tasks:
            raise InputError(f"{tasks} tasks cannot share {len(self.ends)} entries.")
        if (self.ends[-1] if self.ends else 0) != len(self.blob):
            raise InputError("The last entry must end where the entries end.")


class Draft:
    """A submit that does not exist yet. `job` is the open job that it goes to, if any."""

    def __init__(self, submit: Submit, job: Job | None) -> None:
        self.submit = submit
        self._job = job
        self._graph = GraphBlock()
        self._graph_numbers = Numbering()  # positions are places in the graph
        self._array_numbers = Numbering()
        self._arrays: list[ArraySpec] = []
        # One for each array, complete but for what only the job knows. Positions and indexes count
        # from the first of this submit.
        self._blocks: list[ArrayBlock] = []
        self._places = 0
        self._combinations: dict[int, Combinations] = {}
        self._array_firsts: list[int] = []  # position of each array among those numbers
        self._array_depths: list[int] = []
        self._entries: dict[int, _Entries] = {}
        self._tasks = 0
        self.bytes = 0
        check_key(submit.key)
        if submit.head is not None:
            check_head(submit.head)
        for spec in submit.arrays:
            self._add_array(spec)
        if submit.graph is not None:
            self._add_graph(submit.graph)

    # --- coming in

    def _add_array(self, spec: ArraySpec) -> None:
        index = len(self._arrays)
        check_variants(spec.variants)
        check_settings(spec.settings)
        check_body(spec.body)
        check_ranges(spec.ranges)
        if spec.count < 0:
            raise InputError(f"An array cannot have {spec.count} tasks.")
        if spec.ranges and sum(count for _, count, _ in spec.ranges) != spec.count:
            raise InputError(f"The ids of an array of {spec.count} tasks are not as many.")
        if any(not 0 <= need < index for need in (*spec.needs, *spec.each)):
            raise InputError(f"Array {index} can only need arrays before it.")
        if any(self._arrays[need].count != spec.count for need in spec.each):
            raise InputError(f"Array {index} is not as large as those whose tasks its own need.")
        if spec.body.matrix is not None:
            self._combinations[index] = _combinations(spec, spec.body.matrix)
        self._count(spec.count)
        self._array_firsts.append(self._array_numbers.count)
        self._array_depths.append(self._depth(spec))
        self._arrays.append(spec)
        self._add_block(index, spec)
        self.bytes += body_bytes(spec.body)
        self._array_numbers.accept(spec.ranges)
        for given in spec.ranges:
            self._refuse_twice(self._array_numbers.clash([given]))
            self._array_numbers.add(*given)
        if spec.entries or spec.entry_ends:
            self._add_entries(index, spec.entries, spec.entry_ends)

    def _add_block(self, index: int, spec: ArraySpec) -> None:
        block = ArrayBlock(
            first=self._places,
            count=spec.count,
            body=Body(0, 0, spec.body),  # of no job yet
            variants=spec.variants,
            settings=spec.settings,
            ranges=spec.ranges,
            group=spec.group,
            active=spec.count,
            unfinished=spec.count,
            done=not spec.count,
            depth=self._array_depths[index],
            combinations=self._combinations.get(index),
        )
        self._places += spec.count
        self._blocks.append(block)
        _link(self._blocks, spec)

    def _depth(self, spec: ArraySpec) -> int:
        """How many arrays with tasks it waits for, one after another."""
        arrays = self._arrays
        return max(
            (
                self._array_depths[need] + 1
                for need in (*spec.needs, *spec.each)
                if arrays[need].count
            ),
            default=0,
        )

    def _add_entries(self, index: int, entries: bytes, entry_ends: bytes) -> None:
        self.bytes += len(entries) + len(entry_ends)
        self._entries.setdefault(index, _Entries()).add(entries, entry_ends)

    def add(self, part: SubmitPart) -> None:
        """Take in one more part."""
        for spec in part.arrays:
            self._add_array(spec)
        if part.array >= 0:
            if part.array >= len(self._arrays):
                raise InputError(f"The submit has no array {part.array}.")
            if part.array in self._combinations:
                raise InputError(f"Array {part.array} has a matrix, and cannot have entries.")
            self._add_entries(part.array, part.entries, part.entry_ends)
        if part.graph is not None:
            self._add_graph(part.graph)

    def _add_graph(self, spec: GraphSpec) -> None:
        block = self._graph
        for body in spec.bodies:
            check_body(body)
            self.bytes += body_bytes(body)
        for variants in spec.variants:
            check_variants(variants)
        for settings in spec.settings:
            check_settings(settings)
        block.bodies += spec.bodies
        block.variants += spec.variants
        block.settings += spec.settings
        block.uses.extend([0] * len(spec.bodies))
        self.bytes += _TASK_BYTES * len(spec.tasks)
        self._count(len(spec.tasks))
        for task in spec.tasks:
            self._add_task(block, task)

    def _add_task(self, block: GraphBlock, task: GraphTask) -> None:
        number, body, variants, settings = task.number, task.body, task.variants, task.settings
        if not (
            0 <= body < len(block.bodies)
            and 0 <= variants < len(block.variants)
            and 0 <= settings < len(block.settings)
        ):
            raise InputError(f"Task {number} names a body, request or settings that were not sent.")
        if not 0 <= number <= MAX_NUMBER:
            raise InputError(f"Task id {number} is not possible (0 to {MAX_NUMBER}).")
        numbers = self._graph_numbers
        if number <= numbers.largest and numbers.position(number) >= 0:
            self._refuse_twice(number)
        place = len(block.body_of)
        unmet = depth = 0
        if task.needs:
            needs = task.needs if len(task.needs) == 1 else tuple(dict.fromkeys(task.needs))
            depths = block.depths
            for need in needs:
                producer = numbers.position(need)
                if producer >= 0:
                    block.edge_to.append(place)
                    block.edge_next.append(block.head[producer])
                    block.head[producer] = len(block.edge_to) - 1
                    if depths[producer] >= depth:
                        depth = depths[producer] + 1
                else:
                    depth = max(depth, self._chain_elsewhere(need))
                    block.outside.append((need, place))
            block.needs.extend(needs)
            unmet = len(needs)
        numbers.add(number)
        block.body_of.append(body)
        block.is_shared = block.is_shared or block.uses[body] > 0
        block.uses[body] += 1
        block.variants_of.append(variants)
        block.settings_of.append(settings)
        block.unmet.append(unmet)
        block.depths.append(depth)
        block.needs_from.append(len(block.needs))
        block.head.append(-1)

    def _chain_elsewhere(self, number: int) -> int:
        """How long a chain of unfinished tasks ends with this one, which is not of the graph."""
        if 0 <= number <= MAX_NUMBER:
            place = self._array_numbers.position(number)
            if place >= 0:
                return self._array_depths[bisect_right(self._array_firsts, place) - 1] + 1
            position = -1 if self._job is None else self._job.numbering.position(number)
            if self._job is not None and position >= 0:
                return self._job.chain_through(position)
        raise InputError(f"Invalid dependency on {number}")

    def _count(self, more: int) -> None:
        self._tasks += more
        there = self._job.count if self._job is not None else 0
        if there + self._tasks > TASKS_MAX:
            raise InputError(f"A job cannot have more than {TASKS_MAX} tasks.")

    def _refuse_twice(self, number: int) -> None:
        if number >= 0:
            raise InputError(f"Task {number} is defined more than once.")

    # --- complete

    def check(self) -> None:
        """Refuse what only shows when everything is there; nothing is refused after this."""
        for index, entries in self._entries.items():
            entries.check(self._arrays[index].count)
        clash = self._graph_numbers.clash(self._array_numbers.segments)
        self._refuse_twice(clash)
        ranges = [*self._array_numbers.segments, *self._graph_numbers.segments]
        largest = max(self._array_numbers.largest, self._graph_numbers.largest)
        if self._job is not None:
            existing = self._job.numbering.clash(ranges)
            if existing >= 0:
                raise InputError(f"Task {existing} already exists in job {self._job.id}.")
            if not self._job.is_open:
                raise InputError(f"Job {self._job.id} is not opened.")
            self._job.numbering.accept(ranges)
            self._count(0)
            largest = max(largest, self._job.numbering.largest)
        unnumbered = sum(spec.count for spec in self._arrays if not spec.ranges)
        if largest + unnumbered > MAX_NUMBER:
            raise InputError(f"Task ids above {MAX_NUMBER} are not possible.")

    def create(
        self, job: Job, server_uid: str, bodies: BodyNumbers
    ) -> tuple[list[ArrayBlock | GraphBlock], list[int], tuple[Ranges, ...]]:
        """Make the tasks of a checked draft part of the job.

        Says the new blocks, the positions of tasks that need one that has ended badly, and the
        numbers of each array.
        """
        first_block = len(job.blocks)
        resolver = Resolver(job.id, server_uid)
        self._create_arrays(job, first_block, resolver, bodies)
        doomed: list[int] = []
        if self._graph.count:
            doomed = self._create_graph(job, resolver)
        job.submits.append((self.submit.submit_dir, first_block, len(job.blocks)))
        blocks = job.blocks[first_block:]
        numbers = tuple(block.ranges for block in blocks if isinstance(block, ArrayBlock))
        return blocks, doomed, numbers

    def _create_arrays(
        self, job: Job, first_block: int, resolver: Resolver, bodies: BodyNumbers
    ) -> None:
        """Give the job all arrays at once: there may be tens of thousands of them."""
        largest = max(
            self._array_numbers.largest, self._graph_numbers.largest, job.numbering.largest
        )
        first = job.count
        given: list[tuple[int, int, int]] = []
        for index, block in enumerate(self._blocks):
            if not block.ranges and block.count:
                block.ranges = ((largest + 1, block.count, 1),)
                largest += block.count
            content = resolver.resolve(block.body.content)
            if content.matrix is not None and block.ranges:
                content = msgspec.structs.replace(content, first_number=block.ranges[0][0])
            block.body = Body(bodies.take(), job.id, content)
            entries = self._entries.get(index)
            if entries is not None:
                block.blob = bytes(entries.blob)
                block.ends = memoryview(entries.ends).toreadonly()
            if first:
                block.first += first
            if first_block:
                for links in (block.needs, block.feeds, block.each, block.feeds_each):
                    links[:] = [link + first_block for link in links]
            if block.needs or block.each:
                job.linked = True
            if block.always:
                job.unconditional.append(first_block + index)
            job.add_block(block)
            if not index:
                job.grow(block.count)  # the second block asks what the first one has
            given += block.ranges
        if self._blocks:
            job.grow(self._places - self._blocks[0].count)
        for run in _joined(given):
            job.numbering.add(*run)

    def _create_graph(self, job: Job, resolver: Resolver) -> list[int]:
        block = self._graph
        block.resolver = resolver
        block.first = job.count
        job.add_block(block)
        job.grow(block.count)
        for segment in self._graph_numbers.segments:
            job.numbering.add(*segment)
        doomed: dict[int, None] = {}
        for number, place in block.outside:
            producer = job.numbering.position(number)
            state = job.states[producer]
            if state == FINISHED:
                block.unmet[place] -= 1
            elif state > FINISHED:
                doomed[block.first + place] = None
            else:
                job.linked = True
                job.outside.setdefault(producer, array("Q")).append(block.first + place)
        block.outside.clear()
        return list(doomed)


def _combinations(spec: ArraySpec, matrix: Matrix) -> Combinations:
    """The combinations of an array that gives one to each of its tasks."""
    check_matrix(matrix)
    combinations = Combinations(matrix)
    if combinations.count != spec.count:
        raise InputError(
            f"{spec.count} tasks cannot share {combinations.count} combinations of a matrix."
        )
    if spec.entries or spec.entry_ends:
        raise InputError("An array has either a matrix or entries.")
    if len(spec.ranges) > 1 or any(step > 1 and count > 1 for _, count, step in spec.ranges):
        raise InputError("The tasks of a matrix must be numbered consecutively.")
    return combinations


def _joined(ranges: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """The same numbers in the same order, consecutive ones in one range."""
    before: tuple[int, int, int] | None = None
    for start, count, step in ranges:
        is_plain = step == 1 or count <= 1
        if before is not None:
            if is_plain and before[2] == 1 and before[0] + before[1] == start:
                before = (before[0], before[1] + count, 1)
                continue
            yield before
        before = (start, count, 1 if is_plain else step)
    if before is not None:
        yield before


def _link(blocks: Sequence[ArrayBlock], spec: ArraySpec) -> None:
    """Make the newest of the blocks wait for what its array needs."""
    index = len(blocks) - 1
    block = blocks[index]
    for need in dict.fromkeys(spec.needs):
        producer = blocks[need]
        if not producer.count:
            continue
        block.needs.append(need)
        if spec.always:
            block.waits = 1
        else:
            producer.feeds.append(index)
            block.waits += 1
    for need in dict.fromkeys(spec.each):
        block.each.append(need)
        blocks[need].feeds_each.append(index)
    block.always = spec.always and bool(block.needs or block.each)
