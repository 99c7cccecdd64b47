"""What launchers say, and what it means for tasks, slots and the server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hqtrio.model.task import Ending
from hqtrio.worker.backlog import Run
from hqtrio.worker.holdings import Holdings
from hqtrio.worker.orders import LauncherDied, LauncherSaid, TaskRan, TaskRefused
from hqtrio.worker.reports import NEVER
from hqtrio.worker.tables import LaneTask

# Batch managers and the kernel's limits end tasks with these; so do they end the worker itself.
# A shell whose command was ended so exits with 128 and the signal.
_SIGNALS: Final = (9, 15, 24)  # SIGKILL, SIGTERM, SIGXCPU
SUSPICIOUS: Final = frozenset([-n for n in _SIGNALS] + [128 + n for n in _SIGNALS])
NO_SLOT: Final = "no_slot"


class Answers:
    """Takes in what launchers tell of the tasks that lie with them."""

    def __init__(self, holdings: Holdings) -> None:
        self._held = holdings

    def said(self, said: LauncherSaid, now: float) -> None:
        """Take in one answer: starts, ends, refusals, then what was given back."""
        tasks = self._held.tasks
        for ran in said.started:
            lane_task = tasks.get(ran.task)
            if lane_task is not None and not lane_task.running:
                self._start(lane_task, now - ran.started_age_s)
        for ran in said.ended:
            lane_task = tasks.get(ran.task)
            if lane_task is not None:
                self._end(lane_task, ran, now)
        for refused in said.refused:
            lane_task = tasks.get(refused.task)
            if lane_task is not None:
                self._refuse(lane_task, refused, now)
        for seq, taken in said.taken:
            self._taken(seq, taken, now)

    def ready(self, launcher: int) -> None:
        """The launcher takes orders."""
        self._held.crew.ready(launcher)
        self._held.mark_all()

    def died(self, died: LauncherDied, now: float) -> None:
        """Everything that lay there is lost, and runs again under another instance only.

        Any of it may have started unheard. Of those that were not heard to run, only the head of
        a lane counts as a run that was lost: it is the likely one.
        """
        held, gone = self._held, died.launcher
        held.crew.died(gone)
        lane_tasks = [t for t in held.tasks.values() if t.launcher == gone]
        heads = {next(iter(t.slot.tasks)) for t in lane_tasks}
        for slot in [*(t.slot for t in lane_tasks), *held.slots.values()]:
            if slot.launcher == gone:
                slot.launcher = slot.lane = 0
                held.dirty[slot.klass] = None
        for lane_task in lane_tasks:
            held.leave(lane_task)
            if not lane_task.mute:
                unheard_at = now if lane_task.task in heads else NEVER
                held.reports.end(
                    lane_task.task,
                    lane_task.instance,
                    lane_task.slot.number,
                    lane_task.fixed or Ending.LOST,
                    now,
                    started_at=lane_task.started_at if lane_task.running else unheard_at,
                )
        for seq in held.recalls.asked_of(gone):
            self._taken(seq, (), now)

    def report_end(self, lane_task: LaneTask, ran: TaskRan, now: float) -> None:
        """The server is told how the task, which has left its lane, ended."""
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
        self._held.reports.end(
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
            result=ran.result if fixed is None or ending is Ending.FINISHED else b"",
        )

    def _start(self, lane_task: LaneTask, started_at: float) -> None:
        lane_task.running, lane_task.started_at = True, started_at
        if lane_task.fixed is None and not lane_task.mute:
            self._held.reports.start(
                lane_task.task, lane_task.instance, lane_task.slot.number, started_at
            )
        limit_s = lane_task.body.content.time_limit_s
        if limit_s > 0:
            lane_task.limit_at = started_at + limit_s
            self._held.alarms.limit(lane_task)

    def _end(self, lane_task: LaneTask, ran: TaskRan, now: float) -> None:
        self._held.leave(lane_task)
        if lane_task.mute:
            return
        lane_task.slot.klass.learn(ran.started_age_s - ran.ended_age_s)
        if lane_task.fixed is None and self._is_suspicious(ran.status):
            self._held.alarms.hold_back(lane_task, ran, now)
            return
        self.report_end(lane_task, ran, now)

    def _is_suspicious(self, status: int) -> bool:
        """Whether the task may have died of what is about to end the worker as well.

        A manager signals every process of an allocation, one after another: what survives its own
        child for a moment may exit with any code.
        """
        return status != 0 if self._held.is_managed else status in SUSPICIOUS

    def _refuse(self, lane_task: LaneTask, refused: TaskRefused, now: float) -> None:
        self._held.leave(lane_task)
        if lane_task.mute:
            return
        at = now - refused.age_s
        ending = Ending.NOT_STARTED if refused.prepared else Ending.NOT_PREPARED
        self._held.reports.end(
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
        held = self._held
        take = held.recalls.answered(seq)
        if take is None:
            return
        for task in tasks:
            lane_task = held.tasks.get(task)
            if lane_task is not None:
                self._unstarted(lane_task, now)
        for task in take.tasks:
            lane_task = held.tasks.get(task)
            if lane_task is not None and lane_task.retract == take.retract:
                lane_task.retract = 0
        if take.klass is not None:
            held.dirty[take.klass] = None
        held.recalls.count_down(take.retract)
        held.answer_retract(take.retract)

    def _unstarted(self, lane_task: LaneTask, now: float) -> None:
        """A task has left its lane without having started: it goes where it was asked for."""
        held = self._held
        lane_task.body.held += 1
        held.leave(lane_task)
        wanted = held.recalls.wants(lane_task.retract)
        waits = not lane_task.mute and lane_task.fixed is None and not wanted
        if waits and held.starting:
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
        held.release(lane_task.body, 1)
        if lane_task.mute:
            return
        if lane_task.fixed is not None:
            held.reports.end(lane_task.task, lane_task.instance, 0, lane_task.fixed, now)
        elif waits:
            held.reports.bounce(lane_task.task, lane_task.instance, NO_SLOT)
        else:
            held.recalls.release(lane_task.retract, lane_task.task)
