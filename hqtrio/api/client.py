"""A client for scripts that wait: every method returns when the server has answered."""

from __future__ import annotations

import math
import os
import sys
import warnings
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from hqtrio import client as async_client
from hqtrio.api.environment import PythonEnv, own_python
from hqtrio.api.failures import FailedJobsException, FailedTaskContext
from hqtrio.api.job import Job, SubmittedJob
from hqtrio.api.overwriting import Written
from hqtrio.api.payload import RESULTS, remove_files
from hqtrio.api.portal import Portal
from hqtrio.api.results import outcome
from hqtrio.api.submitting import make_submit
from hqtrio.api.task import Task
from hqtrio.api.validation import ValidationException, read_path, shown
from hqtrio.client import RequestFailed, TaskPaths, Watching
from hqtrio.errors import InputError, Unreachable
from hqtrio.messages.client import (
    CancelJobs,
    CloseJobs,
    ForgetJobs,
    Forgotten,
    JobRow,
    ListEnds,
    Selector,
    ServerDetails,
    ServerInfo,
    StopServer,
    TaskEnds,
    TaskNotice,
    VerdictKind,
    Verdicts,
    Which,
)
from hqtrio.messages.columns import read_u32
from hqtrio.model.job import JobState, Submit
from hqtrio.model.task import TaskState
from hqtrio.net.directory import default_directory
from hqtrio.units import MAX_U32

__all__ = ["Client"]

log = getLogger(__name__)

_ENDED: Final = (JobState.FINISHED, JobState.FAILED, JobState.CANCELLED, JobState.ABORTED)
T = TypeVar("T")
AsyncClient = async_client.Client
AnyJob = SubmittedJob | int


class _Ends:
    """What is known here of the ends of one job's tasks: state, result and error by number."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[int, bytes, str]] = {}
        self.after = 0
        self.told_by: AsyncClient | None = None  # in whose order `after` counts


class Client:
    """A connection to the server of a directory (by default the command line's).

    InputError if there is no server, Refused or Unreachable if it does not answer. Functions run
    in `python_env`, by default in the interpreter that runs now; what is too large to travel with
    a task lies in `results_dir` (by default `.hqtrio-results` in the current directory, which
    workers have to see).

    With `on_notify` the function is called with job, task and text of whatever tasks of jobs that
    were submitted or waited for here say by `$HQ task notify`, in a thread of this client's own.

    Methods may be called by several threads, and by none that runs an event loop: there use
    `hqtrio.client.open_client` (trio) or `hqtrio.Executor`.
    """

    def __init__(
        self,
        server_dir: str | os.PathLike[str] | None = None,
        python_env: PythonEnv | None = None,
        *,
        results_dir: str | os.PathLike[str] | None = None,
        on_notify: Callable[[int, int, str], object] | None = None,
    ) -> None:
        if on_notify is not None and not callable(on_notify):
            raise ValidationException(f"on_notify has to be a function, not {shown(on_notify)}")
        if not isinstance(python_env, PythonEnv | None):
            raise ValidationException(f"python_env has to be a PythonEnv, not {shown(python_env)}")
        if server_dir is not None:
            read_path("server_dir", server_dir)
        if results_dir is not None:
            read_path("results_dir", results_dir)
        chosen = server_dir or os.environ.get("HQ_SERVER_DIR") or default_directory()
        self.server_dir = Path(chosen).absolute()
        self.python_env = python_env or own_python()
        self._results_dir = results_dir
        self._ends: dict[int, _Ends] = {}
        self._places: dict[int, list[Path]] = {}  # what the jobs' tasks have in files
        self._written: Written | None = Written()  # None: the user has been warned
        self._connection: AsyncClient | None = None
        self._connecting = trio.Lock()
        self._history = b""
        self._on_notify = on_notify
        self._portal = Portal("hqtrio client")
        # Scripts written for HyperQueue drop their clients without a word.
        weakref.finalize(self, self._portal.end)
        try:
            self._portal.call(self._connected)
        except BaseException:
            self._portal.close()
            raise

    def close(self) -> None:
        """End the connection; the client is of no use any more."""
        self._portal.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- jobs

    def submit(self, job: Job, *, to: AnyJob | None = None) -> SubmittedJob:
        """The server has the job, and keeps it even if it is killed now (with a journal).

        With `to` the tasks join that open job; inside a task, `to=int(os.environ["HQ_JOB_ID"])` is
        the task's own.
        """
        if not isinstance(job, Job):
            raise ValidationException(f"job has to be a Job, not {shown(job)}")
        submit_dir = os.getcwd()
        base = Path(self._results_dir or RESULTS).absolute()
        place = base / os.urandom(8).hex()
        try:
            if to is None:
                self._warn(job, submit_dir)
                number = self._submit(
                    make_submit(job, self.python_env, submit_dir=submit_dir, results=str(place))
                )
                numbers: tuple[int, ...] = ()
                if self._written is not None:
                    self._written.add(job, submit_dir)
            else:
                number = _number(to)
                numbers = self._join(job, number, submit_dir, str(place))
        except (RequestFailed, InputError):
            remove_files(place)  # the server does not have it
            raise
        self._places.setdefault(number, []).append(place)
        return SubmittedJob(job, number, self, numbers)

    def _join(self, job: Job, number: int, submit_dir: str, results: str) -> tuple[int, ...]:
        """Number the tasks after those that are there; somebody else may do so as well."""
        while True:
            first = self._ask(lambda client: _next_number(client, number))
            submit = make_submit(
                job,
                self.python_env,
                submit_dir=submit_dir,
                results=results,
                to=number,
                first=first,
            )
            try:
                self._submit(submit)
            except RequestFailed:
                if self._ask(lambda client: _next_number(client, number)) == first:
                    raise
                continue
            return tuple(range(first, first + len(job.tasks)))

    def _submit(self, submit: Submit) -> int:
        return self._ask(lambda client: client.submit(submit))

    def wait_for_jobs(self, jobs: AnyJob | Iterable[AnyJob], raise_on_error: bool = True) -> bool:
        """All tasks of the jobs have ended; whether each has finished.

        An open job counts as ended while it has no task that waits or runs, and one that nobody
        knows is ignored. With `raise_on_error` a FailedJobsException tells of what did not finish.
        """
        given = _listed(jobs)
        chosen = [_number(job) for job in given]
        rows: dict[int, JobRow] = {}
        with _progress() as show:

            def changed(watching: Watching) -> None:
                rows.update(watching.rows)
                show(watching.rows)

            self._ask(lambda c: c.wait_for_jobs(chosen, closed=False, on_change=changed))
        counts = {number: row.counts for number, row in rows.items()}
        bad = [n for n, c in counts.items() if c.failed or c.cancelled or c.aborted]
        if not bad:
            return True
        if raise_on_error:
            submitted = [job for job in given if isinstance(job, SubmittedJob)]
            raise FailedJobsException(
                {n: self._failed(n) for n in bad if counts[n].failed},
                {job.id: job.job for job in submitted if not job.numbers},
                {n: self._numbers(n, TaskState.CANCELLED) for n in bad if counts[n].cancelled},
                {n: self._numbers(n, TaskState.ABORTED) for n in bad if counts[n].aborted},
                {
                    (job.id, number): task.label
                    for job in submitted
                    for number, task in zip(job.numbers, job.job.tasks, strict=False)
                },
            )
        return False

    def get_failed_tasks(self, job: AnyJob) -> dict[int, FailedTaskContext]:
        """The failed tasks by number; cancelled and aborted ones are not among them."""
        return self._failed(_number(job))

    def _failed(self, number: int) -> dict[int, FailedTaskContext]:
        states = (int(TaskState.FAILED),)
        tasks, _ = self._ask(lambda client: client.tasks(number, states=states))
        return {task.number: _context(task.row.error, task.paths) for task in tasks}

    def _numbers(self, job: int, state: TaskState) -> tuple[int, ...]:
        runs = self._ask(lambda client: client.numbers(job, (int(state),)))
        return tuple(n for first, count in runs for n in range(first, first + count))

    def forget(self, job: AnyJob) -> None:
        """The server drops the job, with its results; its tasks must have ended. What this client
        has written for them is gone as well."""
        number = _number(job)
        chosen = _selector(number)
        forgotten = self._ask(lambda client: client.ask(ForgetJobs(chosen, _ENDED), Forgotten))
        if not forgotten.forgotten:
            raise RequestFailed(f"Cannot forget job {number}: it has not ended, or does not exist")
        self._ends.pop(number, None)
        for place in self._places.pop(number, ()):
            remove_files(place)

    def cancel(self, job: AnyJob, reason: str = "") -> int:
        """Tasks that wait or run are cancelled; how many there were."""
        request = CancelJobs(_selector(_number(job)), reason)
        return sum(verdict.cancelled for verdict in self._judged(request))

    def close_job(self, job: AnyJob) -> None:
        """The open job takes no more tasks."""
        self._judged(CloseJobs(_selector(_number(job))))

    def _judged(self, request: CancelJobs | CloseJobs) -> Iterable[Any]:
        verdicts = self._ask(lambda client: client.ask(request, Verdicts)).rows
        for verdict in verdicts:
            if verdict.kind is VerdictKind.NOT_FOUND:
                raise RequestFailed(f"Job {verdict.id} not found")
        return verdicts

    def stop_server(self) -> None:
        """The server ends, as by `server stop`."""

        async def stop(client: AsyncClient) -> None:
            try:
                await client.call(StopServer())
            except Unreachable:
                pass  # it was faster than its answer

        self._ask(stop)

    # --- results

    def results(
        self, job: SubmittedJob, *, timeout: float | None = None, return_exceptions: bool = False
    ) -> list[Any]:
        """What each function has returned, in the order of the job's tasks (None for a program),
        once all have ended; the first exception is raised, or all stand in their places.
        """
        numbers = [job.number_of(task) for task in job.job.tasks]
        ends = self._ended(job.id, numbers, timeout)
        values = []
        for number in numbers:
            value, error = outcome(*ends[number], f"Task {job.id}@{number}")
            if error is not None and not return_exceptions:
                raise error
            values.append(value if error is None else error)
        return values

    def _result(self, job: SubmittedJob, task: Task | int, timeout: float | None) -> Any:
        number = job.number_of(task)
        end = self._ended(job.id, [number], timeout)[number]
        value, error = outcome(*end, f"Task {job.id}@{number}")
        if error is not None:
            raise error
        return value

    def _ended(
        self, job: int, numbers: list[int], timeout: float | None
    ) -> dict[int, tuple[int, bytes, str]]:
        ends = self._ends.setdefault(job, _Ends())
        missing = {number for number in numbers if number not in ends.known}
        if not missing:
            return ends.known

        async def wait(client: AsyncClient) -> None:
            with trio.fail_after(math.inf if timeout is None else timeout):
                await _wait_for_ends(client, job, ends, missing)

        try:
            self._ask(wait)
        except trio.TooSlowError:
            raise TimeoutError(
                f"{len(missing)} tasks of job {job} have not ended after {timeout} s"
            ) from None
        return ends.known

    # --- the connection

    def _ask(self, function: Callable[[AsyncClient], Awaitable[T]]) -> T:
        """What the function gets from the server. One that was lost is looked for once more."""

        async def ask() -> T:
            client = await self._connected()
            try:
                return await function(client)
            except Unreachable:
                if not client.is_lost:
                    raise
            try:
                client = await self._connected()
            except InputError as error:  # nobody knows whether the lost one has heard of it
                raise Unreachable(str(error)) from error
            return await function(client)

        return self._portal.call(ask)

    async def _connected(self) -> AsyncClient:
        async with self._connecting:
            if self._connection is None or self._connection.is_lost:
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> AsyncClient:
        client: AsyncClient = await self._portal.nursery.start(_hold, self.server_dir)
        if self._on_notify is not None:
            client.listener = partial(_tell, self._on_notify)
        details = await client.ask(ServerInfo(), ServerDetails)
        if details.history != self._history:
            # Another server: its numbers mean other jobs.
            self._history = details.history
            self._ends.clear()
            self._places.clear()
        return client

    def _warn(self, job: Job, submit_dir: str) -> None:
        """Once: two jobs of this client write the same file."""
        path = None if self._written is None else self._written.clash(job, submit_dir)
        if path is not None:
            self._written = None
            warnings.warn(
                f"Another job of this client writes `{path}` as well: give the jobs directories "
                "(default_workdir), or outputs with %{JOB_ID} in their path",
                stacklevel=3,
            )


def _tell(on_notify: Callable[[int, int, str], object], notice: TaskNotice) -> None:
    try:
        on_notify(notice.job, notice.number, notice.text.decode(errors="replace"))
    except Exception:
        log.exception("on_notify has failed")


async def _hold(server_dir: Path, task_status: trio.TaskStatus[AsyncClient]) -> None:
    async with async_client.open_client(server_dir) as client:
        task_status.started(client)
        await client.lost()


async def _wait_for_ends(client: AsyncClient, job: int, ends: _Ends, missing: set[int]) -> None:
    if ends.told_by is not client:
        ends.told_by, ends.after = client, 0
    async with client.watch([job]) as watching:
        while True:
            # Another thread may have heard of some, and what it was told is not told again.
            missing -= ends.known.keys()
            if not missing:
                return
            page = await client.ask(ListEnds(job, ends.after), TaskEnds)
            ends.after = page.after
            results, errors = dict(page.results), dict(page.errors)
            for row, number in enumerate(read_u32(page.numbers)):
                end = page.states[row], results.get(row, b""), errors.get(row, "")
                ends.known[number] = end
            if not page.more and not missing <= ends.known.keys():
                await watching.changed()


async def _next_number(client: AsyncClient, job: int) -> int:
    rows, _, unknown = await client.jobs(_selector(job))
    if unknown:
        raise RequestFailed(f"Job {job} not found")
    largest = -1
    for first, count in await client.numbers(rows[0].id):
        largest = max(largest, first + count - 1)
    return largest + 1


def _context(error: str, paths: TaskPaths | None) -> FailedTaskContext:
    if paths is None:
        return FailedTaskContext(error)
    return FailedTaskContext(error, paths.cwd, paths.stdout, paths.stderr)


def _listed(jobs: AnyJob | Iterable[AnyJob]) -> list[AnyJob]:
    if isinstance(jobs, AnyJob):
        return [jobs]
    if not isinstance(jobs, Iterable):
        raise ValidationException(f"jobs has to be jobs that were submitted, not {shown(jobs)}")
    return list(jobs)


def _number(job: AnyJob) -> int:
    if isinstance(job, SubmittedJob):
        return job.id
    if isinstance(job, int) and not isinstance(job, bool) and 0 < job <= MAX_U32:
        return job
    raise ValidationException(f"job has to be a SubmittedJob or a number, not {shown(job)}")


def _selector(job: int) -> Selector:
    return Selector(Which.GIVEN, ((job, 1, 1),))


@contextmanager
def _progress() -> Iterator[Callable[[dict[int, JobRow]], None]]:
    """Draws how many tasks have ended, if somebody looks and tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        tqdm = None
    if tqdm is None or not sys.stderr or not sys.stderr.isatty():
        yield lambda rows: None
        return
    with tqdm(unit="tasks", delay=1.0) as bar:

        def show(rows: dict[int, JobRow]) -> None:
            counts = [row.counts for row in rows.values()]
            active = sum(c.waiting + c.running for c in counts)
            bar.total = active + sum(
                c.finished + c.failed + c.cancelled + c.aborted for c in counts
            )
            bar.update(bar.total - active - bar.n)  # draws ten times a second at most

        yield show
