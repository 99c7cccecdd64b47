"""Tasks of which nothing can be handled: they fail, and the rest of the book goes on."""

from __future__ import annotations

import pytest
from job_book_story import array_of, graph
from restart_story import RestartStory

from hqtrio.jobs.effects import Command, TaskSetAside
from hqtrio.messages.scheduling import TasksCancelled
from hqtrio.model.retry import Retry
from hqtrio.model.task import Ending, TaskSettings, TaskState

F, W, R = TaskState.FAILED, TaskState.WAITING, TaskState.RUNNING
TEXT = "Internal error."


def set_aside(story: RestartStory, job: int, number: int) -> list:
    effects = story.tell(TaskSetAside(job << 32 | number, TEXT))
    story.replayed()  # what is recorded of it restores the same tables
    return effects


@pytest.mark.parametrize("runs", [False, True])
def test_a_task_that_is_set_aside_fails_with_the_reason_and_stops_where_it_runs(runs) -> None:
    story = RestartStory()
    worker = story.worker()
    job = story.submit(array_of(2))
    if runs:
        story.start(worker)
    effects = set_aside(story, job, 0)
    assert Command(TasksCancelled(((job << 32, 1),))) in effects
    assert story.states(job) == [F, R if runs else W]
    assert story.task(job, 0).error == TEXT
    assert (job, 0) not in story.ready and (job, 0) not in story.running[worker]
    if not runs:
        story.start(worker)
    story.end(worker)
    assert story.states(job) == [F, TaskState.FINISHED]


def test_it_is_not_tried_again_and_takes_along_what_needs_it() -> None:
    story = RestartStory()
    worker = story.worker()
    retry = TaskSettings(retry=Retry(5, backoff_s=10.0))
    job = story.submit(tasks=graph({0: (), 1: (0,), 2: ()}, retry))
    story.start(worker, (job, 0))
    story.end(worker, (job, 0), ending=Ending.EXITED, code=1)  # pauses before its next try
    set_aside(story, job, 0)
    assert story.states(job) == [F, TaskState.ABORTED, W]
    story.elapse(100.0)
    assert story.states(job) == [F, TaskState.ABORTED, W]


def test_it_counts_as_a_failure_of_its_job() -> None:
    story = RestartStory()
    job = story.submit(array_of(3), max_fails=0)
    set_aside(story, job, 1)
    assert story.states(job) == [TaskState.ABORTED, F, TaskState.ABORTED]


def test_what_has_ended_or_is_not_known_is_left_as_it_is() -> None:
    story = RestartStory()
    worker = story.worker()
    job = story.submit(array_of(2))
    story.run(worker, (job, 0))
    assert set_aside(story, job, 0) == []
    assert set_aside(story, job, 7) == []
    assert set_aside(story, 99, 0) == []
    assert story.states(job) == [TaskState.FINISHED, W]
