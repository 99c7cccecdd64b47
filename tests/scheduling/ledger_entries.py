"""What a scheduler knows: tasks, slots and workers, as plain rows."""

from __future__ import annotations

from dataclasses import dataclass, field

from naive_pools import NaivePools

from hqtrio.model.requests import format_request
from hqtrio.model.resources import UNIT, Claim, Request, Variants
from hqtrio.model.worker import WorkerConfig


def text(variants: Variants) -> str:
    """What a class asks for, in short."""
    return " | ".join(
        ", ".join(format_request(request))
        + (f" for {request.time_s:g} s" if request.time_s else "")
        + (f" weight {request.weight / UNIT:g}" if request.weight != UNIT else "")
        for request in variants
    )


@dataclass(slots=True, eq=False, repr=False)
class TaskEntry:
    """A task that the scheduler was told of, and has not seen the end of."""

    id: int
    variants: Variants
    priority: int
    instance: int
    ready_at: float
    worker: int = 0  # that it was shipped to; 0: ready
    slot: int = 0  # in which it is known to have started
    asked_back: int = 0  # in this retract
    cancelled: bool = False

    def __repr__(self) -> str:
        where = f" at worker {self.worker}" if self.worker else ""
        where += f" in slot {self.slot}" if self.slot else ""
        return f"<task {self.id:x} priority {self.priority}: {text(self.variants)}{where}>"


@dataclass(slots=True, eq=False, repr=False)
class SlotEntry:
    worker: int
    number: int
    variants: Variants
    variant: int
    claim: Claim
    gang: tuple[int, ...] = ()  # workers of a multi-node task, root first
    drain: DrainEntry | None = None

    def __repr__(self) -> str:
        labels = " ".join(
            f"{share.resource}[{','.join(share.labels)}]{share.amount / UNIT:g}"
            for share in self.claim.shares
        )
        return f"<slot {self.number} of worker {self.worker}: {text((self.request,))} {labels}>"

    @property
    def request(self) -> Request:
        return self.variants[self.variant]

    @property
    def closes(self) -> bool:
        """Whether it will take no other task, whatever the other slots do."""
        return self.drain is not None and self.drain.takes_all


@dataclass(slots=True, eq=False)
class DrainEntry:
    """Of these slots so many are still to close (None: all), whichever are empty first."""

    left: int | None
    slots: set[int] = field(default_factory=set)

    @property
    def takes_all(self) -> bool:
        return self.left is None or self.left >= len(self.slots)


@dataclass(slots=True, eq=False)
class WorkerEntry:
    id: int
    link: int
    config: WorkerConfig
    deadline_at: float
    pools: NaivePools
    slots: dict[int, SlotEntry] = field(default_factory=dict)
    held: dict[int, TaskEntry] = field(default_factory=dict)  # shipped there and not ended
    classes: dict[int, Variants] = field(default_factory=dict)
    too_late: set[Variants] = field(default_factory=set)
    stopping: bool = False
    stuck: bool = False
    gang: SlotEntry | None = None  # the slot of the multi-node task that it belongs to
    last: dict[int, TaskEntry] = field(default_factory=dict)  # started in each slot
    doomed: set[int] = field(default_factory=set)  # tasks it is back with and may not go on with
    leaves: bool = False  # it is back to finish what runs

    @property
    def in_use(self) -> bool:
        return not (self.stopping or self.stuck or self.doomed or self.leaves)

    def lives_for(self, request: Request, now: float) -> bool:
        return now + request.time_s <= self.deadline_at

    def slots_of(self, variants: Variants) -> list[SlotEntry]:
        return [slot for slot in self.slots.values() if slot.variants == variants]


@dataclass(frozen=True, repr=False)
class HoldEntry:
    worker: int
    variants: Variants
    priority: float  # of the task that waits; half a level more if it has waited for long

    def __repr__(self) -> str:
        return f"<worker {self.worker} held at {self.priority} for {text(self.variants)}>"
