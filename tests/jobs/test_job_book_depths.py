"""Depth: how long a chain of unfinished tasks each task had before it at submit."""

from __future__ import annotations

import pytest
from hypothesis import given as draw
from hypothesis import strategies as st
from job_book_story import Story, array_of, body, graph

from hqtrio.jobs.effects import Command
from hqtrio.messages import client as say
from hqtrio.messages.scheduling import TasksReady
from hqtrio.model.job import GraphSpec, GraphTask, JobHead, Submit
from hqtrio.model.resources import ONE_CPU
from hqtrio.model.task import TaskSettings
from hqtrio.scheduling.tables import Tables


@pytest.fixture
def story() -> Story:
    """One worker, number 1."""
    story = Story()
    story.worker()
    return story


def depth(story: Story, job: int, task: int) -> int:
    """As the scheduler was told when the task could start."""
    return story.seen_by_tasks[(job, task)].depth


def run(story: Story, *tasks: tuple[int, int]) -> None:
    story.start(1, *tasks)
    story.end(1, *tasks)


def finish_everything(story: Story) -> None:
    while story.ready:
        run(story, *story.ready)


def shared(needs: dict[int, tuple[int, ...]]) -> GraphSpec:
    """A graph whose tasks differ in what they need alone."""
    tasks = tuple(GraphTask(n, 0, 0, 0, wanted) for n, wanted in needs.items())
    return GraphSpec((body(),), (ONE_CPU,), (TaskSettings(),), tasks)


def longest(needs: dict[int, tuple[int, ...]], task: int) -> int:
    return max((longest(needs, need) + 1 for need in needs[task]), default=0)


def test_s105_of_a_begun_graph_the_rest_comes_before_fresh_roots(story):
    story.submit(array_of(1))
    chains = story.submit(tasks=graph({0: (), 1: (0,), 2: (), 3: (2,)}))
    run(story, (chains, 0))
    tables = Tables()
    for task in [(1, 0), (chains, 2), (chains, 1)]:
        tables.announce(story.seen_by_tasks[task])
    (queue,) = tables.levels[0].values()
    order = [run[0] for run in tables.take(queue, 3)]
    assert order == [chains << 32 | 1, 1 << 32, chains << 32 | 2]


def test_s105_the_longest_of_several_chains_counts(story):
    job = story.submit(tasks=graph({0: (), 1: (0,), 2: (1,), 3: (0, 2), 4: (0,)}))
    finish_everything(story)
    assert [depth(story, job, task) for task in range(5)] == [0, 1, 2, 3, 1]


def test_s105_groups_have_the_depth_of_the_groups_they_need(story):
    arrays = [
        array_of(2, ((0, 2, 1),)),
        array_of(0, needs=(0,)),  # nobody waits for a group without tasks
        array_of(2, ((2, 2, 1),), needs=(0,)),
        array_of(1, ((4, 1, 1),), needs=(1, 2)),
        array_of(1, ((5, 1, 1),), needs=(1,)),
    ]
    tasks = graph({10: (), 11: (4,), 12: (5, 10), 13: (11, 12)})
    job = story.submit(*arrays, tasks=tasks)
    finish_everything(story)
    assert [depth(story, job, task) for task in range(6)] == [0, 0, 1, 1, 2, 0]
    assert [depth(story, job, task) for task in range(10, 14)] == [0, 3, 1, 4]


def test_s105_in_an_open_job_only_what_is_unfinished_counts(story):
    job = story.open()
    story.submit(array_of(2), job=job)
    story.submit(tasks=graph({2: (0,), 3: (2,), 4: (1,)}), job=job)
    run(story, (job, 0))
    story.start(1, (job, 2))
    # 0 has finished, 2 runs and waits for nothing; 1 could start, and 3 and 4 wait.
    story.submit(tasks=graph({5: (0,), 6: (2,), 7: (3,), 8: (4, 0), 9: (7, 8)}), job=job)
    story.end(1, (job, 2))
    finish_everything(story)
    assert [depth(story, job, task) for task in range(5, 10)] == [0, 1, 3, 2, 4]


def test_s105_a_graph_that_comes_in_parts_is_one_graph(story):
    submit = Submit(b"key", "/", JobHead("parts"), 0, (array_of(1, ((0, 1, 1),)),))
    story.ask(say.SubmitBegin(submit))
    for part in ({1: (0,)}, {2: (1,)}, {3: (2, 0)}):
        story.ask(say.SubmitPart(submit.key, graph=graph(part)))
    story.ask(say.SubmitCommit(submit.key))
    finish_everything(story)
    assert [depth(story, 1, task) for task in range(4)] == [0, 1, 2, 3]


def test_s105_a_task_that_waits_again_keeps_its_depth(story):
    job = story.submit(tasks=graph({0: (), 1: (0,)}))
    run(story, (job, 0))
    story.start(1, (job, 1))
    story.lose(1)
    again = story.seen_by_tasks[(job, 1)]
    assert (again.instance, again.depth) == (1, 1)


def test_s105_many_depths_at_once_make_few_announcements_in_their_order(story):
    """Every task of a chain has a consumer of its own, and all of these need one task more."""
    gate, links = 500, range(1, 100)
    needs: dict[int, tuple[int, ...]] = {0: (), gate: (), **{n: (n - 1,) for n in links}}
    job = story.submit(tasks=shared(needs | {1000 + n: (n, gate) for n in links}))
    for link in (0, *links):
        run(story, (job, link))
    run(story, (job, gate))
    told = [e.value for e in story.effects if isinstance(e, Command)]
    assert len([ready for ready in told if isinstance(ready, TasksReady)]) <= 9
    depths = [depth(story, job, 1000 + n) for n in links]
    assert depths == sorted(depths)
    assert all(n + 1 - 13 < roughly <= n + 1 for n, roughly in zip(links, depths, strict=True))


@draw(st.data())
def test_s105_depths_are_those_of_a_naive_count(data):
    needs: dict[int, tuple[int, ...]] = {}
    for task in range(data.draw(st.integers(1, 12))):
        needs[task] = tuple(data.draw(st.sets(st.integers(0, task - 1)))) if task else ()
    story = Story()
    story.worker()
    story.submit(tasks=graph(needs))
    finish_everything(story)
    assert {n: depth(story, 1, n) for n in needs} == {n: longest(needs, n) for n in needs}
