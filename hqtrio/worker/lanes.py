"""What the server orders: slots, backlogs, drains, and the ends of tasks; and what time ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from hqtrio.model.task import Ending
from hqtrio.worker import audit
from hqtrio.worker.alarms import GRACE_S
from hqtrio.worker.answers import Answers
from hqtrio.worker.backlog import Run
from hqtrio.worker.bodies import Body
from hqtrio.worker.crew import Crew
from hqtrio.worker.filling import FRESH_S, Filler
from hqtrio.worker.holdings import Holdings
from hqtrio.worker.launch import Site
from hqtrio.worker.notes import refusal_of
from hqtrio.worker.orders import KillTasks, LauncherDied, LauncherSaid, Order, SignalTasks
from hqtrio.worker.reports import Reports
from hqtrio.worker.statement import state
from hqtrio.worker.tables import DrainGroup, Klass, LaneTask, Slot

SIGINT: Final = 2


class Lanes:
    """What runs and waits here; `starting` as long as anything new may come."""

    def __init__(
        self,
        reports: Reports,
        site: Site,
        *,
        grace_s: float = GRACE_S,
        zero_cost: bool = False,
        is_managed: bool = False,
    ) -> None:
        self._held = Holdings(reports, site, grace_s=grace_s, is_managed=is_managed)
        self._answers = Answers(self._held)
        self._filler = Filler(self._held, zero_cost=zero_cost)
        self._class_numbers: dict[int, Klass] = {}
        self._bodies: dict[int, Body] = {}  # by the server's number
        self._next_key = 1

    @property
    def starting(self) -> bool:
        return self._held.starting

    @property
    def crew(self) -> Crew:
        return self._held.crew

    @property
    def site(self) -> Site:
        return self._held.site

    @site.setter
    def site(self, site: Site) -> None:
        self._held.site = site

    @property
    def ends_at(self) -> float:
        """When the worker's lifetime is over."""
        return self._held.ends_at

    @ends_at.setter
    def ends_at(self, at: float) -> None:
        self._held.ends_at = at

    @property
    def busy(self) -> int:
        """How many tasks lie with launchers, running or about to."""
        return len(self._held.tasks)

    @property
    def waiting(self) -> int:
        """How many tasks wait at least for slots of one class that has some; 0 without slots."""
        classes = self._held.classes.values()
        return min((k.backlog.count for k in classes if k.slots), default=0)

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        held = self._held
        return not held.tasks and not any(k.backlog for k in held.classes.values())

    # --- what the server orders

    def define_class(self, message: DefineClass) -> None:
        klass = self._held.classes.get(message.variants)
        if klass is None:
            klass = self._held.classes[message.variants] = Klass(message.variants)
        self._class_numbers[message.klass] = klass

    def define_body(self, message: DefineBody) -> None:
        self._bodies[message.body] = Body(self._next_key, message.job, message.content)
        self._next_key += 1

    def forget(self, message: Forget) -> None:
        for number in read_u32(message.bodies):
            if body := self._bodies.pop(number, None):
                body.forgotten = True
                self._held.release(body, 0)
        for number in read_u32(message.classes):
            klass = self._class_numbers.pop(number, None)
            if klass is not None and not (klass.slots or klass.backlog or klass.taking):
                self._held.classes.pop(klass.variants, None)

    def grant(self, message: Grant, now: float) -> None:
        klass, held = self._class(message.klass), self._held
        if not 0 <= message.variant < len(klass.variants) or message.slot in held.slots:
            raise RemoteFault(f"grant of slot {message.slot}: no such variant, or already granted")
        slot = Slot(
            message.slot,
            klass,
            message.variant,
            message.claim,
            now + FRESH_S,
            klass.variants[message.variant].time_s,
            nodes=message.nodes,
        )
        held.slots[slot.number] = klass.slots[slot.number] = slot
        held.alarms.freshen(klass, slot.fresh_until)
        held.dirty[klass] = None

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
        self._held.dirty[klass] = None

    def retract(self, message: Retract) -> None:
        held = self._held
        tasks = sorted(set(read_u64(message.tasks)))
        released = [task for task, _, _ in held.unqueue(tasks)]
        asked = []
        for task in tasks:
            lane_task = held.tasks.get(task)
            if lane_task is not None and not lane_task.running and lane_task.fixed is None:
                lane_task.retract = message.seq
                asked.append(lane_task)
        answers = held.recall(asked, retract=message.seq)
        held.recalls.begin(message.seq, released, answers)
        held.answer_retract(message.seq)

    def drain(self, message: Drain) -> None:
        """Nothing more starts in these slots, until enough of them have closed.

        One that is no more has closed since the server counted it, and counts.
        """
        held = self._held
        if message.count < 0:
            raise RemoteFault(f"a drain of {message.count} slots")
        named = list(dict.fromkeys(read_u32(message.slots)))
        slots = [held.slots[number] for number in named if number in held.slots]
        for slot in slots:
            self._leave_group(slot)
        wanted = (message.count or len(named)) - (len(named) - len(slots))
        if wanted <= 0:
            return
        group = DrainGroup(wanted)
        asked: dict[Klass, list[LaneTask]] = {}
        for slot in slots:
            slot.drain = group
            group.slots[slot.number] = slot
            waiting = [t for t in slot.tasks.values() if not t.running and t.fixed is None]
            asked.setdefault(slot.klass, []).extend(waiting)
        for klass, lane_tasks in asked.items():
            held.recall(lane_tasks, klass=klass)

    def undrain(self, message: Undrain) -> None:
        for number in read_u32(message.slots):
            if slot := self._held.slots.get(number):
                self._leave_group(slot)

    def _leave_group(self, slot: Slot) -> None:
        """The slot may go on; of those that were drained with it, perhaps none is spared now."""
        self._held.dirty[slot.klass] = None
        group, slot.drain = slot.drain, None
        if group is not None:
            del group.slots[slot.number]
            self._held.dirty.update((other.klass, None) for other in group.slots.values())

    def cancel(self, message: Cancel, now: float) -> None:
        held = self._held
        tasks = sorted(set(read_u64(message.tasks)))
        for task, instance, _ in held.unqueue(tasks):
            held.reports.end(task, instance, 0, Ending.CANCELLED, now)
        running = [held.tasks[task] for task in tasks if task in held.tasks]
        self._kill([t for t in running if t.fixed is None], Ending.CANCELLED, now)

    def seen(self) -> None:
        """The server has heard more."""
        self._filler.seen()

    def _class(self, number: int) -> Klass:
        klass = self._class_numbers.get(number)
        if klass is None:
            raise RemoteFault(f"class {number} was not defined")
        return klass

    # --- what launchers say

    def said(self, said: LauncherSaid, now: float) -> None:
        self._answers.said(said, now)

    def ready(self, launcher: int) -> None:
        self._answers.ready(launcher)

    def died(self, died: LauncherDied, now: float) -> None:
        self._answers.died(died, now)

    # --- what tasks say

    def note(self, token: bytes, text: bytes) -> str:
        """Report what the token's task says, as long as it runs; else why not."""
        held = self._held
        lane_task = held.tokens.get(token)
        if lane_task is None:
            return "The task of this access key does not run any more"
        refusal = refusal_of(text, held.reports.notes)
        if not refusal and not lane_task.mute:
            held.reports.note(lane_task.task, lane_task.instance, text)
        return refusal

    # --- once per batch

    def settle(self, now: float) -> Sequence[Order]:
        """Fill lanes, close slots that have nothing left, give back what cannot start here."""
        return self._filler.settle(now)

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
        self._held.recall(t for t in lane_tasks if not t.running)
        for launcher, tasks in by_launcher.items():
            self._held.orders.append(SignalTasks(launcher, SIGINT, tuple(tasks)))
        self._held.alarms.interrupted(lane_tasks, now)

    def kill_all(self, now: float) -> None:
        """Drop what waits and kill what runs; nobody hears of it, and no slot is left."""
        self._drop_backlog()
        self._held.alarms.forget_held_back()
        self._held.forget_retracts()
        for slot in self._held.slots.values():
            slot.void = True
            self._held.void_tasks += len(slot.tasks)
            if not slot.tasks:
                self._held.close_lane(slot)
            slot.klass.slots.clear()
        self._held.slots.clear()
        for lane_task in self._held.tasks.values():
            lane_task.mute = True
        self._kill(
            [t for t in self._held.tasks.values() if t.fixed is None],
            Ending.CANCELLED,
            now,
            mute=True,
        )

    def start_nothing(self) -> None:
        """From now on only what runs goes on; what waits is dropped.

        What lies with a launcher may run already, unheard: it is given back only if it does not.
        """
        self._held.starting = False
        self._drop_backlog()
        self._held.recall(t for t in self._held.tasks.values() if not t.running)

    def _drop_backlog(self) -> None:
        for klass in self._held.classes.values():
            for run in klass.backlog.take_all():
                self._held.release(run.body, run.count)
            self._held.alarms.keep(klass)

    # --- connections

    def forget_numbers(self) -> None:
        """Class and body numbers of the connection that ended mean nothing any more."""
        self._class_numbers.clear()
        for body in self._bodies.values():
            body.forgotten = True
            self._held.release(body, 0)
        self._bodies.clear()
        self._held.classes = {
            variants: klass
            for variants, klass in self._held.classes.items()
            if klass.slots or klass.backlog or klass.taking
        }

    def keep_only(self, keep: Iterable[int], now: float) -> None:
        """Drop what waits and kill what runs, except these tasks; each end is reported.

        Slots that were drained go on: a drain that is still wanted comes again.
        """
        kept = set(keep)
        waiting = [
            task
            for klass in self._held.classes.values()
            for run in klass.backlog
            for task in range(run.first, run.first + run.count)
            if task not in kept
        ]
        for task, instance, _ in self._held.unqueue(sorted(waiting)):
            self._held.reports.end(task, instance, 0, Ending.CANCELLED, now)
        for slot in self._held.slots.values():
            self._leave_group(slot)
        doomed = [t for t in self._held.tasks.values() if t.task not in kept and t.fixed is None]
        self._kill(doomed, Ending.CANCELLED, now)

    def held(self, reports: tuple[Report, ...], now: float) -> Held:
        """Everything that this worker still has. What was asked back stays, unless it is."""
        self._held.forget_retracts()
        return state(
            self._held.classes.values(),
            self._held.slots.values(),
            self._held.tasks.values(),
            self._held.alarms.held_back(),
            reports,
            now,
        )

    def new_reports(self) -> Reports:
        """Forget every report: the server that they were for is another one now."""
        self._held.reports = Reports()
        return self._held.reports

    # --- time

    def next_deadline(self) -> float:
        """When `tick` is needed."""
        return self._held.alarms.next_deadline()

    def tick(self, now: float) -> None:
        """Do what is due."""
        for lane_tasks in self._held.alarms.to_kill(now):
            self._finish_off(lane_tasks)
        for lane_task, ran, at in self._held.alarms.to_report(now):
            self._held.dirty[lane_task.slot.klass] = None
            self._answers.report_end(lane_task, ran, at)  # ages count from when the answer was read
        late = [t for t in self._held.alarms.over_limit(now) if t.fixed is None]
        self._kill(late, Ending.TIME_LIMIT, now)
        self._held.dirty.update(dict.fromkeys(self._held.alarms.classes_due(now)))

    def _finish_off(self, lane_tasks: Sequence[LaneTask]) -> None:
        """SIGKILL, also where the first process is gone: what it started may still be there."""
        by_launcher: dict[int, list[int]] = {}
        for lane_task in lane_tasks:
            if self.crew.is_ready(lane_task.launcher):
                by_launcher.setdefault(lane_task.launcher, []).append(lane_task.task)
        for launcher, tasks in by_launcher.items():
            self._held.orders.append(KillTasks(launcher, tuple(tasks)))

    def check(self) -> None:
        """What must hold between batches."""
        audit.check(self._held)
