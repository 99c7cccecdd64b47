"""What the parts of the allocation machine share."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Final

from hqtrio.autoalloc.books import Allocation, Books, Place, Queue
from hqtrio.autoalloc.dialogues import Submission
from hqtrio.autoalloc.events import Cancel, Effect, Record, Say
from hqtrio.autoalloc.limiter import Limits
from hqtrio.messages.records import AllocationCancelling, QueueRecord
from hqtrio.now import Now

__all__ = ["Context", "Settings", "Trace", "label"]

DEFAULT_LIMITS: Final = Limits()
FOLDER: Final = "autoalloc"  # in the instance directory: nobody else submits anything there
AGAIN_S: Final = 30.0  # after a cancel that failed
STILL_THERE_S: Final = 120.0  # after one that the manager has accepted


@dataclass(frozen=True, slots=True)
class Settings:
    """`directory` is the server's instance directory: absolute, without symbolic links.

    `words` start this program; `variables` are set in front of every worker.
    """

    directory: str
    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    limits: Limits = DEFAULT_LIMITS
    tick_s: float = 5.0  # demand that is known of is looked at so often
    max_delay_s: float = 30.0  # and all other demand so often
    refresh_s: float = 1800.0  # the longest time without a word of the manager
    watch_s: float = 60.0  # the same while something is about to change
    kept_directories: int = 20


@dataclass(slots=True)
class Trace:
    """What is known of an allocation that nobody need remember."""

    errors: int = 0  # unclear answers in a row
    unknown: int = 0  # answers in a row by which it does not exist
    reason: str = ""  # why it waits
    is_submitting: bool = False
    find_at: float = inf
    finds: int = 0  # clear answers by which it was never made
    is_cancelling: bool = False
    cancel_at: float = inf


@dataclass(slots=True)
class Context:
    """Books, and the effects of the present event."""

    settings: Settings
    books: Books
    effects: list[Effect] = field(default_factory=list)
    traces: dict[Place, Trace] = field(default_factory=dict)
    refresh_at: float = 0.0
    is_wanted: bool = True  # somebody has asked for a pass
    is_ending: bool = False

    def record(self, *records: QueueRecord) -> None:
        """These things have happened; what is done next is done when they are on the disk."""
        for record in records:
            self.books.apply(record)
        if self.effects and isinstance(before := self.effects[-1], Record):
            self.effects[-1] = Record((*before.records, *records))
        else:
            self.effects.append(Record(records))

    def say(self, text: str, *, is_error: bool = False) -> None:
        self.effects.append(Say(is_error, text))

    def trace(self, allocation: Allocation) -> Trace:
        return self.traces.setdefault((allocation.queue, allocation.number), Trace())

    def refresh_in(self, seconds: float, now: Now) -> None:
        """Have the managers asked no later than that."""
        self.refresh_at = min(self.refresh_at, now.monotonic + seconds)

    def queue_of(self, allocation: Allocation) -> Queue:
        """The queue of an allocation that is in the books."""
        queue = self.books.queue(allocation.queue)
        assert queue is not None
        return queue

    def cancel(self, allocation: Allocation, now: Now) -> None:
        """It has to end; if its id is not known yet, as soon as it is."""
        if not allocation.is_cancelled:
            self.record(AllocationCancelling(allocation.queue, allocation.number, now.wall))
        trace = self.trace(allocation)
        if allocation.id and not trace.is_cancelling:
            trace.is_cancelling, trace.cancel_at = True, inf
            manager = self.queue_of(allocation).params.manager
            self.effects.append(Cancel(manager, allocation.id, allocation.directory))

    def cancel_unwanted(self, allocation: Allocation, now: Now) -> None:
        """It is there. If it was to end, or its queue is gone, it is cancelled, or is soon."""
        unwanted = allocation.is_cancelled or allocation.queue in self.books.removed
        if unwanted and self.trace(allocation).cancel_at == inf:
            self.cancel(allocation, now)

    def submission(self, queue: Queue, allocation: Allocation) -> Submission:
        """How it is asked for."""
        settings = self.settings
        return Submission(
            queue.params,
            allocation.name,
            allocation.nodes,
            allocation.directory,
            settings.directory,
            settings.words,
            settings.variables,
        )


def label(allocation: Allocation) -> str:
    """As logs name it."""
    job = f" ({allocation.id})" if allocation.id else ""
    return f"allocation {allocation.queue}/{allocation.number}{job}"
