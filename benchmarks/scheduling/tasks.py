"""What there is to do: kinds of tasks with their durations, and what really ran."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from hqtrio.ids import NUMBER_MASK, job_of, number_of, task_id
from hqtrio.messages.scheduling import Body, TasksReady
from hqtrio.model.resources import Variants
from hqtrio.model.task import Stdio, TaskBody

Draw = Callable[[Random], float]

NOWHERE = Stdio(None)
FINISHED: Final = 1
CANCELLED: Final = 2
PROGRAM = TaskBody((b"true",), (), "/", NOWHERE, NOWHERE, "/")


@dataclass(frozen=True, slots=True)
class Kind:
    """An array of tasks that is submitted as one job; `draw` gives each its duration."""

    variants: Variants
    tasks: int
    draw: Draw
    priority: int = 0
    submit_at: float = 0.0


class Job:
    """One kind under its job id. Column entries are by task number."""

    def __init__(self, number: int, kind: Kind, rng: Random) -> None:
        self.number, self.kind = number, kind
        draw = kind.draw
        self.durations = array("d", (draw(rng) for _ in range(kind.tasks)))
        self.started_at = array("d", bytes(8 * kind.tasks))
        self.ended = bytearray(kind.tasks)  # as the job book has counted

    def ready(self, runs: Sequence[tuple[int, int]], instance: int = 0) -> TasksReady:
        """The announcement of these of its tasks."""
        body = Body(self.number, self.number, PROGRAM)
        return TasksReady(self.kind.variants, self.kind.priority, body, tuple(runs), instance)

    def all_ready(self) -> TasksReady:
        return self.ready([(task_id(self.number, 0), self.kind.tasks)])


@dataclass(frozen=True, slots=True)
class Lost:
    """An execution that came to nothing, because its worker went or it was cancelled."""

    task: int
    started_at: float
    ended_at: float


@dataclass(slots=True)
class Ledger:
    """What workers really do. An execution that the rules forbid fails at once."""

    jobs: dict[int, Job]
    running: set[int] = field(default_factory=set)
    lost: list[Lost] = field(default_factory=list)
    _instances: dict[int, int] = field(default_factory=dict)  # of tasks that came to nothing
    last_start_at: float = 0.0

    def duration(self, task: int) -> float:
        return self.jobs[job_of(task)].durations[task & NUMBER_MASK]

    def start(self, task: int, instance: int, at: float) -> float:
        """The task runs from now on; returns its duration."""
        assert task not in self.running, f"task {task} runs twice at a time"
        job = self.jobs[job_of(task)]
        number = number_of(task)
        assert not job.ended[number], f"task {task} runs once more"
        assert instance > self._instances.get(task, -1), f"task {task} runs an old instance"
        self.running.add(task)
        job.started_at[number] = at
        self.last_start_at = at
        return job.durations[number]

    def finish(self, task: int) -> None:
        self.running.remove(task)

    def lose(self, task: int, instance: int, at: float) -> None:
        """The execution is killed."""
        self.running.remove(task)
        self._instances[task] = instance
        started_at = self.jobs[job_of(task)].started_at[number_of(task)]
        self.lost.append(Lost(task, started_at, at))


def steady(seconds: float) -> Draw:
    """All alike."""
    return lambda rng: seconds


def around(seconds: float, share: float) -> Draw:
    """Evenly spread around the mean."""
    return lambda rng: seconds * rng.uniform(1 - share, 1 + share)


def lognormal(median_s: float, sigma: float, cap_s: float) -> Draw:
    return lambda rng: min(cap_s, rng.lognormvariate(0, sigma) * median_s)


def pareto(least_s: float, shape: float, cap_s: float) -> Draw:
    return lambda rng: min(cap_s, rng.paretovariate(shape) * least_s)
