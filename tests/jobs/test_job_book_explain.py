"""What the job book says of a task that is to be explained."""

import pytest
from job_book_story import EVERY, LATEST, Story, array_of, given, graph

from hqtrio.messages import client as say
from hqtrio.model.resources import ONE_CPU, Need, Request
from hqtrio.model.task import Ending


@pytest.fixture
def story() -> Story:
    return Story()


def explain(story, job, number, after=0):
    selector = given(job) if isinstance(job, int) else job
    return story.ask(say.ExplainTask(selector, number, after))


def needs_of(story, job, number):
    """(unfinished, all) dependencies."""
    answer = explain(story, job, number)
    return answer.unfinished, answer.needs


def test_a_task_without_dependencies(story):
    wide = (Request((Need("cpus", 20_000),)), Request((Need("gpus", 10_000),)))
    story.submit(array_of(3))
    job = story.submit(array_of(3, variants=wide))
    answer = explain(story, LATEST, 2, after=7)
    assert answer == say.TaskExplained(job, 2, 0, 0, wide, 7)
    assert explain(story, 1, 0).variants == ONE_CPU


def test_x04_finished_dependencies_are_counted(story):
    job = story.submit(tasks=graph({0: (), 1: (), 2: (0, 1)}))
    worker = story.worker()
    assert needs_of(story, job, 2) == (2, 2)
    story.run(worker, (job, 0))
    story.start(worker, (job, 1))
    assert needs_of(story, job, 2) == (1, 2)
    assert needs_of(story, job, 1) == (0, 0)
    story.end(worker, (job, 1))
    assert needs_of(story, job, 2) == (0, 2)
    story.start(worker, (job, 2))
    assert needs_of(story, job, 2) == (0, 2)


def test_a_group_depends_on_every_task_of_the_groups_before(story):
    first = array_of(2, ((1, 2, 1),))
    second = array_of(3, ((11, 3, 1),))
    third = array_of(2, ((21, 2, 1),), needs=(0, 1))
    job = story.submit(first, second, third)
    worker = story.worker()
    assert needs_of(story, job, 21) == needs_of(story, job, 22) == (5, 5)
    assert needs_of(story, job, 11) == (0, 0)
    story.run(worker, (job, 1), (job, 12))
    assert needs_of(story, job, 21) == (3, 5)
    story.run(worker)
    assert needs_of(story, job, 21) == (0, 5)


def test_a_dependency_that_had_finished_at_the_submit_counts(story):
    job = story.open()
    story.submit(tasks=graph({1: ()}), job=job)
    worker = story.worker()
    story.run(worker, (job, 1))
    story.submit(tasks=graph({2: (1,)}), job=job)
    assert needs_of(story, job, 2) == (0, 1)


@pytest.mark.parametrize("selector", [given(2), given(1, 2), given(), LATEST, EVERY])
def test_an_unknown_job(story, selector):
    if selector == given(2):
        story.submit(array_of(1))
    assert explain(story, selector, 0) == say.Failure("Job not found")


@pytest.mark.parametrize("number", [1, -1, 2**32, 2**70])
def test_an_unknown_task(story, number):
    story.submit(array_of(1))
    assert explain(story, 1, number) == say.Failure("Task not found")


def test_only_tasks_that_wait_or_run_are_explained(story):
    refused = say.Failure("Explain command works only for tasks in WAITING or RUNNING state")
    job = story.submit(tasks=graph({1: (), 2: (), 3: (2,)}))
    other = story.submit(array_of(1))
    worker = story.worker()
    story.run(worker, (job, 1))
    story.run(worker, (job, 2), ending=Ending.EXITED, code=1)
    story.cancel(given(other))
    assert [explain(story, job, number) for number in (1, 2, 3)] == [refused] * 3
    assert explain(story, other, 0) == refused
