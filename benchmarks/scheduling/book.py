"""The least job book that the scheduling machine can live with."""

from __future__ import annotations

from array import array
from collections import deque
from typing import Final

from benchmarks.scheduling.tasks import CANCELLED, FINISHED, Job
from hqtrio.ids import NUMBER_MASK, job_of, number_of
from hqtrio.messages.columns import read_u32, read_u64
from hqtrio.messages.scheduling import (
    AdmitWorker,
    FromScheduler,
    NodeLost,
    Receipt,
    TasksBounced,
    TasksCancelled,
    TasksReported,
    ToScheduler,
    WorkerArrived,
    WorkerGone,
)
from hqtrio.model.task import Ending

ATTACHMENT: Final = 1


class Book:
    """Counts every end once. `commands` are for the scheduler, oldest first."""

    def __init__(self, jobs: dict[int, Job]) -> None:
        self.jobs = jobs
        self.commands: deque[ToScheduler] = deque()
        self.left = sum(job.kind.tasks for job in jobs.values())  # tasks that have not ended
        self.finished = 0
        self.cancelled = 0
        self._instances: dict[int, int] = {}  # of tasks whose worker was lost
        self._workers = 0

    def submit(self, job: Job) -> None:
        self.commands.append(job.all_ready())

    def cancel(self, job: Job) -> None:
        """Whatever has not ended of the job never does, except as cancelled."""
        runs: list[tuple[int, int]] = []
        first = job.number << 32
        for number, ended in enumerate(job.ended):
            if not ended:
                job.ended[number] = CANCELLED
                self.left -= 1
                self.cancelled += 1
                if runs and sum(runs[-1]) == first + number:
                    runs[-1] = (runs[-1][0], runs[-1][1] + 1)
                else:
                    runs.append((first + number, 1))
        self.commands.append(TasksCancelled(tuple(runs)))

    def learn(self, fact: FromScheduler) -> None:
        """Take in one fact."""
        match fact:
            case TasksReported(worker, attachment, report):
                for end in fact.ended:
                    self._end(read_u64(end.tasks), read_u32(end.instances), end.endings)
                self.commands.append(Receipt(worker, attachment, report))
            case WorkerArrived(link, hello):
                self._workers += 1
                self.commands.append(
                    AdmitWorker(link, self._workers, ATTACHMENT, hello.config, "uid", b"", None)
                )
            case WorkerGone(_, _, running, shipped):
                for task, instance in (*running, *shipped):
                    self._again(task, instance)
            case TasksBounced() | NodeLost():
                pass

    def _end(self, tasks: array[int], instances: array[int], endings: bytes) -> None:
        jobs, known = self.jobs, self._instances
        for task, instance, ending in zip(tasks, instances, endings, strict=True):
            if ending != Ending.FINISHED:
                continue  # cancelled ones were counted when they were
            assert instance == known.get(task, 0), f"task {task} ended as another instance"
            ended, number = jobs[task >> 32].ended, task & NUMBER_MASK
            if not ended[number]:  # cancelled meanwhile
                ended[number] = FINISHED
                self.left -= 1
                self.finished += 1

    def _again(self, task: int, instance: int) -> None:
        job = self.jobs[job_of(task)]
        assert instance == self._instances.get(task, 0), f"task {task}: old instance lost"
        if not job.ended[number_of(task)]:
            self._instances[task] = instance + 1
            self.commands.append(job.ready([(task, 1)], instance + 1))
