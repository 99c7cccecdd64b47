"""What the job book is told by clients, and what it wants done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hqtrio.messages.client import JobNotice, Request, Response, TaskNotice, WorkerNotice
from hqtrio.messages.records import Record
from hqtrio.messages.scheduling import Receipt, ToScheduler

# --- events beside those of the scheduler


@dataclass(frozen=True, slots=True)
class ClientAsked:
    """A client's call `number`; `session` names its connection."""

    session: int
    number: int
    request: Request


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The connection is gone; nothing is sent to it any more."""

    session: int


@dataclass(frozen=True, slots=True)
class ServerEnds:
    """The server ends on purpose: workers that go from now on were told to."""


@dataclass(frozen=True, slots=True)
class TaskSetAside:
    """What is told of this task cannot be handled, for the reason that its user will read."""

    task: int
    text: str


# --- effects


@dataclass(frozen=True, slots=True)
class Append:
    """Write these records before any later effect leaves the process."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a call; if `durable`, not before all records so far are."""

    session: int
    number: int
    response: Response
    durable: bool = False


EVERYBODY: Final = 0  # in place of a session: all who are told every event


@dataclass(frozen=True, slots=True)
class Notify:
    session: int
    notice: JobNotice | WorkerNotice | TaskNotice


@dataclass(frozen=True, slots=True)
class Command:
    """Tell the scheduler."""

    value: ToScheduler


@dataclass(frozen=True, slots=True)
class Receipted:
    """Tell the worker, through the scheduler, as soon as all records so far are durable."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class StopServer:
    """End the server on purpose, once the answers before this are sent."""


Effect = Append | Answer | Notify | Command | Receipted | StopServer


class Outbox:
    """What one event causes: records in order, and effects in order, which follow the records."""

    __slots__ = ("effects", "records")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.effects: list[Effect] = []

    def record(self, record: Record) -> None:
        self.records.append(record)

    def command(self, value: ToScheduler) -> None:
        self.effects.append(Command(value))

    def take(self) -> list[Effect]:
        """Everything, as one Append and then the effects; nothing is left."""
        records, effects = self.records, self.effects
        self.records, self.effects = [], []
        return [Append(tuple(records)), *effects] if records else effects
