"""The state of a job, as its tasks make it."""

from __future__ import annotations

from collections.abc import Sequence

from hqtrio.messages.client import Counts
from hqtrio.model.task import TaskState


def counts_of(per_state: Sequence[int]) -> Counts:
    """Counts from a list indexed by task state."""
    return Counts(
        waiting=per_state[TaskState.WAITING],
        running=per_state[TaskState.RUNNING],
        finished=per_state[TaskState.FINISHED],
        failed=per_state[TaskState.FAILED],
        cancelled=per_state[TaskState.CANCELLED],
        aborted=per_state[TaskState.ABORTED],
    )
