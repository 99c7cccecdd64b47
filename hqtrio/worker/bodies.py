"""What tasks share, as long as a task on this worker needs it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hqtrio.ids import NUMBER_MASK
from hqtrio.model.matrix import Combinations
from hqtrio.model.task import TaskBody


@dataclass(slots=True, eq=False)
class Body:
    """One task body under a key of our own, which outlives the server's number for it.

    `held` counts the tasks that name it; `launchers` were told of it.
    """

    key: int
    job: int
    content: TaskBody
    held: int = 0
    forgotten: bool = False
    combinations: Combinations | None = None
    launchers: list[int] = field(default_factory=list)

    def entry(self, task: int) -> bytes:
        """The combination of a task of a matrix; nothing for any other task."""
        if self.content.matrix is None:
            return b""
        if self.combinations is None:
            self.combinations = Combinations(self.content.matrix)
        place = (task & NUMBER_MASK) - self.content.first_number
        return self.combinations.entry(place) if 0 <= place < self.combinations.count else b""
