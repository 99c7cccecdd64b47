"""What a restart brings back, story by story."""

from __future__ import annotations

import msgspec
import pytest
from job_book_story import EVERY, array_of, body, given, graph
from restart_story import RestartStory, replay

from hqtrio.jobs.effects import ServerEnds
from hqtrio.jobs.machine import JobBook
from hqtrio.messages import client as say
from hqtrio.messages.columns import f32, f64, u32, u64
from hqtrio.messages.records import (
    IdsUsed,
    InstancesRaised,
    JobCompleted,
    ServerStarted,
    ServerStopped,
    TasksEnded,
    WorkerConnected,
    WorkerLost,
)
from hqtrio.model.job import JobHead, JobState, Submit
from hqtrio.model.matrix import Axis, Matrix
from hqtrio.model.retry import Retry
from hqtrio.model.task import NEVER_RESTART, Ending, Stdio, TaskSettings, TaskState
from hqtrio.model.worker import LossReason, OnServerLost

WAITING, RUNNING, FINISHED, FAILED, CANCELLED, ABORTED = TaskState
DEATHS = ("kill", "stop", "tear")


@pytest.fixture
def story() -> RestartStory:
    return RestartStory()


def listed(story: RestartStory) -> list[int]:
    return [row.id for row in story.ask(say.ListJobs(EVERY)).rows]


# --- jobs


@pytest.mark.parametrize("death", DEATHS)
def test_s4_07_completed_jobs_are_gone_and_no_id_is_used_again(story, death):
    story.submit(array_of(1))
    story.submit(array_of(2))
    story.run(story.worker())
    getattr(story, death)()
    assert listed(story) == []
    assert story.submit(array_of(1)) == 3
    assert story.worker() == 3


@pytest.mark.parametrize("death", DEATHS)
def test_s4_08_waiting_jobs_wait_on_under_their_names(story, death):
    story.submit(array_of(3), name="sweep", max_fails=2)
    story.submit(array_of(1), name="single")
    getattr(story, death)()
    assert [story.details_of(job).row.name for job in (1, 2)] == ["sweep", "single"]
    assert story.details_of(1).max_fails == 2
    assert [story.state(job) for job in (1, 2)] == [JobState.WAITING] * 2
    story.run(story.worker())
    assert [story.state(job) for job in (1, 2)] == [JobState.FINISHED] * 2


def test_s4_09_what_ran_when_the_server_stopped_runs_again_as_the_next_instance(story):
    worker = story.worker()
    story.submit(array_of(5))
    story.start(worker)
    story.end(worker, (1, 0), (1, 1))
    story.stop()
    assert story.states(1) == [FINISHED, FINISHED, WAITING, WAITING, WAITING]
    assert story.ready == {(1, 2): 1, (1, 3): 1, (1, 4): 1}


def test_s4_10_what_failed_keeps_its_error(story):
    worker = story.worker()
    story.submit(array_of(5))
    story.start(worker)
    story.end(worker, (1, 0), (1, 1), ending=Ending.EXITED, code=3)
    before = story.task(1, 0)
    story.stop()
    assert story.states(1) == [FAILED, FAILED, WAITING, WAITING, WAITING]
    assert story.task(1, 0) == before
    assert before.error == "Program terminated with exit code 3."
    assert None not in (before.started_at, before.ended_at)
    story.run(story.worker())
    assert story.state(1) == JobState.FAILED


@pytest.mark.parametrize("death", DEATHS)
def test_s4_11_cancelled_jobs_are_gone(story, death):
    story.submit(array_of(3))
    story.submit(array_of(1))
    story.cancel(given(1, 2), "enough")
    getattr(story, death)()
    assert listed(story) == []


def test_what_a_worker_has_goes_on_after_the_death_of_the_machine(story):
    worker = story.worker()
    story.submit(array_of(4))
    story.run(worker, (1, 0))
    story.start(worker, (1, 1))
    story.ship(worker, (1, 2))
    story.lose_power()
    assert story.expected[worker].running == {(1, 1): 0}
    assert story.expected[worker].shipped == {(1, 2): 0}
    assert story.ready == {(1, 2): 0, (1, 3): 1}
    story.end(worker)
    story.run(worker, (1, 2))
    assert story.states(1) == [FINISHED, FINISHED, FINISHED, WAITING]


def test_a_forgotten_shipment_is_not_repeated_under_its_instance(story):
    worker = story.worker()
    story.submit(array_of(1))
    story.ship(worker, (1, 0))
    story.lose_power(lost=1)
    assert story.ready == {(1, 0): 1}


def test_no_job_gets_the_id_of_one_that_only_workers_remember(story):
    worker = story.worker()
    before = len(story.records)
    assert story.submit(array_of(1)) == 1
    story.start(worker)
    story.lose_power(lost=len(story.records) - before)
    assert story.submit(array_of(1)) > 1 + 50
    last = story.book._tables.last_job
    story.kill()
    assert story.submit(array_of(1)) == last + 1


def test_a_task_whose_next_shipment_may_be_forgotten_skips_an_instance(story):
    first, second = story.worker(), story.worker()
    story.submit(array_of(2))
    story.start(first, (1, 0))
    story.ship(first, (1, 1))
    before = len(story.records)
    story.lose(first)
    story.ship(second)
    assert story.ready == {(1, 0): 1, (1, 1): 1}
    story.lose_power(lost=len(story.records) - before)
    assert story.running[first] == {(1, 0): 0} and story.shipped == {(1, 1): first}
    story.lose(first)
    assert story.ready == {(1, 0): 2, (1, 1): 2}
    story.kill()
    assert [row.instance for row in story.rows(1)] == [2, 2]


def test_s4_12_jobs_of_several_servers_are_all_there(story):
    story.submit(array_of(1))
    story.stop()
    story.submit(array_of(1))
    story.kill()
    assert listed(story) == [1, 2]
    assert [story.state(job) for job in (1, 2)] == [JobState.WAITING] * 2


def test_s4_13_after_a_cut_tail_no_instance_is_used_twice(story):
    worker = story.worker()
    story.submit(array_of(4))
    story.start(worker, (1, 0))
    story.run(worker, (1, 1))
    story.ship(worker, (1, 2))
    story.tear()
    assert story.states(1) == [WAITING, FINISHED, WAITING, WAITING]
    assert story.ready == {(1, 0): 1, (1, 2): 1, (1, 3): 1}
    assert story.task(1, 1).instance == 0
    assert story.expected.keys() == {worker}, "it may come back, but with nothing"
    assert story.submit(array_of(1)) == 2
    story.kill()
    assert listed(story) == [1, 2]
    assert story.ready[1, 3] == 1


def test_s4_14_open_jobs_stay_open(story):
    for _ in range(3):
        story.open(max_fails=1)
    story.ask(say.CloseJobs(given(2, 3)))
    story.kill()
    assert listed(story) == [1]
    assert story.state(1) == JobState.OPENED
    assert story.details_of(1).max_fails == 1


def test_s4_15_all_submits_of_an_open_job_are_there(story):
    job = story.open()
    for _ in range(3):
        story.submit(array_of(1), job=job)
    story.stop()
    assert [row.number for row in story.rows(job)] == [0, 1, 2]
    assert len(story.details_of(job).submits) == 3
    story.run(story.worker())
    assert story.state(job) == JobState.OPENED


def test_s4_16_a_streamed_task_goes_on_in_the_same_place_as_another_instance(story):
    job = story.open()
    stream = body(stdout="", stream_dir="%{SERVER_UID}/%{JOB_ID}")
    story.submit(array_of(1, body=stream), job=job)
    story.start(story.worker())
    before = story.bodies[story.seen_by_tasks[job, 0].body.number].content
    story.stop()
    assert story.ready == {(job, 0): 1}
    after = story.seen_by_tasks[job, 0].body.content
    assert after == before
    assert after.stream_dir == "/home/u/uid123/1"


def test_s4_17_dependencies_that_finished_count_and_the_others_are_waited_for(story):
    worker = story.worker()
    story.submit(tasks=graph({1: (), 2: (), 3: (1, 2)}))
    story.start(worker)
    story.end(worker, (1, 1))
    story.stop()
    assert story.states(1) == [FINISHED, WAITING, WAITING]
    assert story.ready == {(1, 2): 1}
    worker = story.worker()
    story.run(worker)
    assert story.ready == {(1, 3): 0}
    story.run(worker)
    assert story.state(1) == JobState.FINISHED


def test_s4_18_crashes_are_counted_over_restarts(story):
    story.submit(array_of(1, settings=TaskSettings(crash_limit=2)))
    for _ in range(2):
        worker = story.worker()
        story.start(worker)
        story.lose(worker)
        story.kill()
    assert listed(story) == [], "it has failed, and with it the job"
    (end,) = [record for record in story.records if isinstance(record, TasksEnded)]
    assert "2 times" in end.errors[0][1]


def test_b03_a_task_that_failed_before_it_started_stays_failed(story):
    worker = story.worker()
    story.submit(array_of(2))
    story.report(worker, ended=[((1, 0), story.ready.pop((1, 0)), Ending.NOT_PREPARED, 0, -1.0)])
    story.kill()
    row = story.task(1, 0)
    assert (row.state, row.started_at, row.workers) == (FAILED, None, ())
    assert story.ready == {(1, 1): 0}


def test_b04_each_task_of_an_open_job_is_counted_once(story):
    job = story.open()
    story.submit(array_of(2), job=job)
    story.run(story.worker())
    story.submit(array_of(1), job=job)
    story.kill()
    assert story.counts(job) == say.Counts(waiting=1, finished=2)


def test_b05_crashes_add_up_over_executions(story):
    story.submit(array_of(1, settings=TaskSettings(crash_limit=3)))
    for crash in range(3):
        if crash == 2:
            story.kill()
        assert story.states(1) == [WAITING]
        worker = story.worker()
        story.start(worker)
        story.lose(worker)
    assert story.states(1) == [FAILED]


def test_b06_the_loss_of_a_node_that_is_not_the_root_is_no_crash(story):
    root, second = story.worker(), story.worker()
    story.submit(array_of(1, settings=TaskSettings(crash_limit=1)))
    story.start(root, (1, 0), nodes=(root, second))
    story.lose_node(second, (1, 0))
    story.lose(second)
    story.kill()
    assert story.task(1, 0).workers == (root,)
    assert story.expected[root].gangs == {(1, 0): (root,)}
    assert story.states(1) == [RUNNING]


def test_a_multi_node_task_goes_on_without_a_node_that_ended_with_its_server(story):
    root, second = story.worker(), story.worker(on_server_lost=OnServerLost.STOP)
    story.submit(array_of(1))
    story.start(root, (1, 0), nodes=(root, second))
    del story.running[second]
    story.kill()
    assert story.expected[root].gangs == {(1, 0): (root,)}
    assert story.task(1, 0).workers == (root,)
    story.replayed()


def test_b07_cancel_reason_and_submit_time_are_kept(story):
    story.wait(50.0)
    job = story.open()
    story.submit(array_of(2), job=job)
    story.wait(50.0)
    story.cancel(given(job), "wrong data")
    before = story.details_of(job)
    story.wait(500.0)
    story.kill()
    after = story.details_of(job)
    assert after.submitted_at == before.submitted_at == 1_000_050.0
    assert after.row.cancel_reason == "wrong data"
    assert [row.ended_at for row in story.rows(job)] == [1_000_100.0] * 2


def test_b08_ids_are_not_used_again_when_no_record_tells_of_them_any_more():
    replayed = replay([ServerStarted("uid123", "0", 1.0), IdsUsed(7, 4, 9)])
    story = RestartStory()
    story._restart(replayed)
    assert story.submit(array_of(1)) == 8
    assert story.worker() == 6
    (begun,) = [r for r in story.records if getattr(r, "submission", 0) and hasattr(r, "submit")]
    assert begun.submission == 10


def test_b10_a_failure_and_what_it_aborts_are_one_record(story):
    worker = story.worker()
    story.submit(tasks=graph({1: (), 2: (1,), 3: (2,)}))
    story.start(worker)
    story.end(worker, (1, 1), ending=Ending.EXITED, code=1)
    (end,) = [record for record in story.records if isinstance(record, TasksEnded)]
    before, after = (replay(story.records[: story.records.index(end) + i]) for i in (0, 1))
    assert list(before.tables.jobs[1].states) == [RUNNING, WAITING, WAITING]
    assert list(after.tables.jobs[1].states) == [FAILED, ABORTED, ABORTED]


def test_b11_too_many_failures_abort_the_rest_also_where_no_record_says_so(story):
    worker = story.worker()
    story.submit(array_of(5), max_fails=1)
    story.start(worker, (1, 0), (1, 1), (1, 2))
    rows = [1 << 32 | 0, 1 << 32 | 1]
    story.records.append(
        TasksEnded(
            worker, 5.0, u64(rows), u32([0, 0]), bytes([FAILED] * 2), f64([1, 1]), f64([2, 2]),
            f32([0, 0]), u32([0, 0]), ((0, "no"), (1, "no")),
        )
    )  # fmt: skip
    assert list(replay(story.records).tables.jobs[1].states) == [FAILED, FAILED, *[ABORTED] * 3]


@pytest.mark.parametrize("death", DEATHS)
def test_b18_a_job_without_tasks_is_complete_and_stays_so(story, death):
    assert story.submit(array_of(0)) == 1
    assert [r.job for r in story.records if isinstance(r, JobCompleted)] == [1]
    getattr(story, death)()
    getattr(story, death)()
    assert listed(story) == []
    assert [r.job for r in story.records if isinstance(r, JobCompleted)] == [1]


def test_b35_what_was_refused_leaves_nothing_behind(story):
    answer = story.try_submit(array_of(2, ((0, 3, 1),)))
    assert isinstance(answer, say.Failure)
    story.kill()
    assert listed(story) == []
    assert story.submit(array_of(1)) == 1


def test_b36_a_task_that_needs_a_failed_one_is_aborted_also_if_only_its_submit_was_recorded(story):
    job = story.open()
    story.submit(tasks=graph({1: ()}), job=job)
    story.run(story.worker(), ending=Ending.EXITED, code=1)
    story.submit(tasks=graph({2: (1,), 3: (2,)}), job=job)
    assert story.states(job) == [FAILED, ABORTED, ABORTED]
    assert isinstance(story.records[-1], TasksEnded)
    for records in (story.records, story.records[:-1]):
        assert list(replay(records).tables.jobs[job].states) == [FAILED, ABORTED, ABORTED]


# --- submits


def test_a_client_that_lost_its_answer_gets_the_same_job(story):
    job = story.submit(array_of(2), key=b"random")
    story.kill()
    assert story.submit(array_of(2), key=b"random") == job
    assert listed(story) == [job]


def test_even_if_the_job_has_been_completed_since(story):
    job = story.submit(array_of(2), key=b"random")
    story.run(story.worker())
    story.kill()
    assert story.submit(array_of(2), key=b"random") == job
    assert listed(story) == []


def test_a_key_whose_job_was_forgotten_makes_a_new_job(story):
    story.submit(array_of(2), key=b"random")
    story.run(story.worker())
    story.ask(say.ForgetJobs(EVERY, (JobState.FINISHED,)))
    story.kill()
    assert story.submit(array_of(2), key=b"random") == 2


def test_a_submit_without_its_commit_never_was(story):
    story.ask(say.SubmitBegin(Submit(b"parts", "/", JobHead("parts"))))
    story.ask(say.SubmitPart(b"parts", graph=graph({1: ()})))
    story.kill()
    assert listed(story) == []
    answer = story.ask(say.SubmitCommit(b"parts"))
    assert isinstance(answer, say.Failure)
    assert story.submit(array_of(1)) == 1
    story.kill()
    assert listed(story) == [1]


def test_entries_matrices_and_paths_are_as_they_were(story):
    ends = b"".join(n.to_bytes(8, "little") for n in (1, 3, 6))
    matrix = Matrix((Axis("n", ("1", "2", "3")), Axis("m", ("true",))))
    out = Stdio("%{SERVER_UID}-%{TASK_ID}.out")
    story.submit(
        array_of(3, ((5, 3, 2),), entries=b"abbccc", entry_ends=ends),
        array_of(3, body=body("x", matrix=matrix, stdout=out.path), needs=(0,)),
        array_of(3, each=(0,)),
        array_of(3, needs=(1,), always=True),
    )
    before = story.rows(1), story.details_of(1)
    story.kill()
    assert (story.rows(1), story.details_of(1)) == before
    worker = story.worker()
    story.run(worker)
    assert [row.entry for row in story.rows(1)][:3] == [b"a", b"bb", b"ccc"]
    story.kill()
    story.run(worker)
    story.run(worker)
    assert story.state(1) == JobState.FINISHED


# --- workers and their tasks


def test_what_was_shipped_is_expected_with_its_worker_and_all_else_is_ready(story):
    first, second = story.worker(), story.worker()
    story.submit(array_of(6))
    story.start(first, (1, 0))
    story.ship(first, (1, 1))
    story.ship(second, (1, 2), (1, 3))
    story.take_back((1, 3))
    story.ship(first, (1, 3))
    story.kill()
    assert story.expected[first].running == {(1, 0): 0}
    assert story.expected[first].shipped == {(1, 1): 0, (1, 3): 0}
    assert story.expected[second].shipped == {(1, 2): 0}
    assert story.ready.keys() - story.shipped.keys() == {(1, 4), (1, 5)}
    rows = story.ask(say.ListWorkers(EVERY)).rows
    assert [row.reason for row in rows] == [LossReason.CONNECTION_LOST] * 2


def test_a_worker_that_does_not_come_back_is_lost_and_only_what_ran_there_counts_it(story):
    worker = story.worker()
    story.submit(array_of(3, settings=TaskSettings(crash_limit=1)))
    story.start(worker, (1, 0))
    story.ship(worker, (1, 1))
    story.kill()
    story.lose(worker)
    assert story.states(1) == [FAILED, WAITING, WAITING]
    assert story.ready == {(1, 1): 1, (1, 2): 0}


def test_a_worker_that_ends_with_its_server_is_not_waited_for(story):
    worker = story.worker(on_server_lost=OnServerLost.STOP)
    story.submit(array_of(3, settings=TaskSettings(crash_limit=1)))
    story.start(worker, (1, 0))
    story.ship(worker, (1, 1))
    story.running.clear()
    story.shipped.clear()
    story._restart(replay(story.records))
    assert story.expected == {}
    assert story.states(1) == [WAITING] * 3, "that is no crash"
    assert story.ready == {(1, 0): 1, (1, 1): 1, (1, 2): 0}
    assert [r.reason for r in story.records if isinstance(r, WorkerLost)] == [LossReason.STOPPED]
    story.replayed()


def test_a_loss_whose_consequences_were_not_written_is_made_up_for(story):
    worker = story.worker()
    story.submit(array_of(3))
    story.start(worker, (1, 0))
    story.ship(worker, (1, 1))
    story.records.append(WorkerLost(worker, LossReason.CONNECTION_LOST, story.now.wall))
    story.running.clear()
    story.shipped.clear()
    story._restart(replay(story.records))
    assert story.ready == {(1, 0): 1, (1, 1): 1, (1, 2): 0}
    assert story.expected == {}
    story.replayed()


def test_a_task_that_may_run_once_only_fails_when_its_worker_is_stopped(story):
    story.submit(array_of(2, settings=TaskSettings(crash_limit=NEVER_RESTART)))
    story.start(story.worker(), (1, 0))
    story.stop()
    assert story.states(1) == [FAILED, WAITING]
    assert story.ready == {(1, 1): 0}


def test_a_worker_that_goes_while_the_server_ends_has_not_crashed(story):
    worker = story.worker()
    story.submit(array_of(1, settings=TaskSettings(crash_limit=1)))
    story.start(worker)
    story.tell(ServerEnds())
    story.lose(worker, LossReason.CONNECTION_LOST)
    assert story.states(1) == [WAITING]
    assert story.records[-2].reason == LossReason.STOPPED
    story._restart(replay([*story.records, ServerStopped(story.now.wall)]))
    assert story.ready == {(1, 0): 1}


def test_a_worker_is_expected_under_its_own_key_and_attachment(story):
    worker = story.worker()
    entry = story.book._tables.workers.entries[worker]
    story.kill()
    assert (story.expected[worker].attachment, story.expected[worker].key) == (1, entry.key)


def test_a_worker_that_has_become_another_is_not_expected_any_more(story):
    worker = story.worker()
    story.submit(array_of(3))
    story.start(worker, (1, 0))
    story.ship(worker, (1, 1))
    [first] = [record for record in story.records if isinstance(record, WorkerConnected)]
    # The server was killed between these words and those of the loss of the first.
    story.records.append(msgspec.structs.replace(first, worker=2, attachment=1))
    story._leave_workers()
    story._restart(replay(story.records))
    assert story.expected.keys() == {2}
    assert story.ready == {(1, 0): 1, (1, 1): 1, (1, 2): 0}
    assert [r.worker for r in story.records if isinstance(r, WorkerLost)] == [1]


def test_a_pause_goes_on_where_it_was(story):
    story.submit(array_of(1, settings=TaskSettings(retry=Retry(1, backoff_s=60.0))))
    worker = story.worker()
    story.run(worker, ending=Ending.EXITED, code=7)
    before = story.task(1, 0)
    assert (before.retry_at, before.tries) == (story.now.wall + 60.0, 1)
    story.elapse(40.0)
    story.kill()
    assert story.task(1, 0) == before
    assert story.ready == {}
    story.elapse(19.0)
    assert story.ready == {}
    story.elapse(2.0)
    assert story.ready == {(1, 0): 1}


def test_a_pause_that_was_over_before_the_restart_holds_nothing_up(story):
    story.submit(array_of(1, settings=TaskSettings(retry=Retry(1, backoff_s=60.0))))
    story.run(story.worker(), ending=Ending.EXITED, code=7)
    story.wait(61.0)
    story._restart(replay(story.records))
    assert story.ready == {(1, 0): 1}


def test_many_waiting_tasks_are_announced_in_slices(story):
    story.submit(array_of(100_000))
    story.submit(tasks=graph(dict.fromkeys(range(9_000), ())))
    replayed = replay(story.records)
    book = JobBook("uid123", b"history", story.details, replayed=replayed)
    effects = list(book.begin(story.now, 1.0))
    assert len(effects) < 5
    told = 0
    while True:
        told += sum(n for e in effects for _, n in getattr(getattr(e, "value", 0), "runs", ()))
        if book.next_deadline() > story.now.monotonic + 1e-3:
            break
        story.wait(0.001)
        effects = list(book.tick(story.now))
        assert sum(n for e in effects for _, n in getattr(e.value, "runs", ())) <= 2_000
    assert told == 109_000
    book.check()


# --- records that do not fit


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ([1], "submit 1 was never begun"),
        ([1, 2], "job 1 does not exist"),
    ],
)
def test_a_record_without_those_before_it_is_refused(story, missing, reason):
    story.submit(array_of(1))
    story.cancel(given(1))
    assert len(story.records) == 5
    with pytest.raises(ValueError, match=reason):
        replay([record for at, record in enumerate(story.records) if at not in missing])


def test_groups_that_waited_through_a_cut_start_as_the_next_instance(story):
    story.submit(array_of(2), array_of(2, needs=(0,)))
    story.tear()
    story.run(story.worker())
    assert story.ready == {(1, 2): 1, (1, 3): 1}


def test_instances_rise_once_more_with_every_cut_and_for_later_tasks_too(story):
    job = story.open()
    story.submit(array_of(2), job=job)
    story.tear()
    story.submit(array_of(1), job=job)
    story.tear()
    assert [row.instance for row in story.rows(job)] == [2, 2, 1]
    worker = story.worker()
    story.start(worker)
    story.lose(worker)
    assert [row.instance for row in story.rows(job)] == [3, 3, 2]
    assert sum(isinstance(record, InstancesRaised) for record in story.records) == 2
    story.kill()
