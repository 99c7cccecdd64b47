"""A trio loop in a thread of its own, for scripts that know nothing of trio."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Portal:
    """Runs async functions for other threads. `close` cancels what still runs.

    A child process that was made by fork has no loop of its own: it gets a RuntimeError.
    """

    def __init__(self, name: str) -> None:
        self._ready, self._gone = threading.Event(), threading.Event()
        self._running: set[Future[Any]] = set()
        self._failure: BaseException | None = None
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise RuntimeError(f"{name} cannot begin: {self._failure}") from self._failure

    def call(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Its result; an exception that ends the wait (Ctrl-C) cancels the function.

        RuntimeError in the loop's own thread, as in callbacks of futures: it would wait for itself.
        """
        if self.is_own_thread:
            raise RuntimeError("A callback cannot wait for what its own thread has to do")
        running, cancel = self.start(function, *args)
        try:
            return running.result()
        except BaseException:
            cancel()
            raise

    @property
    def is_own_thread(self) -> bool:
        return threading.current_thread() is self._thread

    @property
    def is_forked(self) -> bool:
        """Whether this is a child of the process that the loop belongs to."""
        return os.getpid() != self._pid

    def start(
        self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts
    ) -> tuple[Future[T], Callable[[], None]]:
        """Begin it: its result to be, and what cancels it."""
        running: Future[T] = Future()
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        scope = trio.CancelScope()

        async def carry_out() -> None:
            try:
                with scope:
                    running.set_result(await function(*args))
            except Exception as error:
                running.set_exception(error)
            finally:
                if not running.done():
                    running.set_exception(self._closed())

        def begin() -> None:
            try:
                self.nursery.start_soon(carry_out)
            except RuntimeError:  # the loop ends just now
                running.set_exception(self._closed())

        self.soon(begin)
        return running, lambda: self.soon(scope.cancel)

    def soon(self, function: Callable[[], Any]) -> None:
        """Call it in the loop, as soon as the loop comes to it."""
        if self.is_forked:
            raise RuntimeError("A forked process cannot use its parent's connection: make another")
        try:
            self._token.run_sync_soon(function)
        except trio.RunFinishedError:
            raise self._closed() from None

    def _closed(self) -> RuntimeError:
        return RuntimeError(f"{self._thread.name} is closed")

    def close(self) -> None:
        """Nothing runs any more; the thread is gone."""
        self.end()
        self.join()

    def join(self) -> None:
        """Return when the thread is gone; at once in the thread itself, and in forked children."""
        if not self.is_forked and not self.is_own_thread:
            # Python 3.11 takes a thread for ended whose join was interrupted.
            self._gone.wait()

    def end(self) -> None:
        """As `close`, without waiting: whatever thread this is, it goes on."""
        if self.is_forked:
            return
        try:
            self._token.run_sync_soon(self._stop.set)
        except trio.RunFinishedError:
            pass

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as failure:
            if self._ready.is_set():
                raise
            self._failure = failure
        finally:
            self._ready.set()
            # What was to begin when the loop ended, nobody else will end.
            for running in list(self._running):
                running.set_exception(self._closed())
            self._gone.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            self._ready.set()
            await self._stop.wait()
            nursery.cancel_scope.cancel()
