"""Shipping, receipts and re-attachment: what the rules promise, and what each of them is for."""

from __future__ import annotations

import pytest
from adoption_model import KILL, Bad, Faults, Findings, Rules, explore

RESTARTS = Faults(kills=1, graces=1)
RETURNS = Faults(cuts=1, retracts=1, graces=1)
TWO_RETURNS = Faults(cuts=2, graces=1)


def without(rule: str, faults: Faults) -> Findings:
    return explore(faults, Rules()._replace(**{rule: False}))


@pytest.mark.parametrize(
    "faults",
    [
        Faults(kills=2, graces=1),
        Faults(kills=1, retracts=1, graces=1),
        Faults(kills=1, cuts=1),
        Faults(deaths=1, graces=1, retracts=1),
        RETURNS,
        TWO_RETURNS,
    ],
    ids=str,
)
def test_with_all_rules_nothing_bad_can_happen(faults: Faults) -> None:
    findings = explore(faults, Rules())
    assert findings.stories == {}
    assert findings.worlds > 1000


@pytest.mark.parametrize(
    ("rule", "faults", "bad"),
    [
        ("shipments_recorded", RESTARTS, {Bad.TWINS, Bad.SECOND_RUN, Bad.KILLED}),
        ("shipped_stays", RESTARTS, {Bad.SECOND_RUN, Bad.KILLED}),
        ("ends_recorded", RESTARTS, {Bad.SECOND_RUN}),
        ("reports_kept", RESTARTS, {Bad.SECOND_RUN}),
        ("instances_counted", RESTARTS, {Bad.TWINS}),
        ("state_exchanged", RETURNS, {Bad.DEAD_END}),
        ("old_orders_void", RETURNS, {Bad.SECOND_RUN, Bad.DEAD_END}),
        ("old_reports_void", RETURNS, {Bad.SECOND_RUN, Bad.TWINS}),
        ("hellos_numbered", TWO_RETURNS, {Bad.SECOND_RUN, Bad.DEAD_END}),
    ],
)
def test_each_rule_alone_is_needed(rule: str, faults: Faults, bad: set[Bad]) -> None:
    assert without(rule, faults).stories.keys() == bad


def test_every_rule_was_taken_away_once() -> None:
    (mark,) = test_each_rule_alone_is_needed.pytestmark
    assert {row[0] for row in mark.args[1]} == set(Rules._fields)


def test_an_unrecorded_shipment_makes_twins_when_the_other_worker_is_back_first() -> None:
    assert without("shipments_recorded", RESTARTS).stories[Bad.TWINS] == [
        "instance 0 is shipped to worker 0",
        "SERVER KILL -9",
        "the server restarts from its journal",
        "worker 0 gets instance 0",
        "worker 0 starts instance 0",
        "worker 1 notices that the server is gone",
        "worker 1 connects",
        "worker 1 is back, welcome",
        "instance 0 is shipped to worker 1",
        "worker 1 reads welcome",
        "worker 1 gets instance 0",
        "worker 1 starts instance 0",
    ]


def test_a_restart_that_does_not_wait_for_the_owner_kills_what_runs() -> None:
    story = without("shipped_stays", RESTARTS).stories[Bad.KILLED]
    assert story[-1].endswith(KILL)


def test_an_order_of_the_old_line_is_obeyed_by_nobody_who_has_said_that_he_has_nothing() -> None:
    story = without("old_orders_void", RETURNS).stories[Bad.SECOND_RUN]
    stated = story.index("worker 0 connects")
    assert "worker 0 gets instance 0" in story[stated:]


def test_a_hello_that_comes_late_must_not_displace_the_newer_line() -> None:
    """It states what the worker had once, and so the server takes away what it has now."""
    story = without("hellos_numbered", TWO_RETURNS).stories[Bad.SECOND_RUN]
    late = next(step for step in story if step.startswith("worker 0 (its old line) is back"))
    assert story.index("worker 0 starts instance 0") < story.index(late)
    assert story[-1] == "worker 1 starts instance 1"


def test_a_worker_may_die_and_the_task_still_ends() -> None:
    assert Bad.DEAD_END not in explore(Faults(deaths=2, graces=1), Rules()).stories
