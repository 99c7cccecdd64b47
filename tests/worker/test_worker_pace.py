"""A server with many workers asks for fewer reports; what it acts on leaves at once."""

from __future__ import annotations

from worker_bench import TWO, Bench, define, enqueue, grant, only, span, t

from hqtrio.messages.columns import read_f64, u32, u64
from hqtrio.messages.worker import Ack, Cancel, Drain, Registered, Retract
from hqtrio.model.task import Ending
from hqtrio.worker.events import Heard, LinkEnded, LinkOpened, OpenLink, Say

PACE_S = 0.5


class Paced(Bench):
    """Acknowledges like a server that has many workers. Two slots with 20 tasks are at work."""

    def __init__(self, **more):
        super().__init__(**more)
        self.acknowledge = False
        self.hear()
        self.server(grant(1), grant(2), span(1, 20))
        self.started(1, 2)
        self.wait(PACE_S)
        self.hear()
        assert self.told.started == [(t(1), 1), (t(2), 2)]

    def hear(self, pace_s=PACE_S):
        self.step(Heard(1, (Ack(self.told.last, self.told.last, pace_s),)))


def test_ends_and_starts_wait_together_while_there_is_plenty_to_do():
    bench, before = Paced(), 1
    bench.ended(1)
    bench.wait(0.2)
    bench.started(3)
    bench.ended(2)
    assert bench.told.ended == [] and bench.told.last == before
    bench.wait(0.31)
    assert bench.told.last == before + 1
    assert bench.told.ended == [(t(1), Ending.FINISHED), (t(2), Ending.FINISHED)]
    assert bench.told.started[2:] == []
    bench.wait(PACE_S)
    assert bench.told.started[2:] == [(t(3), 1)]


def test_a_start_is_not_told_when_the_task_ends_before_it_has_waited_for_the_pace():
    bench = Paced()
    bench.wait(0.4)
    bench.ended(1)
    bench.wait(0.4)
    bench.started(3)
    bench.wait(0.2)
    assert bench.told.ended == [(t(1), Ending.FINISHED)]
    bench.ended(3)
    bench.wait(PACE_S)
    assert bench.told.ended[1:] == [(t(3), Ending.FINISHED)]
    assert t(3) not in dict(bench.told.started)


def test_a_start_that_has_waited_leaves_with_the_first_report():
    bench = Paced()
    bench.ended(1)
    bench.wait(0.2)
    bench.started(3)
    bench.wait(PACE_S + 0.01)
    assert bench.told.started[2:] == []
    bench.ended(2, status=3)
    assert bench.told.started[2:] == [(t(3), 1)]


def test_the_wait_is_counted_from_the_first_fact():
    bench = Paced()
    for task in range(1, 5):
        bench.wait(0.15)
        bench.ended(task)
    assert bench.told.ended == []
    bench.wait(0.06)
    assert [task for task, _ in bench.told.ended] == [t(1), t(2), t(3), t(4)]


def test_ages_are_those_of_the_moment_when_the_report_leaves():
    bench = Paced()
    bench.ended(1)
    (said,) = only(bench.wait(1.0), Say)
    (fact,) = said.messages[0].facts
    assert list(read_f64(fact.ended_ages)) == [PACE_S]


def test_without_a_pace_everything_leaves_at_once():
    bench = Paced()
    bench.hear(pace_s=0.0)
    bench.ended(1)
    assert bench.told.ended == [(t(1), Ending.FINISHED)]


def test_a_pace_that_is_withdrawn_releases_what_was_held_back():
    bench = Paced()
    bench.ended(1)
    bench.hear(pace_s=0.0)
    assert bench.told.ended == [(t(1), Ending.FINISHED)]


def test_a_slot_that_closes_takes_everything_along():
    bench = Paced()
    bench.ended(1)
    bench.server(Drain(u32([2])))
    bench.ended(2)
    assert bench.told.closed == [2]
    assert [task for task, _ in bench.told.ended] == [t(1), t(2)]


def test_an_end_that_may_abort_others_leaves_at_once():
    bench = Paced()
    bench.ended(1)
    bench.ended(2, status=3)
    assert bench.told.ended == [(t(1), Ending.FINISHED), (t(2), Ending.EXITED)]


def test_a_cancel_is_answered_at_once():
    bench = Paced()
    bench.server(Cancel(u64([t(20)])))
    assert bench.told.ended == [(t(20), Ending.CANCELLED)]


def test_a_retract_is_answered_at_once():
    bench = Paced()
    bench.ended(1)
    bench.server(Retract(1, u64([t(19), t(20)])))
    assert bench.told.retracted == {1: [t(19), t(20)]}
    assert bench.told.ended == [(t(1), Ending.FINISHED)]


def test_the_server_hears_in_time_that_work_becomes_scarce():
    bench = Paced()
    bench.server(Retract(1, u64([t(number) for number in range(9, 21)])))
    bench.hear()
    told = len(bench.told.ended)
    for task in range(1, 4):  # 6 waited; each end takes one more of them
        bench.ended(task)
    assert len(bench.told.ended) == told
    bench.ended(4)
    assert len(bench.told.ended) == told + 4


def test_one_class_without_work_ahead_is_enough_to_report_at_once():
    bench = Paced()
    bench.server(*define(2, TWO))
    bench.server(grant(3, klass=2), enqueue(101, klass=2))
    bench.ended(1)
    assert bench.told.ended == [(t(1), Ending.FINISHED)]


def test_everything_that_was_held_back_is_stated_after_a_reconnection():
    bench = Paced()
    bench.ended(1)
    bench.step(LinkEnded(1, "reset"))
    bench.at += 2
    (order,) = only(bench.step(), OpenLink)
    bench.step(LinkOpened(order.link))
    held = bench.told.other[-1].held
    (report,) = held.reports
    assert report.facts[0].tasks == u64([t(1)])


def test_the_next_server_sets_its_own_pace():
    bench = Paced()
    bench.step(LinkEnded(1, "reset"))
    bench.at += 2
    (order,) = only(bench.step(), OpenLink)
    bench.step(LinkOpened(order.link))
    keep = u64([t(number) for number in range(1, 21)])
    bench.step(Heard(order.link, (Registered(7, "abcdef", b"history", 2, keep=keep),)))
    bench.ended(1)
    assert bench.told.ended == [(t(1), Ending.FINISHED)]


def test_an_ending_worker_tells_what_it_held_back():
    bench = Paced(time_limit_s=10.0)
    bench.ended(1)
    bench.wait(0.1)
    assert bench.told.ended == []
    bench.at = 109.99
    bench.started(3)
    bench.ended(2)
    bench.wait(0.02)
    assert [task for task, _ in bench.told.ended] == [t(1), t(2)]
    assert bench.told.started[2:] == [(t(3), 1)]
