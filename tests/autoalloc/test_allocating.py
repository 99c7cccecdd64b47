"""The allocation machine: passes, life cycles and books, on both managers."""

from __future__ import annotations

import pytest
from allocation_desk import FOUR_CPUS, REFUSED, WALL, Desk, always
from msgspec.structs import replace

from hqtrio.autoalloc import books
from hqtrio.autoalloc import events as act
from hqtrio.autoalloc.dialogues import (
    Accepted,
    NotCancelled,
    Rejected,
    Running,
    Unclear,
    Unsure,
    Waiting,
)
from hqtrio.autoalloc.limiter import Limits
from hqtrio.messages import allocations as ask
from hqtrio.messages.client import Said
from hqtrio.messages.records import AllocationPlanned
from hqtrio.model.allocation import Cause, Manager, QueueParams, Rejection, WorkerOptions
from hqtrio.model.resources import UNIT, Descriptor, Need, Request, single_pool
from hqtrio.model.worker import LossReason
from hqtrio.scheduling.demand import Waiting as Ready
from hqtrio.scheduling.demand import plan
from hqtrio.scheduling.offers import WorkerType
from hqtrio.wire.codec import FRAME_MAX, encode

LOST = LossReason.CONNECTION_LOST


@pytest.fixture(params=list(Manager), ids=lambda manager: manager.name)
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(request.param)


def ids(desk: Desk, queue: int = 1) -> list[str]:
    return [row.id for row in desk.rows(queue)]


# --- whole passes


def test_many_tasks_fill_the_backlog(desk: Desk) -> None:
    desk.wanted = always(100)
    desk.add(backlog=4, max_workers_per_alloc=2)
    desk.advance(0.0)
    assert desk.sizes() == [2, 2, 2, 2]
    desk.advance(600.0)
    assert desk.sizes() == [2, 2, 2, 2]


def test_a_queue_of_which_nothing_is_known_probes_first(desk: Desk) -> None:
    # The demand of wholly unknown workers is one at most.
    desk.wanted = lambda queries: [1 if query.partial else 100 for query in queries]
    desk.add(backlog=4, max_workers_per_alloc=2)
    desk.advance(0.0)
    assert desk.sizes() == [1]
    (job,) = ids(desk)
    desk.come(job)
    desk.advance(5.0)
    assert desk.sizes() == [1, 2, 2, 2, 2]
    assert desk.states() == ["RUNNING", *["QUEUED"] * 4]


def test_what_is_left_over_makes_a_smaller_allocation(desk: Desk) -> None:
    desk.wanted = always(5)
    desk.add(backlog=5, max_workers_per_alloc=2)
    desk.advance(0.0)
    assert desk.sizes() == [2, 2, 1]


def test_the_worker_count_bounds_what_waits_and_runs_together(desk: Desk) -> None:
    desk.wanted = always(100)
    desk.add(backlog=4, max_worker_count=5)
    desk.advance(0.0)
    assert desk.sizes() == [1] * 4
    workers = [desk.come(job) for job in ids(desk)[:2]]
    desk.advance(5.0)
    assert desk.sizes() == [1] * 5
    assert "all 5 workers" in desk.row().note
    desk.go(workers[0], LossReason.TIME_LIMIT_REACHED)
    desk.advance(5.0)
    assert desk.sizes() == [1] * 6


def test_the_worker_count_cuts_the_last_allocation(desk: Desk) -> None:
    desk.wanted = always(100)
    desk.add(backlog=2, max_workers_per_alloc=4, max_worker_count=6)
    desk.advance(0.0)
    assert desk.sizes() == [4, 2]


def test_without_tasks_nothing_is_submitted_and_the_queue_says_so(desk: Desk) -> None:
    desk.add()
    assert desk.row().note == "demand was not looked at yet"
    desk.advance(100.0)
    assert desk.sizes() == []
    assert desk.row().note == "no waiting task needs a worker of this queue"


def test_new_work_is_looked_at_with_the_next_tick(desk: Desk) -> None:
    desk.add()
    desk.advance(0.0)
    desk.wanted = always(1)
    desk.advance(4.0)
    assert desk.sizes() == []
    desk.do(act.WorkSubmitted())
    desk.advance(1.0)
    assert desk.sizes() == [1]


def test_what_nobody_told_of_is_looked_at_within_half_a_minute(desk: Desk) -> None:
    desk.add()
    desk.advance(0.0)
    desk.wanted = always(1)
    desk.advance(25.0)
    assert desk.sizes() == []
    desk.advance(5.0)
    assert desk.sizes() == [1]


def test_the_first_of_two_queues_is_asked_first(desk: Desk) -> None:
    desk.wanted = always(1, 0)
    desk.add()
    desk.add()
    desk.advance(0.0)
    assert desk.sizes(1) == [1]
    assert desk.sizes(2) == []


def test_the_second_queue_serves_what_the_first_cannot(desk: Desk) -> None:
    desk.wanted = always(0, 3)
    desk.add()
    desk.add(backlog=3)
    desk.advance(0.0)
    assert (desk.sizes(1), desk.sizes(2)) == ([], [1, 1, 1])


@pytest.mark.parametrize(("request_s", "submitted"), [(600.0, [1]), (3600.0, [])])
def test_26_27_a_time_request_may_be_as_long_as_the_limit(
    desk: Desk, request_s: float, submitted: list[int]
) -> None:
    request = Request((Need("cpus", UNIT),), 0, request_s)

    def wanted(queries):
        types = [WorkerType(q.descriptor, q.partial, q.lifetime_s) for q in queries]
        return plan([Ready((request,), 0, 1)], types).single_node

    desk.wanted = wanted
    desk.add(time_limit_s=600.0)
    desk.advance(60.0)
    assert desk.sizes() == submitted


def test_what_is_asked_is_the_queues_own_time_limit(desk: Desk) -> None:
    seen: list[act.Query] = []

    def wanted(queries):
        seen.extend(queries)
        return [0] * len(queries)

    desk.wanted = wanted
    limit = WorkerOptions(time_limit_s=60.0)
    desk.add(time_limit_s=1800.0, worker=limit, backlog=3, max_workers_per_alloc=2)
    desk.advance(0.0)
    assert seen[0] == act.Query(Descriptor(()), True, 1800.0, 6, 2, 0.0)


def test_48_known_resources_are_those_of_the_latest_worker(desk: Desk) -> None:
    desk.wanted = always(2)
    declared = Descriptor((single_pool("cpus", ("0",)),))
    desk.add(backlog=2, descriptor=declared)
    desk.advance(0.0)
    queries: list[act.Query] = []
    desk.wanted = lambda asked: queries.extend(asked) or [0]
    for job, size in zip(ids(desk), (2, 3), strict=True):
        found = Descriptor((single_pool("cpus", tuple(map(str, range(size)))),))
        desk.come(job, descriptor=found)
        desk.advance(5.0)
        assert (queries[-1].descriptor, queries[-1].partial) == (found, False)
    desk.restart([1, 2])
    desk.advance(5.0)
    assert len(queries[-1].descriptor.pools[0].groups[0]) == 3


def test_multi_node_demand_makes_allocations_of_that_size(desk: Desk) -> None:
    desk.gangs = ((0, 3, 2),)
    desk.add(backlog=4, max_workers_per_alloc=4)
    desk.advance(0.0)
    assert desk.sizes() == [3, 3]


def test_16_24_names_and_directories(desk: Desk) -> None:
    desk.wanted = always(2, 1)
    desk.add(name="foo", backlog=2)
    desk.add()
    desk.advance(0.0)
    names = [(one.submission.name, one.submission.directory) for one in desk.submitted]
    assert names == [
        ("foo-1", "/srv/001/autoalloc/1-foo/001"),
        ("foo-2", "/srv/001/autoalloc/1-foo/002"),
        ("hq-2-1", "/srv/001/autoalloc/2/001"),
    ]


def test_a_pass_that_cannot_be_answered_is_made_again(desk: Desk) -> None:
    desk.add()
    effects = desk.machine.tick(desk.now())
    assert any(isinstance(effect, act.AskDemand) for effect in effects)
    desk.do(act.DemandUnknown())
    desk.wanted = always(1)
    desk.advance(5.0)
    assert desk.sizes() == [1]


# --- failing submissions


def test_a_failing_submission_ends_the_pass_and_the_next_makes_the_rest(desk: Desk) -> None:
    desk.wanted = always(5)
    desk.add(backlog=5)
    desk.answers = [REFUSED]
    desk.advance(0.0)
    assert len(desk.submitted) == 1
    assert desk.rows() == []
    assert "waits" in desk.row().note
    assert "sbatch execution failed" in desk.row().note
    desk.advance(59.0)
    assert len(desk.submitted) == 1
    desk.advance(31.0)
    assert len(desk.submitted) == 6
    assert desk.states() == ["QUEUED"] * 5


def test_two_failures_pause_a_queue_that_may_have_one() -> None:
    desk = Desk(limits=Limits(3, 2, (0.0,)))
    desk.wanted = always(5)
    desk.add(backlog=5)
    desk.answers = [REFUSED] * 2
    desk.advance(100.0)
    assert len(desk.submitted) == 2
    assert desk.row().is_paused
    assert "the last 2 submissions have failed" in desk.row().note


def test_resume_after_a_pause_forgets_the_failures() -> None:
    desk = Desk(limits=Limits(3, 2, (0.0,)))
    desk.wanted = always(1)
    desk.add()
    desk.answers = [REFUSED] * 2
    desk.advance(100.0)
    desk.ask(ask.ResumeQueue(1))
    desk.advance(5.0)
    assert desk.states() == ["QUEUED"]
    assert not desk.row().is_paused


def test_arguments_that_are_refused_pause_a_new_queue_and_an_edit_mends_it(desk: Desk) -> None:
    desk.wanted = always(1)
    desk.add(manager_args=("--partition=nosuch",))
    desk.answers = [Rejected(Rejection.ARGUMENTS, "Invalid partition name specified")]
    desk.advance(60.0)
    assert desk.row().is_paused
    assert "Invalid partition name specified" in desk.row().note
    desk.ask(ask.EditQueue(1, replace_params(desk, manager_args=())))
    desk.ask(ask.ResumeQueue(1))
    desk.advance(5.0)
    assert desk.states() == ["QUEUED"]


def replace_params(desk: Desk, **fields):
    return replace(desk.row().params, **fields)


def test_limits_of_the_site_never_pause_a_queue(desk: Desk) -> None:
    desk.wanted = always(1)
    desk.add()
    desk.answers = [Rejected(Rejection.LIMITS, "QOSMaxSubmitJobPerUserLimit")] * 30
    desk.advance(24 * 3600.0)
    assert not desk.row().is_paused
    assert desk.states() == ["QUEUED"] or "QOSMaxSubmit" in desk.row().note
    assert len(desk.submitted) <= 24 * 4 + 2


def test_old_directories_of_what_has_ended_go(desk: Desk) -> None:
    desk = Desk(kept_directories=2, limits=Limits(3, 10, (0.0,)))
    desk.wanted = always(1)
    desk.add()
    desk.answers = [REFUSED] * 4
    desk.advance(22.0)
    assert desk.discarded == ["/srv/001/autoalloc/1/001", "/srv/001/autoalloc/1/002"]


# --- submissions of unknown outcome


@pytest.mark.parametrize("kill", [False, True])
def test_a_submission_that_timed_out_is_found(desk: Desk, kill: bool) -> None:
    desk.wanted = always(1)
    desk.add()
    desk.answers = [Unsure("made")]
    desk.advance(0.0)
    assert desk.states() == ["QUEUED"]
    assert "not clear whether it exists" in desk.rows()[0].note
    if kill:
        desk.restart()
    desk.advance(10.0)
    assert ids(desk) == list(desk.jobs)
    assert len(desk.submitted) == 1


def test_one_that_was_not_made_counts_as_failed_once_that_is_sure(desk: Desk) -> None:
    desk.wanted = always(1)
    desk.add()
    desk.answers = [Unsure("timed out")]
    desk.advance(1.0)
    desk.is_down = True
    desk.advance(300.0)
    assert desk.states() == ["QUEUED"]  # nobody can tell
    desk.is_down = False
    desk.advance(600.0)
    assert len(desk.submitted) == 2
    assert desk.states() == ["QUEUED"]
    assert not desk.row().is_paused


def test_one_that_appears_late_is_adopted(desk: Desk) -> None:
    desk.wanted = always(1)
    desk.add(backlog=2)
    desk.answers = [Unsure("timed out")]
    desk.advance(200.0)
    late = desk.make("/srv/001/autoalloc/1/001")
    desk.advance(120.0)
    assert late in ids(desk)
    assert sorted(ids(desk)) == sorted(desk.jobs)


def test_a_second_job_of_one_submission_is_cancelled(desk: Desk) -> None:
    desk.wanted = always(1)
    desk.add()
    desk.advance(0.0)
    stray = desk.make("/srv/001/autoalloc/1/001")
    desk.make("/home/user/of/no/concern")
    desk.advance(70.0)
    assert desk.cancelled == [stray]
    assert ids(desk) == [next(iter(desk.jobs))]


def test_a_server_that_dies_while_it_submits_looks_for_what_became_of_it(desk: Desk) -> None:
    desk.wanted = always(1)
    desk.add()
    effects = desk.machine.tick(desk.now())
    (asking,) = (effect for effect in effects if isinstance(effect, act.AskDemand))
    assert asking
    for effect in desk.machine.handle(act.DemandKnown((1,)), desk.now()):
        if isinstance(effect, act.Record):
            desk.records += effect.records
        else:
            job = desk.make(effect.submission.directory)
    assert isinstance(desk.records[-1], AllocationPlanned)
    desk.restart()
    desk.advance(0.0)
    assert ids(desk) == [job]
    assert len(desk.jobs) == 1


# --- life cycles


def begun(desk: Desk, nodes: int = 1, **params) -> str:
    """The id of an allocation that the manager has."""
    desk.wanted = always(nodes)
    desk.add(max_workers_per_alloc=nodes, **params)
    desk.advance(0.0)
    desk.wanted = always(0)
    (job,) = ids(desk)
    return job


def test_25_queued(desk: Desk) -> None:
    job = begun(desk)
    assert desk.states() == ["QUEUED"]
    assert job == ("1.job" if desk.manager is Manager.PBS else "1")


def test_28_a_worker_that_dies_soon_is_a_failure(desk: Desk) -> None:
    job = begun(desk)
    worker = desk.come(job)
    assert desk.states() == ["RUNNING"]
    desk.advance(10.0)
    desk.go(worker, LOST)
    assert desk.states() == ["FAILED"]
    assert desk.machine.books.queues[1].limiter.allocation_failures == 1


def test_one_that_dies_after_an_hour_is_none(desk: Desk) -> None:
    job = begun(desk)
    worker = desk.come(job)
    desk.advance(3500.0)
    desk.go(worker, LOST)
    assert desk.states() == ["FINISHED"]
    assert desk.machine.books.queues[1].limiter.allocation_failures == 0


def test_29_a_job_that_vanishes_has_failed(desk: Desk) -> None:
    job = begun(desk)
    del desk.jobs[job]
    desk.advance(3600.0)
    assert desk.states() == ["FAILED"]
    assert "does not know it" in desk.rows()[0].note


@pytest.mark.parametrize(
    ("cause", "state"),
    [
        (Cause.COMPLETED, "FINISHED"),
        (Cause.FAILED, "FAILED"),
        (Cause.CANCELLED, "FAILED"),
        (Cause.NODE_FAILED, "FAILED"),
        (Cause.OUT_OF_MEMORY, "FAILED"),
        (Cause.TIME_LIMIT, "FINISHED"),
        (Cause.PREEMPTED, "FINISHED"),
    ],
)
def test_30_31_what_the_manager_says_of_an_end(desk: Desk, cause: Cause, state: str) -> None:
    job = begun(desk)
    desk.end(job, cause, "ITS WORDS")
    desk.advance(100.0)
    assert desk.states() == [state]
    assert desk.rows()[0].note.endswith(": ITS WORDS")


def test_32_an_id_that_only_gives_errors_is_given_up_and_cancelled(desk: Desk) -> None:
    job = begun(desk)
    desk.jobs[job] = Unclear("QUANTUM")
    desk.wanted = always(1)
    desk.advance(3600.0)
    assert desk.states() == ["FAILED", "QUEUED"]
    assert job in desk.cancelled
    assert not desk.row().is_paused


def test_errors_are_counted_in_a_row(desk: Desk) -> None:
    job = begun(desk)
    for _ in range(5):
        desk.jobs[job] = Unclear("?")
        desk.advance(60.0 * 9)
        desk.jobs[job] = Waiting()
        desk.advance(61.0)
    assert desk.states() == ["QUEUED"]


def test_a_manager_that_is_down_changes_nothing_for_however_long(desk: Desk) -> None:
    job = begun(desk, backlog=2)
    worker = desk.come(job)
    desk.is_down = True
    desk.advance(48 * 3600.0)
    assert desk.states() == ["RUNNING"]
    desk.is_down = False
    desk.go(worker)
    assert desk.states() == ["FINISHED"]


def test_two_workers_join_and_the_last_one_ends_it(desk: Desk) -> None:
    job = begun(desk, nodes=2)
    one, two = desk.come(job), desk.come(job)
    assert desk.rows()[0].workers == (one, two)
    desk.advance(100.0)
    desk.go(one, LossReason.IDLE_TIMEOUT)
    assert desk.states() == ["RUNNING"]
    desk.go(two, LossReason.TIME_LIMIT_REACHED)
    assert desk.states() == ["FINISHED"]
    reasons = {loss.reason for loss in desk.allocation().lost.values()}
    assert reasons == {LossReason.IDLE_TIMEOUT, LossReason.TIME_LIMIT_REACHED}


def test_a_worker_of_an_unknown_allocation_changes_nothing(desk: Desk) -> None:
    begun(desk)
    before = len(desk.records)
    desk.go(desk.come("4711"))
    assert len(desk.records) == before


def test_ids_of_two_managers_are_different() -> None:
    desk = Desk(Manager.SLURM)
    job = begun(desk)
    desk.do(act.WorkerCame(9, Manager.PBS, job, FOUR_CPUS))
    assert desk.states() == ["QUEUED"]


def test_a_worker_may_come_before_the_id_of_its_job_is_known(desk: Desk) -> None:
    desk.wanted = always(1)
    desk.add()
    desk.machine.tick(desk.now())
    desk.machine.handle(act.DemandKnown((1,)), desk.now())
    desk.come("77")
    desk.do(act.Submitted(1, 1, Accepted("77")))
    assert desk.states() == ["RUNNING"]
    assert desk.rows()[0].workers == (1,)


def test_the_name_of_the_server_may_be_written_in_two_ways() -> None:
    desk = Desk(Manager.PBS)
    begun(desk)
    desk.come("1.job.cluster.site")
    assert desk.states() == ["RUNNING"]


def test_a_job_that_is_queued_again_counts_as_waiting(desk: Desk) -> None:
    job = begun(desk, max_worker_count=1)
    worker = desk.come(job)
    desk.jobs[job] = Running()
    desk.advance(600.0)
    desk.jobs[job] = Waiting("BeginTime")
    desk.go(worker, LOST)
    desk.advance(100.0)
    assert desk.states() == ["QUEUED"]
    desk.wanted = always(5)
    desk.advance(100.0)
    assert desk.sizes() == [1]
    assert desk.row().spent_node_hours == pytest.approx(1 / 6, rel=0.01)
    desk.come(job)
    assert desk.states() == ["RUNNING"]


def test_a_worker_of_an_ended_allocation_opens_it_again(desk: Desk) -> None:
    job = begun(desk, max_worker_count=1)
    desk.go(desk.come(job))
    assert desk.states() == ["FINISHED"]
    desk.come(job)
    assert desk.states() == ["RUNNING"]
    desk.wanted = always(5)
    desk.advance(100.0)
    assert desk.sizes() == [1]


def test_a_job_without_workers_is_cancelled_after_a_while(desk: Desk) -> None:
    job = begun(desk)
    desk.jobs[job] = Running()
    worker = desk.come(job)
    desk.advance(100.0)
    desk.go(worker)
    desk.advance(60.0)
    assert desk.cancelled == []
    desk.advance(100.0)
    assert desk.cancelled == [job]


def test_one_with_a_stop_command_may_take_its_time(desk: Desk) -> None:
    job = begun(desk, worker=WorkerOptions(stop_cmd="copy everything home"))
    desk.jobs[job] = Running()
    desk.go(desk.come(job))
    desk.advance(1000.0)
    assert desk.cancelled == []


def test_workers_that_are_to_come_are_waited_for(desk: Desk) -> None:
    desk.wanted = always(2)
    desk.add(backlog=4)
    desk.advance(0.0)
    for job in ids(desk):
        desk.jobs[job] = Running()
    desk.advance(100.0)
    assert desk.states() == ["RUNNING", "RUNNING"]
    assert len(desk.submitted) == 2
    assert "to come" in desk.row().note
    # Not for ever: a node may have failed to start its worker.
    desk.advance(600.0)
    assert len(desk.submitted) > 2


def test_a_worker_that_has_just_come_is_given_time_to_take_what_waits(desk: Desk) -> None:
    desk = Desk(desk.manager, tick_s=0.5)
    desk.wanted = always(1)
    desk.add(backlog=4)
    desk.advance(0.0)
    desk.come(ids(desk)[0])
    desk.advance(1.5)
    assert desk.sizes() == [1]
    desk.advance(30.0)
    assert len(desk.sizes()) > 1


def test_three_quick_losses_pause_the_queue(desk: Desk) -> None:
    desk.wanted = always(1)
    desk.add()
    for _ in range(3):
        desk.advance(3600.0)
        job = next(row.id for row in desk.rows() if row.state is ask.AllocationState.QUEUED)
        worker = desk.come(job)
        desk.advance(1.0)
        desk.go(worker, LOST)
    desk.advance(5.0)
    assert desk.row().is_paused
    assert "the last 3 allocations have failed" in desk.row().note
    submitted = len(desk.submitted)
    desk.advance(7200.0)
    assert len(desk.submitted) == submitted


def test_a_loss_that_was_a_preemption_is_pardoned(desk: Desk) -> None:
    desk.wanted = always(1)
    desk.add()
    for _ in range(6):
        desk.advance(61.0)
        job = next(row.id for row in desk.rows() if row.state is ask.AllocationState.QUEUED)
        worker = desk.come(job)
        desk.end(job, Cause.PREEMPTED, "PREEMPTED")
        desk.go(worker, LOST)
        desk.advance(20.0)
    assert not desk.row().is_paused
    assert desk.states()[0] == "FINISHED"
    assert desk.rows()[0].note == "preempted: PREEMPTED"


def test_workers_that_could_do_nothing_slow_their_queue_down(desk: Desk) -> None:
    desk.wanted = always(1)
    desk.add()
    for _ in range(40):
        queued = [row.id for row in desk.rows() if row.state is ask.AllocationState.QUEUED]
        for job in queued:
            worker = desk.come(job)
            desk.advance(10.0)
            desk.go(worker, LossReason.IDLE_TIMEOUT)  # long before its five minutes
        desk.advance(60.0)
    assert len(desk.submitted) < 10
    assert "could do none of the waiting tasks" in desk.row().note
    assert not desk.row().is_paused


# --- users


def test_33_a_paused_queue_submits_nothing_and_is_followed_all_the_same(desk: Desk) -> None:
    job = begun(desk)
    desk.ask(ask.PauseQueue(1))
    desk.ask(ask.PauseQueue(1))
    desk.wanted = always(9)
    desk.end(job, Cause.COMPLETED)
    desk.advance(3600.0)
    assert desk.states() == ["FINISHED"]
    assert desk.sizes() == [1]
    assert desk.row().note == "paused by a user"
    desk.ask(ask.ResumeQueue(1))
    desk.ask(ask.ResumeQueue(1))
    desk.advance(5.0)
    assert desk.sizes() == [1, 1]


def test_35_a_queue_with_running_allocations_is_removed_by_force_only(desk: Desk) -> None:
    job = begun(desk)
    desk.come(job)
    assert "`--force`" in desk.refusal(ask.RemoveQueue(1))
    assert desk.states() == ["RUNNING"]
    desk.ask(ask.RemoveQueue(1, True))
    assert desk.ask(ask.ListQueues()).rows == ()
    assert desk.cancelled == [job]
    desk.advance(300.0)
    assert not desk.machine.books.removed
    assert not desk.machine.books.jobs


def test_36_everything_that_waits_or_runs_is_cancelled(desk: Desk) -> None:
    desk.wanted = always(9)
    desk.add(backlog=2)
    desk.advance(0.0)
    for job in ids(desk):
        desk.come(job)
    desk.advance(5.0)
    assert sorted(desk.states()) == ["QUEUED", "QUEUED", "RUNNING", "RUNNING"]
    desk.ask(ask.RemoveQueue(1, True))
    assert sorted(desk.cancelled) == sorted(desk.jobs)


def test_a_removed_queue_is_cancelled_after_a_restart_too(desk: Desk) -> None:
    job = begun(desk)
    desk.is_down = True
    desk.ask(ask.RemoveQueue(1))
    desk.jobs[job] = Waiting()  # the cancel was lost
    desk.restart()
    assert desk.cancelled[-1] == job
    desk.is_down = False
    desk.advance(100.0)
    assert not desk.machine.books.removed
    assert desk.add() == 2


def test_a_cancel_that_fails_is_repeated(desk: Desk) -> None:
    job = begun(desk)
    desk.ask(ask.RemoveQueue(1))
    desk.jobs[job] = Waiting()
    desk.do(act.CancelAnswered(desk.manager, job, NotCancelled("not now")))
    desk.advance(200.0)
    assert desk.cancelled.count(job) > 1
    assert desk.alive() == set()


def test_34_at_the_end_of_the_server_everything_is_cancelled_and_nothing_submitted(
    desk: Desk,
) -> None:
    desk.wanted = always(9)
    desk.add(backlog=2)
    desk.advance(0.0)
    desk.come(ids(desk)[0])
    desk.do(act.ServerEnds())
    assert desk.machine.is_quiet
    assert desk.alive() == set()
    submitted = len(desk.submitted)
    desk.advance(100.0)
    assert len(desk.submitted) == submitted
    desk.restart()
    desk.advance(100.0)
    # The queue is there again, and what was cancelled is no failure of it.
    assert len(desk.submitted) > submitted
    assert not desk.row().is_paused
    assert "FAILED" not in desk.states()


def test_46_47_queues_and_their_ids_outlive_the_server(desk: Desk) -> None:
    for name in "abc":
        desk.add(name=name)
    desk.ask(ask.RemoveQueue(2))
    desk.ask(ask.PauseQueue(3))
    desk.restart()
    assert [row.params.name for row in desk.ask(ask.ListQueues()).rows] == ["a", "c"]
    assert desk.row(3).is_paused
    assert desk.add() == 4
    desk.restart()
    assert [row.id for row in desk.ask(ask.ListQueues()).rows] == [1, 3, 4]


def test_workers_that_are_gone_after_a_restart_end_their_allocation(desk: Desk) -> None:
    job = begun(desk, nodes=2)
    one, _ = desk.come(job), desk.come(job)
    desk.restart([one])
    assert desk.states() == ["RUNNING"]
    assert desk.rows()[0].workers == (one,)
    desk.restart([])
    assert desk.states() == ["FINISHED"]


def test_an_edit_is_for_allocations_to_come(desk: Desk) -> None:
    desk.wanted = always(9)
    desk.add()
    desk.advance(0.0)
    desk.ask(ask.EditQueue(1, replace_params(desk, time_limit_s=60.0, backlog=2)))
    desk.advance(5.0)
    assert [one.submission.params.time_limit_s for one in desk.submitted] == [3600.0, 60.0]
    other = Manager.PBS if desk.manager is Manager.SLURM else Manager.SLURM
    refusal = desk.refusal(ask.EditQueue(1, replace_params(desk, manager=other)))
    assert "cannot be changed" in refusal


def test_node_hours_are_counted_and_bound_what_is_submitted(desk: Desk) -> None:
    desk.wanted = always(9)
    desk.add(backlog=9, max_node_hours=3.0)
    desk.advance(0.0)
    assert desk.sizes() == [1, 1, 1]
    assert desk.row().committed_node_hours == pytest.approx(3.0)
    assert "3 of 3 node hours are spent or committed" in desk.row().note
    workers = [desk.come(job) for job in ids(desk)]
    desk.advance(1800.0)
    row = desk.row()
    assert (row.spent_node_hours, row.committed_node_hours) == pytest.approx((1.5, 1.5))
    for worker in workers[:2]:
        desk.go(worker)
    desk.wanted = always(1)
    desk.advance(5.0)
    assert desk.sizes() == [1] * 4  # an hour was given back
    desk.wanted = always(0)
    desk.go(workers[2])
    desk.advance(1.0)
    desk.restart()
    assert desk.row().spent_node_hours == pytest.approx(1.5, abs=0.01)


def test_log_finds_an_allocation_by_its_id_and_by_its_queue(desk: Desk) -> None:
    desk.wanted = always(2)
    desk.add(backlog=2)
    desk.advance(0.0)
    first, second = desk.rows()
    assert desk.ask(ask.FindAllocation(first.id)).rows == (first,)
    if desk.manager is Manager.PBS:
        assert desk.ask(ask.FindAllocation("1")).rows[0].id == first.id
    desk.add()
    assert "Allocation nosuch not found" in desk.refusal(ask.FindAllocation("nosuch"))
    assert second.number == 2


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (ask.PauseQueue(9), "should have been paused was not found"),
        (ask.ResumeQueue(9), "should have been resumed was not found"),
        (ask.RemoveQueue(9), "Allocation queue not found"),
        (ask.ListAllocations(9), "Queue 9 not found"),
    ],
    ids=str,
)
def test_an_unknown_queue_is_refused(desk: Desk, request_, text: str) -> None:
    assert text in desk.refusal(request_)


def test_a_trial_comes_before_the_queue(desk: Desk) -> None:
    params = replace_of(desk.manager)
    assert desk.ask(ask.AddQueue(params, True)).queue == 1
    desk.ask(ask.TryQueue(params))
    assert [row.id for row in desk.ask(ask.ListQueues()).rows] == [1]
    effects = desk.machine.handle(act.Asked(3, ask.AddQueue(params, True)), desk.now())
    (trial,) = (effect for effect in effects if isinstance(effect, act.Trial))
    (answer,) = desk.machine.handle(act.Tried(trial.token, "sbatch start failed"), desk.now())
    assert "Dry-run (test allocation submission) has failed" in answer.response.reason
    assert len(desk.ask(ask.ListQueues()).rows) == 1


def replace_of(manager: Manager):
    return QueueParams(manager, 60.0)


def test_an_idle_machine_asks_no_manager(desk: Desk) -> None:
    assert desk.machine.next_deadline() == float("inf")
    desk.add()
    desk.advance(48 * 3600.0)
    assert desk.asked == 0


def test_what_has_ended_long_ago_is_forgotten_and_its_cost_is_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "ENDED_MAX", 20)
    desk.wanted = always(1)
    desk.add()
    for _ in range(30):
        desk.advance(5.0)
        job = ids(desk)[-1]
        worker = desk.come(job)
        desk.advance(400.0)
        desk.end(job, Cause.COMPLETED)
        desk.go(worker)
    queue = desk.machine.books.queues[1]
    assert len(queue.ended) == 20
    assert len(queue.allocations) <= 21
    assert len(desk.machine.books.directories) <= 21
    assert queue.spent_node_hours(WALL + desk.time) == pytest.approx(30 * 400 / 3600, rel=0.01)


def test_long_lists_come_in_pages_that_fit_a_frame(desk: Desk) -> None:
    for _ in range(40):
        desk.add(manager_args=("\u20ac" * 40_000,), backlog=9)
    seen: list[int] = []
    more = True
    while more:
        page = desk.ask(ask.ListQueues(seen[-1] if seen else 0))
        assert len(encode([Said(1, page)])) < FRAME_MAX
        seen += [row.id for row in page.rows]
        more = page.more
    assert seen == list(range(1, 41))
    desk.wanted = lambda queries: [9] * len(queries)
    desk.advance(0.0)
    for job in ids(desk):
        desk.end(job, Cause.FAILED, "\u20ac" * 40_000)
    desk.advance(100.0)
    first = desk.ask(ask.ListAllocations(1))
    assert first.more
    assert len(encode([Said(1, first)])) < FRAME_MAX
    rest = desk.ask(ask.ListAllocations(1, first.rows[-1].number))
    assert rest.rows[0].number == first.rows[-1].number + 1
    assert "at most 50000 characters" in desk.refusal(
        ask.AddQueue(QueueParams(desk.manager, 60.0, manager_args=("x" * 50_001,)), False)
    )


def test_what_waits_in_the_managers_queue_for_no_task_is_withdrawn(desk: Desk) -> None:
    desk.wanted = always(9)
    desk.add(backlog=2)
    desk.advance(0.0)
    running, _ = ids(desk)
    desk.come(running)
    desk.wanted = always(0)
    desk.do(act.WorkKnown(False))
    desk.advance(250.0)
    desk.do(act.WorkKnown(True))
    desk.do(act.WorkKnown(False))
    desk.advance(299.0)
    desk.do(act.WorkKnown(False))
    assert desk.cancelled == []
    desk.advance(1.0)
    desk.do(act.WorkKnown(False))
    assert running not in desk.cancelled
    assert set(desk.cancelled) == set(desk.jobs) - {running}
    desk.advance(100.0)
    assert desk.rows()[1].note == "cancelled by the server"
    assert desk.states()[1] == "FINISHED"
    assert desk.machine.books.queues[1].limiter.allocation_failures == 0
