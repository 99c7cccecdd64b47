"""Every rule finds the history that breaks it, and no other rule does."""

from __future__ import annotations

from dataclasses import replace

import chaos_checker as checker
import pytest
from chaos_history import Fault, History, Mark, Outcome, Submit, Task

ONE, TWO = Task(1, 0), Task(1, 1)


def a_good_run() -> History:
    """An array of two and a task that needs both; the second ran twice, since its worker died."""
    return History(
        grace_s=10.0,
        submits=[
            Submit("array", 2, job=1, name="sweep"),
            Submit("after", 1, job=1, needs=("array",)),
            Submit("lost", 3, name="lost"),
        ],
        marks=[
            Mark("begin", "array", ONE, 0, "w1", 1.0),
            Mark("end", "array", ONE, 0, "w1", 2.0),
            Mark("begin", "array", TWO, 0, "w1", 2.1),
            Mark("begin", "array", TWO, 1, "w2", 14.0),
            Mark("end", "array", TWO, 1, "w2", 15.0),
            Mark("begin", "after", Task(1, 2), 0, "w2", 15.1),
            Mark("end", "after", Task(1, 2), 0, "w2", 15.2),
        ],
        faults=[Fault("kill worker", "w1", 2.5, 2.5), Fault("kill server", "", 3.0, 4.0)],
        names=[(1, "sweep")],
        tasks=[ONE, TWO, Task(1, 2)],
        outcomes=[Outcome(task, "finished") for task in (ONE, TWO, Task(1, 2))],
    )


def broken(history: History) -> set[str]:
    return {line.partition(":")[0] for line in checker.violations(history)}


def test_a_good_history_breaks_no_rule() -> None:
    history = a_good_run()
    assert checker.violations(history) == []
    assert checker.restarts(history) == {"kill worker": 1}


def an_acknowledged_submit_exists(history: History) -> None:
    history.submits[2] = replace(history.submits[2], job=2)


def no_submit_is_carried_out_twice(history: History) -> None:
    history.names += [(2, "lost"), (3, "lost")]


def every_task_has_one_outcome(history: History) -> None:
    history.outcomes.append(Outcome(TWO, "failed"))
    history.submits[0] = replace(history.submits[0], fails=True)


def what_finished_has_had_its_effect(history: History) -> None:
    history.marks = [m for m in history.marks if (m.what, m.label) != ("end", "after")]


def no_instance_runs_twice(history: History) -> None:
    history.marks.append(Mark("begin", "array", ONE, 0, "w2", 1.5))


def nothing_runs_again_without_a_reason(history: History) -> None:
    history.faults[0] = Fault("kill worker", "w2", 2.5, 2.5)


def what_never_restarts_runs_once(history: History) -> None:
    history.submits[0] = replace(history.submits[0], never_restart=True)


def what_fails_has_a_reason(history: History) -> None:
    history.submits[0] = replace(history.submits[0], crash_limit=2)
    history.outcomes[1] = Outcome(TWO, "failed", "was running on a worker that was lost")


def only_what_was_cancelled_is(history: History) -> None:
    history.outcomes[0] = Outcome(ONE, "canceled")


def what_is_needed_comes_first(history: History) -> None:
    history.marks[5] = replace(history.marks[5], at=14.5)


def the_journal_is_whole(history: History) -> None:
    history.journal_fault = "damaged at byte 12"


def nothing_is_left_behind(history: History) -> None:
    history.left = ["process 17 of task 1.0"]


BREAKS = (
    an_acknowledged_submit_exists,
    no_submit_is_carried_out_twice,
    every_task_has_one_outcome,
    what_finished_has_had_its_effect,
    no_instance_runs_twice,
    nothing_runs_again_without_a_reason,
    what_never_restarts_runs_once,
    what_fails_has_a_reason,
    only_what_was_cancelled_is,
    what_is_needed_comes_first,
    the_journal_is_whole,
    nothing_is_left_behind,
)


@pytest.mark.parametrize("break_it", BREAKS, ids=lambda rule: rule.__name__)
def test_each_rule_finds_what_breaks_it(break_it) -> None:
    history = a_good_run()
    break_it(history)
    assert broken(history) == {break_it.__name__}


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert {rule.__name__ for rule in checker.RULES} == {rule.__name__ for rule in BREAKS}


@pytest.mark.parametrize(
    ("fault", "is_reason"),
    [
        (Fault("kill worker", "w1", 2.5, 2.5), True),
        (Fault("kill launcher", "w1", 2.5, 2.5), True),
        (Fault("terminate worker", "w1", 2.5, 2.5), True),
        (Fault("kill worker", "w1", 1.5, 1.5), False),  # before it began
        (Fault("cut", "w1", 1.0, 12.0), True),
        (Fault("stall", "w1", 1.0, 12.0), True),
        (Fault("cut", "w1", 2.5, 12.0), False),  # inside the grace
        (Fault("cut", "w2", 1.0, 20.0), False),
        (Fault("kill server", "", 2.5, 30.0), False),
    ],
)
def test_what_explains_that_a_task_ran_again(fault: Fault, is_reason: bool) -> None:
    history = a_good_run()
    history.faults = [fault]
    assert checker.restarts(history) == {fault.what if is_reason else "unexplained": 1}


def test_a_failed_try_explains_the_next() -> None:
    history = a_good_run()
    history.faults = []
    history.marks.append(Mark("fail", "array", TWO, 0, "w1", 2.2))
    assert checker.violations(history) == []


def test_a_task_may_fail_when_its_workers_have_died_as_often_as_it_may() -> None:
    history = a_good_run()
    history.submits[0] = replace(history.submits[0], crash_limit=1)
    history.submits[1] = replace(history.submits[1], needs=())
    history.marks = [m for m in history.marks if m.task != TWO or m.instance == 0]
    history.outcomes[1] = Outcome(TWO, "failed", "was running on a worker that was lost")
    assert checker.violations(history) == []


def test_a_task_that_was_killed_before_its_first_line_belongs_to_its_jobs_submit() -> None:
    history = a_good_run()
    history.submits[2] = Submit("fragile", 1, job=2, name="fragile", never_restart=True)
    history.names.append((2, "fragile"))
    history.tasks.append(Task(2, 0))
    history.outcomes.append(Outcome(Task(2, 0), "failed", "Task was running on a lost worker"))
    assert checker.violations(history) == []
    history.submits[2] = replace(history.submits[2], never_restart=False)
    assert broken(history) == {"what_fails_has_a_reason"}
