"""Compaction: live jobs are what they were, and nothing else takes room."""

from __future__ import annotations

import pytest
from journal_story import NOW
from msgspec.structs import replace

from hqtrio.ids import task_id
from hqtrio.jobs.replay import Replay
from hqtrio.journal import compaction
from hqtrio.journal.compaction import Survey, compacted
from hqtrio.messages.columns import f32, f64, read_u64, u32, u64
from hqtrio.messages.records import (
    IdsUsed,
    JobCompleted,
    JobOpened,
    JobsForgotten,
    Record,
    ServerStarted,
    ServerStopped,
    SubmitBegun,
    SubmitCommitted,
    TasksEnded,
    TasksRequeued,
    TasksShipped,
    TasksStarted,
    TasksTakenBack,
    WorkerConnected,
    WorkerLost,
)
from hqtrio.model.job import ArraySpec, JobHead, Submit
from hqtrio.model.resources import CPUS, UNIT, Descriptor, Pool
from hqtrio.model.task import Stdio, TaskBody, TaskState
from hqtrio.model.worker import LossReason, WorkerConfig

BODY = TaskBody((b"true",), (), "/", Stdio(None), Stdio(None), "/")
CONFIG = WorkerConfig("n", "n", "/", "g", Descriptor((Pool(CPUS, (("0", "1"),), 2 * UNIT),)))


def submitted(job: int, count: int) -> list[Record]:
    submit = Submit(key_of(job), "/", JobHead(f"job{job}"), arrays=(ArraySpec(BODY, count),))
    return [SubmitBegun(job, submit), SubmitCommitted(job, job, (((0, count, 1),),), NOW)]


def key_of(job: int) -> bytes:
    return bytes([job]) * 16


def connected(worker: int) -> WorkerConnected:
    return WorkerConnected(worker, bytes([worker]) * 16, 1, CONFIG, NOW)


def started(worker: int, *tasks: int) -> list[Record]:
    ones = u32([1] * len(tasks))
    zeros = u32([0] * len(tasks))
    column = u64(tasks)
    return [
        TasksShipped(worker, column, ones, zeros),
        TasksStarted(worker, column, zeros, f64([NOW] * len(tasks))),
    ]


def ended(worker: int, *tasks: int, state: TaskState = TaskState.FINISHED, errors=()) -> TasksEnded:
    n = len(tasks)
    return TasksEnded(
        worker, NOW, u64(tasks), u32([0] * n), bytes([state] * n), f64([NOW] * n), f64([NOW] * n),
        f32([0.5] * n), u32([9] * n), errors,
    )  # fmt: skip


def compact(records: list[Record]) -> list[Record]:
    return list(compacted(Survey(records), records))


def replay(records: list[Record]) -> Replay:
    replayed = Replay("uid123")
    for record in records:
        replayed.apply(record)
    return replayed


A, B = (lambda n: task_id(1, n)), (lambda n: task_id(2, n))


@pytest.fixture
def story() -> list[Record]:
    """Job 1 completes; job 2 has lost a worker, a finished, a failed and a waiting task."""
    return [
        ServerStarted("uid123", "0", NOW),
        *submitted(1, 2),
        *submitted(2, 4),
        connected(1),
        connected(2),
        connected(3),
        *started(1, B(0)),
        WorkerLost(1, LossReason.HEARTBEAT_LOST, NOW),
        TasksRequeued(u64([B(0)]), u32([1]), u32([1])),
        *started(2, A(0), B(1), A(1), B(2)),
        ended(2, A(0), B(1)),
        ended(
            2,
            A(1),
            B(2),
            state=TaskState.FAILED,
            errors=((0, "first failed"), (1, "second failed")),
        ),
        JobCompleted(1, NOW),
        WorkerLost(3, LossReason.STOPPED, NOW),
        *submitted(3, 1),
        JobOpened(4, JobHead("open", is_open=True), NOW),
    ]


def test_b9_live_jobs_are_the_same_with_their_crash_counters_and_errors(story) -> None:
    whole, pruned = replay(story), replay(compact(story))
    for number in (2, 3, 4):
        was, now = whole.tables.jobs[number], pruned.tables.jobs[number]
        for name in ("head", "states", "counts", "errors", "is_open", "crashes", "instances"):
            assert getattr(now, name) == getattr(was, name), (number, name)
        for position in range(was.count):
            assert now.executions.get(position) == was.executions.get(position)
    assert whole.tables.jobs[2].crashes == {0: 1}
    assert pruned.tables.jobs.keys() == {2, 3, 4}


def test_s4_19_completed_jobs_and_workers_of_nobody_are_gone(story) -> None:
    left = compact(story)
    assert WorkerLost(1, LossReason.HEARTBEAT_LOST, NOW) in left
    assert [r.worker for r in left if isinstance(r, WorkerConnected)] == [1, 2]
    assert [r.job for r in left if isinstance(r, SubmitCommitted)] == [2, 3]
    rows = [task for r in left if isinstance(r, TasksEnded) for task in read_u64(r.tasks)]
    assert rows == [B(1), B(2)]
    assert [r.errors for r in left if isinstance(r, TasksEnded)] == [(), ((0, "second failed"),)]
    assert JobCompleted(1, NOW) not in left


def test_b8_ids_that_nothing_speaks_of_any_more_stay_used(story) -> None:
    records = [*story, *submitted(7, 1), JobCompleted(7, NOW), connected(9)]
    records.append(WorkerLost(9, LossReason.STOPPED, NOW))
    left = compact(records)
    assert left[0] == IdsUsed(7, 9, 7, ((key_of(1), 1), (key_of(7), 7)))
    assert 7 not in replay(left).tables.jobs
    assert replay(left).tables.last_job == 7


def test_b17_who_asks_again_for_a_submit_whose_job_is_over_gets_the_same_job(story) -> None:
    twice = compact(compact(story))
    assert replay(twice).tables.keys == {key_of(job): job for job in (1, 2, 3)}
    forgotten = compact([*twice, JobsForgotten((1,))])
    assert replay(forgotten).tables.keys == {key_of(job): job for job in (2, 3)}


def test_of_jobs_that_are_over_the_last_keys_are_kept(monkeypatch) -> None:
    monkeypatch.setattr(compaction, "KEYS_MAX", 2)
    records = [r for n in range(1, 6) for r in (*submitted(n, 1), JobCompleted(n, NOW))]
    (ids,) = compact(records)
    assert ids.keys == ((key_of(4), 4), (key_of(5), 5))
    assert compact([ids]) == [ids]


def test_shipments_are_told_only_of_tasks_that_wait_with_their_worker() -> None:
    run = TasksShipped(1, u64([A(0)]), u32([5]), u32([0]))
    records = [
        *submitted(1, 6),
        connected(1),
        run,
        ended(1, A(0), A(3)),
        TasksTakenBack(1, u64([A(1)])),
        TasksStarted(1, u64([A(4)]), u32([0]), f64([NOW])),
    ]
    shipped = [r for r in compact(records) if isinstance(r, (TasksShipped, TasksTakenBack))]
    assert shipped == [TasksShipped(1, u64([A(2)]), u32([1]), u32([0]))]


def test_a_shipment_that_a_stop_made_void_is_told_for_the_instance_that_follows() -> None:
    again = TasksShipped(2, u64([A(0)]), u32([1]), u32([1]))
    stopped = [
        *submitted(1, 2), connected(1), TasksShipped(1, u64([A(0)]), u32([1]), u32([0])),
        ServerStopped(NOW), ServerStarted("uid123", "0", NOW), connected(2), again,
    ]  # fmt: skip
    over = replace(ended(2, A(0)), instances=u32([1]))
    left = replay(compact([*stopped, over])).tables.jobs[1]
    assert list(left.states) == [TaskState.FINISHED, TaskState.WAITING]
    assert left.instances == {0: 1}


def test_compacting_twice_is_compacting_once(story) -> None:
    once = compact(story)
    assert [r for r in compact(once) if not isinstance(r, IdsUsed)] == once[1:]


def test_a_submit_that_may_still_be_committed_is_kept_until_another_server_starts(story) -> None:
    begun = submitted(5, 1)[0]
    assert begun in compact([*story, begun])
    assert begun not in compact([*story, begun, ServerStarted("uid123", "0", NOW)])
