"""What the allocation machine is told, and what it wants done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hqtrio.autoalloc.dialogues import (
    Answered,
    CancelAnswer,
    Found,
    Submission,
    SubmitAnswer,
    Unanswered,
)
from hqtrio.messages.allocations import QueueRequest, QueueResponse
from hqtrio.messages.client import Done, Failure
from hqtrio.messages.records import QueueRecord
from hqtrio.model.allocation import Manager, QueueParams
from hqtrio.model.resources import Descriptor
from hqtrio.model.worker import LossReason

# --- events


@dataclass(frozen=True, slots=True)
class Asked:
    """A client's request; answered with the same token."""

    token: int
    request: QueueRequest


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a Trial; `error` is empty if all went well."""

    token: int
    error: str


@dataclass(frozen=True, slots=True)
class WorkSubmitted:
    """Tasks may wait that did not wait before."""


@dataclass(frozen=True, slots=True)
class WorkerCame:
    """A worker that says that it runs in a job of this manager; also one that is back."""

    worker: int
    manager: Manager
    job_id: str
    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class WorkerWent:
    worker: int
    reason: LossReason


@dataclass(frozen=True, slots=True)
class DemandKnown:
    """Workers that would be used, per query of AskDemand: of single-node tasks, and (query, nodes,
    allocations) of others."""

    single_node: tuple[int, ...]
    multi_node: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class DemandUnknown:
    """It cannot be told yet."""


@dataclass(frozen=True, slots=True)
class WorkKnown:
    """Whether any task waits, for a worker or for other tasks."""

    waits: bool


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a Submit."""

    queue: int
    number: int
    answer: SubmitAnswer


@dataclass(frozen=True, slots=True)
class LookedFor:
    """What became of a Find."""

    queue: int
    number: int
    answer: Found | Unanswered


@dataclass(frozen=True, slots=True)
class StatusKnown:
    """What became of an AskStatus."""

    manager: Manager
    answer: Answered | Unanswered


@dataclass(frozen=True, slots=True)
class CancelAnswered:
    """What became of a Cancel."""

    manager: Manager
    id: str
    answer: CancelAnswer


@dataclass(frozen=True, slots=True)
class ServerEnds:
    """On purpose: everything that the managers have is cancelled."""


Event = (
    Asked
    | Tried
    | WorkSubmitted
    | WorkerCame
    | WorkerWent
    | DemandKnown
    | DemandUnknown
    | WorkKnown
    | Submitted
    | LookedFor
    | StatusKnown
    | CancelAnswered
    | ServerEnds
)


# --- effects, to be performed in the order given


@dataclass(frozen=True, slots=True)
class Record:
    """Durable before anything that follows is begun."""

    records: tuple[QueueRecord, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    token: int
    response: QueueResponse | Done | Failure


@dataclass(frozen=True, slots=True)
class Trial:
    """Have an allocation of the largest size accepted, and cancel it."""

    token: int
    params: QueueParams


@dataclass(frozen=True, slots=True)
class Query:
    """Workers that a queue could start; what a `partial` descriptor does not list is unknown."""

    descriptor: Descriptor
    partial: bool
    lifetime_s: float
    max_sn_workers: int
    max_workers_per_alloc: int
    min_utilization: float


@dataclass(frozen=True, slots=True)
class AskDemand:
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Submit:
    queue: int
    number: int
    submission: Submission


@dataclass(frozen=True, slots=True)
class Find:
    queue: int
    number: int
    manager: Manager
    name: str
    directory: str


@dataclass(frozen=True, slots=True)
class AskStatus:
    manager: Manager
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    manager: Manager
    id: str
    directory: str


@dataclass(frozen=True, slots=True)
class Discard:
    """The directory of an allocation that has ended is not kept any more."""

    directory: str


@dataclass(frozen=True, slots=True)
class DismissUseless:
    """Those of the workers that can do nothing of what waits may go; answered by WorkKnown."""

    workers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Say:
    """For the log: what users should be able to read later."""

    is_error: bool
    text: str


Effect = (
    Record
    | Answer
    | Trial
    | AskDemand
    | Submit
    | Find
    | AskStatus
    | Cancel
    | Discard
    | DismissUseless
    | Say
)

Effects = Sequence[Effect]
