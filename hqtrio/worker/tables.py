"""Rows of the worker machine's tables: classes, slots, and the tasks that lie with launchers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from hqtrio.model.resources import Claim, Variants
from hqtrio.model.task import Ending, PinMode
from hqtrio.worker.backlog import Backlog
from hqtrio.worker.bodies import Body

AHEAD_MAX: Final = 32  # tasks that lie ahead in a lane at most
AHEAD_S: Final = 0.05  # and at most about this much work
_WEIGHT: Final = 0.2  # of the latest duration in the moving average


@dataclass(slots=True, eq=False)
class LaneTask:
    """A task that a launcher was ordered to run and that is not known to be over.

    `fixed`: its end was ordered, and this is how it will be reported. `mute`: nobody is to hear of
    it any more. `retract`: the Retract that asked for it. `token` names this execution to the
    processes of this host.
    """

    task: int
    instance: int
    slot: Slot
    launcher: int
    body: Body
    priority: int
    entry: bytes
    running: bool = False
    started_at: float = 0.0
    limit_at: float = 0.0
    fixed: Ending | None = None
    mute: bool = False
    retract: int = 0
    token: bytes = b""


@dataclass(slots=True, eq=False)
class Slot:
    """A claim that serves one class. Its lane lies with one launcher (0: not placed yet).

    `tasks` lie in the lane, in order; all have the lane's pin mode. `held_back` counts ends that
    wait before they are reported. `void`: the server knows nothing of it, it only has to empty.
    The slot of a multi-node task has `nodes`, and is `spent` as soon as it has taken its task.
    """

    number: int
    klass: Klass
    variant: int
    claim: Claim
    fresh_until: float
    time_s: float
    launcher: int = 0
    lane: int = 0
    pin: int = PinMode.NONE
    tasks: dict[int, LaneTask] = field(default_factory=dict)
    drain: DrainGroup | None = None
    void: bool = False
    held_back: int = 0
    nodes: tuple[str, ...] = ()
    spent: bool = False

    @property
    def pulls(self) -> bool:
        """Whether it may take another task."""
        return self.drain is None and not self.spent

    @property
    def may_go_on(self) -> bool:
        """Whether it pulls, or will if enough others of its group have closed before it."""
        return not self.spent and (self.drain is None or self.drain.spares)


@dataclass(slots=True, eq=False)
class DrainGroup:
    """The open slots that one Drain named. When `wanted` more have closed, the others go on."""

    wanted: int
    slots: dict[int, Slot] = field(default_factory=dict)

    @property
    def spares(self) -> bool:
        """Whether some of the slots will not have to close."""
        return self.wanted < len(self.slots)


@dataclass(slots=True, eq=False)
class Klass:
    """A request class: its slots share one backlog. `taking` counts lanes asked to give back."""

    variants: Variants
    backlog: Backlog = field(default_factory=Backlog)
    slots: dict[int, Slot] = field(default_factory=dict)
    average_s: float = -1.0
    taking: int = 0
    orphaned_until: float = 0.0  # backlog without any slot waits for one until then; 0: it has one

    def learn(self, duration_s: float) -> None:
        """Let an execution's duration move the average."""
        if self.average_s < 0:
            self.average_s = max(0.0, duration_s)
        else:
            self.average_s += _WEIGHT * (max(0.0, duration_s) - self.average_s)

    def ahead(self) -> int:
        """How many tasks may lie behind a running one: none while durations are unknown."""
        if self.average_s < 0:
            return 0
        if self.average_s * AHEAD_MAX <= AHEAD_S:
            return AHEAD_MAX
        return int(AHEAD_S / self.average_s)
