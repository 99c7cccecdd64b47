"""What the scheduling machine is told by the worker edges, and what it wants done."""

from __future__ import annotations

from dataclasses import dataclass

from hqtrio.messages.scheduling import FromScheduler, ToScheduler
from hqtrio.messages.worker import FromWorker, Register, ToWorker
from hqtrio.model.worker import LossReason

# --- events of the worker edges; the server's commands are messages.scheduling.ToScheduler


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """A connection authenticated as a worker and has said who it is."""

    link: int
    hello: Register


@dataclass(frozen=True, slots=True)
class WorkerSaid:
    """One frame: the messages of it are applied together."""

    link: int
    messages: tuple[FromWorker, ...]


@dataclass(frozen=True, slots=True)
class LinkClosed:
    link: int
    reason: LossReason


@dataclass(frozen=True, slots=True)
class LinkStuck:
    """The worker has not read what it was sent for a while."""

    link: int


@dataclass(frozen=True, slots=True)
class LinkFree:
    """It has read that now."""

    link: int


Event = ToScheduler | LinkOpened | WorkerSaid | LinkClosed | LinkStuck | LinkFree


# --- effects, to be performed in the order given


@dataclass(frozen=True, slots=True)
class ToLink:
    """Send these messages as one frame."""

    link: int
    messages: tuple[ToWorker, ...]


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Close after what was sent before. Nothing from this link is listened to any more."""

    link: int
    reason: str


@dataclass(frozen=True, slots=True)
class Fact:
    """Put this to the server."""

    value: FromScheduler


@dataclass(frozen=True, slots=True)
class Shipped:
    """To be recorded before the frame that follows leaves. Columns as in Enqueue."""

    worker: int
    firsts: bytes
    counts: bytes
    instances: bytes


@dataclass(frozen=True, slots=True)
class TakenBack:
    """To be recorded: these tasks (u64) no longer belong to the worker."""

    worker: int
    tasks: bytes


Effect = ToLink | CloseLink | Fact | Shipped | TakenBack
