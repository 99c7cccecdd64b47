"""Tasks that launchers were asked to give back, and the Retracts that wait for their answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hqtrio.worker.orders import TakeBack
from hqtrio.worker.tables import Klass, LaneTask


@dataclass(frozen=True, slots=True)
class Take:
    """A TakeBack under way. `retract`: the Retract it serves, or 0. `klass`: waits for it."""

    launcher: int
    tasks: tuple[int, ...]
    retract: int
    klass: Klass | None


@dataclass(slots=True)
class _Retracting:
    released: list[int]
    outstanding: int = 0


class Recalls:
    """TakeBacks by their number, Retracts by the server's."""

    def __init__(self) -> None:
        self._takes: dict[int, Take] = {}
        self._retracts: dict[int, _Retracting] = {}
        self._next = 1

    def ask(
        self, lane_tasks: Iterable[LaneTask], *, retract: int = 0, klass: Klass | None = None
    ) -> list[TakeBack]:
        """One order for each launcher that holds some of the tasks."""
        by_launcher: dict[int, list[int]] = {}
        for lane_task in lane_tasks:
            by_launcher.setdefault(lane_task.launcher, []).append(lane_task.task)
        orders: list[TakeBack] = []
        for launcher, tasks in by_launcher.items():
            self._takes[self._next] = Take(launcher, tuple(tasks), retract, klass)
            orders.append(TakeBack(launcher, self._next, tuple(tasks)))
            self._next += 1
            if klass is not None:
                klass.taking += 1
        return orders

    def answered(self, seq: int) -> Take | None:
        """The TakeBack of that number, which is over."""
        take = self._takes.pop(seq, None)
        if take is not None and take.klass is not None:
            take.klass.taking -= 1
        return take

    def asked_of(self, launcher: int) -> list[int]:
        """Numbers of the TakeBacks that this launcher has not answered."""
        return [seq for seq, take in self._takes.items() if take.launcher == launcher]

    # --- retracts

    def begin(self, retract: int, released: list[int], outstanding: int) -> None:
        """The Retract has these tasks already and waits for so many answers."""
        self._retracts[retract] = _Retracting(released, outstanding)

    def wants(self, retract: int) -> bool:
        """Whether this Retract still waits."""
        return retract in self._retracts

    def release(self, retract: int, task: int) -> None:
        """The task will not start here."""
        self._retracts[retract].released.append(task)

    def count_down(self, retract: int) -> None:
        """One of the answers that the Retract waits for has come."""
        if retract in self._retracts:
            self._retracts[retract].outstanding -= 1

    def complete(self, retract: int) -> Sequence[int] | None:
        """What the Retract got, once there is nothing to wait for; it is over then."""
        retracting = self._retracts.get(retract)
        if retracting is None or retracting.outstanding:
            return None
        del self._retracts[retract]
        return retracting.released

    def forget_retracts(self) -> None:
        """Nobody waits for an answer any more, and later Retracts may have the same numbers."""
        self._retracts.clear()
        self._takes = {seq: replace(take, retract=0) for seq, take in self._takes.items()}

    def check(self) -> None:
        """Each Retract waits for exactly the TakeBacks that serve it."""
        for seq, retracting in self._retracts.items():
            serving = sum(1 for take in self._takes.values() if take.retract == seq)
            assert serving == retracting.outstanding > 0, seq
