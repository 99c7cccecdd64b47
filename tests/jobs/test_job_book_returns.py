"""Workers that lose their connection and come back, as the job book sees them."""

from __future__ import annotations

import pytest
from job_book_story import EVERY, Story, array_of
from msgspec.structs import replace

from hqtrio.jobs.effects import Command, Receipted
from hqtrio.messages import client as say
from hqtrio.messages.columns import f32, f64, i32, u32, u64
from hqtrio.messages.records import (
    TasksEnded,
    TasksRequeued,
    VariantsChosen,
    WorkerConnected,
    WorkerLost,
)
from hqtrio.messages.scheduling import (
    AdmitWorker,
    RefuseWorker,
    TasksDropped,
    TasksReady,
    WorkerAbsent,
    WorkerArrived,
)
from hqtrio.messages.worker import Ended, Held, HeldSlot, Register, Report, Started
from hqtrio.model.resources import ONE_CPU, Claim, Descriptor
from hqtrio.model.task import Ending, TaskState
from hqtrio.model.worker import LossReason, WorkerConfig

CONFIG = WorkerConfig("node", "node:1", "/w", "default", Descriptor(()))
LOST = LossReason.CONNECTION_LOST


def packed(*numbers: int) -> list[int]:
    return [1 << 32 | number for number in numbers]


@pytest.fixture
def story() -> Story:
    """Worker 1, and job 1 with five tasks of which 1 and 2 run there."""
    story = Story()
    story.worker()
    story.submit(array_of(5))
    story.start(1, (1, 1), (1, 2))
    return story


def held(story: Story, *tasks: int, instance: int = 0, reports=()) -> Held:
    n = len(tasks)
    return Held(
        (),
        u64(packed(*tasks)),
        u32([instance] * n),
        u32([0] * n),
        bytes(n),
        f64([0] * n),
        tuple(reports),
    )


def ended(seq: int, task: int, instance: int = 0) -> Report:
    one = u32([0])
    return Report(
        seq,
        (
            Ended(
                u64(packed(task)),
                u32([instance]),
                one,
                bytes([Ending.FINISHED]),
                i32([0]),
                f64([1.0]),
                f64([0.5]),
                f32([0.1]),
                one,
            ),
        ),
    )


def come_back(story: Story, what: Held | None, *, worker=1, history=None, attachment=1, seen=0):
    """The answer to a worker that registers again, and everything else that happened."""
    key = story.book._tables.workers.entries[1].key
    history = story.book._history if history is None else history
    hello = Register(CONFIG, key, worker, history, attachment, None, what)
    effects = story.tell(WorkerArrived(10, hello, seen))
    commands = [e.value for e in effects if isinstance(e, Command)]
    [answer] = [c for c in commands if isinstance(c, AdmitWorker | RefuseWorker)]
    return answer, effects


def kept(answer: AdmitWorker) -> list[int]:
    runs = [run for ready in answer.kept for run in ready.runs]
    return sorted(task for first, count in runs for task in range(first, first + count))


def worker_rows(story: Story):
    return story.ask(say.ListWorkers(EVERY)).rows


def test_an_absent_worker_is_shown_as_lost_and_its_tasks_run_on(story):
    story.tell(WorkerAbsent(1, LOST))
    [row] = worker_rows(story)
    assert row.reason is LOST and row.ended_at is not None
    assert story.states(1).count(TaskState.RUNNING) == 2
    assert not [r for r in story.records if isinstance(r, WorkerLost)]


def test_a_worker_that_is_back_keeps_its_id_and_is_recorded_with_its_new_attachment(story):
    story.tell(WorkerAbsent(1, LOST))
    answer, _ = come_back(story, held(story, 1, 2))
    assert (answer.worker, answer.attachment) == (1, 2)
    assert kept(answer) == packed(1, 2)
    [row] = worker_rows(story)
    assert row.reason is None and row.ended_at is None and row.running_tasks == 2
    connected = [r for r in story.records if isinstance(r, WorkerConnected)]
    assert [(r.worker, r.attachment) for r in connected] == [(1, 1), (1, 2)]


def test_attachments_grow_also_if_an_answer_was_lost(story):
    come_back(story, held(story, 1, 2))
    answer, _ = come_back(story, held(story, 1, 2), attachment=1)
    assert answer.attachment == 3


def test_it_may_go_on_with_what_has_not_ended_in_this_very_instance(story):
    story.tell(WorkerAbsent(1, LOST))
    del story.running[1][1, 2]
    story.tell(TasksDropped(1, ((packed(2)[0], 0),)))
    answer, _ = come_back(story, held(story, 1, 2, 3))
    assert kept(answer) == packed(1, 3)
    story.ask(say.CancelJobs(EVERY, ""))
    answer, _ = come_back(story, held(story, 1, 2, 3))
    assert kept(answer) == []


def test_the_variant_of_a_start_that_nobody_has_heard_of_is_remembered(story):
    story.tell(WorkerAbsent(1, LOST))
    slots = (HeldSlot(4, ONE_CPU * 3, 2, Claim()), HeldSlot(5, ONE_CPU, 0, Claim()))
    started = Started(u64(packed(3, 4)), u32([0, 0]), u32([4, 5]), f64([1.0, 1.0]))
    what = held(story, 1, 2, 3, 4, reports=[Report(4, (started,))])
    come_back(story, replace(what, slots=slots))
    assert story.states(1).count(TaskState.RUNNING) == 4
    chosen = [record.tasks for record in story.records if isinstance(record, VariantsChosen)]
    assert chosen == [((packed(3)[0], 2),)]
    come_back(story, replace(what, slots=slots), attachment=2)
    assert len([r for r in story.records if isinstance(r, VariantsChosen)]) == 1


def test_its_reports_are_taken_in_first_in_order_and_receipted(story):
    story.tell(WorkerAbsent(1, LOST))
    reports = [ended(4, 1), ended(5, 3)]
    answer, effects = come_back(story, held(story, 2, reports=reports))
    assert kept(answer) == packed(2)
    assert story.states(1).count(TaskState.FINISHED) == 2
    [receipt] = [e.receipt for e in effects if isinstance(e, Receipted)]
    assert (receipt.worker, receipt.attachment, receipt.report) == (1, 2, 5)


def test_reports_that_were_seen_or_are_told_twice_change_nothing_and_are_receipted(story):
    story.end(1, (1, 1))
    before = len([r for r in story.records if isinstance(r, TasksEnded)])
    for seen in (9, 0):
        _, effects = come_back(story, held(story, 2, reports=[ended(9, 1)]), seen=seen)
        assert [e.receipt.report for e in effects if isinstance(e, Receipted)] == [9]
    assert len([r for r in story.records if isinstance(r, TasksEnded)]) == before


def test_what_it_is_back_without_waits_again_without_a_crash(story):
    story.tell(WorkerAbsent(1, LOST))
    come_back(story, held(story, 1))
    del story.running[1][1, 2], story.ready[1, 4]
    effects = story.tell(TasksDropped(1, ((packed(2)[0], 0), (packed(4)[0], 0))))
    again = [e.value for e in effects if isinstance(e, Command) and isinstance(e.value, TasksReady)]
    assert {ready.instance for ready in again} == {1}
    [record] = [r for r in story.records if isinstance(r, TasksRequeued)]
    assert record.crashes == u32([0, 0])
    [row] = worker_rows(story)
    assert row.running_tasks == 1


def test_after_its_loss_was_told_it_is_another_worker(story):
    story.tell(WorkerAbsent(1, LOST))
    story.lose(1)
    answer, _ = come_back(story, held(story, 1, 2))
    assert (answer.worker, answer.attachment, answer.kept) == (2, 1, ())
    assert [row.reason for row in worker_rows(story)] == [LOST, None]


@pytest.mark.parametrize(("worker", "history"), [(1, b"another"), (7, None)])
def test_whoever_names_another_history_or_id_is_another_worker(story, worker, history):
    story.tell(WorkerAbsent(1, LOST))
    answer, effects = come_back(
        story, held(story, 1, 2, reports=[ended(1, 1)]), worker=worker, history=history
    )
    assert (answer.worker, answer.attachment, answer.kept) == (2, 1, ())
    assert not [e for e in effects if isinstance(e, Receipted)]
    assert story.states(1).count(TaskState.RUNNING) == 2


def test_a_worker_that_never_learnt_its_id_has_it_all_the_same(story):
    answer, _ = come_back(story, None, worker=0, history=b"", attachment=0)
    assert (answer.worker, answer.attachment, answer.kept) == (1, 2, ())


def test_a_worker_that_was_told_to_stop_is_not_taken_back(story):
    story.tell(WorkerAbsent(1, LOST))
    story.ask(say.StopWorkers(EVERY))
    answer, _ = come_back(story, held(story, 1, 2))
    assert answer == RefuseWorker(10, "it was told to stop")
    story.lose(1, LossReason.STOPPED)
    assert [row.reason for row in worker_rows(story)] == [LossReason.STOPPED]
