"""The job book against a naive model: one small object per task."""

from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from job_book_story import EVERY, Story, array_of, given, graph

from hqtrio.messages import client as say
from hqtrio.model.job import JobHead, Submit
from hqtrio.model.task import NEVER_RESTART, UNLIMITED, Ending, TaskSettings, TaskState
from hqtrio.model.worker import CRASHES, LossReason

ENDED = (TaskState.FINISHED, TaskState.FAILED, TaskState.CANCELLED, TaskState.ABORTED)


@dataclass
class Task:
    needs: list[int]
    limit: int
    state: TaskState = TaskState.WAITING
    instance: int = 0
    crashes: int = 0
    workers: tuple[int, ...] = ()
    is_gang: bool = False
    skips: bool = False

    def wait_again(self) -> None:
        self.state, self.instance = TaskState.WAITING, self.instance + 1 + self.skips
        self.workers, self.is_gang, self.skips = (), False, False


@dataclass
class OracleJob:
    max_fails: int | None
    is_open: bool
    tasks: dict[int, Task] = field(default_factory=dict)

    def ready(self) -> set[int]:
        return {
            n
            for n, task in self.tasks.items()
            if task.state == TaskState.WAITING
            and all(self.tasks[m].state == TaskState.FINISHED for m in task.needs)
        }

    def active(self) -> list[Task]:
        return [task for task in self.tasks.values() if task.state not in ENDED]

    def sweep(self, state: TaskState) -> None:
        for task in self.active():
            task.state = state

    def doom(self) -> None:
        """Whatever needs a task that ended badly is aborted."""
        bad = (TaskState.FAILED, TaskState.CANCELLED, TaskState.ABORTED)
        for _ in self.tasks:
            for task in self.active():
                if any(self.tasks[m].state in bad for m in task.needs):
                    task.state = TaskState.ABORTED

    def fail(self, number: int) -> None:
        self.tasks[number].state = TaskState.FAILED
        self.doom()
        failed = sum(task.state == TaskState.FAILED for task in self.tasks.values())
        if self.max_fails is not None and failed > self.max_fails:
            self.sweep(TaskState.ABORTED)

    def void(self, number: int, ran: bool, crashed: bool) -> None:
        """An execution came to nothing; what was shipped and must not run twice may have run."""
        task = self.tasks[number]
        ran = ran or task.limit == NEVER_RESTART
        task.crashes += ran and crashed
        too_often = crashed and task.limit != UNLIMITED and task.crashes >= task.limit
        if ran and (task.limit == NEVER_RESTART or too_often):
            self.fail(number)
        else:
            task.wait_again()


LIMITS = st.sampled_from([NEVER_RESTART, UNLIMITED, 1, 2])
MAX_FAILS = st.sampled_from([None, None, 0, 1])


class JobBookAgainstOracle(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.story = Story()
        self.jobs: dict[int, OracleJob] = {}
        self.last = 0
        self.live: set[int] = set()

    # --- clients

    def new_job(self, max_fails, is_open=False) -> OracleJob:
        self.last += 1
        job = self.jobs[self.last] = OracleJob(max_fails, is_open)
        return job

    @rule(count=st.integers(0, 5), first=st.integers(0, 3), step=st.integers(1, 2), limit=LIMITS)
    def submit_array(self, count, first, step, limit, max_fails=None):
        spec = array_of(count, ((first, count, step),), settings=TaskSettings(crash_limit=limit))
        number = self.story.submit(spec, max_fails=max_fails)
        job = self.new_job(max_fails)
        assert number == self.last
        job.tasks = {n: Task([], limit) for n in range(first, first + count * step, step)}

    @rule(
        sizes=st.lists(st.integers(0, 3), min_size=1, max_size=4), data=st.data(), fails=MAX_FAILS
    )
    def submit_groups(self, sizes, data, fails):
        job = self.new_job(fails)
        specs, members = [], []
        for index, size in enumerate(sizes):
            needs = data.draw(st.sets(st.integers(0, index - 1))) if index else set()
            specs.append(array_of(size, needs=tuple(needs)))
            numbers = range(len(job.tasks), len(job.tasks) + size)
            needed = [m for need in needs for m in members[need]]
            job.tasks.update({n: Task(needed, 5) for n in numbers})
            members.append(list(numbers))
        assert self.story.submit(*specs, max_fails=fails) == self.last

    @rule(fails=MAX_FAILS)
    def open_job(self, fails):
        self.story.open(max_fails=fails)
        self.new_job(fails, is_open=True)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), size=st.integers(1, 6), limit=LIMITS, parts=st.booleans())
    def submit_graph(self, data, size, limit, parts):
        """Into an open job if there is one, else a new one."""
        number = data.draw(st.sampled_from([n for n, j in self.jobs.items() if j.is_open] + [0]))
        job = self.jobs[number] if number else self.new_job(None)
        before = list(job.tasks)
        first = max(before, default=-1) + 1
        needs: dict[int, tuple[int, ...]] = {}
        for n in range(first, first + size):
            choice = before + list(needs)
            needs[n] = tuple(data.draw(st.sets(st.sampled_from(choice)))) if choice else ()
        spec = graph(needs, TaskSettings(crash_limit=limit))
        if parts:
            head = None if number else JobHead("parts")
            submit = Submit(b"%d" % self.story.calls, "/", head, number)
            self.story.ask(say.SubmitBegin(submit))
            self.story.ask(say.SubmitPart(submit.key, graph=spec))
            self.story.ask(say.SubmitCommit(submit.key))
        else:
            self.story.submit(tasks=spec, job=number)
        job.tasks.update({n: Task(list(wanted), limit) for n, wanted in needs.items()})
        job.doom()

    @precondition(lambda self: any(job.is_open for job in self.jobs.values()))
    @rule(data=st.data(), count=st.integers(1, 4))
    def add_array(self, data, count):
        number = data.draw(st.sampled_from([n for n, j in self.jobs.items() if j.is_open]))
        job = self.jobs[number]
        first = max(job.tasks, default=-1) + 1
        self.story.submit(array_of(count), job=number)
        job.tasks.update({n: Task([], 5) for n in range(first, first + count)})

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data):
        number = data.draw(st.sampled_from(list(self.jobs)))
        job = self.jobs[number]
        active = len(job.active())
        (verdict,) = self.story.cancel(given(number))
        assert (verdict.cancelled, verdict.ended) == (active, len(job.tasks) - active)
        job.sweep(TaskState.CANCELLED)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def close(self, data):
        number = data.draw(st.sampled_from(list(self.jobs)))
        self.story.ask(say.CloseJobs(given(number)))
        self.jobs[number].is_open = False

    @rule()
    def forget(self):
        self.story.ask(say.ForgetJobs(EVERY, tuple(range(7))))
        self.jobs = {n: job for n, job in self.jobs.items() if job.is_open or job.active()}

    # --- workers

    @rule()
    def connect(self):
        self.live.add(self.story.worker())

    @precondition(lambda self: self.live and self.story.ready)
    @rule(data=st.data())
    def start(self, data):
        worker = data.draw(st.sampled_from(sorted(self.live)))
        tasks = data.draw(
            st.lists(st.sampled_from(sorted(self.story.ready)), min_size=1, unique=True)
        )
        self.story.start(worker, *tasks)
        for job, number in tasks:
            task = self.jobs[job].tasks[number]
            task.state, task.workers = TaskState.RUNNING, (worker,)

    @property
    def gangs(self) -> list[Task]:
        """Running multi-node tasks."""
        tasks = [task for job in self.jobs.values() for task in job.tasks.values()]
        return [task for task in tasks if task.is_gang and task.state == TaskState.RUNNING]

    @precondition(lambda self: self.live and self.story.ready)
    @rule(data=st.data())
    def start_on_many(self, data):
        free = sorted(self.live - {worker for task in self.gangs for worker in task.workers})
        if not free:
            return
        nodes = data.draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        job, number = data.draw(st.sampled_from(sorted(self.story.ready)))
        self.story.start(nodes[0], (job, number), nodes=tuple(nodes))
        task = self.jobs[job].tasks[number]
        task.state, task.workers, task.is_gang = TaskState.RUNNING, tuple(nodes), True

    @precondition(lambda self: any(self.story.running.values()))
    @rule(
        data=st.data(),
        ending=st.sampled_from([Ending.FINISHED, Ending.FINISHED, Ending.EXITED, Ending.LOST]),
    )
    def end(self, data, ending):
        busy = sorted(w for w, tasks in self.story.running.items() if tasks)
        worker = data.draw(st.sampled_from(busy))
        running = sorted(self.story.running[worker])
        tasks = data.draw(st.lists(st.sampled_from(running), min_size=1, unique=True))
        self.story.end(worker, *tasks, ending=ending, code=1)
        for job, number in tasks:
            of = self.jobs[job]
            if of.tasks[number].state in ENDED:
                continue
            if ending == Ending.FINISHED:
                of.tasks[number].state = TaskState.FINISHED
            elif ending == Ending.EXITED:
                of.fail(number)
            else:
                of.void(number, ran=True, crashed=True)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), reason=st.sampled_from(LossReason))
    def lose(self, data, reason):
        worker = data.draw(st.sampled_from(sorted(self.live)))
        ready = sorted(self.story.ready)
        shipped = data.draw(st.lists(st.sampled_from(ready), unique=True)) if ready else []
        running = list(self.story.running[worker])
        self.live.discard(worker)
        for job, of in self.jobs.items():
            for number, task in of.tasks.items():
                if task.state == TaskState.RUNNING and worker in task.workers[1:]:
                    self.story.lose_node(worker, (job, number), task.instance)
                    task.workers = tuple(w for w in task.workers if w != worker)
        self.story.lose(worker, reason, tuple(shipped))
        for tasks, ran in ((running, True), (shipped, False)):
            for job, number in tasks:
                if self.jobs[job].tasks[number].state not in ENDED:
                    self.jobs[job].void(number, ran, reason in CRASHES)

    # --- what must agree

    @invariant()
    def same_tasks(self):
        ready = {}
        for number, job in self.jobs.items():
            rows = self.story.rows(number)
            assert {row.number: TaskState(row.state) for row in rows} == {
                n: task.state for n, task in job.tasks.items()
            }
            assert {row.number: row.instance for row in rows} == {
                n: task.instance for n, task in job.tasks.items()
            }
            for row in rows:
                if row.state == TaskState.RUNNING:
                    assert row.workers == job.tasks[row.number].workers
            ready.update({(number, n): job.tasks[n].instance for n in job.ready()})
        assert self.story.ready == ready
        parts = {w: w == task.workers[0] for task in self.gangs for w in task.workers}
        for row in self.story.ask(say.ListWorkers(EVERY)).rows:
            assert row.multi_node == parts.get(row.id), row.id
        listed = self.story.ask(say.ListJobs(EVERY)).rows
        assert [row.id for row in listed] == list(self.jobs)
        if not any(job.active() for job in self.jobs.values()):
            assert not self.story.bodies


TestJobBookAgainstOracle = JobBookAgainstOracle.TestCase
TestJobBookAgainstOracle.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
