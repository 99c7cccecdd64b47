"""One client of one server: requests, their answers, and notices about what changes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import trio
from msgspec.structs import replace

from hqtrio.client.submits import fits_one_frame, parts_of
from hqtrio.client.views import Task, tasks_of
from hqtrio.errors import HqError, RemoteFault, Unreachable
from hqtrio.messages.allocations import (
    AllocationRow,
    AllocationRows,
    ListAllocations,
    ListQueues,
    QueueRow,
    QueueRows,
)
from hqtrio.messages.client import (
    PAGE_ROWS,
    AnyRequest,
    Call,
    Done,
    ExplainTask,
    Failure,
    JobNotice,
    JobRow,
    JobRows,
    ListJobs,
    ListNumbers,
    ListTasks,
    ListWorkers,
    Response,
    Said,
    Selector,
    StreamBegun,
    StreamEvents,
    SubmitCommit,
    SubmitJob,
    Submitted,
    TaskExplained,
    TaskNotice,
    TaskNumbers,
    TaskRows,
    Watch,
    WatchWorkers,
    Which,
    WorkerNotice,
    WorkerRow,
    WorkerRows,
)
from hqtrio.model.job import Ranges, Submit

ALL = Selector(Which.ALL)
LAST = Selector(Which.LAST)
_STREAM_PARTS = 4
R = TypeVar("R", bound=Response)


class RequestFailed(HqError):
    """The server refused a request, and nothing was changed; the text is the server's."""


class Connection(Protocol):
    """What a client needs of a connection; both raise RemoteFault once it is gone."""

    async def send(self, messages: Sequence[Call], /) -> None: ...

    async def receive(self) -> Sequence[Said]: ...


@dataclass(slots=True)
class _Waiting:
    """A call without an answer yet."""

    answered: trio.Event = field(default_factory=trio.Event)
    response: Response | None = None


class Watching:
    """The newest rows of some jobs, kept up to date by the server's notices."""

    def __init__(self) -> None:
        self.rows: dict[int, JobRow] = {}
        self.unknown: tuple[int, ...] = ()
        self._early: list[JobNotice] | None = []
        self._changed = trio.Event()
        self._lost: RemoteFault | None = None

    async def changed(self) -> None:
        """Return as soon as a row has changed since the last return, or the server is gone."""
        await self._changed.wait()
        self._changed = trio.Event()
        if self._lost is not None:
            raise self._lost

    def _add(self, answer: JobRows) -> None:
        self.rows.update((row.id, row) for row in answer.rows)
        self.unknown += answer.unknown

    def _begin(self) -> None:
        early, self._early = self._early or [], None
        for notice in early:
            self._take(notice)

    def _take(self, notice: JobNotice) -> None:
        if self._early is not None:
            self._early.append(notice)
            return
        if notice.row.id not in self.rows:
            return
        if notice.gone:
            del self.rows[notice.row.id]
        else:
            self.rows[notice.row.id] = notice.row
        self._changed.set()

    def _lose(self, fault: RemoteFault) -> None:
        self._lost = fault
        self._changed.set()


class Client:
    """Calls may run side by side. Every method raises RequestFailed for a refusal of the server
    and RemoteFault when the connection is lost.

    `listener` is handed what tasks say, of every job that is submitted or watched from then on.
    """

    def __init__(
        self,
        connection: Connection,
        another: Callable[[], AbstractAsyncContextManager[Client]] | None = None,
    ) -> None:
        self.listener: Callable[[TaskNotice], None] | None = None
        self._connection = connection
        self._another = another
        self._waiting: dict[int, _Waiting] = {}
        self._watching: list[Watching] = []
        self._workers_changed = trio.Event()
        self._workers_connected: int | None = None
        self._last_number = 0
        # What a stream of events tells; while that is not read, nothing else is heard either.
        self._stream: trio.MemorySendChannel[Response] | None = None
        self._streamed: trio.MemoryReceiveChannel[Response] | None = None
        self._lost: RemoteFault | None = None
        self._ended = trio.Event()

    # --- the connection

    @property
    def is_lost(self) -> bool:
        """Nobody can be asked any more."""
        return self._lost is not None

    async def lost(self) -> None:
        """Return when the connection is lost."""
        await self._ended.wait()

    async def run(self) -> None:
        """Hand answers and notices to those who wait, until the connection is lost."""
        while self._lost is None:
            try:
                batch = await self._connection.receive()
            except RemoteFault as fault:
                self._lose(_loss(fault))
                return
            for said in batch:
                if self._stream is not None and not said.number:
                    await self._stream.send(said.response)
                else:
                    self._take(said)

    def _take(self, said: Said) -> None:
        if said.number:
            waiting = self._waiting.get(said.number)
            if waiting is not None:
                waiting.response = said.response
                waiting.answered.set()
            return
        match said.response:
            case JobNotice() as notice:
                for watching in self._watching:
                    watching._take(notice)
            case WorkerNotice(connected):
                self._workers_connected = connected
                self._workers_changed.set()
            case TaskNotice() as notice:
                if self.listener is not None:
                    self.listener(notice)
            case _:
                pass  # a kind of notice that a newer server sends unasked

    def _lose(self, fault: RemoteFault) -> None:
        self._lost = fault
        self._ended.set()
        for waiting in self._waiting.values():
            waiting.answered.set()
        for watching in self._watching:
            watching._lose(fault)
        self._workers_changed.set()
        if self._stream is not None:
            self._stream.close()

    # --- requests

    async def call(self, request: AnyRequest) -> Response:
        """The server's answer to one request."""
        return await self._answer(await self._begin(request))

    async def _begin(self, request: AnyRequest) -> int:
        """Send it; the number by which its answer is kept until it is taken."""
        if self._lost is not None:
            raise self._lost
        self._last_number += 1
        number = self._last_number
        self._waiting[number] = _Waiting()
        try:
            await self._connection.send([Call(number, request)])
        except BaseException as error:
            del self._waiting[number]
            if isinstance(error, RemoteFault):
                raise _loss(error) from None
            raise
        return number

    async def _answer(self, number: int) -> Response:
        waiting = self._waiting[number]
        try:
            await waiting.answered.wait()
        finally:
            del self._waiting[number]
        match waiting.response:
            case None:
                assert self._lost is not None
                raise self._lost
            case Failure(reason):
                raise RequestFailed(f"Error: {reason}")
            case response:
                return response

    async def ask(self, request: AnyRequest, kind: type[R]) -> R:
        """The answer to a request that is answered by one kind of response."""
        return _of_kind(request, await self.call(request), kind)

    # --- events

    async def begin_stream(self, request: StreamEvents) -> StreamBegun:
        """From now on `next_of_stream` is what the connection is for."""
        self._stream, self._streamed = trio.open_memory_channel[Response](_STREAM_PARTS)
        return await self.ask(request, StreamBegun)

    async def next_of_stream(self) -> Response:
        """The next part of the stream."""
        assert self._streamed is not None
        try:
            return await self._streamed.receive()
        except trio.EndOfChannel:
            assert self._lost is not None
            raise self._lost from None

    def another(self) -> AbstractAsyncContextManager[Client]:
        """A new client of the same server; Unreachable if nobody knows how to find it."""
        if self._another is None:
            raise Unreachable("The connection to the server is lost")
        return self._another()

    # --- long lists

    async def jobs(self, selector: Selector = ALL) -> tuple[list[JobRow], int, list[int]]:
        """The selected jobs by id, how many jobs there are in all, and the ids of no job."""
        rows: list[JobRow] = []
        unknown: list[int] = []
        after, total, more = 0, 0, True
        while more:
            page = await self.ask(ListJobs(selector, after), JobRows)
            rows += page.rows
            unknown += page.unknown
            total, more = page.total, page.more
            after = page.rows[-1].id if page.rows else after
        return rows, total, list(dict.fromkeys(unknown))

    async def workers(self, selector: Selector = ALL) -> tuple[list[WorkerRow], list[int]]:
        """The selected workers by id, and the ids of no worker."""
        rows: list[WorkerRow] = []
        unknown: list[int] = []
        after, more = 0, True
        while more:
            page = await self.ask(ListWorkers(selector, after), WorkerRows)
            rows += page.rows
            unknown += page.unknown
            more = page.more
            after = page.rows[-1].id if page.rows else after
        return rows, list(dict.fromkeys(unknown))

    async def queues(self) -> list[QueueRow]:
        """All allocation queues by id."""
        rows: list[QueueRow] = []
        more = True
        while more:
            page = await self.ask(ListQueues(rows[-1].id if rows else 0), QueueRows)
            rows += page.rows
            more = page.more and bool(page.rows)
        return rows

    async def allocations(self, queue: int) -> list[AllocationRow]:
        """What the manager has, or had, of one queue, in the order of submission."""
        rows: list[AllocationRow] = []
        more = True
        while more:
            after = rows[-1].number if rows else 0
            page = await self.ask(ListAllocations(queue, after), AllocationRows)
            rows += page.rows
            more = page.more and bool(page.rows)
        return rows

    async def task_pages(
        self,
        job: int,
        *,
        numbers: Ranges = (),
        states: tuple[int, ...] = (),
        limit: int = PAGE_ROWS,
    ) -> AsyncGenerator[TaskRows, None]:
        """Tasks of one job by number, page by page of at most `limit` rows."""
        asked = ListTasks(job, 0, numbers, states, limit)
        call = await self._begin(asked)
        try:
            while call:
                page = _of_kind(asked, await self._answer(call), TaskRows)
                call = 0
                if page.next_position >= 0:
                    asked = replace(asked, position=page.next_position)
                    if limit == PAGE_ROWS:
                        # The server works on it while this page is used.
                        call = await self._begin(asked)
                yield page
                if page.next_position >= 0 and not call:
                    call = await self._begin(asked)
        finally:
            self._waiting.pop(call, None)

    async def task_lists(self, job: int) -> AsyncGenerator[list[Task], None]:
        """All tasks of one job by number, page by page."""
        async with aclosing(self.task_pages(job)) as pages:
            async for page in pages:
                yield list(tasks_of(job, page))

    async def tasks(
        self,
        job: int,
        *,
        numbers: Ranges = (),
        states: tuple[int, ...] = (),
        most: int | None = None,
    ) -> tuple[list[Task], list[int]]:
        """The chosen tasks of one job by number (the first `most`), and numbers of no task."""
        tasks: list[Task] = []
        unknown: list[int] = []
        limit = PAGE_ROWS if most is None else min(most, PAGE_ROWS)
        async with aclosing(
            self.task_pages(job, numbers=numbers, states=states, limit=limit)
        ) as pages:
            async for page in pages:
                unknown += page.unknown
                tasks += tasks_of(job, page)
                if most is not None and len(tasks) >= most:
                    break
        return tasks[:most], unknown

    async def numbers(self, job: int, states: tuple[int, ...] = ()) -> list[tuple[int, int]]:
        """Runs `(first, count)` of the numbers of a job's tasks in these states (empty: in any)."""
        runs: list[tuple[int, int]] = []
        position = 0
        while position >= 0:
            page = await self.ask(ListNumbers(job, states, position), TaskNumbers)
            runs += page.runs
            position = page.next_position
        return runs

    async def explain(self, job: Selector, number: int) -> TaskExplained:
        """What a task of one job waits for, and every worker's fit."""
        explained = page = await self.ask(ExplainTask(job, number), TaskExplained)
        workers = [*page.workers]
        while page.more and page.workers:
            # By id: `last` may be another job by now.
            named = Selector(Which.GIVEN, ((page.job, 1, 1),))
            page = await self.ask(ExplainTask(named, number, workers[-1].worker), TaskExplained)
            workers += page.workers
        return replace(explained, workers=tuple(workers), more=False)

    # --- submits

    async def submit(self, submit: Submit) -> int:
        """The job that now has the tasks. A lost answer is asked for again, over a connection of
        its own; the key keeps the server from making the job twice.
        """
        try:
            return await self._submit(submit)
        except Unreachable:
            if self._another is None:
                raise
            async with self._another() as other:
                other.listener = self.listener
                return await other._submit(submit)

    async def _submit(self, submit: Submit) -> int:
        if fits_one_frame(submit):
            request = SubmitJob(submit, notes=self.listener is not None)
            return (await self.ask(request, Submitted)).job
        *parts, _ = parts_of(submit)
        for part in parts:
            await self.ask(part, Done)
        commit = SubmitCommit(submit.key, notes=self.listener is not None)
        return (await self.ask(commit, Submitted)).job

    # --- waiting

    @asynccontextmanager
    async def watch(self, jobs: Iterable[int]) -> AsyncIterator[Watching]:
        """Follow these jobs; no change between the first rows and the first notice is missed."""
        watching = Watching()
        # In the list before the question is sent: notices may follow the answer in one frame.
        self._watching.append(watching)
        try:
            chosen = tuple(jobs)
            for first in range(0, len(chosen), PAGE_ROWS):
                numbers = chosen[first : first + PAGE_ROWS]
                page = Watch(numbers, notes=self.listener is not None)
                watching._add(await self.ask(page, JobRows))
            watching._begin()
            yield watching
        finally:
            self._watching.remove(watching)

    async def wait_for_jobs(
        self,
        jobs: Iterable[int],
        *,
        closed: bool = True,
        on_change: Callable[[Watching], None] | None = None,
    ) -> None:
        """Return when every one of these jobs that exists is completed.

        Completed means that no task waits or runs and, if `closed`, that the job takes no more.
        """
        chosen = tuple(jobs)
        try:
            await self._wait_for_jobs(chosen, closed, on_change)
        except Unreachable as loss:
            # A client that was suspended for long is cut off; it asks again where things stand.
            if self._another is None:
                raise
            try:
                async with self._another() as other:
                    other.listener = self.listener
                    await other._wait_for_jobs(chosen, closed, on_change)
            except Unreachable:
                raise loss from None  # what happened is that the server ended, not that it is away

    async def _wait_for_jobs(
        self, jobs: tuple[int, ...], closed: bool, on_change: Callable[[Watching], None] | None
    ) -> None:
        async with self.watch(jobs) as watching:
            while True:
                if on_change is not None:
                    on_change(watching)
                if all(is_complete(row, closed=closed) for row in watching.rows.values()):
                    return
                await watching.changed()

    async def wait_for_workers(self, count: int) -> None:
        """Return when at least so many workers are connected."""
        connected = (await self.ask(WatchWorkers(), WorkerNotice)).connected
        while connected < count:
            await self._workers_changed.wait()
            self._workers_changed = trio.Event()
            if self._lost is not None:
                raise self._lost
            connected = self._workers_connected or 0


def is_complete(row: JobRow, *, closed: bool = True) -> bool:
    """Whether no task of the job waits or runs and, if `closed`, none can be added."""
    active = row.counts.waiting or row.counts.running
    return not active and not (closed and row.is_open)


def _of_kind(request: AnyRequest, response: Response, kind: type[R]) -> R:
    if not isinstance(response, kind):
        raise RemoteFault(
            f"The server answered {type(request).__name__} by {type(response).__name__}"
        )
    return response


def _loss(fault: RemoteFault) -> Unreachable:
    return Unreachable(f"The connection to the server was lost: {fault}")
