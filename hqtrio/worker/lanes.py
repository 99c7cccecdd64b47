"""Slots, their backlogs and lanes: which task goes to which launcher, and what comes back.

Changes are made at once; lanes are filled and slots closed once per batch, in `settle`, so that a
grant and its first tasks, or an end and the next tasks, are seen together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Final

from hqtrio.errors import RemoteFault
from hqtrio.messages.columns import read_u32, read_u64
from hqtrio.messages.worker import (
    Cancel,
    DefineBody,
    DefineClass,
    Drain,
    Enqueue,
    Forget,
    Grant,
    Held,
    Report,
    Retract,
    Undrain,
)
from hqtrio.model.resources import Variants
from hqtrio.model.task import Ending
from hqtrio.worker.alarms import Alarms
from hqtrio.worker.backlog import Run
from hqtrio.worker.bodies import Body
from hqtrio.worker.crew import Crew
from hqtrio.worker.launch import NotPrepared, Site, plan_lane, use_body
from hqtrio.worker.orders import (
    CloseLane,
    DropBody,
    KillTasks,
    LauncherDied,
    LauncherSaid,
    OpenLane,
    Order,
    RunTasks,
    SignalTasks,
    TaskRan,
    TaskRefused,
)
from hqtrio.worker.recalls import Recalls
from hqtrio.worker.reports import NEVER, Reports
from hqtrio.worker.statement import state
from hqtrio.worker.tables import Klass, LaneTask, Slot

SIGINT: Final = 2
# Batch managers and the kernel's limits end tasks with these; so do they end the worker itself.
SUSPICIOUS: Final = (-9, -15, -24)  # SIGKILL, SIGTERM, SIGXCPU
FRESH_S: Final = 0.25  # a slot's first tasks may come in the frame after its grant

REFILL_FROM: Final = 8  # lanes of at least this length are filled up when half empty
ZERO_COST_WINDOW: Final = 3  # reports of ends without cost that are under way

NO_SLOT: Final = "no_slot"
TOO_LATE: Final = "time"


class Lanes:
    """What runs and waits here. `ends_at` is when the worker's lifetime is over."""

    def __init__(self, reports: Reports, site: Site, *, zero_cost: bool = False) -> None:
        self.site = site
        self.ends_at = inf
        self.starting = True
        self._reports, self._zero_cost = reports, zero_cost
        self._orders: list[Order] = []
        self.crew = Crew()
        self._classes: dict[Variants, Klass] = {}
        self._class_numbers: dict[int, Klass] = {}
        self._bodies: dict[int, Body] = {}  # by the server's number
        self._next_key = self._next_lane = 1
        self._slots: dict[int, Slot] = {}
        self._tasks: dict[int, LaneTask] = {}
        self._void_tasks = 0
        self._recalls = Recalls()
        self._alarms = Alarms()
        self._dirty: dict[Klass, None] = {}

    # --- what the server orders

    def define_class(self, message: DefineClass) -> None:
        klass = self._classes.get(message.variants)
        if klass is None:
            klass = self._classes[message.variants] = Klass(message.variants)
        self._class_numbers[message.klass] = klass

    def define_body(self, message: DefineBody) -> None:
        self._bodies[message.body] = Body(self._next_key, message.job, message.content)
        self._next_key += 1

    def forget(self, message: Forget) -> None:
        for number in read_u32(message.bodies):
            if body := self._bodies.pop(number, None):
                body.forgotten = True
                self._release(body, 0)

    def grant(self, message: Grant, now: float) -> None:
        klass = self._class(message.klass)
        if not 0 <= message.variant < len(klass.variants) or message.slot in self._slots:
            raise RemoteFault(f"grant of slot {message.slot}: no such variant, or already granted")
        slot = Slot(
            message.slot,
            klass,
            message.variant,
            message.claim,
            now + FRESH_S,
            klass.variants[message.variant].time_s,
        )
        self._slots[slot.number] = klass.slots[slot.number] = slot
        self._alarms.freshen(klass, slot.fresh_until)
        self._dirty[klass] = None

    def enqueue(self, message: Enqueue) -> None:
        klass = self._class(message.klass)
        body = self._bodies.get(message.body)
        if body is None:
            raise RemoteFault(f"tasks with body {message.body}, which was not defined")
        firsts, counts = read_u64(message.firsts), read_u32(message.counts)
        instances = read_u32(message.instances)
        total = sum(counts)
        if not len(firsts) == len(counts) == len(instances):
            raise RemoteFault("columns of tasks differ in length")
        if message.entries and len(message.entries) != total:
            raise RemoteFault(f"{len(message.entries)} entries for {total} tasks")
        offset = 0
        for first, count, instance in zip(firsts, counts, instances, strict=True):
            if count:
                klass.backlog.add(
                    Run(first, count, instance, message.priority, body, message.entries, offset)
                )
                offset += count
        body.held += total
        for slot in klass.slots.values():
            slot.fresh_until = 0.0
        self._dirty[klass] = None

    def retract(self, message: Retract) -> None:
        tasks = sorted(set(read_u64(message.tasks)))
        released = [task for task, _, _ in self._unqueue(tasks)]
        asked = []
        for task in tasks:
            lane_task = self._tasks.get(task)
            if lane_task is not None and not lane_task.running and lane_task.fixed is None:
                lane_task.retract = message.seq
                asked.append(lane_task)
        orders = self._recalls.ask(asked, retract=message.seq)
        self._orders += orders
        self._recalls.begin(message.seq, released, len(orders))
        self._answer_retract(message.seq)

    def drain(self, message: Drain) -> None:
        asked: dict[Klass, list[LaneTask]] = {}
        for number in read_u32(message.slots):
            if slot := self._slots.get(number):
                slot.draining = True
                self._dirty[slot.klass] = None
                waiting = [t for t in slot.tasks.values() if not t.running and t.fixed is None]
                asked.setdefault(slot.klass, []).extend(waiting)
        for klass, lane_tasks in asked.items():
            self._orders += self._recalls.ask(lane_tasks, klass=klass)

    def undrain(self, message: Undrain) -> None:
        for number in read_u32(message.slots):
            if slot := self._slots.get(number):
                slot.draining = False
                self._dirty[slot.klass] = None

    def cancel(self, message: Cancel, now: float) -> None:
        tasks = sorted(set(read_u64(message.tasks)))
        for task, instance, _ in self._unqueue(tasks):
            self._reports.end(task, instance, 0, Ending.CANCELLED, now)
        running = [self._tasks[task] for task in tasks if task in self._tasks]
        self._kill([t for t in running if t.fixed is None], Ending.CANCELLED, now)

    def _class(self, number: int) -> Klass:
        klass = self._class_numbers.get(number)
        if klass is None:
            raise RemoteFault(f"class {number} was not defined")
        return klass

    def _unqueue(self, tasks: Sequence[int]) -> list[tuple[int, int, Body]]:
        """Remove those of the ascending tasks that wait in a backlog."""
        found: list[tuple[int, int, Body]] = []
        for klass in self._classes.values():
            taken = klass.backlog.remove(tasks)
            if taken:
                self._dirty[klass] = None
                found += taken
        for _, _, body in found:
            self._release(body, 1)
        return found

    # --- what launchers say

    def said(self, said: LauncherSaid, now: float) -> None:
        """Take in one answer: starts, ends, refusals, then what was given back."""
        for ran in said.started:
            lane_task = self._tasks.get(ran.task)
            if lane_task is not None and not lane_task.running:
                self._start(lane_task, now - ran.started_age_s)
        for ran in said.ended:
            lane_task = self._tasks.get(ran.task)
            if lane_task is not None:
                self._end(lane_task, ran, now)
        for refused in said.refused:
            lane_task = self._tasks.get(refused.task)
            if lane_task is not None:
                self._refuse(lane_task, refused, now)
        for seq, tasks in said.taken:
            self._taken(seq, tasks, now)

    def _start(self, lane_task: LaneTask, started_at: float) -> None:
        lane_task.running, lane_task.started_at = True, started_at
        if lane_task.fixed is None and not lane_task.mute:
            self._reports.start(
                lane_task.task, lane_task.instance, lane_task.slot.number, started_at
            )
        limit_s = lane_task.body.content.time_limit_s
        if limit_s > 0:
            lane_task.limit_at = started_at + limit_s
            self._alarms.limit(lane_task)

    def _end(self, lane_task: LaneTask, ran: TaskRan, now: float) -> None:
        self._leave(lane_task)
        if lane_task.mute:
            return
        slot = lane_task.slot
        slot.klass.learn(ran.started_age_s - ran.ended_age_s)
        if ran.status in SUSPICIOUS and lane_task.fixed is None:
            self._alarms.hold_back(lane_task, ran, now)
            return
        self._report_end(lane_task, ran, now)

    def _report_end(self, lane_task: LaneTask, ran: TaskRan, now: float) -> None:
        status, fixed = ran.status, lane_task.fixed
        ending: Ending
        if fixed is Ending.TIME_LIMIT:
            ending, code = fixed, 0
        elif status == 0:
            ending, code = Ending.FINISHED, 0
        elif fixed is not None:
            ending, code = fixed, 0
        elif status > 0:
            ending, code = Ending.EXITED, status
        else:
            ending, code = Ending.SIGNALLED, -status
        self._reports.end(
            lane_task.task,
            lane_task.instance,
            lane_task.slot.number,
            ending,
            now - ran.ended_age_s,
            code=code,
            started_at=now - ran.started_age_s,
            cpu_s=ran.cpu_s,
            peak_kib=ran.peak_kib,
            text=ran.error if fixed is None else "",
        )

    def _refuse(self, lane_task: LaneTask, refused: TaskRefused, now: float) -> None:
        self._leave(lane_task)
        if lane_task.mute:
            return
        at = now - refused.age_s
        ending = Ending.NOT_STARTED if refused.prepared else Ending.NOT_PREPARED
        self._reports.end(
            lane_task.task,
            lane_task.instance,
            lane_task.slot.number,
            lane_task.fixed or ending,
            at,
            started_at=at if refused.prepared else NEVER,
            text=refused.text if lane_task.fixed is None else "",
        )

    def _taken(self, seq: int, tasks: Iterable[int], now: float) -> None:
        """The launcher will not start these tasks; the others it was asked for have started."""
        take = self._recalls.answered(seq)
        if take is None:
            return
        for task in tasks:
            lane_task = self._tasks.get(task)
            if lane_task is not None:
                self._unstarted(lane_task, now)
        for task in take.tasks:
            lane_task = self._tasks.get(task)
            if lane_task is not None and lane_task.retract == take.retract:
                lane_task.retract = 0
        if take.klass is not None:
            self._dirty[take.klass] = None
        self._recalls.count_down(take.retract)
        self._answer_retract(take.retract)

    def _unstarted(self, lane_task: LaneTask, now: float) -> None:
        """A task has left its lane without having started: it goes where it was asked for."""
        lane_task.body.held += 1
        self._leave(lane_task)
        wanted = self._recalls.wants(lane_task.retract)
        if not lane_task.mute and lane_task.fixed is None and not wanted:
            lane_task.slot.klass.backlog.add(
                Run(
                    lane_task.task,
                    1,
                    lane_task.instance,
                    lane_task.priority,
                    lane_task.body,
                    (lane_task.entry,) if lane_task.entry else (),
                )
            )
            return
        self._release(lane_task.body, 1)
        if lane_task.mute:
            return
        if lane_task.fixed is not None:
            self._reports.end(lane_task.task, lane_task.instance, 0, lane_task.fixed, now)
        else:
            self._recalls.release(lane_task.retract, lane_task.task)

    def _answer_retract(self, retract: int) -> None:
        released = self._recalls.complete(retract)
        if released is not None:
            self._reports.retract(retract, released)

    def ready(self, launcher: int) -> None:
        """The launcher takes orders."""
        self.crew.ready(launcher)
        self._dirty.update(dict.fromkeys(self._classes.values()))

    def died(self, died: LauncherDied, now: float) -> None:
        """Everything that lay there is lost, and runs again under another instance only.

        Any of it may have started unheard. Of those that were not heard to run, only the head of
        a lane counts as a run that was lost: it is the likely one.
        """
        gone = died.launcher
        self.crew.died(gone)
        lane_tasks = [t for t in self._tasks.values() if t.launcher == gone]
        heads = {next(iter(t.slot.tasks)) for t in lane_tasks}
        for slot in [*(t.slot for t in lane_tasks), *self._slots.values()]:
            if slot.launcher == gone:
                slot.launcher = slot.lane = 0
                self._dirty[slot.klass] = None
        for lane_task in lane_tasks:
            self._leave(lane_task)
            if not lane_task.mute:
                unheard_at = now if lane_task.task in heads else NEVER
                self._reports.end(
                    lane_task.task,
                    lane_task.instance,
                    lane_task.slot.number,
                    lane_task.fixed or Ending.LOST,
                    now,
                    started_at=lane_task.started_at if lane_task.running else unheard_at,
                )
        for seq in self._recalls.asked_of(gone):
            self._taken(seq, (), now)

    def _leave(self, lane_task: LaneTask) -> None:
        """The task is in no lane any more."""
        slot = lane_task.slot
        del self._tasks[lane_task.task]
        del slot.tasks[lane_task.task]
        if lane_task.limit_at:
            self._alarms.unlimit(lane_task)
        self._release(lane_task.body, 1)
        if not slot.void:
            self._dirty[slot.klass] = None
            return
        self._void_tasks -= 1
        if not slot.tasks:
            self._close_lane(slot)
        if not self._void_tasks:
            self._dirty.update(dict.fromkeys(self._classes.values()))

    def _release(self, body: Body, count: int) -> None:
        body.held -= count
        if body.forgotten and not body.held:
            for launcher in body.launchers:
                if self.crew.is_ready(launcher):
                    self._orders.append(DropBody(launcher, body.key))
            body.launchers.clear()

    # --- once per batch

    def settle(self, now: float) -> Sequence[Order]:
        """Fill lanes, close slots that have nothing left, give back what cannot start here."""
        while self._dirty:
            classes, self._dirty = list(self._dirty), {}
            for klass in classes:
                self._serve(klass, now)
        orders, self._orders = self._orders, []
        return orders

    def _serve(self, klass: Klass, now: float) -> None:
        slots = klass.slots
        if slots or not klass.backlog:
            klass.orphaned_until = 0.0
        timely = [slot for slot in slots.values() if not slot.draining]
        self._alarms.keep(klass)
        if klass.backlog:
            reason = TOO_LATE if timely else NO_SLOT
            if self.ends_at != inf:
                timely = [slot for slot in timely if now + slot.time_s < self.ends_at]
            if not timely:
                if slots or self._has_waited(klass, now):
                    self._bounce(klass, reason)
            elif self._zero_cost:
                self._finish_at_once(klass, timely[0], now)
            elif not self._void_tasks and self.crew.any_ready:
                self._feed(klass, timely, now)
            if klass.backlog and timely and self.ends_at != inf:
                self._alarms.expire(klass, self.ends_at - min(s.time_s for s in timely))
        waits = bool(klass.backlog)
        dry = [
            slot
            for slot in slots.values()
            if not slot.tasks
            and not slot.held_back
            and (slot.draining or (slot.fresh_until <= now and not (waits and slot in timely)))
        ]
        if not klass.taking and any(slot in timely for slot in dry):
            self._steal(klass)
        for slot in dry:
            if slot.draining or not klass.taking:
                self._close(slot)

    def _has_waited(self, klass: Klass, now: float) -> bool:
        """Whether backlog without a slot has waited long enough for one.

        It was sent while the last slot closed. The server knows by now, and its answer is a new
        slot; tasks that come back instead are sent once more, and with tasks of microseconds
        that never ends.
        """
        if not klass.orphaned_until:
            klass.orphaned_until = now + FRESH_S
            self._alarms.freshen(klass, klass.orphaned_until)
        return klass.orphaned_until <= now

    def _bounce(self, klass: Klass, reason: str) -> None:
        for run in klass.backlog.take_all():
            for task in range(run.first, run.first + run.count):
                self._reports.bounce(task, run.instance, reason)
            self._release(run.body, run.count)

    def _finish_at_once(self, klass: Klass, slot: Slot, now: float) -> None:
        """Tasks without cost end as fast as the server hears of it, and no faster.

        Ended all at once, they would empty every slot while the server sends the next ones.
        """
        backlog = klass.backlog
        while backlog and (room := self._reports.room(ZERO_COST_WINDOW)) > 0:
            run = backlog.take(room)
            self._reports.finish_span(run.first, run.count, run.instance, slot.number, now)
            self._release(run.body, run.count)

    def seen(self) -> None:
        """The server has heard more: tasks without cost may go on."""
        if self._zero_cost:
            self._dirty.update((k, None) for k in self._classes.values() if k.backlog)

    def _feed(self, klass: Klass, slots: list[Slot], now: float) -> None:
        """Give each slot's lane its share of the backlog, the emptiest first."""
        backlog = klass.backlog
        ahead = klass.ahead()
        if ahead and self.ends_at != inf and any(s.time_s for s in slots):
            ahead = 0  # whether a task may still start is decided when it would
        lying = sum(len(s.tasks) for s in slots)
        share = min(1 + ahead, -(-(backlog.count + lying) // len(slots)))
        if share > 1:
            slots = sorted(slots, key=lambda s: len(s.tasks))
        for slot in slots:
            if share > REFILL_FROM and 2 * len(slot.tasks) > share:
                continue  # full enough: fewer and larger orders cost less
            while backlog and len(slot.tasks) < share:
                body = backlog.next_body()
                if slot.lane and slot.pin != body.content.pin:
                    if slot.tasks:
                        break  # a lane has one pin mode; it changes when the lane is empty
                    self._close_lane(slot)
                if not slot.lane and not self._open_lane(slot, body, now):
                    continue
                self._append(slot, backlog.take(share - len(slot.tasks)))
            if not backlog:
                return

    def _open_lane(self, slot: Slot, body: Body, now: float) -> bool:
        """Place the slot's lane; if the next task cannot run there, end that task instead."""
        slot.pin = body.content.pin
        try:
            plan = plan_lane(slot.klass.variants, slot.variant, slot.claim, slot.pin, self.site)
        except NotPrepared as error:
            run = slot.klass.backlog.take(1)
            self._reports.end(
                run.first, run.instance, slot.number, Ending.NOT_PREPARED, now, text=str(error)
            )
            self._release(run.body, 1)
            return False
        slot.launcher = self.crew.place()
        slot.lane = self._next_lane
        self._next_lane += 1
        self._orders.append(
            OpenLane(slot.launcher, slot.lane, plan.env, plan.user_wins, plan.prefix)
        )
        return True

    def _append(self, slot: Slot, run: Run) -> None:
        body, launcher = run.body, slot.launcher
        if launcher not in body.launchers:
            body.launchers.append(launcher)
            self._orders.append(use_body(launcher, body, self.site))
        tasks = tuple(range(run.first, run.first + run.count))
        entries = tuple(run.entries[run.offset : run.offset + run.count]) if run.entries else ()
        for index, task in enumerate(tasks):
            entry = entries[index] if entries else b""
            lane_task = LaneTask(task, run.instance, slot, launcher, body, run.priority, entry)
            self._tasks[task] = slot.tasks[task] = lane_task
        self._orders.append(
            RunTasks(launcher, slot.lane, body.key, tasks, (run.instance,) * run.count, entries)
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
            self._orders += self._recalls.ask(most[len(most) // 2 :], klass=klass)

    def _close(self, slot: Slot) -> None:
        del self._slots[slot.number]
        del slot.klass.slots[slot.number]
        self._close_lane(slot)
        self._reports.close(slot.number)

    def _close_lane(self, slot: Slot) -> None:
        if slot.lane:
            self._orders.append(CloseLane(slot.launcher, slot.lane))
            self.crew.leave(slot.launcher)
            slot.launcher = slot.lane = 0

    # --- ending tasks

    def _kill(
        self, lane_tasks: Sequence[LaneTask], fixed: Ending, now: float, *, mute: bool = False
    ) -> None:
        """Begin the ladder: unqueue or SIGINT now, SIGKILL later.

        Whether a task has started is the launcher's to know: it is asked to give the task back
        and then to signal it, and one of the two applies.
        """
        if not lane_tasks:
            return
        by_launcher: dict[int, list[int]] = {}
        for lane_task in lane_tasks:
            lane_task.fixed = lane_task.fixed or fixed
            lane_task.mute = lane_task.mute or mute
            by_launcher.setdefault(lane_task.launcher, []).append(lane_task.task)
        self._orders += self._recalls.ask(t for t in lane_tasks if not t.running)
        for launcher, tasks in by_launcher.items():
            self._orders.append(SignalTasks(launcher, SIGINT, tuple(tasks)))
        self._alarms.interrupted(lane_tasks, now)

    def kill_all(self, now: float) -> None:
        """Drop what waits and kill what runs; nobody hears of it, and no slot is left."""
        self._drop_backlog()
        self._alarms.forget_held_back()
        self._recalls.forget_retracts()
        for slot in self._slots.values():
            slot.void = True
            self._void_tasks += len(slot.tasks)
            if not slot.tasks:
                self._close_lane(slot)
            slot.klass.slots.clear()
        self._slots.clear()
        for lane_task in self._tasks.values():
            lane_task.mute = True
        self._kill(
            [t for t in self._tasks.values() if t.fixed is None], Ending.CANCELLED, now, mute=True
        )

    def start_nothing(self) -> None:
        """From now on only what runs goes on; what waits is dropped."""
        self.starting = False
        self._drop_backlog()
        waiting = [t for t in self._tasks.values() if not t.running]
        for lane_task in waiting:
            lane_task.mute = True
        self._orders += self._recalls.ask(waiting)

    def _drop_backlog(self) -> None:
        for klass in self._classes.values():
            for run in klass.backlog.take_all():
                self._release(run.body, run.count)
            self._alarms.keep(klass)

    # --- connections

    def forget_numbers(self) -> None:
        """Class and body numbers of the connection that ended mean nothing any more."""
        self._class_numbers.clear()
        for body in self._bodies.values():
            body.forgotten = True
            self._release(body, 0)
        self._bodies.clear()
        self._classes = {
            variants: klass
            for variants, klass in self._classes.items()
            if klass.slots or klass.backlog or klass.taking
        }

    def keep_only(self, keep: Iterable[int], now: float) -> None:
        """Drop what waits and kill what runs, except these tasks."""
        kept = set(keep)
        waiting = [
            task
            for klass in self._classes.values()
            for run in klass.backlog
            for task in range(run.first, run.first + run.count)
            if task not in kept
        ]
        self._unqueue(sorted(waiting))
        doomed = [t for t in self._tasks.values() if t.task not in kept and t.fixed is None]
        self._kill(doomed, Ending.CANCELLED, now)

    def held(self, reports: tuple[Report, ...], now: float) -> Held:
        """Everything that this worker still has."""
        return state(
            self._classes.values(),
            self._slots.values(),
            self._tasks.values(),
            self._alarms.held_back(),
            reports,
            now,
        )

    def new_reports(self) -> Reports:
        """Forget every report: the server that they were for is another one now."""
        self._reports = Reports()
        return self._reports

    @property
    def busy(self) -> int:
        """How many tasks lie with launchers, running or about to."""
        return len(self._tasks)

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self._tasks and not any(k.backlog for k in self._classes.values())

    # --- time

    def next_deadline(self) -> float:
        """When `tick` is needed."""
        return self._alarms.next_deadline()

    def tick(self, now: float) -> None:
        """Do what is due."""
        for lane_tasks in self._alarms.to_kill(now):
            self._finish_off(lane_tasks)
        for lane_task, ran, at in self._alarms.to_report(now):
            self._dirty[lane_task.slot.klass] = None
            self._report_end(lane_task, ran, at)  # ages count from when the answer was read
        late = [t for t in self._alarms.over_limit(now) if t.fixed is None]
        self._kill(late, Ending.TIME_LIMIT, now)
        self._dirty.update(dict.fromkeys(self._alarms.classes_due(now)))

    def _finish_off(self, lane_tasks: Sequence[LaneTask]) -> None:
        """SIGKILL, also where the first process is gone: what it started may still be there."""
        by_launcher: dict[int, list[int]] = {}
        for lane_task in lane_tasks:
            if self.crew.is_ready(lane_task.launcher):
                by_launcher.setdefault(lane_task.launcher, []).append(lane_task.task)
        for launcher, tasks in by_launcher.items():
            self._orders.append(KillTasks(launcher, tuple(tasks)))

    # --- invariants

    def check(self) -> None:
        """What must hold between batches."""
        in_slots: dict[int, int] = {}
        for klass in self._classes.values():
            klass.backlog.check()
            assert klass.taking >= 0, klass
            for slot in klass.slots.values():
                assert self._slots.get(slot.number) is slot, slot.number
                assert slot.klass is klass, slot.number
            if klass.backlog:
                served = any(not s.draining for s in klass.slots.values())
                assert served or klass.orphaned_until, "backlog without slot"
            for run in klass.backlog:
                for task in range(run.first, run.first + run.count):
                    twin = self._tasks.get(task)
                    assert twin is None or twin.slot.void, task
                    assert task not in in_slots, task
                    in_slots[task] = 0
        for lane_task in self._tasks.values():
            slot = lane_task.slot
            assert slot.tasks.get(lane_task.task) is lane_task, lane_task.task
            assert slot.void or self._slots.get(slot.number) is slot, slot.number
            assert self.crew.is_ready(slot.launcher), slot.launcher
            assert slot.lane, slot.number
            assert lane_task.body.held > 0, lane_task.task
            assert lane_task.body.content.pin == slot.pin, lane_task.task
        for slot in self._slots.values():
            assert not slot.void, slot.number
            assert all(t.slot is slot for t in slot.tasks.values()), slot.number
        held: dict[int, int] = {}
        bodies: dict[int, Body] = {}
        for lane_task in self._tasks.values():
            held[lane_task.body.key] = held.get(lane_task.body.key, 0) + 1
            bodies[lane_task.body.key] = lane_task.body
        for klass in self._classes.values():
            for run in klass.backlog:
                held[run.body.key] = held.get(run.body.key, 0) + run.count
                bodies[run.body.key] = run.body
        for key, count in held.items():
            assert bodies[key].held == count, (key, bodies[key].held, count)
        void = sum(1 for t in self._tasks.values() if t.slot.void)
        assert void == self._void_tasks, (void, self._void_tasks)
        self._recalls.check()
        assert not self._dirty
        self.crew.check({s.launcher for s in self._all_placed()})

    def _all_placed(self) -> list[Slot]:
        placed = {id(s): s for s in self._slots.values() if s.launcher}
        placed.update({id(t.slot): t.slot for t in self._tasks.values()})
        return list(placed.values())
