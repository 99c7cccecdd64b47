"""Calls of functions as tasks of open jobs: sent together, and answered as soon as they have ended.

One `Calls` serves one caller. It keeps at most `AHEAD` calls at the server, so that what is beyond
can still be cancelled, and begins a new job after `CALLS_PER_JOB` calls: the server forgets a job,
with its results, when all of them have arrived here.
"""

from __future__ import annotations

import math
import os
import secrets
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import trio

from hqtrio.api.payload import arguments_file
from hqtrio.api.results import outcome, result_file
from hqtrio.client import Client, RequestFailed
from hqtrio.errors import HqError, InputError, RemoteFault, Unreachable
from hqtrio.messages.client import (
    CloseJobs,
    ForgetJobs,
    Forgotten,
    ListEnds,
    Selector,
    ServerDetails,
    ServerInfo,
    TaskEnds,
    Verdicts,
    Which,
)
from hqtrio.messages.columns import read_u32, u64
from hqtrio.model.job import ArraySpec, JobHead, JobState, Submit
from hqtrio.model.resources import ONE_CPU, Variants
from hqtrio.model.task import TaskBody, TaskSettings

__all__ = ["AHEAD", "Call", "Calls", "Recipe"]

AHEAD: Final = 5000
CALLS_PER_JOB: Final = 50_000
_BATCH: Final = 1000  # calls in one submit: the first of many begin while the last are packed
PATIENCE_S: Final = 60.0  # so long a lost server is looked for
_PAUSE_FIRST_S, _PAUSE_LAST_S = 0.1, 2.0
_ENDED: Final = (JobState.FINISHED, JobState.FAILED, JobState.CANCELLED, JobState.ABORTED)

_SETTINGS: Final = TaskSettings()
OpenClient = Callable[[], AbstractAsyncContextManager[Client]]


@dataclass(frozen=True, eq=False)
class Recipe:
    """What calls have in common: how the task is to run. Compared by identity."""

    body: TaskBody
    variants: Variants = ONE_CPU
    settings: TaskSettings = _SETTINGS


@dataclass(slots=True)
class Call:
    future: Future[Any]
    recipe: Recipe
    entry: bytes


@dataclass(slots=True)
class _Run:
    """One job: `sent` are the calls without an outcome, by number."""

    id: int
    sent: dict[int, Call] = field(default_factory=dict)
    next_number: int = 0
    is_full: bool = False


@dataclass(slots=True)
class _Batch:
    """Calls on their way; the submit stays the same when it is repeated, and so does its key."""

    submit: Submit
    calls: dict[int, Call]
    run: _Run | None


class Calls:
    """`add` and `close` may be called by any thread; `run` is the loop that does the work.

    `wake` has to have `work` called in the loop's thread.
    """

    def __init__(self, name: str, open_client: OpenClient, wake: Callable[[], None]) -> None:
        self._name, self._open, self._wake = name, open_client, wake
        self._waiting: deque[Call] = deque()
        self._runs: dict[int, _Run] = {}
        self._current: _Run | None = None
        self._batch: _Batch | None = None
        self._closing = False
        self._is_asked = False  # to work, by a thread
        self._woken = trio.Event()
        self._ended = trio.Event()  # some calls have
        self._failure: BaseException | None = None
        self._history = b""  # of the server that knows the jobs
        self._client: Client
        self._nursery: trio.Nursery

    # --- any thread

    def add(self, call: Call) -> None:
        """Carry it out; its future tells the outcome, or why that cannot be known."""
        self._waiting.append(call)
        if self._failure is None:
            self._ask_to_work()
        # Looked at again: it may have come up meanwhile, and have missed this call.
        if self._failure is not None:
            self._fail_waiting(self._failure)

    def _ask_to_work(self) -> None:
        if not self._is_asked:
            self._is_asked = True
            self._wake()

    def close(self) -> None:
        """No call is added any more: `run` returns when all have ended."""
        self._closing = True
        self._ask_to_work()

    def cancel_waiting(self) -> None:
        """Cancel those that have not been sent."""
        for call in list(self._waiting):
            call.future.cancel()

    # --- the loop

    def work(self) -> None:
        """There is something to do."""
        self._is_asked = False
        self._woken.set()

    async def run(self) -> None:
        """Send calls and hear of their ends until `close`; HqError if the server is lost for good,
        which all futures are told as well."""
        lost_at = math.inf
        pause_s = _PAUSE_FIRST_S
        try:
            while True:
                try:
                    async with self._open() as client:
                        lost_at, pause_s = math.inf, _PAUSE_FIRST_S
                        await self._serve(client)
                    # Another thread may have added a call since.
                    self.give_up(RuntimeError("cannot schedule new futures after shutdown"))
                    return
                except Unreachable:
                    lost_at = min(lost_at, trio.current_time())
                    if trio.current_time() - lost_at > PATIENCE_S:
                        raise
                except InputError:
                    # A server that starts anew has no directory for a moment.
                    if lost_at == math.inf or trio.current_time() - lost_at > PATIENCE_S:
                        raise
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_LAST_S)
        except HqError as error:
            self.give_up(error)
            raise
        except BaseException:
            self.give_up(RuntimeError("The executor was closed"))
            raise

    async def _serve(self, client: Client) -> None:
        details = await client.ask(ServerInfo(), ServerDetails)
        if self._history not in (b"", details.history):
            self._forget_all()
        self._history = details.history
        try:
            async with trio.open_nursery() as nursery:
                self._client, self._nursery = client, nursery
                for run in self._runs.values():
                    nursery.start_soon(self._hear, client, run)
                await self._send_all(client, nursery)
        except BaseExceptionGroup as group:
            # Whoever waits for the server learns of its loss, and one word is enough.
            lost, other = group.split(Unreachable)
            if other is not None or lost is None:
                raise
            raise Unreachable(str(_first(lost))) from None

    async def _send_all(self, client: Client, nursery: trio.Nursery) -> None:
        while True:
            if self._batch is None:
                self._batch = self._next_batch()
            if self._batch is not None:
                await self._send(client, self._batch, nursery)
            elif self._closing and not self._waiting:
                break
            else:
                await self._woken.wait()
                self._woken = trio.Event()
        while any(run.sent or run.is_full for run in self._runs.values()):
            await self._ended.wait()
            self._ended = trio.Event()
        with trio.move_on_after(_PAUSE_LAST_S):
            for run in list(self._runs.values()):
                await self._close_job(client, run)
        # Only now, as this may cut a frame in two, and the connection with it.
        nursery.cancel_scope.cancel()

    def _next_batch(self) -> _Batch | None:
        calls: list[Call] = []
        room = min(_BATCH, AHEAD - sum(len(run.sent) for run in self._runs.values()))
        while self._waiting and len(calls) < room:
            call = self._waiting.popleft()
            if call.future.set_running_or_notify_cancel():
                calls.append(call)
            else:
                _drop(call)
        if not calls:
            return None
        run = self._current
        if run is not None and run.next_number + len(calls) > CALLS_PER_JOB:
            self._retire(run)
            run = None
        return self._batch_of(calls, run)

    def _batch_of(self, calls: Sequence[Call], run: _Run | None) -> _Batch:
        first = 0 if run is None else run.next_number
        numbered = dict(enumerate(calls, first))
        arrays = []
        for recipe, group in groupby(calls, key=lambda call: call.recipe):
            entries = [call.entry for call in group]
            ends, end = array("Q"), 0
            for entry in entries:
                end += len(entry)
                ends.append(end)
            count = len(entries)
            arrays.append(
                ArraySpec(
                    recipe.body,
                    count,
                    ((first, count, 1),),
                    recipe.variants,
                    recipe.settings,
                    b"".join(entries),
                    u64(ends),
                )
            )
            first += count
        head = JobHead(self._name, is_open=True) if run is None else None
        key = secrets.token_bytes(16)
        job = 0 if run is None else run.id
        return _Batch(Submit(key, os.sep, head, job, tuple(arrays)), numbered, run)

    async def _send(self, client: Client, batch: _Batch, nursery: trio.Nursery) -> None:
        run = batch.run
        if run is not None:
            # Their ends may be heard of before the answer, or were before the answer was lost.
            run.sent |= {n: call for n, call in batch.calls.items() if not call.future.done()}
        try:
            job = await client.submit(batch.submit)
        except (RequestFailed, InputError) as error:
            if self._batch is not batch:
                return  # everything was given up meanwhile
            self._batch = None
            calls = [call for call in batch.calls.values() if not call.future.done()]
            if run is None:
                for call in calls:
                    _fail(call, error)
                return
            # Somebody has closed, cancelled or filled the job: go on in another one.
            for number in batch.calls:
                run.sent.pop(number, None)
            self._retire(run)
            self._batch = self._batch_of(calls, None) if calls else None
            return
        if self._batch is not batch:
            return
        self._batch = None
        if run is None:
            run = self._current = self._runs[job] = _Run(job, dict(batch.calls))
            nursery.start_soon(self._hear, client, run)
        run.next_number = max(batch.calls) + 1

    # --- ends

    async def _hear(self, client: Client, run: _Run) -> None:
        async with client.watch([run.id]) as watching:
            after = 0
            while True:
                if run.id not in self._runs:
                    return
                try:
                    if run.id not in watching.rows:
                        raise RequestFailed(f"Job {run.id} was forgotten")
                    page = await client.ask(ListEnds(run.id, after), TaskEnds)
                except RequestFailed as failed:
                    self._lose(run, failed)
                    return
                after = page.after
                self._take(run, page)
                if run.is_full and not run.sent:
                    await self._close_job(client, run)
                    return
                if not page.more:
                    await watching.changed()

    def _take(self, run: _Run, page: TaskEnds) -> None:
        results, errors = dict(page.results), dict(page.errors)
        for row, number in enumerate(read_u32(page.numbers)):
            call = run.sent.pop(number, None)
            if call is None:
                continue  # another submit's, or heard of before a connection was lost
            result, error = results.get(row, b""), errors.get(row, "")
            _resolve(call, page.states[row], result, error, f"Task {run.id}@{number}")
        self._tell_ended()

    def _retire(self, run: _Run) -> None:
        """It gets no more calls."""
        run.is_full = True
        self._current = None
        if not run.sent:  # else it is closed with the last of them
            self._nursery.start_soon(self._close_job, self._client, run)

    def _forget_all(self) -> None:
        """The server is another one, whose numbers mean other jobs."""
        for run in list(self._runs.values()):
            self._lose(run, Unreachable("The server was replaced by one that knows nothing of it"))
        if self._batch is not None and self._batch.run is not None:
            calls = [call for call in self._batch.calls.values() if not call.future.done()]
            self._batch = self._batch_of(calls, None) if calls else None

    def _lose(self, run: _Run, error: HqError) -> None:
        """What its calls have returned, nobody will ever know."""
        self._runs.pop(run.id, None)
        if self._current is run:
            self._current = None
        lost, run.sent = run.sent, {}
        for call in lost.values():
            _fail(call, error)
        self._tell_ended()

    def _tell_ended(self) -> None:
        self._ended.set()
        self._woken.set()

    async def _close_job(self, client: Client, run: _Run) -> None:
        """Its tasks have all ended and their results are here: nobody needs the job any more."""
        chosen = Selector(Which.GIVEN, ((run.id, 1, 1),))
        try:
            await client.ask(CloseJobs(chosen), Verdicts)
            if run.is_full:
                await client.ask(ForgetJobs(chosen, _ENDED), Forgotten)
        except (RemoteFault, RequestFailed):
            pass  # it stays as it is; users can see and close it
        self._runs.pop(run.id, None)
        self._tell_ended()

    def give_up(self, error: BaseException) -> None:
        """Tell everybody whose call has no outcome, and whoever comes later; `run` ends."""
        if self._failure is not None:
            return
        self._failure = error
        self._fail_waiting(error)
        calls: list[Call] = []
        for run in self._runs.values():
            calls += run.sent.values()
            run.sent = {}
        self._runs.clear()
        if self._batch is not None:
            calls += self._batch.calls.values()
        for call in calls:
            if not call.future.done():
                _fail(call, error)
        self._batch = None
        self.close()
        self._tell_ended()

    def _fail_waiting(self, error: BaseException) -> None:
        while self._waiting:
            try:
                call = self._waiting.popleft()
            except IndexError:  # another thread was faster
                return
            if call.future.set_running_or_notify_cancel():
                _fail(call, error)
            else:
                _drop(call)


def _first(group: BaseExceptionGroup[Unreachable]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _resolve(call: Call, state: int, result: bytes, error: str, name: str) -> None:
    value, raised = outcome(state, result, error, name)
    path = result_file(result)
    if path is not None:
        _unlink(path)
    if raised is not None:
        _fail(call, raised)
        return
    _drop(call)
    call.future.set_result(value)


def _fail(call: Call, error: BaseException) -> None:
    _drop(call)
    call.future.set_exception(error)


def _drop(call: Call) -> None:
    """Nobody needs the file of its arguments any more."""
    path = arguments_file(call.entry)
    if path is not None:
        _unlink(path)


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        pass  # it goes with its directory, or is gone with it
