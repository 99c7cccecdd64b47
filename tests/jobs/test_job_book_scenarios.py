"""Scenarios of the runtime specification, as far as the job book decides them."""

import pytest
from job_book_story import (
    EVERY,
    LATEST,
    Story,
    array_of,
    body,
    given,
    graph,
)

from hqtrio.messages import client as say
from hqtrio.messages.client import VerdictKind
from hqtrio.messages.records import (
    JobCancelled,
    JobCompleted,
    SubmitBegun,
    SubmitCommitted,
    TasksEnded,
    TasksRequeued,
    WorkerLost,
)
from hqtrio.messages.scheduling import WorkerGone
from hqtrio.model.job import JobState, Submit
from hqtrio.model.task import NEVER_RESTART, UNLIMITED, Ending, Stdio, TaskSettings, TaskState
from hqtrio.model.worker import LossReason

FINISHED, FAILED = TaskState.FINISHED, TaskState.FAILED
WAITING, RUNNING = TaskState.WAITING, TaskState.RUNNING
ABORTED, CANCELLED = TaskState.ABORTED, TaskState.CANCELLED
EXITED = Ending.EXITED


@pytest.fixture
def story() -> Story:
    return Story()


def array(count: int, first: int = 1, **more):
    return array_of(count, ((first, count, 1),), **more)


def test_s1_01_two_jobs_wait_then_finish(story):
    one, two = story.submit(array_of(1), name="hostname"), story.submit(array_of(1), name="date")
    assert (one, two) == (1, 2)
    rows = story.ask(say.ListJobs(EVERY)).rows
    assert [row.name for row in rows] == ["hostname", "date"]
    assert story.state(1) == story.state(2) == JobState.WAITING
    worker = story.worker()
    story.start(worker)
    assert story.state(1) == JobState.RUNNING
    story.end(worker)
    assert story.state(1) == story.state(2) == JobState.FINISHED
    assert not story.bodies


def test_s1_02_a_failed_task_aborts_its_consumers_before_it_fails(story):
    job = story.submit(tasks=graph({1: (), 2: (1,), 3: (2,), 4: ()}))
    worker = story.worker()
    assert sorted(story.ready) == [(job, 1), (job, 4)]
    story.run(worker, (job, 1), ending=EXITED, code=1)
    assert story.states(job) == [FAILED, ABORTED, ABORTED, WAITING]
    (record,) = [r for r in story.records if isinstance(r, TasksEnded)]
    assert record.aborted_counts and record.states == bytes([FAILED])
    story.run(worker, (job, 4))
    assert story.states(job) == [FAILED, ABORTED, ABORTED, FINISHED]
    assert story.state(job) == JobState.FAILED
    assert story.task(job, 1).error == "Program terminated with exit code 1."
    assert not story.bodies


def test_s1_03_max_fails_zero_aborts_the_running_rest(story):
    job = story.submit(array(2), max_fails=0)
    worker = story.worker()
    story.start(worker)
    story.end(worker, (job, 1), ending=EXITED, code=1)
    assert story.states(job) == [FAILED, ABORTED]
    assert not story.running[worker], "the scheduler was told to kill it"
    assert story.state(job) == JobState.FAILED


def test_s1_04_one_failure_is_within_max_fails_one(story):
    job = story.submit(array(200), max_fails=1)
    worker = story.worker()
    story.run(worker, (job, 7), ending=EXITED, code=1)
    story.run(worker)
    assert story.counts(job) == say.Counts(finished=199, failed=1)


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "one report"])
def test_s1_05_exactly_four_fail_with_max_fails_three(story, together):
    job = story.submit(array(10), max_fails=3)
    worker = story.worker()
    if together:
        story.run(worker, ending=EXITED, code=1)
    else:
        for number in (1, 2, 3, 4):
            story.run(worker, (job, number), ending=EXITED, code=1)
    assert story.counts(job) == say.Counts(failed=4, aborted=6)
    assert not story.ready


def test_s1_06_cancel_a_running_task_then_again(story):
    job = story.submit(array_of(1))
    worker = story.worker()
    story.start(worker)
    assert story.cancel(given(job)) == (say.Verdict(job, VerdictKind.OK, 1, 0),)
    assert story.state(job) == JobState.CANCELLED
    assert not story.running[worker]
    row = story.task(job, 0)
    assert row.workers == (worker,)
    assert row.ended_at is not None
    assert story.cancel(given(job)) == (say.Verdict(job, VerdictKind.ALREADY, 0, 1),)


def test_s1_07_nothing_to_cancel_in_ended_jobs(story):
    worker = story.worker()
    for ending in (Ending.FINISHED, EXITED):
        story.submit(array_of(1))
        story.run(worker, ending=ending, code=1)
    for selector in (given(1), given(2), LATEST):
        assert [v.kind for v in story.cancel(selector)] == [VerdictKind.ALREADY]
    assert [story.state(1), story.state(2)] == [JobState.FINISHED, JobState.FAILED]


def test_s1_08_cancel_a_range_with_an_unknown_job(story):
    for _ in range(3):
        story.submit(array_of(1))
    verdicts = story.cancel(say.Selector(say.Which.GIVEN, ((1, 4, 1),)))
    ok, missing = VerdictKind.OK, VerdictKind.NOT_FOUND
    assert [(v.id, v.kind) for v in verdicts] == [(1, ok), (2, ok), (3, ok), (4, missing)]


def test_s1_09_and_s1_10_cancel_all_concerns_active_jobs_and_keeps_the_reason(story):
    worker = story.worker()
    for ending in (Ending.FINISHED, EXITED):
        story.submit(array_of(1))
        story.run(worker, ending=ending, code=1)
    job = story.submit(array_of(1))
    story.start(worker)
    assert [v.id for v in story.cancel(EVERY, "wrong input")] == [job]
    reasons = [row.cancel_reason for row in story.ask(say.ListJobs(EVERY)).rows]
    assert reasons == [None, None, "wrong input"]


def test_s1_11_the_latest_cancel_reason_wins(story):
    job = story.open()
    for reason in ("a", "b"):
        story.submit(array_of(1), job=job)
        story.cancel(given(job), reason)
    assert story.details_of(job).row.cancel_reason == "b"
    story.submit(array_of(1), job=job)
    story.cancel(given(job))
    assert story.details_of(job).row.cancel_reason is None


def test_s1_12_cancel_in_the_middle_of_an_array(story):
    job = story.submit(array(10))
    worker = story.worker()
    story.run(worker, *((job, n) for n in (1, 2, 3, 4)))
    story.start(worker, *((job, n) for n in (5, 6, 7, 8)))
    assert story.cancel(EVERY) == (say.Verdict(job, VerdictKind.OK, 6, 4),)
    assert story.counts(job) == say.Counts(finished=4, cancelled=6)
    assert story.state(job) == JobState.CANCELLED
    assert not story.ready


def test_s1_13_cancel_many_waiting_and_some_running(story):
    story.checked = False
    job = story.submit(array(20_004))
    worker = story.worker()
    story.start(worker, *((job, n) for n in (1, 2, 3, 4)))
    story.cancel(EVERY)
    story.book.check()
    assert story.counts(job) == say.Counts(cancelled=20_004)
    assert not story.ready
    assert not story.running[worker]


def test_s1_14_a_lost_workers_task_runs_again_elsewhere(story):
    for _ in range(2):
        story.submit(array_of(1))
    first, second = story.worker(), story.worker()
    story.start(first, (1, 0))
    story.start(second, (2, 0))
    story.lose(first)
    assert [story.state(1), story.state(2)] == [JobState.WAITING, JobState.RUNNING]
    assert story.ready == {(1, 0): 1}
    assert story.task(1, 0).workers == ()
    story.end(second)
    story.run(second)
    assert [story.state(1), story.state(2)] == [JobState.FINISHED, JobState.FINISHED]


def test_s1_15_running_and_shipped_tasks_of_a_lost_worker_wait_again(story):
    job = story.submit(array(4))
    worker = story.worker()
    story.start(worker, (job, 1), (job, 2))
    story.lose(worker, shipped=((job, 3), (job, 4)))
    assert story.states(job) == [WAITING] * 4
    assert story.ready == {(job, n): 1 for n in (1, 2, 3, 4)}
    story.run(story.worker())
    assert story.counts(job).finished == 4


@pytest.mark.parametrize("limit", [None, 1, 2, 7])
def test_s1_16_a_task_fails_in_its_nth_crash(story, limit):
    settings = TaskSettings() if limit is None else TaskSettings(crash_limit=limit)
    job = story.submit(array_of(1, settings=settings))
    crashes = limit or 5
    for crash in range(1, crashes + 1):
        worker = story.worker()
        story.start(worker)
        story.lose(worker)
        assert story.state(job) == (JobState.FAILED if crash == crashes else JobState.WAITING)
    error = story.task(job, 0).error
    assert "running on a worker that was lost" in error
    assert ("once" if crashes == 1 else str(crashes)) in error


def test_s1_17_never_restart_fails_even_when_the_worker_is_stopped(story):
    for limit in (NEVER_RESTART, 1):
        story.submit(array_of(1, settings=TaskSettings(crash_limit=limit)))
    worker = story.worker()
    story.start(worker)
    story.ask(say.StopWorkers(EVERY))
    story.lose(worker, LossReason.CONNECTION_LOST)
    assert [story.state(1), story.state(2)] == [JobState.FAILED, JobState.WAITING]
    (row,) = story.ask(say.ListWorkers(EVERY)).rows
    assert row.reason == LossReason.STOPPED


def test_s1_18_both_fail_when_the_worker_crashes(story):
    for limit in (NEVER_RESTART, 1):
        story.submit(array_of(1, settings=TaskSettings(crash_limit=limit)))
    worker = story.worker()
    story.start(worker)
    story.lose(worker)
    assert [story.state(1), story.state(2)] == [JobState.FAILED, JobState.FAILED]
    expected = "Task was running on a lost worker while never restart flag was set."
    assert story.task(1, 0).error == expected


def test_an_unlimited_task_survives_any_number_of_crashes(story):
    job = story.submit(array_of(1, settings=TaskSettings(crash_limit=UNLIMITED)))
    for _ in range(20):
        worker = story.worker()
        story.start(worker)
        story.lose(worker)
    assert story.ready == {(job, 0): 20}


def test_s1_20_the_time_limit_has_its_own_words(story):
    job = story.submit(array_of(1))
    story.run(story.worker(), ending=Ending.TIME_LIMIT)
    assert story.task(job, 0).error == "Time limit reached"


def test_s1_24_and_s1_25_only_terminated_jobs_in_the_given_states_are_forgotten(story):
    worker = story.worker()
    for _ in range(5):
        story.submit(array_of(1))
    story.run(worker)
    story.submit(array_of(1))
    story.cancel(LATEST)
    story.submit(array_of(1))
    running = story.submit(array_of(1))
    story.start(worker, (7, 0), (8, 0))
    story.end(worker, (7, 0), ending=EXITED, code=1)
    wanted = (JobState.FINISHED, JobState.CANCELLED)
    assert story.ask(say.ForgetJobs(given(running), wanted)) == say.Forgotten(0, 1)
    assert story.ask(say.ForgetJobs(EVERY, wanted)) == say.Forgotten(6, 2)
    assert [row.id for row in story.ask(say.ListJobs(EVERY)).rows] == [7, 8]
    assert story.ask(say.JobInfo(1)) == say.Failure("Job 1 not found.")
    assert story.submit(array_of(1)) == 9


def test_s1_26_an_open_job_is_closed_once(story):
    job = story.open()
    assert story.state(job) == JobState.OPENED
    kinds = [story.ask(say.CloseJobs(given(job))).rows[0].kind for _ in range(3)]
    assert kinds == [VerdictKind.OK, VerdictKind.ALREADY, VerdictKind.ALREADY]
    assert story.state(job) == JobState.FINISHED
    assert story.details_of(job).row.terminated


def test_s1_27_submits_to_an_open_job_number_on(story):
    job = story.open()
    for _ in range(4):
        story.submit(array_of(1), job=job)
    assert [row.number for row in story.rows(job)] == [0, 1, 2, 3]
    worker = story.worker()
    story.run(worker)
    assert story.state(job) == JobState.OPENED
    assert story.counts(job).finished == 4
    for _ in range(2):
        story.submit(array_of(1), job=job)
    assert story.details_of(job).ids == ((0, 6, 1),)
    story.run(worker)
    story.ask(say.CloseJobs(EVERY))
    assert story.state(job) == JobState.FINISHED


def test_s1_28_interleaved_arrays_show_as_one_set(story):
    job = story.open()
    for ranges in (((10, 11, 1),), ((1, 3, 2),), ((2, 3, 2),)):
        story.submit(array_of(sum(count for _, count, _ in ranges), ranges), job=job)
    assert story.details_of(job).ids == ((1, 6, 1), (10, 11, 1))
    assert sorted(number for _, number in story.ready) == [*range(1, 7), *range(10, 21)]
    assert [row.number for row in story.rows(job)] == [*range(1, 7), *range(10, 21)]
    story.ask(say.CloseJobs(given(job)))
    story.run(story.worker())
    assert story.counts(job) == say.Counts(finished=17)


def test_s1_29_what_cannot_be_submitted_to_a_job(story):
    assert story.try_submit(array_of(1), job=123) == say.Failure("Job 123 not found.")
    story.submit(array_of(1))
    assert story.try_submit(array_of(1), job=1) == say.Failure("Job 1 is not opened.")
    clash = say.Failure("Task 0 already exists in job 1.")
    assert story.try_submit(array_of(1, ((0, 1, 1),)), job=1) == clash
    job = story.open()
    story.submit(array_of(3), job=job)
    again = story.try_submit(array_of(2, ((2, 2, 1),)), job=job)
    assert again == say.Failure(f"Task 2 already exists in job {job}.")
    assert story.counts(job).waiting == 3


def test_s1_30_and_s1_31_watchers_hear_when_an_open_job_is_idle_and_when_it_is_closed(story):
    job = story.open()
    answer = story.ask(say.Watch((job, 99)), session=5)
    assert not answer.rows[0].terminated
    assert answer.unknown == (99,)
    story.submit(array_of(1), job=job)
    worker = story.worker()
    story.start(worker)
    story.end(worker)
    (notice,) = story.notices
    assert (notice.session, notice.notice.row.counts.finished) == (5, 1)
    assert not notice.notice.row.terminated
    story.ask(say.CloseJobs(given(job)))
    (notice,) = story.notices
    assert notice.notice.row.terminated


def test_s1_33_ids_of_tasks_in_a_state(story):
    job = story.submit(array_of(31, ((2, 1, 1), (7, 1, 1), (9, 1, 1), (20, 28, 1))))
    worker = story.worker()
    story.run(worker, *((job, n) for n in range(25, 29)), ending=EXITED, code=1)
    failed = story.rows(job, states=(FAILED,))
    assert [row.number for row in failed] == [25, 26, 27, 28]
    assert story.details_of(job).ids == ((2, 1, 1), (7, 1, 1), (9, 1, 1), (20, 28, 1))
    assert story.rows(job, states=(RUNNING,)) == []


def test_s1_34_losing_all_workers_of_a_graph_is_survived(story):
    needs = dict.fromkeys(range(16), ()) | {16: tuple(range(16))}
    job = story.submit(tasks=graph(needs))
    workers = [story.worker(), story.worker()]
    for index, worker in enumerate(workers):
        story.start(worker, *((job, n) for n in range(index * 4, index * 4 + 4)))
    for worker in workers:
        story.lose(worker)
    assert story.state(job) == JobState.WAITING
    worker = story.worker()
    story.run(worker)
    assert list(story.ready) == [(job, 16)]
    story.run(worker)
    assert story.state(job) == JobState.FINISHED


def test_s1_35_a_chain_and_many_pairs(story):
    chain = story.submit(tasks=graph({n: (n - 1,) if n else () for n in range(51)}))
    pairs = story.submit(tasks=graph({n: (n - 1,) if n % 2 else () for n in range(300)}))
    worker = story.worker()
    while story.ready:
        story.run(worker)
    assert story.counts(chain).finished == 51
    assert story.counts(pairs).finished == 300


def test_s1_37_an_unknown_job(story):
    assert story.ask(say.JobInfo(5)) == say.Failure("Job 5 not found.")
    assert story.ask(say.ListJobs(LATEST)) == say.JobRows((), 0)


# --- guarantees


def test_g1_1_late_and_old_reports_change_nothing(story):
    job = story.submit(array_of(2))
    lost, worker = story.worker(), story.worker()
    story.start(lost, (job, 0))
    story.lose(lost)
    story.report(lost, ended=[((job, 0), 0, Ending.FINISHED, 0, 1.0)])
    assert story.states(job) == [WAITING, WAITING]
    story.run(worker)
    before = len(story.records)
    story.report(worker, ended=[((job, 0), 1, EXITED, 1, 1.0), ((9, 9), 0, EXITED, 1, 1.0)])
    story.report(worker, started=[((job, 1), 0, 0.0), ((job, 77), 0, 0.0)])
    assert story.states(job) == [FINISHED, FINISHED]
    assert len(story.records) == before


def test_g1_5_an_open_job_with_failures_is_failed(story):
    job = story.open()
    story.submit(array_of(1), job=job)
    story.run(story.worker(), ending=EXITED, code=3)
    assert story.state(job) == JobState.FAILED
    assert story.details_of(job).row.is_open


def test_g1_6_a_job_without_tasks_completes_at_once_and_can_be_forgotten(story):
    job = story.submit(array_of(0))
    kinds = [type(record) for record in story.records]
    assert kinds == [SubmitBegun, SubmitCommitted, JobCompleted]
    assert story.state(job) == JobState.FINISHED
    assert story.ask(say.ForgetJobs(EVERY, (JobState.FINISHED,))) == say.Forgotten(1, 0)


def test_g1_7_and_g1_8_completion_comes_once_and_freezes_the_finish(story):
    job = story.submit(array_of(2))
    worker = story.worker()
    story.run(worker, (job, 0))
    assert story.details_of(job).finished_at is None
    story.run(worker)
    finished_at = story.details_of(job).finished_at
    story.wait(100)
    story.cancel(EVERY)
    assert story.details_of(job).finished_at == finished_at
    assert sum(isinstance(record, JobCompleted) for record in story.records) == 1


def test_g1_10_a_task_that_finishes_after_its_abort_stays_aborted(story):
    job = story.submit(array(2), max_fails=0)
    worker = story.worker()
    story.start(worker)
    story.end(worker, (job, 1), ending=EXITED, code=1)
    story.report(worker, ended=[((job, 2), 0, Ending.FINISHED, 0, 1.0)])
    assert story.states(job) == [FAILED, ABORTED]


def test_g1_13_merely_shipped_tasks_do_not_count_the_crash(story):
    job = story.submit(array_of(1, settings=TaskSettings(crash_limit=1)))
    story.lose(story.worker(), shipped=((job, 0),))
    assert story.ready == {(job, 0): 1}


def test_g1_15_the_loss_is_recorded_before_what_follows_from_it(story):
    story.submit(array_of(1, settings=TaskSettings(crash_limit=1)))
    story.submit(array_of(1))
    worker = story.worker()
    story.start(worker)
    story.records.clear()
    story.lose(worker)
    kinds = [type(record) for record in story.records]
    assert kinds == [WorkerLost, TasksRequeued, TasksEnded, JobCompleted]


def test_g1_16_a_crash_failure_has_all_consequences_of_a_failure(story):
    settings = TaskSettings(crash_limit=1)
    job = story.submit(tasks=graph({1: (), 2: (1,), 3: ()}, settings), max_fails=0)
    worker = story.worker()
    story.start(worker, (job, 1))
    story.lose(worker)
    assert story.states(job) == [FAILED, ABORTED, ABORTED]
    (record,) = [r for r in story.records if isinstance(r, TasksEnded)]
    assert record.swept == (job,)
    assert record.aborted_firsts


def test_a_launcher_that_dies_counts_like_a_crash_of_what_ran(story):
    job = story.submit(array_of(2, settings=TaskSettings(crash_limit=2)))
    worker = story.worker()
    story.start(worker, (job, 0))
    story.end(worker, (job, 0), ending=Ending.LOST)
    assert story.ready[(job, 0)] == 1
    story.start(worker, (job, 0))
    story.end(worker, (job, 0), ending=Ending.LOST)
    assert story.task(job, 0).state == FAILED
    assert story.ready.pop((job, 1)) == 0
    story.report(worker, ended=[((job, 1), 0, Ending.LOST, 0, -1.0)])
    assert story.ready[(job, 1)] == 1, "it had not started, so nothing is counted"


def test_a_task_that_could_not_be_prepared_has_no_start(story):
    job = story.submit(array_of(1))
    worker = story.worker()
    story.report(
        worker,
        ended=[((job, 0), 0, Ending.NOT_PREPARED, 0, -1.0)],
        texts=[(0, "Cannot create stdout directory")],
    )
    row = story.task(job, 0)
    assert (row.state, row.started_at, row.workers) == (FAILED, None, ())
    assert row.error == "Cannot create stdout directory"
    assert row.ended_at is not None


def test_signals_are_named(story):
    job = story.submit(array_of(2))
    worker = story.worker()
    story.start(worker)
    story.end(worker, (job, 0), ending=Ending.SIGNALLED, code=9)
    story.end(worker, (job, 1), ending=Ending.SIGNALLED, code=16)
    begin = "Program terminated with exit code -1. Received signal"
    assert story.task(job, 0).error == f"{begin} 9 (SIGKILL)."
    assert story.task(job, 1).error == f"{begin} 16 (unknown)."


def test_b36_needing_a_task_that_ended_badly_aborts_at_once(story):
    job = story.open()
    worker = story.worker()
    story.submit(tasks=graph({1: (), 2: ()}), job=job)
    story.run(worker, (job, 1), ending=EXITED, code=1)
    story.run(worker, (job, 2))
    story.submit(tasks=graph({3: (1,), 4: (3,), 5: (2,)}), job=job)
    assert story.states(job) == [FAILED, FINISHED, ABORTED, ABORTED, WAITING]
    assert list(story.ready) == [(job, 5)]


def test_consumers_in_a_later_submit_wait_for_a_running_task(story):
    job = story.open()
    worker = story.worker()
    story.submit(array_of(2), job=job)
    story.start(worker, (job, 0))
    story.submit(tasks=graph({10: (0,), 11: (10, 1)}), job=job)
    assert list(story.ready) == [(job, 1)]
    story.end(worker)
    assert sorted(story.ready) == [(job, 1), (job, 10)]
    story.run(worker, (job, 1), ending=EXITED, code=1)
    assert story.task(job, 11).state == ABORTED
    assert story.task(job, 10).state == WAITING


def test_b4_ended_tasks_of_earlier_submits_count_once(story):
    job = story.open()
    story.submit(array_of(2), job=job)
    story.run(story.worker())
    story.submit(array_of(1), job=job)
    assert story.counts(job) == say.Counts(waiting=1, finished=2)


# --- groups of a native job file


def test_a_group_starts_when_every_task_before_it_has_finished(story):
    job = story.submit(
        array_of(3, group="a"),
        array_of(2, group="b"),
        array_of(2, group="c", needs=(0, 1)),
        array_of(1, group="d", needs=(2,)),
    )
    worker = story.worker()
    assert sorted(n for _, n in story.ready) == [0, 1, 2, 3, 4]
    story.run(worker, (job, 0), (job, 1), (job, 2), (job, 3))
    assert sorted(n for _, n in story.ready) == [4]
    story.run(worker)
    assert sorted(n for _, n in story.ready) == [5, 6]
    story.run(worker)
    story.run(worker)
    assert story.state(job) == JobState.FINISHED
    assert [row.group for row in story.rows(job)] == list("aaabbccd")
    assert not story.bodies


def test_one_failed_member_aborts_every_group_that_follows(story):
    job = story.submit(array_of(2), array_of(2, needs=(0,)), array_of(1, needs=(1,)), array_of(1))
    worker = story.worker()
    story.start(worker)
    story.end(worker, (job, 0), ending=EXITED, code=1)
    assert story.states(job) == [FAILED, RUNNING, ABORTED, ABORTED, ABORTED, RUNNING]
    assert story.task(job, 4).ended_at is not None
    story.end(worker)
    assert story.counts(job) == say.Counts(finished=2, failed=1, aborted=3)


def test_an_empty_group_holds_nobody_up(story):
    job = story.submit(array_of(0), array_of(1, needs=(0,)))
    assert list(story.ready) == [(job, 0)]


# --- what is shown


def test_paths_are_filled_in_as_far_as_the_server_knows_them(story):
    job = story.submit(
        array_of(1),
        array_of(1, body=body(cwd="/x/%{TASK_ID}")),
        array_of(1, body=body(cwd="sub", stdout="out-%{SERVER_UID}-%{JOB_ID}")),
        array_of(1, body=body(cwd="%{INSTANCE_ID}-dir", stdout="%{FOO}.out")),
    )
    bodies = [part.body for part in story.details_of(job).submits[0].arrays]
    assert [b.cwd for b in bodies] == [
        "/home/u",
        "/x/%{TASK_ID}",
        "/home/u/sub",
        "%{INSTANCE_ID}-dir",
    ]
    assert [b.stdout.path for b in bodies] == [
        "/home/u/job-1/%{TASK_ID}.stdout",
        "/x/%{TASK_ID}/job-1/%{TASK_ID}.stdout",
        "/home/u/sub/out-uid123-1",
        "%{FOO}.out",
    ]
    assert bodies[3].stderr == Stdio("%{CWD}/job-1/%{TASK_ID}.stderr")


def test_long_arguments_are_shown_by_their_size_and_run_in_full(story):
    job = story.submit(array_of(1, body=body("run", "x" * 300, stdin=b"input")))
    (part,) = story.details_of(job).submits[0].arrays
    assert part.body.args == (b"run", b"<300 bytes>")
    assert part.body.stdin == b""
    sent = story.seen_by_tasks[(job, 0)].body.content
    assert (len(sent.args[1]), sent.stdin) == (300, b"input")


def test_entries_follow_their_tasks_through_a_restart(story):
    from hqtrio.messages.columns import u64

    spec = array_of(4, ((2, 3, 2), (11, 1, 1)), entries=b"abbcccd", entry_ends=u64([1, 3, 6, 7]))
    job = story.submit(spec)
    assert [row.entry for row in story.rows(job)] == [b"a", b"bb", b"ccc", b"d"]
    worker = story.worker()
    story.start(worker, (job, 2), (job, 6), (job, 11))
    story.lose(worker)
    again = {n: story.seen_by_tasks[(job, n)] for n in (2, 6)}
    assert again[2].entries.first_position == 0
    assert again[6].entries.first_position == 2
    assert again[6].runs == ((job << 32 | 6, 1), (job << 32 | 11, 1))


def test_rows_show_usage_and_where_it_ran(story):
    job = story.submit(array_of(1))
    worker = story.worker()
    story.run(worker)
    page = story.ask(say.ListTasks(job))
    (row,) = page.rows
    assert (row.workers, row.cpu_s, row.peak_kib) == ((worker,), 0.5, 1000)
    assert page.hostnames == ((worker, "node"),)
    assert row.ended_at - row.started_at == 1.0
    details = story.details_of(job)
    assert (details.workers, details.hostnames) == ((worker,), ("node",))


def test_unknown_task_numbers_are_named(story):
    job = story.submit(array_of(3))
    answer = story.ask(say.ListTasks(job, numbers=((1, 3, 1), (7, 1, 1))))
    assert [row.number for row in answer.rows] == [1, 2]
    assert answer.unknown == (3, 7)


def test_pages_of_jobs(story):
    for _ in range(5):
        story.submit(array_of(1))
    first = story.ask(say.ListJobs(EVERY, limit=3))
    assert ([row.id for row in first.rows], first.more, first.total) == ([1, 2, 3], True, 5)
    second = story.ask(say.ListJobs(EVERY, after=3, limit=3))
    assert ([row.id for row in second.rows], second.more) == ([4, 5], False)
    third = story.ask(say.ListJobs(say.Selector(say.Which.GIVEN, ((4, 3, 1),))))
    assert ([row.id for row in third.rows], third.unknown) == ([4, 5], (6,))


# --- workers


def test_workers_are_numbered_and_listed_for_ever(story):
    for _ in range(3):
        story.worker()
    story.submit(array_of(1))
    story.start(2)
    story.lose(1, LossReason.HEARTBEAT_LOST)
    rows = story.ask(say.ListWorkers(EVERY)).rows
    assert [(row.id, row.reason) for row in rows] == [
        (1, LossReason.HEARTBEAT_LOST),
        (2, None),
        (3, None),
    ]
    assert (rows[1].last_task, rows[1].running_tasks) == (1 << 32, 1)
    (last,) = story.ask(say.ListWorkers(LATEST)).rows
    assert last.id == 3


def test_worker_stop_verdicts(story):
    story.worker()
    story.worker()
    story.lose(1)
    verdicts = story.ask(say.StopWorkers(given(1, 2, 4))).rows
    assert [v.kind for v in verdicts] == [
        VerdictKind.ALREADY,
        VerdictKind.OK,
        VerdictKind.NOT_FOUND,
    ]
    assert [v.id for v in story.ask(say.StopWorkers(EVERY)).rows] == [2]


def test_b31_a_worker_with_a_tiny_heartbeat_is_refused(story):
    with pytest.raises(AssertionError, match="RefuseWorker"):
        story.worker(heartbeat_s=0.1)


def test_worker_watchers_hear_of_every_change(story):
    assert story.ask(say.WatchWorkers(), session=3) == say.WorkerNotice(0)
    story.worker()
    assert [(n.session, n.notice.connected) for n in story.notices] == [(3, 1)]
    story.lose(1)
    assert [n.notice.connected for n in story.notices] == [0]
    story.end_session(3)
    story.worker()
    assert story.notices == []


def test_a_forgotten_job_is_gone_for_its_watchers(story):
    job = story.submit(array_of(1))
    story.ask(say.Watch((job,)))
    story.cancel(EVERY)
    story.ask(say.ForgetJobs(EVERY, (JobState.CANCELLED,)))
    (notice,) = story.notices
    assert notice.notice.gone


def test_cancel_records_come_in_order(story):
    story.submit(array_of(2))
    story.cancel(EVERY, "why")
    assert [type(record) for record in story.records[-2:]] == [JobCancelled, JobCompleted]


def test_one_key_makes_one_job(story):
    spec = array_of(1)
    job = story.submit(spec, key=b"k")
    assert story.submit(spec, key=b"k") == job
    submit = Submit(b"k", "/", None, 0, (spec,))
    assert story.ask(say.SubmitBegin(submit)) == say.Done()
    assert story.ask(say.SubmitPart(b"k")) == say.Done()
    assert story.ask(say.SubmitCommit(b"k")) == say.Submitted(job)
    assert len(story.ask(say.ListJobs(EVERY)).rows) == 1


@pytest.mark.parametrize("heard_out", [False, True])
def test_what_never_restarts_fails_unless_its_worker_surely_has_not_started_it(story, heard_out):
    worker = story.worker()
    story.submit(array_of(2, settings=TaskSettings(crash_limit=NEVER_RESTART)))
    shipped = tuple((1 << 32 | number, story.ready.pop((1, number))) for number in (0, 1))
    reason = LossReason.STOPPED if heard_out else LossReason.CONNECTION_LOST
    story.tell(WorkerGone(worker, reason, (), shipped[:1], heard_out))
    expected = [WAITING if heard_out else FAILED, WAITING]
    assert [row.state for row in story.rows(1)] == expected
    assert story.ready == ({(1, 0): 1} if heard_out else {})
    story.book.check()


def test_only_what_never_restarts_goes_alone(story):
    story.submit(array_of(1, settings=TaskSettings(crash_limit=NEVER_RESTART)))
    story.submit(array_of(1))
    assert story.seen_by_tasks[1, 0].alone
    assert not story.seen_by_tasks[2, 0].alone
