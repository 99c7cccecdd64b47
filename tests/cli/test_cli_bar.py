"""The progress line."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from hqtrio.cli.bar import ERASE_LINE, ProgressLine
from hqtrio.cli.render.job_table import bar
from hqtrio.messages.client import Counts, JobRow


def row(**counts):
    return JobRow(1, "j", Counts(**counts), False, None, False)


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


counts = st.builds(Counts, *[st.integers(0, 10**7)] * 6)


@given(counts)
def test_the_bar_never_exceeds_its_frame(counts):
    text = bar(counts)

    assert len(text) == 42
    assert text == f"[{text.count('#') * '#'}{text.count('.') * '.'}]"
