"""Trial allocations: does the manager accept what a queue would submit?"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from typing import Final

import trio

from actors.server.allocation_files import write_files
from actors.server.manager_commands import hold
from hqtrio.autoalloc.context import Settings
from hqtrio.autoalloc.dialogues import (
    SUBMIT_FILE,
    Adapter,
    Found,
    NotCancelled,
    Rejected,
    Submission,
    Unsure,
)
from hqtrio.model.allocation import QueueParams

__all__ = ["try_allocation"]

UNSURE_S: Final = 5.0  # before a job that may exist is looked for


async def try_allocation(
    adapter: Adapter,
    params: QueueParams,
    settings: Settings,
    environment: Mapping[str, str],
    timeout_s: float,
) -> str:
    """Have an allocation of the largest size accepted, held, and cancelled.

    What went wrong; empty if nothing did. The script is kept if it was refused.
    """
    try:
        directory = await trio.to_thread.run_sync(_make_directory)
        submission = Submission(
            params,
            f"{params.name or 'hq-0'}-1",
            params.max_workers_per_alloc,
            directory,
            directory,
            settings.words,
            settings.variables,
            trial=True,
        )
        await write_files(directory, adapter.files(submission))
    except OSError as error:
        return f"Could not submit allocation: {error}"
    checked = await hold(adapter.check(submission), environment, timeout_s)
    answer = checked
    if not isinstance(checked, Rejected):
        submitted = await hold(adapter.submit(submission), environment, timeout_s)
        if isinstance(submitted, Unsure):
            await _cancel_found(adapter, submission, environment, timeout_s)
            return f"Could not submit allocation: {submitted.words}{_where(directory)}"
        answer = submitted
    if isinstance(answer, Rejected):
        return f"Could not submit allocation: {answer.words}{_where(directory)}"
    cancelled = await hold(adapter.cancel(answer.id, directory), environment, timeout_s)
    if isinstance(cancelled, NotCancelled):
        return f"Could not cancel allocation {answer.id}: {cancelled.words}"
    await trio.to_thread.run_sync(shutil.rmtree, directory, True)
    return ""


def _make_directory() -> str:
    return os.path.realpath(tempfile.mkdtemp(prefix="hqtrio-trial-"))


def _where(directory: str) -> str:
    return f"\nYou can find the submitted script at `{directory}/{SUBMIT_FILE}`"


async def _cancel_found(
    adapter: Adapter, submission: Submission, environment: Mapping[str, str], timeout_s: float
) -> None:
    """It may exist all the same."""
    await trio.sleep(UNSURE_S)
    dialogue = adapter.find(submission.name, submission.directory)
    found = await hold(dialogue, environment, timeout_s)
    if isinstance(found, Found):
        for job in found.jobs:
            cancel = adapter.cancel(job.id, submission.directory)
            await hold(cancel, environment, timeout_s)
