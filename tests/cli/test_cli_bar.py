"""The progress line."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqtrio.cli.bar import ERASE_LINE, ProgressLine
from hqtrio.cli.render.job_table import bar
from hqtrio.messages.client import Counts, JobRow


def row(**counts):
    return JobRow(1, "j", Counts(**counts), False, None, False)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_terminal_line_is_redrawn_at_most_ten_times_a_second():
    out, clock = io.StringIO(), Clock()
    line = ProgressLine(out, live=True, colors=False, clock=clock)

    line.update([row(waiting=4)])
    line.update([row(waiting=3, finished=1)])  # too soon
    clock.now += 0.2
    line.update([row(waiting=2, finished=2)])
    line.update([row(finished=4)])  # the last one is always drawn
    line.close()

    texts = out.getvalue().split(ERASE_LINE)[1:]
    assert [text.split("] ")[1] for text in texts] == [
        "0/1 jobs, 0/4 tasks",
        "0/1 jobs, 2/4 tasks 2 FINISHED",
        "1/1 jobs, 4/4 tasks 4 FINISHED\n",
    ]


def test_piped_output_gets_few_lines():
    out, clock = io.StringIO(), Clock()
    line = ProgressLine(out, live=False, colors=False, clock=clock)

    for finished in range(1001):
        line.update([row(waiting=1000 - finished, finished=finished)])
    line.close()

    assert len(out.getvalue().splitlines()) == 11
    assert "\r" not in out.getvalue()


def texts_of(out):
    return [text.split("] ")[1] for text in out.getvalue().split(ERASE_LINE)[1:]]


def test_rate_and_estimate_follow_the_last_half_minute():
    out, clock = io.StringIO(), Clock()
    line = ProgressLine(out, live=True, colors=False, clock=clock)

    line.update([row(waiting=800, finished=200)])  # nobody knows how long these took
    clock.now = 10.0
    line.update([row(waiting=600, finished=400)])
    clock.now = 40.0
    line.redraw()  # a standstill makes the estimate grow
    clock.now = 50.0
    line.update([row(waiting=500, finished=500)])

    assert texts_of(out) == [
        "0/1 jobs, 200/1000 tasks 200 FINISHED",
        "0/1 jobs, 400/1000 tasks 400 FINISHED, 20/s, 30s left",
        "0/1 jobs, 400/1000 tasks 400 FINISHED, 5/s, 2m left",
        "0/1 jobs, 500/1000 tasks 500 FINISHED, 2.5/s, 3m 20s left",
    ]


def test_what_is_run_again_or_forgotten_neither_exceeds_the_total_nor_runs_backwards():
    out, clock = io.StringIO(), Clock()
    line = ProgressLine(out, live=True, colors=False, clock=clock)
    other = JobRow(2, "k", Counts(finished=5), False, None, True)

    line.update([row(waiting=1, running=3), other])
    clock.now = 2.0
    line.update([row(waiting=3, running=1), other])  # their worker was lost
    clock.now = 4.0
    line.update([row(running=2, finished=2)])  # the other job was forgotten
    clock.now = 6.0
    line.update([row(finished=4)])

    assert texts_of(out) == [
        "1/2 jobs, 5/9 tasks 3 RUNNING 5 FINISHED",
        "1/2 jobs, 5/9 tasks 1 RUNNING 5 FINISHED",
        "0/1 jobs, 2/4 tasks 2 RUNNING 2 FINISHED",
        "1/1 jobs, 4/4 tasks 4 FINISHED, 1/s",
    ]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (83, f"[{'#' * 34}{'.' * 6}] 0/1 jobs, 2/6 tasks 3 RUNNING 2 FAILED"),
        (70, f"[{'#' * 24}{'.' * 4}] 0/1 jobs, 2/6 tasks 3 RUNNING 2 FAILED"),
        (40, "[#########.] 0/1 jobs, 2/6 tasks 3 RUNN"),
        (30, "0/1 jobs, 2/6 tasks 3 RUNNING"),
        (20, "0/1 jobs, 2/6 tasks"),
        (5, "0/1"),
    ],
)
def test_a_line_fits_the_terminal_and_colours_take_no_room(monkeypatch, columns, text):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.StringIO()
    line = ProgressLine(out, live=True, colors=True, clock=Clock())

    line.update([row(waiting=1, running=3, failed=2)])

    (drawn,) = out.getvalue().split(ERASE_LINE)[1:]
    assert re.sub("\x1b\\[[0-9;]*m", "", drawn).rstrip() == text
    assert drawn.count("\x1b[") % 2 == 0  # every colour is switched off again


def test_a_long_job_gets_fewer_lines_as_time_goes_by():
    out, clock = io.StringIO(), Clock()
    line = ProgressLine(out, live=False, colors=False, clock=clock)

    for second in range(24 * 3600):
        clock.now = float(second)
        line.update([row(waiting=10**8 - second, finished=second)])

    assert 50 < len(out.getvalue().splitlines()) < 150


counts = st.builds(Counts, *[st.integers(0, 10**7)] * 6)


@given(counts)
def test_the_bar_never_exceeds_its_frame(counts):
    text = bar(counts)

    assert len(text) == 42
    assert text == f"[{text.count('#') * '#'}{text.count('.') * '.'}]"
