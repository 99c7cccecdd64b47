"""Records of queues: what users read of them, and what a compacted journal keeps."""

from __future__ import annotations

import json
from math import isclose

import pytest
from allocation_desk import Desk, always
from hypothesis import given, settings
from hypothesis import strategies as st

from hqtrio.autoalloc import books as books_module
from hqtrio.autoalloc.books import Books
from hqtrio.journal import queues
from hqtrio.journal.compaction import Survey, compacted
from hqtrio.journal.events import Events
from hqtrio.journal.lines import Lines
from hqtrio.messages import allocations as ask
from hqtrio.messages.records import QueueRecord, QueuesUsed
from hqtrio.model.allocation import Cause, Manager, QueueParams, WorkerOptions, worker_args
from hqtrio.model.resources import Descriptor, single_pool
from hqtrio.model.worker import LossReason


def told(records, before=None):
    events = Events(Lines(), before)
    return events, [json.loads(line)["event"] for one in records for line in events.of(one)]


def test_events_are_those_that_users_of_hyperqueue_read() -> None:
    desk = Desk(Manager.PBS)
    desk.wanted = always(2)
    desk.add(name="foo", max_workers_per_alloc=2, worker=WorkerOptions(cpus="2x8", start_cmd="a"),
             manager_args=("-q", "x"))  # fmt: skip
    desk.advance(0.0)
    desk.go(desk.come("1.job"), LossReason.TIME_LIMIT_REACHED)
    desk.go(desk.come("1.job"), LossReason.TIME_LIMIT_REACHED)
    desk.ask(ask.RemoveQueue(1, True))
    events, shown = told(desk.records)
    created = shown[0]
    assert created["type"] == "autoalloc-queue-created"
    assert created["queue-id"] == 1
    params = created["params"]
    assert params["manager"] == "Pbs"
    assert params["timelimit"] == {"secs": 3600, "nanos": 0}
    assert params["additional_args"] == ["-q", "x"]
    assert params["worker_args"][:2] == ["--cpus", '"2x8"']
    assert (params["name"], params["worker_start_cmd"], params["worker_stop_cmd"]) == (
        "foo", "a", None,
    )  # fmt: skip
    assert shown[1:] == [
        {
            "type": "autoalloc-allocation-queued", "queue-id": 1, "allocation-id": "1.job",
            "worker-count": 2,
        },
        {"type": "autoalloc-allocation-started", "queue-id": 1, "allocation-id": "1.job"},
        {"type": "autoalloc-allocation-finished", "queue-id": 1, "allocation-id": "1.job"},
        {"type": "autoalloc-queue-removed", "queue-id": 1},
    ]  # fmt: skip
    assert told(desk.records, events)[1] == []  # who has heard it hears nothing twice


def test_arguments_of_workers_are_words_with_their_quotes() -> None:
    params = QueueParams(Manager.SLURM, 60.0)
    assert worker_args(params) == ("--on-server-lost", '"reconnect"', "--time-limit", '"1m"')


# --- compaction


def folded(records) -> Books:
    books = Books()
    for record in records:
        books.apply(record)
    return books


def shape(books: Books, at: float):
    """What must be the same, whatever was left out."""
    return (
        books.last_queue,
        {
            number: (
                queue.params,
                queue.paused,
                queue.resources,
                queue.last_number,
                {n: str(one) for n, one in queue.allocations.items()},
                list(queue.active),
                queue.limiter,
            )
            for number, queue in books.queues.items()
        },
        {
            number: {n: str(one) for n, one in queue.active.items()}
            for number, queue in books.removed.items()
        },
        books.workers,
        {key: place for key, place in books.jobs.items() if place[0] in books.queues},
    )


steps = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 3), st.floats(1.0, 4000.0)), max_size=60
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_a_compacted_journal_makes_the_same_books(story) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queues, "ENDED_MAX", 3)
        patch.setattr(books_module, "ENDED_MAX", 3)
        desk = Desk(max_delay_s=5.0)
        play(desk, story)
        records: list[QueueRecord] = desk.records
        kept = [one for one in compacted(Survey(records), records) if isinstance(one, QueueRecord)]
        at = desk.now().wall
        full, short = folded(records), folded(kept)
        assert shape(short, at) == shape(full, at)
        for number, queue in full.queues.items():
            spent = short.queues[number].spent_node_hours(at)
            assert isclose(spent, queue.spent_node_hours(at), abs_tol=1e-9)
        again = [one for one in compacted(Survey(kept), kept) if isinstance(one, QueueRecord)]
        assert again == kept


def play(desk: Desk, story) -> None:
    desk.wanted = always(2, 2, 2)
    for what, which, seconds in story:
        queue_ids = list(desk.machine.books.queues)
        jobs = sorted(desk.alive())
        workers = list(desk.machine.books.workers)
        match what:
            case 0 | 1:
                desk.add(backlog=2, max_workers_per_alloc=2)
            case 2 if queue_ids:
                desk.ask(ask.RemoveQueue(queue_ids[which % len(queue_ids)], True))
            case 3 if queue_ids:
                desk.ask(ask.PauseQueue(queue_ids[which % len(queue_ids)]))
            case 4 if queue_ids:
                desk.ask(ask.ResumeQueue(queue_ids[which % len(queue_ids)]))
            case 5 | 6 if jobs:
                size = ("0", "1", "2", "3")[: which + 1]
                desk.come(
                    jobs[which % len(jobs)], descriptor=Descriptor((single_pool("cpus", size),))
                )
            case 7 | 8 if workers:
                desk.go(workers[which % len(workers)], list(LossReason)[which])
            case 9 if jobs:
                desk.end(jobs[which % len(jobs)], list(Cause)[which + 2])
            case 10 if jobs:
                del desk.jobs[jobs[which % len(jobs)]]
            case _:
                pass
        desk.advance(seconds)


def test_ids_of_removed_queues_stay_used() -> None:
    desk = Desk()
    desk.add()
    desk.add()
    desk.ask(ask.RemoveQueue(2))
    kept = list(compacted(Survey(desk.records), desk.records))
    assert QueuesUsed(2) in kept
    books = Books()
    for record in kept:
        if isinstance(record, QueueRecord):
            books.apply(record)
    assert books.last_queue == 2
    assert list(books.queues) == [1]
