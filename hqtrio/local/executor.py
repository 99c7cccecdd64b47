"""`concurrent.futures`, with a cluster behind it."""

from __future__ import annotations

import atexit
import os
import sys
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor as StandardExecutor
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import trio

from hqtrio.api.calls import Call, Calls, Recipe
from hqtrio.api.environment import PythonEnv, own_python
from hqtrio.api.fingerprints import fingerprint
from hqtrio.api.output import StdioDef, read_stdio
from hqtrio.api.payload import RESULTS, pack_arguments, pack_function, pickled, remove_files
from hqtrio.api.portal import Portal
from hqtrio.api.task import Common, read_common
from hqtrio.api.validation import ValidationException
from hqtrio.client import open_client
from hqtrio.local.cluster import LocalWorkerFailed, RunCluster, open_local
from hqtrio.local.lacks import find_lack
from hqtrio.model.resources import ONE_CPU, Variants
from hqtrio.model.task import Stdio, TaskBody
from hqtrio.net.directory import default_directory

__all__ = ["Executor"]

_RECIPES_MAX: Final = 1000  # functions remembered in their pickled form
P = ParamSpec("P")
T = TypeVar("T")
_alive: set[_Shared] = set()  # what has to end before the interpreter does


class _Shared:
    """The connection and the calls of an executor and of all that `options` has made of it.

    It lives until it was closed and every call has ended, whoever still knows of it; then nothing
    is left of it.
    """

    def __init__(
        self, server_dir: Path | None, cores: int | None, name: str, results_dir: Path
    ) -> None:
        self.portal = Portal("hqtrio executor")
        self.results_dir = results_dir
        self.is_shut_down = False
        self._server_dir, self._cores = server_dir, cores
        self._name = name
        self._cluster: RunCluster | None = None
        try:
            self.portal.call(self._begin)
        except BaseException:
            self.portal.close()
            raise
        _alive.add(self)

    def close(self) -> None:
        """No call is taken any more; those that were go on."""
        if not self.is_shut_down and not self.portal.is_forked:
            self.is_shut_down = True
            try:
                self.calls.close()
            except RuntimeError:
                pass  # it has ended by itself

    def check(self, variants: Variants) -> None:
        """ValidationException if no call could ever run, as nobody brings another worker."""
        if self._cluster is None or variants == ONE_CPU:
            return
        lack = self.portal.call(find_lack, self._cluster.client, variants)
        if lack:
            raise ValidationException(f"resources: no call could ever run here: {lack}")

    async def _begin(self) -> None:
        self.calls: Calls
        await self.portal.nursery.start(self._run)

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with self._server() as (server_dir, cluster):
                self._cluster = cluster
                async with open_client(server_dir):
                    pass  # whatever is wrong is wrong now
                opening = partial(open_client, server_dir)
                self.calls = Calls(self._name, opening, lambda: self.portal.soon(self.calls.work))
                task_status.started()
                async with trio.open_nursery() as nursery:
                    if cluster is not None:
                        nursery.start_soon(self._watch, cluster)
                    try:
                        await self.calls.run()
                    except Exception:
                        pass  # every future knows
                    nursery.cancel_scope.cancel()
        finally:
            remove_files(self.results_dir)
        _alive.discard(self)
        self.portal.end()

    async def _watch(self, cluster: RunCluster) -> None:
        """Without a worker no call would ever end."""
        try:
            await cluster.wait_worker_failed()
        except LocalWorkerFailed as failed:
            self.calls.give_up(failed)

    @asynccontextmanager
    async def _server(self) -> AsyncIterator[tuple[Path, RunCluster | None]]:
        if self._server_dir is not None:
            yield self._server_dir, None
            return
        args = () if self._cores is None else ("--cpus", str(self._cores))
        async with open_local(args) as cluster:
            yield cluster.server_dir, cluster


class _Lease:
    """Whoever holds it may submit: when nobody does, the calls that there are are the last."""


class Executor(StandardExecutor):
    """Calls functions as tasks of a cluster; use it as any executor of `concurrent.futures`.

    The server is that of `server_dir` (by default the command line's); with `cores` it is one of
    its own, with a worker on so many CPUs of this machine. Functions run in `python_env` (by
    default the interpreter that runs now), in `cwd` (the current directory), with `env` added to
    the worker's environment. What they print goes to `stdout` and `stderr` (None: nowhere; paths
    may hold `%{TASK_ID}`). What is too large to travel lies in `results_dir`, which workers have to
    see. `options` gives single calls other resources and limits.

    A call that needs what no worker has waits for one that brings it; with `cores` nobody will:
    such `resources` are a ValidationException.

    A call that was sent to the server counts as running and cannot be cancelled any more; the
    others wait here, beyond the first thousands. A function that raises is not called again, one
    whose worker was lost is, up to `crash_limit` losses.

    From asyncio use `asyncio.wrap_future(executor.submit(...))` or `loop.run_in_executor`, from
    trio `await executor.call(...)`.
    """

    def __init__(
        self,
        server_dir: str | os.PathLike[str] | None = None,
        *,
        cores: int | None = None,
        name: str = "executor",
        python_env: PythonEnv | None = None,
        results_dir: str | os.PathLike[str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdout: Any = None,
        stderr: Any = None,
        resources: Any = None,
        priority: int = 0,
        time_limit: Any = None,
        crash_limit: int | str | None = None,
        pin: str | None = None,
    ) -> None:
        if cores is not None and (isinstance(cores, bool) or not isinstance(cores, int)):
            raise ValidationException(f"cores has to be a number, not {cores!r}")
        if cores is not None and (cores < 1 or server_dir is not None):
            raise ValidationException("cores has to be at least 1, and excludes server_dir")
        if not isinstance(python_env, PythonEnv | None):
            raise ValidationException(f"python_env has to be a PythonEnv, not {python_env!r}")
        self._python = python_env or own_python()
        self._options = {
            "cwd": os.path.abspath(cwd or os.getcwd()), "env": env, "stdout": stdout,
            "stderr": stderr, "resources": resources, "priority": priority,
            "time_limit": time_limit, "crash_limit": crash_limit, "pin": pin,
        }  # fmt: skip
        self._common = _common(self._options)
        self._recipes: dict[object, Recipe] = {}
        chosen = None
        if cores is None:
            named = server_dir or os.environ.get("HQ_SERVER_DIR") or default_directory()
            chosen = Path(named).absolute()
        base = Path(results_dir or RESULTS).absolute()
        self._shared = _Shared(chosen, cores, name, base / os.urandom(8).hex())
        try:
            self._shared.check(self._common.variants)
        except BaseException:
            self.shutdown()
            raise
        self._lease = _Lease()
        weakref.finalize(self._lease, self._shared.close).atexit = False

    def options(self, **changes: Any) -> Executor:
        """The same executor for calls with other options: `resources`, `priority`, `time_limit`,
        `crash_limit`, `pin`, `env` (replaced), `cwd`, `stdout`, `stderr`. Shutting down either one
        shuts down both.
        """
        unknown = sorted(changes.keys() - self._options.keys())
        if unknown:
            known = ", ".join(self._options)
            raise ValidationException(f"Unknown option {unknown[0]!r} (there are {known})")
        twin = object.__new__(Executor)
        twin._python, twin._shared, twin._lease = self._python, self._shared, self._lease
        twin._options = {**self._options, **changes}
        twin._common = _common(twin._options)
        self._shared.check(twin._common.variants)
        twin._recipes = {}
        return twin

    # --- concurrent.futures

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The call's result to be; what cannot be pickled is an exception of it."""
        return self._submitted(lambda: self._recipe_of(fn), args, kwargs)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """As the standard library's; the function is pickled once. `chunksize` changes nothing, as
        calls travel together in any case. With `buffersize` so many calls are ahead of what was
        taken from the iterator, and the arguments are read as they are needed."""
        if chunksize < 1 or (buffersize is not None and buffersize < 1):
            raise ValueError("chunksize and buffersize have to be at least 1")
        self._check()
        recipe = self._recipe(pickled(fn))
        ends_at = None if timeout is None else time.monotonic() + timeout
        calls = (
            self._submitted(lambda: recipe, args, {}) for args in zip(*iterables, strict=False)
        )
        ahead = deque(calls if buffersize is None else islice(calls, buffersize))
        return _in_order(ahead, calls, ends_at)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """No call is taken any more. With `wait` all have ended then, and nothing is left of what
        this executor has started; with `cancel_futures` those that were not sent are cancelled.

        A second Ctrl-C, while it waits, ends everything at once. A callback of a future does not
        wait, and a forked child leaves everything to its parent."""
        shared = self._shared
        if shared.portal.is_forked:
            return  # it is the parent's
        try:
            shared.close()
            if cancel_futures:
                shared.calls.cancel_waiting()
            if wait:
                shared.portal.join()
        except KeyboardInterrupt:
            shared.portal.end()
            raise

    # --- trio

    async def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """In trio: the function's result. If the wait is cancelled, so is the call, unless it has
        been sent."""
        future = self.submit(fn, *args, **kwargs)
        token = trio.lowlevel.current_trio_token()
        ended = trio.Event()

        def tell(_: Future[T]) -> None:
            try:
                token.run_sync_soon(ended.set)
            except trio.RunFinishedError:
                pass

        future.add_done_callback(tell)
        try:
            await ended.wait()
        except trio.Cancelled:
            future.cancel()
            raise
        return future.result()

    # --- recipes

    def _check(self) -> None:
        if self._shared.is_shut_down:
            raise ShutDown("cannot schedule new futures after shutdown")

    def _submitted(
        self, recipe: Callable[[], Recipe], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Future[Any]:
        self._check()
        future: Future[Any] = Future()
        try:
            entry = pack_arguments(args, kwargs, directory=str(self._shared.results_dir))
            call = Call(future, recipe(), entry)
        except Exception as error:
            future.set_exception(error)
        else:
            self._shared.calls.add(call)
        return future

    def _recipe_of(self, fn: Callable[..., Any]) -> Recipe:
        """How the function is called; remembered as long as it surely is the same."""
        if not callable(fn):
            raise TypeError(f"{fn!r} cannot be called")
        mark = fingerprint(fn)
        # Where its imports are found travels along.
        key = None if mark is None else (mark, tuple(sys.path))
        recipe = None if key is None else self._recipes.get(key)
        if recipe is None:
            recipe = self._recipe(pickled(fn))
            if key is not None:
                if len(self._recipes) >= _RECIPES_MAX:
                    self._recipes.clear()
                self._recipes[key] = recipe
        return recipe

    def _recipe(self, function: bytes) -> Recipe:
        common = self._common
        place = str(self._shared.results_dir)
        body = TaskBody(
            args=self._python.words,
            env=tuple(
                (os.fsencode(name), os.fsencode(value)) for name, value in common.env.items()
            ),
            cwd=common.cwd or os.sep,
            stdout=_stdio(common.stdout),
            stderr=_stdio(common.stderr),
            submit_dir=common.cwd or os.sep,
            stdin=pack_function(function, results=place, directory=place),
            time_limit_s=common.time_limit_s,
            pin=common.pin,
            task_dir=True,
            function_calls=self._python.calls,
        )
        return Recipe(body, common.variants, common.settings)


class ShutDown(RuntimeError):
    """The executor takes no calls any more."""


def _in_order(
    ahead: deque[Future[T]], more: Iterator[Future[T]], ends_at: float | None
) -> Iterator[T]:
    """The results; whoever stops to take them cancels what can be cancelled."""
    try:
        while ahead:
            timeout = None if ends_at is None else max(0.0, ends_at - time.monotonic())
            result = ahead[0].result(timeout)
            ahead.popleft()
            ahead.extend(islice(more, 1))
            yield result
    finally:
        for future in ahead:
            future.cancel()


def _common(options: Mapping[str, Any]) -> Common:
    given = {**options}
    stdout, stderr = (read_stdio(name, given.pop(name)) for name in ("stdout", "stderr"))
    return read_common(stdout=stdout, stderr=stderr, stream=None, retry=None, **given)


def _stdio(wanted: StdioDef | None) -> Stdio:
    if wanted is None:
        return Stdio(None)
    if wanted.path is None:
        raise ValidationException("stdout and stderr of calls have to be paths, or None")
    return Stdio(wanted.path, wanted.remove)


@atexit.register
def _end_all() -> None:
    """As the standard library's executors do: calls end before the interpreter does."""
    all_alive = list(_alive)
    try:
        for shared in all_alive:
            shared.close()
        for shared in all_alive:
            shared.portal.join()
    except KeyboardInterrupt:  # as in `shutdown`; nobody is left to be told
        for shared in all_alive:
            shared.portal.end()
        for shared in all_alive:
            shared.portal.join()
