"""What the simulation has found in the job book, each by its effect."""

import pytest
from job_book_story import Story, given, graph

from hqtrio.messages.columns import read_u32, read_u64
from hqtrio.messages.records import TasksEnded, TasksRequeued
from hqtrio.model.job import GraphSpec, GraphTask
from hqtrio.model.task import Ending, TaskSettings, TaskState


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_body_whose_last_user_was_aborted_is_forgotten_however_many_bodies_there_are(story):
    """As many bodies as tasks, and still two tasks share one: the third body has no task."""
    spec = graph({1: (), 2: (), 3: (2,), 4: ()})
    tasks = (
        GraphTask(1, 0, 0, 0),
        GraphTask(2, 1, 0, 0),
        GraphTask(3, 0, 0, 0, (2,)),
        GraphTask(4, 3, 0, 0),
    )
    job = story.submit(tasks=GraphSpec(spec.bodies, spec.variants, spec.settings, tasks))
    worker = story.worker()
    story.run(worker, (job, 1))
    assert len(story.bodies) == 3
    story.run(worker, (job, 2), ending=Ending.EXITED, code=1)
    (left,) = story.bodies.values()
    assert left.content.args == spec.bodies[3].args


def test_an_open_job_goes_on_after_a_cancel_of_tasks_that_shared_bodies(story):
    job = story.open()
    spec = graph({1: (), 2: (), 3: ()})
    shared = tuple(GraphTask(number, 0, 0, 0) for number in (1, 2, 3))
    story.submit(tasks=GraphSpec(spec.bodies[:1], spec.variants, spec.settings, shared), job=job)
    story.cancel(given(job))
    assert not story.bodies
    story.submit(tasks=graph({4: (), 5: (4,)}), job=job)
    story.run(story.worker(), (job, 4))
    assert story.ready.keys() == {(job, 5)}


def test_a_task_that_is_requeued_and_aborted_at_once_is_recorded_as_both(story):
    """The records must add up to the instance that the book shows."""
    spec = graph({1: (), 2: ()})
    settings = (TaskSettings(crash_limit=0), TaskSettings(crash_limit=1))
    tasks = tuple(GraphTask(n, n - 1, 0, n - 1) for n in (1, 2))
    job = story.submit(tasks=GraphSpec(spec.bodies, spec.variants, settings, tasks), max_fails=0)
    worker = story.worker()
    story.start(worker)
    story.records.clear()
    story.lose(worker)
    assert story.states(job) == [TaskState.ABORTED, TaskState.FAILED]
    requeued, ended = (r for r in story.records if isinstance(r, TasksRequeued | TasksEnded))
    assert isinstance(requeued, TasksRequeued)
    assert list(read_u64(requeued.tasks)) == [job << 32 | 1]
    assert list(read_u32(requeued.instances)) == [story.task(job, 1).instance] == [1]
    assert isinstance(ended, TasksEnded) and ended.swept == (job,)
    assert not story.ready


def test_an_open_job_takes_tasks_after_too_many_have_failed(story):
    job = story.open(max_fails=0)
    story.submit(tasks=graph({1: (), 2: ()}), job=job)
    worker = story.worker()
    story.run(worker, (job, 1), ending=Ending.EXITED, code=1)
    assert story.states(job) == [TaskState.FAILED, TaskState.ABORTED]
    story.submit(tasks=graph({3: (), 4: ()}), job=job)
    story.run(worker, (job, 3))
    assert story.states(job)[2:] == [TaskState.FINISHED, TaskState.WAITING]
