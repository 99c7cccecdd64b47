"""When a server that has crashed is started again."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.daemon.restarts import Again, Over, Patience, Restarts


def pauses(restarts: Restarts, *lives_s: float) -> list[float | None]:
    """Pause after each crash of servers that were there for so long; None: no other start."""
    now, found = 100.0, []
    for life_s in lives_s:
        restarts.ready(now)
        now += life_s
        match restarts.ended(-signal.SIGKILL, now):
            case Again(_, pause_s):
                found.append(pause_s)
                now += pause_s
            case Over():
                found.append(None)
    return found


def test_pauses_double_and_the_fifth_crash_in_a_row_is_the_last():
    assert pauses(Restarts(), 1, 1, 1, 1, 1) == [1, 2, 4, 8, None]


def test_a_minute_of_uptime_makes_up_for_all_crashes_before():
    assert pauses(Restarts(), 1, 1, 1, 1, 60, 1, 59.9, 1, 1) == [1, 2, 4, 8, 1, 2, 4, 8, None]


def test_time_spent_on_starting_is_no_uptime():
    restarts = Restarts(Patience(crashes_max=2))
    assert restarts.ended(1, 1000.0) == Again("the server ended with exit code 1", 1.0)
    assert isinstance(restarts.ended(1, 2000.0), Over)


def test_no_pause_is_longer_than_the_longest():
    restarts = Restarts(Patience(first_s=1, longest_s=60, crashes_max=100))
    assert pauses(restarts, *[1] * 9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize("code", [0, 130, -signal.SIGINT, -signal.SIGTERM])
def test_who_was_told_to_end_is_not_started_again(code):
    assert Restarts().ended(code, 5.0) == Over()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1, "the server ended with exit code 1"),
        (-signal.SIGKILL, "the server was killed by SIGKILL"),
        (-signal.SIGHUP, "the server was killed by SIGHUP"),
        (-63, "the server was killed by signal 63"),
    ],
)
def test_every_other_end_is_a_crash(code, text):
    assert Restarts().ended(code, 5.0) == Again(text, 1.0)


def test_a_start_that_is_refused_is_tried_again_unless_that_is_no_use():
    restarts = Restarts()
    again = restarts.ended(1, 5.0, refusal="No space left on device")
    assert again == Again("the server could not start: No space left on device", 1.0)
    over = restarts.ended(1, 6.0, refusal="journal in use", is_final=True)
    assert over == Over("the server could not start: journal in use")


def test_the_last_words_say_what_happened_and_how_often():
    restarts = Restarts(Patience(crashes_max=1, healthy_s=60))
    assert restarts.ended(3, 5.0) == Over(
        "the server ended with exit code 3; that was crash 1 without 60 s of uptime between"
    )


@given(st.lists(st.floats(0, 200), min_size=1, max_size=40))
def test_it_gives_up_exactly_after_so_many_short_lives_in_a_row(lives_s):
    restarts, short = Restarts(), 0
    for now, life_s in enumerate(lives_s):
        at = now * 1000.0
        restarts.ready(at)
        # As the machine sees it: what is added to a number is not what is left of it.
        short = 1 if at + life_s - at >= 60 else short + 1
        follows = restarts.ended(-9, at + life_s)
        assert isinstance(follows, Over) == (short >= 5)
        if isinstance(follows, Over):
            return
        assert follows.pause_s == 2 ** (short - 1)
