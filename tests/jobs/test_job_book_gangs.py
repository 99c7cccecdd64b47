"""Multi-node tasks in the job book: which workers they have, and what becomes of them."""

from __future__ import annotations

import pytest
from job_book_story import EVERY, Story, array_of, given

from hqtrio.messages import client as say
from hqtrio.messages.records import NodeDropped, TasksEnded, TasksStarted
from hqtrio.model.job import JobState
from hqtrio.model.resources import Request
from hqtrio.model.task import NEVER_RESTART, Ending, TaskSettings, TaskState
from hqtrio.model.worker import LossReason

THREE_NODES = (Request(nodes=3),)
TASK = (1, 0)
PACKED = 1 << 32


@pytest.fixture
def story() -> Story:
    """Workers 1 to 4, and job 1 with one task for three nodes."""
    story = Story()
    for _ in range(4):
        story.worker()
    story.submit(array_of(1, variants=THREE_NODES))
    return story


def parts(story: Story) -> list[bool | None]:
    return [row.multi_node for row in story.ask(say.ListWorkers(EVERY)).rows]


def test_s7_01_a_running_task_lists_all_its_workers_root_first(story):
    story.start(3, TASK, nodes=(3, 1, 2))
    assert story.task(*TASK).workers == (3, 1, 2)
    assert story.details_of(1).workers == (1, 2, 3)
    assert parts(story) == [False, False, True, None]
    (record,) = [r for r in story.records if isinstance(r, TasksStarted)]
    assert record.gangs == ((PACKED, (3, 1, 2)),)


def test_a_multi_node_task_may_say_several_ways_to_run(story):
    either = (Request(nodes=2), Request(nodes=3, time_s=60.0))
    job = story.submit(array_of(1, variants=either))
    assert story.seen_by_tasks[(job, 0)].variants == either


def test_every_node_names_the_task_as_its_last(story):
    story.start(3, TASK, nodes=(3, 1, 2))
    rows = story.ask(say.ListWorkers(EVERY)).rows
    assert [row.last_task for row in rows] == [PACKED, PACKED, PACKED, None]
    assert [row.running_tasks for row in rows] == [0, 0, 1, 0]


def test_s7_03_an_ended_task_keeps_its_list_and_its_workers_are_free(story):
    story.start(3, TASK, nodes=(3, 1, 2))
    story.end(3, ending=Ending.EXITED, code=1)
    row = story.task(*TASK)
    assert (row.state, row.workers) == (TaskState.FAILED, (3, 1, 2))
    assert parts(story) == [None] * 4


def test_a_task_that_starts_and_ends_in_one_report_has_its_workers_too(story):
    instance = story.ready.pop(TASK)
    row = (TASK, instance, Ending.FINISHED, 0, 1.0)
    story.report(2, ended=[row], gangs=[(TASK, (2, 3, 4))])
    assert story.task(*TASK).workers == (2, 3, 4)
    assert story.details_of(1).workers == (2, 3, 4)
    (record,) = [r for r in story.records if isinstance(r, TasksEnded)]
    assert record.gangs == ((PACKED, (2, 3, 4)),)


def test_s7_04_a_cancelled_task_leaves_its_workers(story):
    story.start(3, TASK, nodes=(3, 1, 2))
    story.cancel(given(1))
    assert story.task(*TASK).workers == (3, 1, 2)
    assert parts(story) == [None] * 4


def test_s103_a_lost_root_makes_the_task_wait_and_start_elsewhere(story):
    story.start(3, TASK, nodes=(3, 1, 2))
    story.lose(3)
    assert (story.state(1), story.task(*TASK).workers) == (JobState.WAITING, ())
    assert parts(story) == [None] * 4
    assert story.ready == {TASK: 1}
    story.start(1, TASK, nodes=(1, 2, 4))
    assert story.task(*TASK).workers == (1, 2, 4)
    assert parts(story) == [True, False, None, False]
    assert story.details_of(1).workers == (1, 2, 3, 4)


@pytest.mark.parametrize("node_first", [True, False])
def test_s103_a_lost_node_shortens_the_list_and_costs_no_restart(story, node_first):
    story.submit(array_of(1, variants=THREE_NODES, settings=TaskSettings(crash_limit=1)))
    story.start(3, (2, 0), nodes=(3, 1, 2))
    if node_first:
        story.lose_node(1, (2, 0))
    story.lose(1, LossReason.HEARTBEAT_LOST)
    if not node_first:
        story.lose_node(1, (2, 0))
    row = story.task(2, 0)
    assert (row.state, row.instance, row.workers) == (TaskState.RUNNING, 0, (3, 2))
    assert NodeDropped(2 << 32, 0, 1) in story.records
    assert parts(story) == [None, False, True, None]
    story.end(3)
    assert story.state(2) == JobState.FINISHED
    assert story.task(2, 0).workers == (3, 2)


def test_a_later_report_does_not_bring_a_lost_node_back(story):
    story.start(3, TASK, nodes=(3, 1, 2))
    story.lose_node(1, TASK)
    row = (TASK, story.running[3].pop(TASK), Ending.FINISHED, 0, 1.0)
    story.report(3, ended=[row], gangs=[(TASK, (3, 1, 2))])
    assert story.task(*TASK).workers == (3, 2)


def test_a_node_is_lost_only_by_the_execution_that_has_it(story):
    story.start(3, TASK, nodes=(3, 1, 2))
    records = len(story.records)
    story.lose_node(4, TASK)  # not one of them
    story.lose_node(3, TASK)  # the root: its loss is told otherwise
    story.lose_node(1, TASK, instance=1)  # another execution
    story.lose_node(1, (1, 7))
    story.lose_node(1, (9, 0))
    assert story.task(*TASK).workers == (3, 1, 2)
    story.cancel(given(1))
    story.lose_node(1, TASK)  # too late
    assert story.task(*TASK).workers == (3, 1, 2)
    assert not any(isinstance(record, NodeDropped) for record in story.records[records:])


def test_an_old_start_does_not_name_workers(story):
    story.start(3, TASK, nodes=(3, 1, 2))
    story.lose(3)
    story.report(4, started=[(TASK, 0, 0.0)], gangs=[(TASK, (4, 1, 2))])
    assert story.task(*TASK).workers == ()
    assert parts(story) == [None] * 4


def test_never_restart_concerns_the_root_only(story):
    settings = TaskSettings(crash_limit=NEVER_RESTART)
    story.submit(array_of(1, variants=THREE_NODES, settings=settings))
    story.start(3, (2, 0), nodes=(3, 1, 2))
    story.lose(1)
    story.lose_node(1, (2, 0))
    assert story.state(2) == JobState.RUNNING
    story.lose(3)
    assert story.state(2) == JobState.FAILED
    assert story.task(2, 0).workers == (3, 2)


def test_a_forgotten_job_takes_its_gangs_along(story):
    story.start(3, TASK, nodes=(3, 1, 2))
    story.end(3)
    story.ask(say.ForgetJobs(EVERY, tuple(range(7))))
    assert parts(story) == [None] * 4
