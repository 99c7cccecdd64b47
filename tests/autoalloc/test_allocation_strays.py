"""Jobs that were lost sight of, and what they cost: what the random stories have found."""

from __future__ import annotations

import pytest
from allocation_desk import WALL, Desk, always

from hqtrio.autoalloc import events as act
from hqtrio.autoalloc.dialogues import (
    Accepted,
    Ended,
    Found,
    Other,
    Running,
    SubmitAnswer,
    Unclear,
    Unsure,
)
from hqtrio.messages import allocations as ask
from hqtrio.model.allocation import Cause, Manager, QueueParams
from hqtrio.model.worker import LossReason


@pytest.fixture(params=Manager, ids=lambda manager: manager.name)
def desk(request) -> Desk:
    return Desk(request.param)


class SlowDesk(Desk):
    """Its submissions are answered by the test."""

    def __init__(self, manager: Manager = Manager.SLURM) -> None:
        self.pending: list[act.Submit] = []
        super().__init__(manager)

    def _perform(self, effects) -> None:
        for effect in effects:
            if isinstance(effect, act.Submit):
                self.submitted.append(effect)
                self.pending.append(effect)
            else:
                super()._perform([effect])

    def answer(self, answer: SubmitAnswer | None = None) -> None:
        effect = self.pending.pop(0)
        answer = answer or Accepted(self.make(effect.submission.directory))
        self.do(act.Submitted(effect.queue, effect.number, answer))


def begun(desk: Desk, **params) -> str:
    """The job of the only allocation of a new queue."""
    desk.wanted = always(1)
    desk.add(**params)
    desk.advance(0.0)
    desk.wanted = always(0)
    (job,) = desk.alive()
    return job


def edited(desk: Desk, **params) -> None:
    desk.ask(ask.EditQueue(1, QueueParams(desk.manager, 3600.0, **params)))


# --- limits


def test_an_edit_holds_for_what_was_about_to_be_submitted() -> None:
    desk = SlowDesk()
    desk.wanted = always(4)
    desk.add(backlog=4)
    desk.advance(0.0)
    desk.answer()
    edited(desk, backlog=2)
    desk.answer()
    assert not desk.pending
    assert desk.row().queued == 2


def test_a_budget_that_was_cut_holds_for_what_was_about_to_be_submitted() -> None:
    desk = SlowDesk()
    desk.wanted = always(4)
    desk.add(backlog=4)
    desk.advance(0.0)
    edited(desk, backlog=4, max_node_hours=2.0)
    desk.answer()
    desk.answer()
    assert not desk.pending
    assert desk.row().committed_node_hours == 2.0


# --- strays


def test_a_worker_of_a_job_that_was_taken_for_never_made_brings_it_back(desk: Desk) -> None:
    desk.wanted = always(1)
    desk.add()
    desk.answers = [Unsure("timed out")]
    desk.advance(4.0)
    desk.wanted = always(0)
    desk.advance(200.0)
    assert not list(desk.machine.books.active())
    late = desk.make("/srv/001/autoalloc/1/001")
    desk.advance(3600.0)
    desk.jobs[late] = Running()
    desk.come(late)
    desk.advance(10.0)
    assert [row.id for row in desk.rows()] == [late]
    assert desk.states() == ["RUNNING"]
    assert len(desk.rows()[0].workers) == 1


def test_a_job_of_a_queue_that_is_forgotten_is_cancelled(desk: Desk) -> None:
    desk.wanted = always(1)
    desk.add()
    desk.answers = [Unsure("timed out")]
    desk.advance(4.0)
    desk.ask(ask.RemoveQueue(1))
    desk.advance(200.0)
    assert not list(desk.machine.books.all_queues())
    late = desk.make("/srv/001/autoalloc/1/001")
    foreign = desk.make("/home/user/001/autoalloc/1/001")
    desk.come(late)
    desk.come(foreign)
    desk.advance(10.0)
    assert desk.cancelled == [late]


def test_a_worker_of_a_foreign_job_is_nobodys_reason_to_ask_without_queues(desk: Desk) -> None:
    desk.come("4711")
    desk.advance(48 * 3600.0)
    assert desk.asked == 0


def test_what_was_given_up_is_cancelled_again_if_it_shows_itself(desk: Desk) -> None:
    job = begun(desk)
    desk.jobs[job] = Unclear("?")
    desk.advance(3600.0)
    assert desk.cancelled == [job]  # which has not helped
    desk.jobs[job] = Running()
    desk.come(job)
    assert desk.cancelled == [job, job]
    desk.advance(300.0)
    assert not list(desk.machine.books.active())


def test_what_comes_back_to_a_removed_queue_is_cancelled(desk: Desk) -> None:
    job = begun(desk, backlog=2)
    worker = desk.come(job)
    desk.jobs[job] = Ended(Cause.NODE_FAILED, "NODE_FAIL", WALL, WALL)
    desk.wanted = always(1)
    desk.advance(120.0)
    desk.go(worker, LossReason.CONNECTION_LOST)
    desk.advance(120.0)
    (other,) = desk.alive()
    desk.ask(ask.RemoveQueue(1))
    desk.jobs[job] = Running()  # its manager has another node for it
    desk.come(job)
    assert desk.cancelled == [other, job]
    desk.advance(600.0)
    assert not list(desk.machine.books.all_queues())


def test_of_two_jobs_of_a_removed_queue_the_living_one_is_cancelled() -> None:
    desk = SlowDesk()
    desk.wanted = always(1)
    desk.add()
    desk.advance(0.0)
    desk.answer(Unsure("timed out"))
    desk.ask(ask.RemoveQueue(1))
    place = "/srv/001/autoalloc/1/001"
    jobs = (Other("1", place, Ended(Cause.FAILED)), Other("2", place, Running()))
    desk.do(act.LookedFor(1, 1, Found(jobs)))
    assert "2" in desk.cancelled


def test_an_answer_that_comes_after_the_search_was_given_up_counts() -> None:
    desk = SlowDesk()
    desk.wanted = always(1)
    desk.add()
    desk.advance(0.0)
    desk.wanted = always(0)
    desk.restart()  # while the command goes on
    desk.advance(200.0)
    assert not list(desk.machine.books.active())
    desk.answer()
    assert desk.states() == ["QUEUED"]


def test_the_directory_of_what_has_come_back_is_kept() -> None:
    desk = Desk(kept_directories=1)
    job = begun(desk, backlog=2)
    desk.go(desk.come(job), LossReason.CONNECTION_LOST)
    desk.come(job)  # it had only lost its way
    desk.wanted = always(1)
    desk.advance(100.0)
    desk.wanted = always(0)
    (other,) = desk.alive() - {job}
    desk.end(other, Cause.COMPLETED)
    desk.jobs[job] = Running()
    desk.advance(2000.0)
    assert desk.states() == ["RUNNING", "FINISHED"]
    assert desk.discarded == []


# --- what was spent


def test_an_allocation_costs_from_its_start_to_its_end_whenever_its_workers_came(
    desk: Desk,
) -> None:
    job = begun(desk)
    desk.advance(100.0)
    desk.jobs[job] = Running(WALL + 100.0)
    desk.advance(50.0)
    worker = desk.come(job)
    desk.advance(1000.0)
    desk.go(worker)
    desk.jobs[job] = Ended(Cause.COMPLETED, "done", WALL + 100.0, WALL + 1155.0)
    desk.advance(400.0)
    assert desk.row().spent_node_hours == pytest.approx(1055.0 / 3600.0)


def test_what_was_thought_to_have_vanished_is_not_paid_for_twice(desk: Desk) -> None:
    job = begun(desk)
    running = desk.jobs[job] = Running(WALL)
    desk.advance(600.0)
    del desk.jobs[job]
    desk.advance(200.0)
    assert desk.states() == ["FAILED"]
    desk.jobs[job] = running
    desk.come(job)
    desk.advance(1000.0)
    assert desk.row().spent_node_hours == pytest.approx(desk.time / 3600.0)


def test_a_worker_that_had_lost_its_way_has_used_its_node_all_the_time(desk: Desk) -> None:
    job = begun(desk)
    desk.jobs[job] = Running(WALL)
    desk.go(desk.come(job), LossReason.HEARTBEAT_LOST)
    desk.advance(50.0)
    desk.come(job)
    desk.advance(950.0)
    assert desk.row().spent_node_hours == pytest.approx(1000.0 / 3600.0)
