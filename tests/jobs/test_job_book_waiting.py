"""What the tasks ask for that wait, whatever they wait for."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st
from job_book_story import Story, array_of, body, given

from hqtrio.jobs.job import WAITING
from hqtrio.model.job import GraphSpec, GraphTask
from hqtrio.model.resources import CPUS, ONE_CPU, UNIT, Need, Request, Variants
from hqtrio.model.retry import Retry
from hqtrio.model.task import Ending, TaskSettings


def cpus(count: int) -> Variants:
    return (Request((Need(CPUS, count * UNIT),)),)


def chain(*requests: Variants) -> GraphSpec:
    """One task after another."""
    return GraphSpec(
        tuple(body("step", str(number)) for number in range(len(requests))),
        requests,
        (TaskSettings(),),
        tuple(
            GraphTask(number, number, number, 0, (number - 1,) if number else ())
            for number in range(len(requests))
        ),
    )


@pytest.fixture
def story() -> Story:
    """One worker, number 1."""
    story = Story()
    story.worker()
    return story


def waiting(story: Story) -> set[Variants]:
    found = story.book.waiting_variants()
    assert len(set(found)) == len(found)
    return set(found)


def test_nothing_waits_in_an_empty_book(story):
    assert waiting(story) == set()
    story.open()
    assert waiting(story) == set()


def test_ready_tasks_wait_until_they_run(story):
    story.submit(array_of(2, variants=cpus(3)))
    job = story.submit(array_of(1, variants=cpus(4)))
    assert waiting(story) == {cpus(3), cpus(4)}
    story.start(1, (job, 0))
    assert waiting(story) == {cpus(3)}
    story.start(1)
    assert waiting(story) == set()


def test_all_alternatives_are_one_choice(story):
    choice = cpus(8) + cpus(2)
    story.submit(array_of(3, variants=choice))
    story.submit(array_of(3, variants=choice))
    assert waiting(story) == {choice}


def test_tasks_wait_for_others(story):
    job = story.submit(tasks=chain(ONE_CPU, cpus(2)))
    story.start(1)
    assert cpus(2) in waiting(story)
    story.end(1)
    story.run(1)
    assert story.counts(job).finished == 2
    assert waiting(story) == set()


def test_tasks_wait_to_be_tried_again(story):
    again = TaskSettings(retry=Retry(1, backoff_s=50.0))
    story.submit(array_of(1, variants=cpus(2), settings=again))
    story.start(1)
    assert waiting(story) == set()
    story.end(1, ending=Ending.EXITED, code=1)
    assert not story.ready
    assert waiting(story) == {cpus(2)}


def test_tasks_of_a_lost_worker_wait_again(story):
    story.submit(array_of(1, variants=cpus(2)))
    story.start(1)
    story.lose(1)
    assert waiting(story) == {cpus(2)}


def test_what_was_cancelled_does_not_wait(story):
    job = story.submit(array_of(2, variants=cpus(2)))
    story.cancel(given(job))
    assert waiting(story) == set()


def test_an_array_that_is_done_is_not_asked_for_by_its_job(story):
    job = story.open()
    story.submit(array_of(1, variants=cpus(1)), job=job)
    story.submit(array_of(1, variants=cpus(2)), job=job)
    story.run(1, (job, 0))
    assert waiting(story) == {cpus(2)}


def test_a_million_tasks_are_not_looked_at_one_by_one(story):
    story.checked = False
    story.submit(array_of(1_000_000, variants=cpus(2)))
    calls = 0

    def count(_frame, event, _what):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        story.book.waiting_variants()
    finally:
        sys.setprofile(None)
    assert calls < 50


# --- against a look at every task

moves = st.lists(st.tuples(st.sampled_from("aagsserc"), st.integers(0, 3)), max_size=30)


@settings(max_examples=60, deadline=None)
@draw(moves)
def test_whatever_waits_is_found(plan):
    """Too much may be said of a job in which something waits, and nothing of others."""
    story = Story()
    worker = story.worker()
    asked: dict[tuple[int, int], Variants] = {}
    jobs: list[int] = []
    for move, which in plan:
        match move:
            case "a":
                jobs.append(job := story.submit(array_of(which + 1, variants=cpus(which + 1))))
                asked |= {(job, number): cpus(which + 1) for number in range(which + 1)}
            case "g":
                requests = [cpus(10 + one) for one in range(which + 1)]
                jobs.append(job := story.submit(tasks=chain(*requests)))
                asked |= {(job, number): one for number, one in enumerate(requests)}
            case "s" if story.ready:
                story.start(worker, *list(story.ready)[: which + 1])
            case "e" if story.running[worker]:
                story.end(worker, *list(story.running[worker])[: which + 1])
            case "r" if story.running[worker]:
                story.end(worker, next(iter(story.running[worker])), ending=Ending.EXITED, code=1)
            case "c" if jobs:
                story.cancel(given(jobs[which % len(jobs)]))
            case _:
                pass
    of_jobs: dict[int, set[Variants]] = {}
    needed: set[Variants] = set()
    for job in jobs:
        for row in story.rows(job):
            if row.state == WAITING:
                needed.add(asked[job, row.number])
                of_jobs.setdefault(job, {one for key, one in asked.items() if key[0] == job})
    found = waiting(story)
    assert needed <= found
    assert found <= set().union(*of_jobs.values())
