"""Notifications at the worker: whose they are, when they leave, and when they are refused."""

from __future__ import annotations

from dataclasses import replace

from worker_bench import SITE, Bench, enqueue, grant, only, t

from hqtrio.messages.columns import u64
from hqtrio.messages.worker import Ack, Cancel, Ended, Register, Report, Started
from hqtrio.worker.events import LinkEnded, LinkOpened, NoteAsked, NoteJudged, Say
from hqtrio.worker.notes import WAITING_MAX, token_of
from hqtrio.worker.orders import RunTasks

KEY = SITE.token_key


def bench() -> Bench:
    return Bench()


def ask(bench: Bench, task: int, text: bytes = b"hello", instance: int = 0):
    """The refusal, and what was said to the server."""
    effects = bench.step(NoteAsked(1, token_of(KEY, t(task), instance), text))
    (judged,) = only(effects, NoteJudged)
    facts = [
        fact
        for say in only(effects, Say)
        for report in say.messages
        if isinstance(report, Report)
        for fact in report.facts
    ]
    return judged.refusal, facts


def notes_of(facts):
    started = [fact for fact in facts if isinstance(fact, Started)]
    return [(note.task, note.instance, note.text) for fact in started for note in fact.notes]


def test_each_execution_gets_a_token_of_its_own():
    here = bench()
    (run,) = only(here.server(grant(1), enqueue(1, 2)), RunTasks)
    assert run.tokens == (token_of(KEY, t(1), 0),)
    tokens = {token_of(key, t(n), i) for key in (KEY, b"x") for n in (1, 2) for i in (0, 1)}
    assert len(tokens) == 8
    assert all(len(token) == 12 and token.startswith(b"hq0-") for token in tokens)


def test_without_a_socket_there_are_no_tokens():
    deaf = Bench(site=replace(SITE, notify_socket=""))
    (run,) = only(deaf.server(grant(1), enqueue(1)), RunTasks)
    assert run.tokens == ()


def test_a_note_leaves_at_once_also_before_its_start_is_known():
    here = bench()
    here.server(grant(1), enqueue(1))
    refusal, facts = ask(here, 1, b"early")
    assert (refusal, notes_of(facts)) == ("", [(t(1), 0, b"early")])


def test_an_ended_or_unknown_or_earlier_execution_is_refused():
    here = bench()
    here.server(grant(1), enqueue(1))
    for task, instance in ((1, 1), (2, 0)):
        assert "does not run any more" in ask(here, task, instance=instance)[0]
    here.ended(1)
    assert "does not run any more" in ask(here, 1)[0]


def test_b50_a_long_text_is_refused():
    here = bench()
    here.server(grant(1), enqueue(1))
    assert ask(here, 1, b"x" * 1024)[0] == ""
    assert "limit exceeded (1025 > 1024 bytes)" in ask(here, 1, b"x" * 1025)[0]


def test_notes_come_before_the_ends_that_leave_with_them():
    """A server that is busy gets both in one report; who waits for the end has to hear the note."""
    here = bench()
    here.acknowledge = False
    here.server(grant(1), enqueue(1))
    for n in range(4):
        ask(here, 1, b"%d" % n)  # four reports are under way: what follows collects
    _, facts = ask(here, 1, b"last")
    assert facts == []
    here.ended(1)
    (say,) = only(here.server(Ack(4, 4)), Say)
    first, second, *_ = say.messages[0].facts
    assert notes_of([first]) == [(t(1), 0, b"last")]
    assert isinstance(second, Ended)


def test_what_the_server_does_not_read_is_bounded():
    here = bench()
    here.acknowledge = False
    here.server(grant(1), enqueue(1))
    for _ in range(4 + WAITING_MAX):
        assert ask(here, 1)[0] == ""
    assert "try again later" in ask(here, 1)[0]
    here.server(Ack(4, 4))
    assert ask(here, 1)[0] == ""


def test_a_lost_connection_costs_no_note():
    here = bench()
    here.server(grant(1), enqueue(1))
    here.step(LinkEnded(1, "gone"))
    refusal, facts = ask(here, 1)
    assert (refusal, facts) == ("", [])
    here.wait(2.0)
    (say,) = only(here.step(LinkOpened(2)), Say)
    (hello,) = say.messages
    assert isinstance(hello, Register)
    facts = [fact for report in hello.held.reports for fact in report.facts]
    assert notes_of(facts) == [(t(1), 0, b"hello")]


def test_a_cancelled_task_may_speak_until_it_is_gone():
    here = bench()
    here.server(grant(1), enqueue(1))
    here.started(1)
    here.server(Cancel(u64([t(1)])))
    assert ask(here, 1)[0] == ""
