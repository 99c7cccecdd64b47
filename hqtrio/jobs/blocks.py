"""The tasks of one submit: arrays that share a body, and graphs of tasks with bodies of their own.

A block knows what its tasks run and what they wait for; the job knows their states. Tasks are
named by their place in the block; block.first + place is the position in the job's tables.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from hqtrio.jobs.bodies import Resolver
from hqtrio.messages.scheduling import Body, EntrySlice
from hqtrio.model.job import Ranges
from hqtrio.model.matrix import Combinations
from hqtrio.model.resources import Variants
from hqtrio.model.task import TaskBody, TaskSettings


@dataclass(slots=True, eq=False)
class ArrayBlock:
    """Tasks of one array. `waits` counts the groups that must finish first; `depth` is how many of
    them, one after another, there were at submit.

    Producers and consumers are blocks of the same job, by index. With `each`, a task waits for the
    tasks at its place in those blocks; places from `released` on have not been looked at yet and
    are not announced by the end of such a task. `always`: what is needed may end in any way, and
    `waits` is 1 until everything in `needs` has.
    """

    first: int
    count: int
    body: Body
    variants: Variants
    settings: TaskSettings
    ranges: Ranges
    group: str = ""
    blob: bytes = b""
    ends: memoryview | None = None
    active: int = 0
    unfinished: int = 0
    waits: int = 0
    needs: list[int] = field(default_factory=list)
    feeds: list[int] = field(default_factory=list)  # that need every task here to finish
    each: list[int] = field(default_factory=list)
    feeds_each: list[int] = field(default_factory=list)
    always: bool = False
    released: int = 0
    combinations: Combinations | None = None  # instead of entries
    dead: bool = False  # none of its tasks will start any more
    done: bool = False  # its body is not needed any more
    depth: int = 0

    @property
    def chain(self) -> int:
        """How many unfinished tasks its own wait for, one after another, as far as is known."""
        return self.depth if self.waits else 0

    def entries(self, place: int) -> EntrySlice | None:
        """The entries from `place` on, shared with everybody else who has them."""
        if self.ends is None:
            return None
        return EntrySlice(self.blob, self.ends, place)

    def entry(self, place: int) -> bytes | None:
        if self.combinations is not None:
            return self.combinations.entry(place)
        if self.ends is None:
            return None
        return self.blob[self.ends[place - 1] if place else 0 : self.ends[place]]


class GraphBlock:
    """Tasks with bodies and dependencies of their own, in columns.

    Edges are linked lists in arrays: `head` of a producer leads to an edge, `edge_next` to the
    next one. Tasks from `released` on have not been looked at yet and are not announced by the
    end of a dependency.
    """

    __slots__ = (
        "bodies",
        "body_of",
        "dead",
        "depths",
        "edge_next",
        "edge_to",
        "first",
        "head",
        "is_shared",
        "made",
        "needs",
        "needs_from",
        "outside",
        "released",
        "resolver",
        "settings",
        "settings_of",
        "unmet",
        "uses",
        "variants",
        "variants_of",
    )

    def __init__(self) -> None:
        self.resolver = Resolver(0, "")  # of no job yet
        self.first = 0
        self.released = 0
        self.dead = False
        self.bodies: list[TaskBody] = []
        # Whether tasks share bodies; if none do, only running tasks' bodies are known outside.
        self.is_shared = False
        self.made: dict[int, Body] = {}  # those that the scheduler knows
        self.variants: list[Variants] = []
        self.settings: list[TaskSettings] = []
        self.body_of = array("I")
        self.variants_of = array("I")
        self.settings_of = array("I")
        self.uses = array("I")  # active tasks of each body
        self.unmet = array("I")
        self.depths = array("I")  # longest chain of unfinished predecessors at submit
        self.needs = array("Q")  # numbers
        self.needs_from = array("I", [0])
        self.head = array("i")
        self.edge_to = array("I")
        self.edge_next = array("i")
        self.outside: list[tuple[int, int]] = []  # (number of a task elsewhere, place)

    @property
    def count(self) -> int:
        return len(self.body_of)

    def needs_of(self, place: int) -> tuple[int, ...]:
        """The numbers of the tasks that must finish first."""
        return tuple(self.needs[self.needs_from[place] : self.needs_from[place + 1]])

    def chain(self, place: int) -> int:
        """How many unfinished tasks it waits for, one after another, as far as is known."""
        return self.depths[place] if self.unmet[place] else 0

    def needs_count(self, place: int) -> int:
        return self.needs_from[place + 1] - self.needs_from[place]

    def drop_body(self, place: int, done: list[int]) -> None:
        """A task needs its body no more: add the body's number to `done` if nobody does."""
        index = self.body_of[place]
        left = self.uses[index] - 1
        self.uses[index] = left
        if not left and index in self.made:
            done.append(self.made.pop(index).number)

    def content(self, index: int) -> TaskBody:
        """Body `index` as its tasks' worker gets it."""
        return self.resolver.resolve(self.bodies[index])


Block = ArrayBlock | GraphBlock
