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
        self._ready = threading.Event()
        self._running: set[Future[Any]] = set()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._ready.wait()

    def call(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Its result; an exception that ends the wait (Ctrl-C) cancels the function."""
        running, cancel = self.start(function, *args)
        try:
            return running.result()
        except BaseException:
            cancel()
            raise

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
        if os.getpid() != self._pid:
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
        if os.getpid() == self._pid and threading.current_thread() is not self._thread:
            self._thread.join()

    def end(self) -> None:
        """As `close`, without waiting: whatever thread this is, it goes on."""
        if os.getpid() != self._pid:
            return
        try:
            self._token.run_sync_soon(self._stop.set)
        except trio.RunFinishedError:
            pass

    def _run(self) -> None:
        try:
            trio.run(self._main)
        finally:
            # What was to begin when the loop ended, nobody else will end.
            for running in list(self._running):
                running.set_exception(self._closed())

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            self._ready.set()
            await self._stop.wait()
            nursery.cancel_scope.cancel()
