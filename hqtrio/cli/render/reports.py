"""What commands hand to a renderer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hqtrio.client.views import Task
from hqtrio.ids import IdArray
from hqtrio.messages.client import JobDetails


@dataclass(frozen=True, slots=True)
class JobReport:
    """One job with its failed tasks (the first few).

    `tasks` begins a walk over all its tasks by number, in pages; it may be called again.
    """

    details: JobDetails
    failed: Sequence[Task]
    tasks: Callable[[], AsyncGenerator[list[Task], None]]


class TaskWriter(Protocol):
    """Prints a listing of tasks that is too long to be held."""

    def add(self, job: int, tasks: Sequence[Task]) -> None:
        """The next tasks, by job, then by number."""
        ...

    def close(self) -> bool:
        """Complete the listing; whether an error in it was cut."""
        ...


@dataclass(frozen=True, slots=True)
class TaskIds:
    """Numbers of tasks by job."""

    jobs: Mapping[int, IdArray]
