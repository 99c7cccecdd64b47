"""What clients ask about allocation queues, and what they are told; part of messages.client."""

from __future__ import annotations

from enum import IntEnum

from hqtrio.model.allocation import QueueParams
from hqtrio.model.resources import Descriptor
from hqtrio.model.value import Value

# --- requests


class AddQueue(Value, frozen=True, tag=30):
    """With `trial`, after an allocation like those of the queue was accepted and cancelled;
    answered by QueueAnswer."""

    params: QueueParams
    trial: bool = True


class EditQueue(Value, frozen=True, tag=31):
    """For allocations to come; answered by Done. The manager cannot be changed."""

    queue: int
    params: QueueParams


class RemoveQueue(Value, frozen=True, tag=32):
    """Its allocations are cancelled; with running ones only by `force`. Answered by Done."""

    queue: int
    force: bool = False


class PauseQueue(Value, frozen=True, tag=33):
    """Answered by Done, also if it is paused."""

    queue: int


class ResumeQueue(Value, frozen=True, tag=34):
    """Its failures are forgotten; answered by Done, also if it is active."""

    queue: int


class ListQueues(Value, frozen=True, tag=35):
    """Queues with ids above `after`; answered by QueueRows."""

    after: int = 0


class ListAllocations(Value, frozen=True, tag=36):
    """Those of one queue with numbers above `after`; answered by AllocationRows."""

    queue: int
    after: int = 0


class FindAllocation(Value, frozen=True, tag=37):
    """The allocation with this id, or the latest of the queue with this number; answered by
    AllocationRows with one row."""

    id: str


class TryQueue(Value, frozen=True, tag=38):
    """Have such an allocation accepted and cancelled; answered by Done."""

    params: QueueParams


# --- responses


class AllocationState(IntEnum):
    """As users see it."""

    QUEUED = 0
    RUNNING = 1
    FINISHED = 2
    FAILED = 3


class QueueAnswer(Value, frozen=True, tag=30):
    """The id of the new queue."""

    queue: int


class QueueRow(Value, frozen=True):
    """`note` says why nothing is submitted right now; empty if something is.

    `resources` is what its latest worker offers. Node hours are those of allocations that have
    started, and those that queued and running ones may still use.
    """

    id: int
    params: QueueParams
    is_paused: bool = False
    note: str = ""
    resources: Descriptor | None = None
    spent_node_hours: float = 0.0
    committed_node_hours: float = 0.0
    queued: int = 0  # allocations
    running: int = 0


class QueueRows(Value, frozen=True, tag=31):
    """By id; `more` follow."""

    rows: tuple[QueueRow, ...]
    more: bool = False


class AllocationRow(Value, frozen=True):
    """Dates are Unix seconds. `id` is empty while the manager has not said it.

    `note` says why it waits, or why it has ended, with the manager's own words.
    """

    queue: int
    number: int
    id: str
    state: AllocationState
    nodes: int
    directory: str
    queued_at: float
    started_at: float | None = None
    ended_at: float | None = None
    note: str = ""
    workers: tuple[int, ...] = ()  # connected ones


class AllocationRows(Value, frozen=True, tag=32):
    """In order of number; `more` follow."""

    rows: tuple[AllocationRow, ...]
    more: bool = False


QueueRequest = (
    AddQueue
    | EditQueue
    | RemoveQueue
    | PauseQueue
    | ResumeQueue
    | ListQueues
    | ListAllocations
    | FindAllocation
    | TryQueue
)
QueueResponse = QueueAnswer | QueueRows | AllocationRows
