"""Everything that a worker holds, and what happens to it from several sides.

Changes are made at once. They mark the classes that they concern, and once per batch those are
served: so a grant and its first tasks, or an end and the next tasks, are seen together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from hqtrio.model.resources import Variants
from hqtrio.worker.alarms import Alarms
from hqtrio.worker.bodies import Body
from hqtrio.worker.crew import Crew
from hqtrio.worker.launch import Site
from hqtrio.worker.notes import token_of
from hqtrio.worker.orders import CloseLane, DropBody, Order
from hqtrio.worker.recalls import Recalls
from hqtrio.worker.reports import Reports
from hqtrio.worker.tables import Klass, LaneTask, Slot


class Holdings:
    """Tables of slots, tasks and classes, and what is to be ordered and reported about them.

    `ends_at` is when the worker's lifetime is over. `void_tasks` lie in slots that only have to
    empty; until they are gone nothing starts. Once it is not `starting`, nothing new ever does.
    `is_managed`: the worker runs in an allocation, whose manager may end everything at once.
    """

    def __init__(self, reports: Reports, site: Site, *, grace_s: float, is_managed: bool) -> None:
        self.reports, self.site, self.is_managed = reports, site, is_managed
        self.ends_at = inf
        self.crew = Crew()
        self.recalls = Recalls()
        self.alarms = Alarms(grace_s)
        self.orders: list[Order] = []
        self.classes: dict[Variants, Klass] = {}
        self.slots: dict[int, Slot] = {}
        self.tasks: dict[int, LaneTask] = {}
        self.tokens: dict[bytes, LaneTask] = {}
        self.void_tasks = 0
        self.starting = True
        self.dirty: dict[Klass, None] = {}

    def make_tokens(self, tasks: Iterable[int], instance: int) -> tuple[bytes, ...]:
        """One for each execution; nothing where tasks cannot reach the worker."""
        if not self.site.notify_socket:
            return ()
        return tuple([token_of(self.site.token_key, task, instance) for task in tasks])

    def mark_all(self) -> None:
        """Every class has to be looked at."""
        self.dirty.update(dict.fromkeys(self.classes.values()))

    def release(self, body: Body, count: int) -> None:
        """So many tasks less need the body; launchers forget one that nobody will name again."""
        body.held -= count
        if body.forgotten and not body.held:
            for launcher in body.launchers:
                if self.crew.is_ready(launcher):
                    self.orders.append(DropBody(launcher, body.key))
            body.launchers.clear()

    def unqueue(self, tasks: Sequence[int]) -> list[tuple[int, int, Body]]:
        """Remove those of the ascending tasks that wait in a backlog."""
        found: list[tuple[int, int, Body]] = []
        for klass in self.classes.values():
            taken = klass.backlog.remove(tasks)
            if taken:
                self.dirty[klass] = None
                found += taken
        for _, _, body in found:
            self.release(body, 1)
        return found

    def leave(self, lane_task: LaneTask) -> None:
        """The task is in no lane any more."""
        slot = lane_task.slot
        del self.tasks[lane_task.task]
        self.tokens.pop(lane_task.token, None)
        del slot.tasks[lane_task.task]
        if lane_task.limit_at:
            self.alarms.unlimit(lane_task)
        self.release(lane_task.body, 1)
        if not slot.void:
            self.dirty[slot.klass] = None
            return
        self.void_tasks -= 1
        if not slot.tasks:
            self.close_lane(slot)
        if not self.void_tasks:
            self.mark_all()

    def close_lane(self, slot: Slot) -> None:
        """The slot has no lane; the next one may lie with another launcher."""
        if slot.lane:
            self.orders.append(CloseLane(slot.launcher, slot.lane))
            self.crew.leave(slot.launcher)
            slot.launcher = slot.lane = 0

    def recall(
        self, lane_tasks: Iterable[LaneTask], *, retract: int = 0, klass: Klass | None = None
    ) -> int:
        """Ask launchers for what has not started; so many answers will come."""
        orders = self.recalls.ask(lane_tasks, retract=retract, klass=klass)
        self.orders += orders
        return len(orders)

    def forget_retracts(self) -> None:
        """What the server asked back over an earlier connection it does not wait for."""
        self.recalls.forget_retracts()
        for lane_task in self.tasks.values():
            lane_task.retract = 0

    def answer_retract(self, retract: int) -> None:
        """Report what the Retract got, if nothing is left to wait for."""
        released = self.recalls.complete(retract)
        if released is not None:
            self.reports.retract(retract, released)
