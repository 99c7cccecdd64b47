"""Once per batch: fill lanes, close slots that have nothing left, give back what cannot start."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from hqtrio.model.task import Ending
from hqtrio.worker.answers import NO_SLOT
from hqtrio.worker.backlog import Run
from hqtrio.worker.bodies import Body
from hqtrio.worker.gangs import gang_environment, node_files
from hqtrio.worker.holdings import Holdings
from hqtrio.worker.launch import NotPrepared, entry_values, plan_lane, use_body
from hqtrio.worker.orders import OpenLane, Order, RunTasks
from hqtrio.worker.tables import Klass, LaneTask, Slot

FRESH_S: Final = 0.25  # a slot's first tasks may come in the frame after its grant
REFILL_FROM: Final = 8  # lanes of at least this length are filled up when half empty
ZERO_COST_WINDOW: Final = 3  # reports of ends without cost that are under way

TOO_LATE: Final = "time"


class Filler:
    """Serves the classes that something happened to. With `zero_cost` no task needs a process."""

    def __init__(self, holdings: Holdings, *, zero_cost: bool) -> None:
        self._held, self._zero_cost = holdings, zero_cost
        self._next_lane = 1

    def settle(self, now: float) -> Sequence[Order]:
        """Serve them, and say everything that has been ordered since the last time."""
        held = self._held
        while held.dirty:
            classes, held.dirty = list(held.dirty), {}
            for klass in classes:
                self._serve(klass, now)
        orders, held.orders = held.orders, []
        return orders

    def seen(self) -> None:
        """The server has heard more: tasks without cost may go on."""
        if self._zero_cost:
            held = self._held
            held.dirty.update((k, None) for k in held.classes.values() if k.backlog)

    def _serve(self, klass: Klass, now: float) -> None:
        slots, ends_at = klass.slots, self._held.ends_at
        if slots or not klass.backlog:
            klass.orphaned_until = 0.0
        timely = [slot for slot in slots.values() if slot.drain is None and not slot.spent]
        self._held.alarms.keep(klass)
        if klass.backlog:
            # What waits here may wait for a slot that is going to be spared.
            serving = timely
            if len(timely) < len(slots):
                serving = [slot for slot in slots.values() if slot.may_go_on]
            reason = TOO_LATE if serving else NO_SLOT
            if ends_at != inf:
                timely = [slot for slot in timely if now + slot.time_s < ends_at]
                serving = [slot for slot in serving if now + slot.time_s < ends_at]
            if not serving:
                if slots or self._has_waited(klass, now):
                    self._bounce(klass, reason)
            elif timely:
                self._start_some(klass, timely, now)
            if klass.backlog and serving and ends_at != inf:
                self._held.alarms.expire(klass, ends_at - min(s.time_s for s in serving))
        self._close_some(klass, timely, now)

    def _start_some(self, klass: Klass, slots: list[Slot], now: float) -> None:
        if self._zero_cost:
            self._finish_at_once(klass, slots[0], now)
        elif not self._held.void_tasks and self._held.crew.any_ready:
            self._feed(klass, slots, now)

    # --- slots

    def _close_some(self, klass: Klass, timely: Sequence[Slot], now: float) -> None:
        """Close what has nothing left; with the last one that a drain wanted, the others go on."""
        dry: list[Slot] = []
        for slot in [s for s in klass.slots.values() if not s.tasks and not s.held_back]:
            if slot.spent or slot.drain is not None:
                self._close(slot)
            elif klass not in self._held.dirty and slot.fresh_until <= now:
                dry.append(slot)
        if klass.backlog:
            dry = [slot for slot in dry if slot not in timely]
        if not klass.taking and any(slot in timely for slot in dry):
            self._steal(klass)
        if not klass.taking:
            for slot in dry:
                self._close(slot)

    def _close(self, slot: Slot) -> None:
        held = self._held
        del held.slots[slot.number]
        del slot.klass.slots[slot.number]
        held.close_lane(slot)
        held.reports.close(slot.number)
        if slot.klass.backlog:
            held.dirty[slot.klass] = None  # it may have waited for this one
        group = slot.drain
        if group is None:
            return
        del group.slots[slot.number]
        group.wanted -= 1
        if not group.wanted:
            for spared in group.slots.values():
                spared.drain = None
                held.dirty[spared.klass] = None
            group.slots.clear()

    # --- backlog

    def _has_waited(self, klass: Klass, now: float) -> bool:
        """Whether backlog without a slot has waited long enough for one.

        It was sent while the last slot closed. The server knows by now, and its answer is a new
        slot; tasks that come back instead are sent once more, and with tasks of microseconds
        that never ends.
        """
        if not klass.orphaned_until:
            klass.orphaned_until = now + FRESH_S
            self._held.alarms.freshen(klass, klass.orphaned_until)
        return klass.orphaned_until <= now

    def _bounce(self, klass: Klass, reason: str) -> None:
        for run in klass.backlog.take_all():
            for task in range(run.first, run.first + run.count):
                self._held.reports.bounce(task, run.instance, reason)
            self._held.release(run.body, run.count)

    def _finish_at_once(self, klass: Klass, slot: Slot, now: float) -> None:
        """Tasks without cost end as fast as the server hears of it, and no faster.

        Ended all at once, they would empty every slot while the server sends the next ones.
        """
        held, backlog = self._held, klass.backlog
        while backlog and not slot.spent and (room := held.reports.room(ZERO_COST_WINDOW)) > 0:
            run = self._take(slot, room)
            held.reports.finish_span(run.first, run.count, run.instance, slot.number, now)
            held.release(run.body, run.count)

    def _take(self, slot: Slot, most: int) -> Run:
        """What the slot runs next; the only task of a multi-node slot spends it."""
        if slot.nodes:
            slot.spent, most = True, 1
            self._held.dirty[slot.klass] = None
        return slot.klass.backlog.take(most)

    # --- lanes

    def _feed(self, klass: Klass, slots: list[Slot], now: float) -> None:
        """Give each slot's lane its share of the backlog, the emptiest first."""
        backlog = klass.backlog
        ahead = klass.ahead()
        if ahead and self._held.ends_at != inf and any(s.time_s for s in slots):
            ahead = 0  # whether a task may still start is decided when it would
        lying = sum(len(s.tasks) for s in slots)
        share = min(1 + ahead, -(-(backlog.count + lying) // len(slots)))
        if share > 1:
            slots = sorted(slots, key=lambda s: len(s.tasks))
        for slot in slots:
            if share > REFILL_FROM and 2 * len(slot.tasks) > share:
                continue  # full enough: fewer and larger orders cost less
            while backlog and len(slot.tasks) < share and not slot.spent:
                body = backlog.next_body()
                if slot.lane and slot.pin != body.content.pin:
                    if slot.tasks:
                        break  # a lane has one pin mode; it changes when the lane is empty
                    self._held.close_lane(slot)
                if slot.lane or self._open_lane(slot, body, now):
                    self._append(slot, self._take(slot, share - len(slot.tasks)))
            if not backlog:
                return

    def _open_lane(self, slot: Slot, body: Body, now: float) -> bool:
        """Place the slot's lane; if the next task cannot run there, end that task instead."""
        held = self._held
        slot.pin = body.content.pin
        try:
            plan = plan_lane(slot.klass.variants, slot.variant, slot.claim, slot.pin, held.site)
        except NotPrepared as error:
            run = self._take(slot, 1)
            held.reports.end(
                run.first, run.instance, slot.number, Ending.NOT_PREPARED, now, text=str(error)
            )
            held.release(run.body, 1)
            return False
        slot.launcher = held.crew.place()
        slot.lane = self._next_lane
        self._next_lane += 1
        held.orders.append(
            OpenLane(
                slot.launcher,
                slot.lane,
                plan.env + gang_environment(slot.nodes),
                plan.user_wins,
                plan.prefix,
                held.site.work_dir if slot.nodes else "",
                node_files(slot.nodes),
            )
        )
        return True

    def _append(self, slot: Slot, run: Run) -> None:
        held, body, launcher = self._held, run.body, slot.launcher
        if launcher not in body.launchers:
            body.launchers.append(launcher)
            held.orders.append(use_body(launcher, body, held.site))
        tasks = tuple(range(run.first, run.first + run.count))
        if body.content.matrix is not None:
            entries = tuple(body.entry(task) for task in tasks)
        else:
            entries = tuple(run.entries[run.offset : run.offset + run.count]) if run.entries else ()
        values = entry_values(body, entries)
        instances = (run.instance,) * run.count
        tokens = held.make_tokens(tasks, run.instance)
        for index, task in enumerate(tasks):
            entry = entries[index] if entries else b""
            lane_task = LaneTask(task, run.instance, slot, launcher, body, run.priority, entry)
            held.tasks[task] = slot.tasks[task] = lane_task
            if tokens:
                lane_task.token = tokens[index]
                held.tokens[lane_task.token] = lane_task
        held.orders.append(
            RunTasks(launcher, slot.lane, body.key, tasks, instances, entries, tokens, values)
        )

    def _steal(self, klass: Klass) -> None:
        """Ask the lane with most tasks ahead for its later half, for a slot that has run dry."""
        most: list[LaneTask] = []
        for slot in klass.slots.values():
            ahead = [t for t in slot.tasks.values() if not t.running and t.fixed is None]
            if slot.tasks and ahead and ahead[0] is next(iter(slot.tasks.values())):
                del ahead[0]  # it has started, or is about to
            if len(ahead) > len(most):
                most = ahead
        if most:
            self._held.recall(most[len(most) // 2 :], klass=klass)
