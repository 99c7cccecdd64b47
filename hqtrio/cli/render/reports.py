"""What commands hand to a renderer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hqtrio.client.views import Task
from hqtrio.ids import IdArray
from hqtrio.messages.client import JobDetails


@dataclass(frozen=True, slots=True)
class JobReport:
    """One job with its failed tasks (the first few), and all tasks where they are shown."""

    details: JobDetails
    failed: Sequence[Task] = ()
    tasks: Sequence[Task] = ()


@dataclass(frozen=True, slots=True)
class TaskList:
    """Tasks of the selected jobs; `jobs` holds an entry for each job that exists."""

    jobs: Mapping[int, Sequence[Task]]
    verbose: bool = False


@dataclass(frozen=True, slots=True)
class TaskIds:
    """Numbers of tasks by job."""

    jobs: Mapping[int, IdArray]
