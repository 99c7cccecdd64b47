"""What the server's records add up to, task by task: the naive reading of the journal.

Every record is checked against what was recorded before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hqtrio.ids import IdArray, task_id
from hqtrio.messages.columns import read_f64, read_u32, read_u64
from hqtrio.messages.records import (
    JobCancelled,
    JobClosed,
    JobCompleted,
    JobOpened,
    JobsForgotten,
    Record,
    SubmitBegun,
    SubmitCommitted,
    SubmitContinued,
    SubmitDropped,
    TasksEnded,
    TasksRequeued,
    TasksShipped,
    TasksStarted,
    TasksTakenBack,
    WorkerConnected,
    WorkerLost,
    WorkerStopping,
)
from hqtrio.model.job import ArraySpec, GraphSpec, GraphTask, Ranges, Submit
from hqtrio.model.task import NEVER_RESTART, UNLIMITED, TaskSettings, TaskState
from hqtrio.model.worker import CRASHES, LossReason

ACTIVE = (TaskState.WAITING, TaskState.RUNNING)


@dataclass(slots=True, eq=False)
class Task:
    settings: TaskSettings
    kind: str  # how it behaves, as its body says
    needs: Sequence[int]
    state: TaskState = TaskState.WAITING
    instance: int = 0
    owner: int = 0  # worker that it was shipped to
    worker: int = 0  # where it runs
    started: bool = False  # the present instance was seen running
    crashes: int = 0
    crashed: bool = False  # with its worker, and the crash is not counted yet
    error: str = ""


@dataclass(slots=True, eq=False)
class JobEntry:
    tasks: list[int] = field(default_factory=list)
    active: int = 0
    max_fails: int | None = None
    failed: int = 0
    is_open: bool = False
    completed: bool = False
    cancelled: bool = False


@dataclass(slots=True, eq=False)
class Staged:
    submit: Submit
    graph: list[tuple[GraphTask, str, TaskSettings]] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    settings: list[TaskSettings] = field(default_factory=list)


class Ledger:
    """One server's history."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.jobs: dict[int, JobEntry] = {}
        self.workers: dict[int, LossReason | None] = {}  # why it is gone
        self.shipped_to: dict[tuple[int, int], list[int]] = {}
        self.losses: Counter[str] = Counter()
        self._staged: dict[int, Staged] = {}
        self._touched: dict[int, None] = {}
        self._met: dict[int, Sequence[int]] = {}  # lists of needs that are met, by identity

    def record(self, records: Iterable[Record]) -> None:
        """Take in one group of records."""
        for record in records:
            self._take(record)
        for worker, reason in self.workers.items():
            if worker in self._touched and reason is not None:
                still = [t for t, task in self.tasks.items() if task.worker == worker]
                assert not still, (worker, still[:5])
        self._touched.clear()

    def _take(self, record: Record) -> None:
        match record:
            case JobOpened(job, head):
                assert job not in self.jobs
                self.jobs[job] = JobEntry(max_fails=head.max_fails, is_open=True)
            case JobClosed(job):
                assert self.jobs[job].is_open
                self.jobs[job].is_open = False
            case JobCancelled(job):
                self.jobs[job].cancelled = True
                self._sweep(job, TaskState.CANCELLED)
            case JobCompleted(job):
                entry = self.jobs[job]
                assert not entry.completed, f"job {job} completed twice"
                assert not entry.active, (job, entry.active)
                assert not entry.is_open, job
                entry.completed = True
            case JobsForgotten(jobs):
                for job in jobs:
                    for task in self.jobs.pop(job).tasks:
                        del self.tasks[task]
            case SubmitBegun(submission, submit):
                assert submission not in self._staged
                staged = self._staged[submission] = Staged(submit)
                self._stage(staged, submit.graph)
            case SubmitContinued(submission):
                self._stage(self._staged[submission], record.graph)
            case SubmitDropped(submission):
                del self._staged[submission]
            case SubmitCommitted(submission, job, numbers):
                self._commit(self._staged.pop(submission), job, numbers)
            case TasksStarted():
                self._start(record)
            case TasksEnded():
                self._end(record)
            case TasksRequeued():
                self._requeue(record)
            case WorkerConnected(worker):
                assert self.workers.get(worker) is None, f"worker {worker} is gone"
                self.workers[worker] = None
            case WorkerLost(worker, reason):
                assert self.workers[worker] is None, f"worker {worker} is lost twice"
                self.workers[worker] = reason
                if reason in CRASHES:
                    for task in self.tasks.values():
                        task.crashed = task.crashed or task.worker == worker
                self._touched[worker] = None
                self.losses[reason.name] += 1
            case WorkerStopping():
                pass
            case TasksShipped():
                self._ship(record)
            case TasksTakenBack(worker, tasks):
                for number in read_u64(tasks):
                    if number in self.tasks and self.tasks[number].owner == worker:
                        self.tasks[number].owner = 0

    # --- submits

    def _stage(self, staged: Staged, graph: GraphSpec | None) -> None:
        if graph is None:
            return
        staged.bodies += [body.args[3].decode() for body in graph.bodies]
        staged.settings += graph.settings
        for task in graph.tasks:
            kind, settings = staged.bodies[task.body], staged.settings[task.settings]
            staged.graph.append((task, kind, settings))

    def _commit(self, staged: Staged, job: int, numbers: Sequence[Ranges]) -> None:
        submit = staged.submit
        if submit.head is not None:
            assert job not in self.jobs
            entry = JobEntry(max_fails=submit.head.max_fails, is_open=submit.head.is_open)
            self.jobs[job] = entry
        entry = self.jobs[job]
        arrays: list[list[int]] = []
        for spec, ranges in zip(submit.arrays, numbers, strict=True):
            arrays.append([task_id(job, number) for number in IdArray(ranges)])
            assert len(arrays[-1]) == spec.count
        for spec, tasks in zip(submit.arrays, arrays, strict=True):
            self._add_array(entry, spec, tasks, [t for need in spec.needs for t in arrays[need]])
        for task, kind, settings in staged.graph:
            needs = [task_id(job, need) for need in task.needs]
            self._add(entry, task_id(job, task.number), Task(settings, kind, needs))

    def _add_array(
        self, entry: JobEntry, spec: ArraySpec, tasks: list[int], needs: list[int]
    ) -> None:
        kind = spec.body.args[3].decode()
        for number in tasks:
            self._add(entry, number, Task(spec.settings, kind, needs))

    def _add(self, entry: JobEntry, number: int, task: Task) -> None:
        assert number not in self.tasks, number
        self.tasks[number] = task
        entry.tasks.append(number)
        entry.active += 1

    # --- tasks

    def _start(self, record: TasksStarted) -> None:
        assert self.workers[record.worker] is None, record.worker
        rows = zip(read_u64(record.tasks), read_u32(record.instances), strict=True)
        for number, instance in rows:
            task = self.tasks[number]
            assert (task.state, task.instance) == (TaskState.WAITING, instance), number
            task.state, task.worker, task.started = TaskState.RUNNING, record.worker, True

    def _end(self, record: TasksEnded) -> None:
        firsts, counts = read_u64(record.aborted_firsts), read_u32(record.aborted_counts)
        for first, count in zip(firsts, counts, strict=True):
            for number in range(first, first + count):
                task = self.tasks[number]
                assert task.state is TaskState.WAITING, (number, task.state)
                self._finish(number, TaskState.ABORTED)
        texts = dict(record.errors)
        rows = zip(
            read_u64(record.tasks),
            read_u32(record.instances),
            record.states,
            read_f64(record.started),
            read_f64(record.ended),
            strict=True,
        )
        for row, (number, instance, state, started, ended) in enumerate(rows):
            task = self.tasks[number]
            assert task.instance == instance, (number, task.instance, instance)
            assert started <= ended + 1e-6, (number, started, ended)
            assert (row in texts) == (state == TaskState.FAILED), number
            task.error = texts.get(row, "")
            self._finish(number, TaskState(state))
            if state == TaskState.FAILED:
                self.jobs[number >> 32].failed += 1
        for job in record.swept:
            entry = self.jobs[job]
            assert entry.max_fails is not None and entry.failed > entry.max_fails, job
            self._sweep(job, TaskState.ABORTED)

    def _finish(self, number: int, state: TaskState) -> None:
        task = self.tasks[number]
        assert task.state in ACTIVE, f"task {number} ends twice: {task.state.name}, {state.name}"
        assert state not in ACTIVE
        task.state, task.worker = state, 0
        self.jobs[number >> 32].active -= 1

    def _sweep(self, job: int, state: TaskState) -> None:
        for number in self.jobs[job].tasks:
            if self.tasks[number].state in ACTIVE:
                self._finish(number, state)

    def _requeue(self, record: TasksRequeued) -> None:
        columns = map(read_u32, (record.instances, record.crashes))
        for number, instance, crashes in zip(read_u64(record.tasks), *columns, strict=True):
            task = self.tasks[number]
            assert task.state in ACTIVE, number
            assert instance == task.instance + 1, (number, task.instance, instance)
            limit = task.settings.crash_limit
            assert limit in (UNLIMITED, NEVER_RESTART) or crashes < limit, (number, crashes)
            assert crashes in (task.crashes + task.crashed, task.crashes + 1), (number, crashes)
            assert not (limit == NEVER_RESTART and task.started), f"task {number} is restarted"
            task.state, task.worker, task.owner = TaskState.WAITING, 0, 0
            task.instance, task.started = instance, False
            task.crashes, task.crashed = crashes, False

    def _ship(self, record: TasksShipped) -> None:
        columns = map(read_u32, (record.counts, record.instances))
        for first, count, instance in zip(read_u64(record.firsts), *columns, strict=True):
            for number in range(first, first + count):
                self.shipped_to.setdefault((number, instance), []).append(record.worker)
                task = self.tasks.get(number)
                if task is None or task.instance != instance:
                    continue
                if task.state is TaskState.WAITING:
                    assert not task.owner, (number, task.owner, record.worker)
                    task.owner = record.worker
                    self.check_needs(number, task)

    def check_needs(self, number: int, task: Task) -> None:
        """Everything that the task needs has finished."""
        if task.needs and id(task.needs) not in self._met:
            still = [n for n in task.needs if self.tasks[n].state is not TaskState.FINISHED]
            assert not still, (number, still[:5])
            self._met[id(task.needs)] = task.needs

    def counts(self, job: int) -> list[int]:
        """Tasks of the job per state."""
        counts = [0] * 6
        for number in self.jobs[job].tasks:
            counts[self.tasks[number].state] += 1
        return counts
