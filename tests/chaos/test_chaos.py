"""A fixed seed of `chaos.py`, for half a minute."""

from __future__ import annotations

from collections import Counter

from chaos_checker import restarts, violations
from chaos_driver import Chaos, summary


def test_whatever_dies_nothing_is_lost_and_nothing_is_done_twice(tmp_path) -> None:
    history = Chaos(tmp_path, seed=5, length_s=30.0).run()
    found, again = violations(history), restarts(history)
    print(summary(history, again, found))
    assert found == []
    assert again["unexplained"] == 0
    broken = Counter(fault.what for fault in history.faults)
    assert broken["kill server"] and broken["kill worker"]
    finished = sum(outcome.state == "finished" for outcome in history.outcomes)
    assert finished, "a history in which nothing happens breaks no rule"
