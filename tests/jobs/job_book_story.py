"""A job book with everything around it played by the test: clients, scheduler, workers, time."""

from collections.abc import Mapping

from hqtrio.jobs.effects import (
    Answer,
    Append,
    ClientAsked,
    Command,
    Notify,
    Receipted,
    SessionEnded,
    StopServer,
)
from hqtrio.jobs.machine import JobBook
from hqtrio.messages import client as say
from hqtrio.messages.columns import f32, f64, i32, u32, u64
from hqtrio.messages.scheduling import (
    AdmitWorker,
    BodiesDone,
    NodeLost,
    RefuseWorker,
    StopWorker,
    TasksCancelled,
    TasksReady,
    TasksReported,
    WorkerArrived,
    WorkerGone,
)
from hqtrio.messages.worker import Ended, Register, Started
from hqtrio.model.job import ArraySpec, GraphSpec, GraphTask, JobHead, JobState, Submit
from hqtrio.model.resources import ONE_CPU, Descriptor
from hqtrio.model.task import Ending, Stdio, TaskBody, TaskSettings, TaskState
from hqtrio.model.worker import LossReason, WorkerConfig
from hqtrio.now import Now

GIVEN, LAST, ALL = say.Which.GIVEN, say.Which.LAST, say.Which.ALL


def body(*args: str, cwd: str = "", stdout: str | None = None, **more) -> TaskBody:
    default = "%{CWD}/job-%{JOB_ID}/%{TASK_ID}."
    return TaskBody(
        args=tuple(arg.encode() for arg in args or ("true",)),
        env=(),
        cwd=cwd,
        stdout=Stdio(default + "stdout" if stdout is None else stdout),
        stderr=Stdio(default + "stderr"),
        submit_dir="/home/u",
        **more,
    )


def array_of(count: int, ranges=(), **more) -> ArraySpec:
    return ArraySpec(more.pop("body", body()), count, ranges, **more)


def graph(needs: dict[int, tuple[int, ...]], settings: TaskSettings | None = None) -> GraphSpec:
    """One task per key, each with a body of its own."""
    return GraphSpec(
        tuple(body("step", str(number)) for number in needs),
        (ONE_CPU,),
        (settings or TaskSettings(),),
        tuple(GraphTask(n, i, 0, 0, wanted) for i, (n, wanted) in enumerate(needs.items())),
    )


def given(*numbers: int) -> say.Selector:
    return say.Selector(GIVEN, tuple((n, 1, 1) for n in numbers))


EVERY = say.Selector(ALL)
LATEST = say.Selector(LAST)


class Story:
    """Checks the book after every event; `ready` are the tasks that may start, with instances."""

    def __init__(self) -> None:
        self.details = say.ServerDetails("uid123", "h", 1, "h", 2, "0", 7, 0.0)
        self.book = JobBook("uid123", b"history", self.details)
        self.now = Now(0.0, 1_000_000.0)
        self.ready: dict[tuple[int, int], int] = {}
        self.running: dict[int, dict[tuple[int, int], int]] = {}
        self.processes = 0  # that were workers so far
        self.bodies: dict[int, object] = {}
        self.effects: list = []
        self.records: list = []
        self.notices: list[Notify] = []
        self.responses: dict[int, Answer] = {}
        self.calls = 0
        self.reports = 0
        self.checked = True
        self.seen_by_tasks: dict[tuple[int, int], TasksReady] = {}

    # --- events

    def wait(self, seconds: float) -> None:
        self.now = Now(self.now.monotonic + seconds, self.now.wall + seconds)

    def elapse(self, seconds: float) -> None:
        """So much time passes, and the book's own deadlines with it."""
        until = self.now.monotonic + seconds
        while (at := self.book.next_deadline()) <= until:
            self.wait(max(0.0, at - self.now.monotonic))
            self.take(list(self.book.tick(self.now)))
            self.book.check()
        self.wait(until - self.now.monotonic)

    def tell(self, event) -> list:
        effects = list(self.book.handle(event, self.now))
        while self.book.next_deadline() <= self.now.monotonic + 1e-3:
            self.wait(0.001)
            effects += self.book.tick(self.now)
        self.take(effects)
        self.notices = self.book.end_batch(self.now)
        if self.checked:
            self.book.check()
        return effects

    def take(self, effects: list) -> None:
        self.effects = effects
        for effect in effects:
            match effect:
                case Append(records):
                    self.records += records
                case Answer():
                    self.responses[effect.number] = effect
                case Command(TasksReady() as ready):
                    for first, count in ready.runs:
                        for task in range(first, first + count):
                            key = (task >> 32, task & 0xFFFFFFFF)
                            assert key not in self.ready, f"{key} announced twice"
                            self.ready[key] = ready.instance
                            self.seen_by_tasks[key] = ready
                    self.bodies[ready.body.number] = ready.body
                case Command(TasksCancelled(runs)):
                    for held in (self.ready, *self.running.values()):
                        for key in [
                            (j, t)
                            for j, t in held
                            if any(first <= (j << 32 | t) < first + n for first, n in runs)
                        ]:
                            del held[key]
                case Command(BodiesDone(bodies)):
                    for number in bodies:
                        self.bodies.pop(number, None)
                case (
                    Command(AdmitWorker() | RefuseWorker() | StopWorker())
                    | Receipted()
                    | StopServer()
                ):
                    pass
                case _:
                    raise AssertionError(effect)

    def ask(self, request, session: int = 1):
        self.calls += 1
        self.tell(ClientAsked(session, self.calls, request))
        return self.responses[self.calls].response

    def end_session(self, session: int) -> None:
        self.tell(SessionEnded(session))

    # --- clients

    def submit(
        self,
        *specs: ArraySpec,
        tasks: GraphSpec | None = None,
        job: int = 0,
        key: bytes = b"",
        **head,
    ) -> int:
        answer = self.try_submit(*specs, tasks=tasks, job=job, key=key, **head)
        assert isinstance(answer, say.Submitted), answer
        return answer.job

    def try_submit(self, *specs, tasks=None, job: int = 0, key: bytes = b"", **head):
        name = None if job else JobHead(head.pop("name", "true"), **head)
        return self.ask(say.SubmitJob(Submit(key, "/home/u", name, job, specs, tasks)))

    def open(self, name: str = "job", **more) -> int:
        return self.ask(say.OpenJob(JobHead(name, **more))).job

    def cancel(self, selector: say.Selector, reason: str = ""):
        return self.ask(say.CancelJobs(selector, reason)).rows

    def details_of(self, job: int) -> say.JobDetails:
        return self.ask(say.JobInfo(job))

    def state(self, job: int) -> JobState:
        row = self.details_of(job).row
        return row.state

    def counts(self, job: int) -> say.Counts:
        return self.details_of(job).row.counts

    def rows(self, job: int, **narrow) -> list[say.TaskRow]:
        rows: list[say.TaskRow] = []
        position = 0
        while position >= 0:
            answer = self.ask(say.ListTasks(job, position, **narrow))
            rows += answer.rows
            position = answer.next_position
        return rows

    def task(self, job: int, number: int) -> say.TaskRow:
        (row,) = self.rows(job, numbers=((number, 1, 1),))
        return row

    def states(self, job: int) -> list[TaskState]:
        return [TaskState(row.state) for row in self.rows(job)]

    # --- scheduler and workers

    def worker(self, **config) -> int:
        self.processes += 1
        key = b"key of %d" % self.processes
        hello = Register(
            WorkerConfig("node", "node:1", "/w", "default", Descriptor(()), **config), key
        )
        effects = self.tell(WorkerArrived(9, hello))
        (admit,) = [e.value for e in effects if isinstance(e, Command)]
        assert isinstance(admit, AdmitWorker), admit
        self.running[admit.worker] = {}
        return admit.worker

    def start(self, worker: int, *tasks: tuple[int, int], nodes: tuple[int, ...] = ()) -> None:
        """These ready tasks (default: all) start on the worker; multi-node ones have `nodes`."""
        chosen = {key: self.ready.pop(key) for key in tasks or list(self.ready)}
        self.running[worker].update(chosen)
        self.report(
            worker,
            started=[(key, instance, 0.0) for key, instance in chosen.items()],
            gangs=[(key, nodes) for key in chosen if nodes],
        )

    def lose_node(self, worker: int, task: tuple[int, int], instance: int = 0) -> None:
        """The running multi-node task goes on without this worker."""
        self.tell(NodeLost(task[0] << 32 | task[1], instance, worker))

    def end(
        self,
        worker: int,
        *tasks: tuple[int, int],
        ending=Ending.FINISHED,
        code=0,
        results: Mapping[tuple[int, int], bytes] | None = None,
    ) -> None:
        """These running tasks (default: all) end."""
        chosen = {key: self.running[worker].pop(key) for key in tasks or list(self.running[worker])}
        rows = enumerate(chosen)
        self.report(
            worker,
            ended=[(key, instance, ending, code, 1.0) for key, instance in chosen.items()],
            results=[(row, results[key]) for row, key in rows if results and key in results],
        )

    def run(self, worker: int, *tasks: tuple[int, int], ending=Ending.FINISHED, code=0) -> None:
        self.start(worker, *tasks)
        self.end(worker, *tasks, ending=ending, code=code)

    def report(self, worker: int, started=(), ended=(), texts=(), gangs=(), results=()) -> list:
        self.reports += 1
        facts_s, facts_e = (), ()
        if started:
            keys, instances, ages = zip(*started, strict=True)
            facts_s = (Started(_ids(keys), u32(instances), u32([0] * len(keys)), f64(ages)),)
        if ended:
            keys, instances, endings, codes, ages = zip(*ended, strict=True)
            none = [0] * len(keys)
            facts_e = (
                Ended(
                    _ids(keys),
                    u32(instances),
                    u32(none),
                    bytes(endings),
                    i32(codes),
                    f64(ages),
                    f64(none),
                    f32([0.5] * len(keys)),
                    u32([1000] * len(keys)),
                    tuple(texts),
                    tuple(results),
                ),
            )
        packed = tuple((job << 32 | number, workers) for (job, number), workers in gangs)
        effects = self.tell(TasksReported(worker, 1, self.reports, facts_s, facts_e, packed))
        receipts = [e for e in effects if isinstance(e, Receipted)]
        assert [r.receipt.report for r in receipts] == [self.reports]
        return effects

    def lose(
        self,
        worker: int,
        reason: LossReason = LossReason.CONNECTION_LOST,
        shipped: tuple[tuple[int, int], ...] = (),
    ) -> None:
        running = self.running.pop(worker)
        waiting = tuple((j << 32 | t, self.ready.pop((j, t))) for j, t in shipped)
        held = tuple((j << 32 | t, instance) for (j, t), instance in running.items())
        self.tell(WorkerGone(worker, reason, held, waiting))


def _ids(keys) -> bytes:
    return u64([job << 32 | number for job, number in keys])
