"""The words for how a task failed."""

from __future__ import annotations

import tracemalloc

from hqtrio.jobs.endings import TEXT_MAX, error_text
from hqtrio.model.task import Ending


def test_a_worker_cannot_fill_the_server_with_long_error_texts():
    tracemalloc.start()
    try:
        kept = [error_text(Ending.EXITED, 1, f"{n} " + "x" * 1_000_000) for n in range(100)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {len(text) for text in kept} == {TEXT_MAX}
    assert held < 10 * len(kept) * TEXT_MAX


def test_tasks_that_fail_alike_share_one_text():
    texts = [error_text(Ending.EXITED, 3) for _ in range(2)]
    assert texts[0] is texts[1]
    assert texts[0] == "Program terminated with exit code 3."
