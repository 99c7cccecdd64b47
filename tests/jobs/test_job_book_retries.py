"""Tasks that fail and are tried again, as the job book sees it."""

import pytest
from job_book_story import EVERY, Story, array_of, given, graph

from hqtrio.messages import client as say
from hqtrio.messages.columns import read_f64, read_u32, read_u64
from hqtrio.messages.records import TasksEnded, TasksRepeated
from hqtrio.model.job import JobState
from hqtrio.model.retry import Retry
from hqtrio.model.task import Ending, TaskSettings, TaskState

WAITING, RUNNING, FINISHED = TaskState.WAITING, TaskState.RUNNING, TaskState.FINISHED
FAILED, CANCELLED, ABORTED = TaskState.FAILED, TaskState.CANCELLED, TaskState.ABORTED


def repeated(times: int, **more):
    return TaskSettings(retry=Retry(times, **more))


def story_of(settings, count=1, **head):
    story = Story()
    worker = story.worker()
    job = story.submit(array_of(count, settings=settings), **head)
    return story, worker, job


def test_a_failed_task_is_tried_again_as_a_new_instance():
    story, worker, job = story_of(repeated(2))
    for instance in range(3):
        assert story.ready == {(job, 0): instance}
        assert story.state(job) is JobState.WAITING
        story.run(worker, ending=Ending.EXITED, code=7)
    assert story.states(job) == [FAILED]
    assert story.task(job, 0).error == "Program terminated with exit code 7."
    assert story.task(job, 0).tries == 2


def test_a_try_that_finishes_ends_it():
    story, worker, job = story_of(repeated(5))
    story.run(worker, ending=Ending.EXITED, code=1)
    story.run(worker)
    assert story.states(job) == [FINISHED]
    assert story.task(job, 0).error == ""
    assert story.state(job) is JobState.FINISHED
    assert not story.ready
    assert not story.bodies


def test_a_pause_grows_with_each_try_up_to_its_maximum():
    story, worker, job = story_of(repeated(4, backoff_s=10.0, factor=3.0, max_backoff_s=50.0))
    for pause in (10.0, 30.0, 50.0, 50.0):
        story.run(worker, ending=Ending.EXITED, code=1)
        story.elapse(pause - 0.01)
        assert not story.ready
        story.elapse(0.02)
        assert list(story.ready) == [(job, 0)]
    story.run(worker, ending=Ending.EXITED, code=1)
    assert story.states(job) == [FAILED]


def test_a_pausing_task_waits_and_says_why():
    story, worker, job = story_of(repeated(3, backoff_s=60.0))
    story.run(worker, ending=Ending.EXITED, code=4)
    row = story.task(job, 0)
    assert row.state == WAITING
    assert (row.tries, row.retry_at) == (1, story.now.wall + 60.0)
    assert row.error == "Program terminated with exit code 4."
    assert row.started_at is None
    explained = story.ask(say.ExplainTask(given(job), 0))
    assert (explained.tries, explained.retry_at) == (1, row.retry_at)
    assert explained.error == row.error
    story.elapse(61.0)
    row = story.task(job, 0)
    assert (row.tries, row.retry_at, row.error) == (1, None, "")


@pytest.mark.parametrize(
    ("settings", "failure", "is_repeated"),
    [
        ({"codes": (3, 4)}, (Ending.EXITED, 4), True),
        ({"codes": (3, 4)}, (Ending.EXITED, 5), False),
        ({"codes": (9,)}, (Ending.SIGNALLED, 9), False),
        ({"signals": (9,)}, (Ending.SIGNALLED, 9), True),
        ({"signals": (9,)}, (Ending.EXITED, 9), False),
        ({"on_time_limit": True}, (Ending.TIME_LIMIT, 0), True),
        ({"codes": (1,)}, (Ending.TIME_LIMIT, 0), False),
        ({"codes": (0,)}, (Ending.NOT_STARTED, 0), False),
        ({"on_any": True}, (Ending.NOT_STARTED, 0), True),
        ({"on_any": True}, (Ending.NOT_PREPARED, 0), True),
    ],
)
def test_only_the_failures_that_were_named_are_tried_again(settings, failure, is_repeated):
    story, worker, job = story_of(repeated(1, **{"on_any": False, **settings}))
    ending, code = failure
    story.run(worker, ending=ending, code=code)
    assert story.states(job) == [WAITING if is_repeated else FAILED]


def test_only_the_last_failure_counts_towards_max_fails():
    story, worker, job = story_of(repeated(1), count=3, max_fails=0)
    story.run(worker, ending=Ending.EXITED, code=1)
    assert story.states(job) == [WAITING] * 3
    story.run(worker, (job, 1), ending=Ending.EXITED, code=1)
    assert story.states(job) == [ABORTED, FAILED, ABORTED]


def test_too_many_failures_end_pauses_as_well():
    story = Story()
    worker = story.worker()
    quick = array_of(1)
    job = story.submit(array_of(2, settings=repeated(1, backoff_s=5.0)), quick, max_fails=0)
    story.run(worker, (job, 0), (job, 1), ending=Ending.EXITED, code=1)
    story.run(worker, (job, 2), ending=Ending.EXITED, code=1)
    assert story.states(job) == [ABORTED, ABORTED, FAILED]
    story.elapse(10.0)
    assert not story.ready


def test_a_cancel_ends_the_pause():
    story, worker, job = story_of(repeated(1, backoff_s=5.0), count=2)
    story.run(worker, ending=Ending.EXITED, code=1)
    assert story.cancel(EVERY)[0].cancelled == 2
    story.elapse(10.0)
    assert not story.ready
    assert story.states(job) == [CANCELLED] * 2


def test_a_job_is_forgotten_with_its_pauses():
    story, worker, job = story_of(repeated(1, backoff_s=5.0))
    story.run(worker, ending=Ending.EXITED, code=1)
    states = tuple(int(state) for state in JobState)
    assert story.ask(say.ForgetJobs(EVERY, states)).forgotten == 0
    story.cancel(given(job))
    assert story.ask(say.ForgetJobs(EVERY, states)).forgotten == 1
    story.elapse(10.0)
    assert not story.ready


def test_losing_the_worker_is_no_failed_try():
    story, worker, job = story_of(repeated(1, backoff_s=5.0))
    story.start(worker)
    story.lose(worker)
    assert story.ready == {(job, 0): 1}
    second = story.worker()
    story.run(second, ending=Ending.EXITED, code=1)
    story.lose(second)
    story.elapse(5.1)
    assert story.ready == {(job, 0): 2}


def test_a_late_report_of_an_earlier_try_changes_nothing():
    story, worker, job = story_of(repeated(1, backoff_s=5.0))
    story.run(worker, ending=Ending.EXITED, code=1)
    story.report(worker, ended=[((job, 0), 0, Ending.FINISHED, 0, 1.0)])
    assert story.states(job) == [WAITING]


def test_consumers_wait_through_the_tries_of_what_they_need():
    story = Story()
    worker = story.worker()
    job = story.submit(tasks=graph({0: (), 1: (0,)}, repeated(1, backoff_s=5.0)))
    story.run(worker, ending=Ending.EXITED, code=1)
    assert story.states(job) == [WAITING, WAITING]
    story.elapse(6.0)
    story.run(worker, (job, 0))
    story.run(worker, (job, 1))
    assert story.states(job) == [FINISHED, FINISHED]
    assert not story.bodies


def test_a_try_is_recorded_and_not_taken_for_an_end():
    story, worker, job = story_of(repeated(1, backoff_s=5.0), count=2)
    story.start(worker)
    story.records.clear()
    rows = [
        ((job, 0), 0, Ending.EXITED, 1, 1.0),
        ((job, 1), 0, Ending.FINISHED, 0, 1.0),
    ]
    story.report(worker, ended=rows)
    tried, ended = story.records
    assert isinstance(tried, TasksRepeated)
    assert list(read_u64(tried.tasks)) == [job << 32]
    assert list(read_u32(tried.instances)) == [1]
    assert list(read_u32(tried.tries)) == [1]
    assert list(read_f64(tried.at)) == [story.now.wall + 5.0]
    assert isinstance(ended, TasksEnded)
    assert list(read_u64(ended.tasks)) == [job << 32 | 1]


@pytest.mark.parametrize(
    "retry",
    [
        Retry(-1),
        Retry(1, backoff_s=-1.0),
        Retry(1, backoff_s=float("nan")),
        Retry(1, max_backoff_s=float("inf")),
        Retry(1, factor=0.5),
        Retry(1, codes=tuple(range(1000))),
    ],
)
def test_an_impossible_retry_is_refused(retry):
    story = Story()
    answer = story.try_submit(array_of(1, settings=TaskSettings(retry=retry)))
    assert isinstance(answer, say.Failure)
    assert not story.ready


def test_a_pause_never_outgrows_its_maximum_however_many_tries_there_were():
    retry = Retry(1_000_000, backoff_s=1.0, factor=1e300, max_backoff_s=9.0)
    assert retry.pause_s(1) == 1.0
    assert retry.pause_s(2) == 9.0
    assert retry.pause_s(1_000_000) == 9.0
    assert Retry(9, backoff_s=0.0).pause_s(1_000_000) == 0.0
