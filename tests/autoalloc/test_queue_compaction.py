"""Compacted records of queues against all of them, in any order that the books permit."""

from __future__ import annotations

from math import isclose

from hypothesis import given, settings
from hypothesis import strategies as st

from hqtrio.autoalloc.books import Books, Stage, is_active
from hqtrio.journal.compaction import Survey, compacted
from hqtrio.journal.events import Events
from hqtrio.journal.lines import Lines
from hqtrio.messages.records import (
    AllocationCancelling,
    AllocationEnded,
    AllocationPlanned,
    AllocationQueued,
    AllocationsForgotten,
    AllocationStarted,
    QueueAdded,
    QueueEdited,
    QueuePaused,
    QueueRecord,
    QueueRemoved,
    QueueResumed,
    ResourcesLearned,
    SubmissionFailed,
    WorkerJoined,
    WorkerLeft,
)
from hqtrio.model.allocation import Cause, Manager, QueueParams, Rejection
from hqtrio.model.resources import Descriptor, single_pool
from hqtrio.model.worker import LossReason

PARAMS = QueueParams(Manager.SLURM, 600.0)


class History:
    """Records that follow from one another, and the books of all of them."""

    def __init__(self) -> None:
        self.records: list[QueueRecord] = []
        self.books = Books()
        self.at = 1000.0
        self.worker = 0

    def note(self, *records: QueueRecord) -> None:
        for record in records:
            self.records.append(record)
            self.books.apply(record)

    def plan(self, queue: int) -> int:
        number = self.books.queues[queue].last_number + 1
        name = f"{queue}-{number}"
        self.note(AllocationPlanned(queue, number, 2, 600.0, name, f"/d/{name}", self.at))
        return number

    def step(self, what: str, which: int, how: int) -> None:
        """What cannot happen now does not."""
        self.at += how + 0.5
        at, books = self.at, self.books
        if what == "add":
            self.note(QueueAdded(books.last_queue + 1, PARAMS, at))
            return
        queues = list(books.all_queues())
        if not queues:
            return
        queue = queues[which % len(queues)]
        if queue.id in books.queues:
            match what:
                case "remove":
                    self.note(QueueRemoved(queue.id, at))
                case "pause":
                    self.note(QueuePaused(queue.id, "why" * (how % 2), at))
                case "resume":
                    self.note(QueueResumed(queue.id, at))
                case "edit":
                    self.note(QueueEdited(queue.id, PARAMS, at))
                case "learn":
                    size = ("0", "1", "2")[: 1 + how % 3]
                    self.note(ResourcesLearned(queue.id, Descriptor((single_pool("cpus", size),))))
                case "plan":
                    self.plan(queue.id)
        if not queue.allocations:
            return
        one = list(queue.allocations.values())[how % len(queue.allocations)]
        key = queue.id, one.number
        match what:
            case "queue":
                self.note(AllocationQueued(*key, one.id or f"{queue.id}{one.number:03}", at))
            case "refuse" if one.stage is Stage.PLANNED:
                self.note(SubmissionFailed(*key, list(Rejection)[how % 6], "words", at))
            case "start" if one.id:
                self.note(AllocationStarted(*key, at))
            case "end" if one.id:
                cause = list(Cause)[how % len(Cause)]
                self.note(AllocationEnded(*key, cause, "words", at, one.started_at, how * 100.5))
            case "cancel":
                self.note(AllocationCancelling(*key, at))
            case "join" if is_active(one):
                self.worker += 1
                self.note(WorkerJoined(*key, self.worker, at))
            case "leave" if one.workers:
                reason = list(LossReason)[how % len(LossReason)]
                self.note(WorkerLeft(*key, next(iter(one.workers)), reason, at))


def compact(records: list[QueueRecord]) -> list[QueueRecord]:
    return [one for one in compacted(Survey(records), records) if isinstance(one, QueueRecord)]


def folded(records: list[QueueRecord]) -> Books:
    books = Books()
    for record in records:
        books.apply(record)
    return books


def same(short: Books, full: Books, at: float) -> None:
    """Allocations that have ended matter to queues that exist, and to nobody else."""
    assert short.last_queue == full.last_queue
    assert list(short.queues) == list(full.queues)
    assert short.removed.keys() == full.removed.keys()
    for number, queue in full.queues.items():
        other = short.queues[number]
        for name in ("params", "paused", "resources", "last_number", "limiter", "allocations"):
            assert getattr(other, name) == getattr(queue, name), name
        assert list(other.active) == list(queue.active)
        assert list(other.ended) == list(queue.ended)
        assert isclose(other.spent_node_hours(at), queue.spent_node_hours(at), abs_tol=1e-9)
    for number, queue in full.removed.items():
        assert short.removed[number].active == queue.active
    for allocation in full.active():
        place = allocation.queue, allocation.number
        assert short.directories[allocation.directory] == place
        assert short.allocation(place) == allocation
        for worker in allocation.workers:
            assert short.workers[worker] == place


def told(records: list[QueueRecord]) -> list[str]:
    events = Events(Lines())
    return [line for record in records for line in events.of(record)]


WHAT = (
    "add plan plan plan queue queue queue start start end end end refuse cancel join join leave"
    " remove pause resume edit learn"
)
steps = st.lists(
    st.tuples(st.sampled_from(WHAT.split()), st.integers(0, 2), st.integers(0, 40)), max_size=50
)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_whatever_has_happened_the_books_are_the_same(story) -> None:
    history = History()
    history.note(QueueAdded(1, PARAMS, history.at))
    for step in story:
        history.step(*step)
    kept = compact(history.records)
    same(folded(kept), history.books, history.at)
    assert compact(kept) == kept
    # Who hears only of what was kept hears nothing else than the others, in their order.
    everything = iter(told(history.records))
    assert all(line in everything for line in told(kept))


def test_one_of_a_removed_queue_that_comes_back_is_followed() -> None:
    """It was taken for ended; what kept its queue in the books has ended since."""
    history = History()
    history.note(QueueAdded(1, PARAMS, 0.0))
    back, other = history.plan(1), history.plan(1)
    history.note(
        AllocationQueued(1, back, "7", 1.0),
        AllocationQueued(1, other, "8", 1.0),
        AllocationEnded(1, back, Cause.VANISHED, "", 2.0),
        QueueRemoved(1, 3.0),
        AllocationStarted(1, back, 4.0),
        AllocationEnded(1, other, Cause.CANCELLED_HERE, "", 5.0),
    )
    books = folded(compact(history.records))
    assert [one.id for one in books.active()] == ["7"]


def test_of_a_removed_queue_without_allocations_nothing_is_left() -> None:
    history = History()
    history.note(QueueAdded(1, PARAMS, 0.0))
    number = history.plan(1)
    history.note(
        AllocationQueued(1, number, "7", 1.0),
        QueueRemoved(1, 3.0),
        AllocationEnded(1, number, Cause.CANCELLED_HERE, "", 5.0),
    )
    (left,) = compact(history.records)
    assert folded([left]).last_queue == 1


def test_what_was_forgotten_is_still_spent() -> None:
    history = History()
    history.note(QueueAdded(1, PARAMS, 0.0))
    for _ in range(1003):
        number = history.plan(1)
        history.note(
            AllocationQueued(1, number, str(number), 1.0),
            AllocationStarted(1, number, 2.0),
            WorkerJoined(1, number, number, 2.0),
            WorkerLeft(1, number, number, LossReason.STOPPED, 3.0),
            AllocationEnded(1, number, Cause.COMPLETED, "", 4.0, 2.0, 3600.0),
        )
    kept = compact(history.records)
    assert AllocationsForgotten(1, 3, 3 * 3600.0) in kept
    assert sum(isinstance(one, AllocationPlanned) for one in kept) == 1000
    books = folded(kept)
    assert books.queues[1].spent_node_hours(4.0) == 1003.0
    assert books.queues[1].last_number == 1003
    # All others are forgotten too, one by one, and the sum stays.
    for _ in range(10):
        number = history.plan(1)
        history.note(AllocationQueued(1, number, str(number), 5.0))
        history.note(AllocationEnded(1, number, Cause.COMPLETED, "", 6.0, 5.0, 3600.0))
    again = compact([*kept, *history.records[-30:]])
    assert folded(again).queues[1].spent_node_hours(6.0) == 1013.0
