"""What the simulation has found in the job book, each by its effect."""

import pytest
from job_book_story import Story, given, graph

from hqtrio.model.job import GraphSpec, GraphTask
from hqtrio.model.task import Ending


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
