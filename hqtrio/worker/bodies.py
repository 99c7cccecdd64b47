"""What tasks share, as long as a task on this worker needs it."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    launchers: list[int] = field(default_factory=list)
