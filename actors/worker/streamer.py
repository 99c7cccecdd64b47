"""The streamer process of a worker: it runs once a launcher has asked for it.

Launchers connect to a socket that the worker listens on. With the first connection a streamer is
started, which accepts it; when one dies, the next connection starts another.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from actors.worker.children import FIRST_FD, spawn_child
from actors.worker.reaper import Reaper, wait_gone
from hqtrio.net.unix import short_path

log = logging.getLogger(__name__)

STOP_S: Final = 6.0  # what is in the pipes is written until then
_BACKLOG: Final = 128
_SHORT_S: Final = 1.0  # a streamer that lives no longer, and this often in a row, is no use
_DEATHS_MAX: Final = 3


@asynccontextmanager
async def open_streamer(path: Path, reaper: Reaper) -> AsyncIterator[None]:
    """Launchers find a streamer at this path. Leaving ends it, when launchers are gone and
    everything is written."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.setblocking(False)
        with short_path(os.fsencode(path)) as name:
            listener.bind(name)
        listener.listen(_BACKLOG)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_streamer, listener, reaper)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()


async def _keep_streamer(listener: socket.socket, reaper: Reaper) -> None:
    deaths = 0
    while True:
        await trio.lowlevel.wait_readable(listener)
        began_at = time.monotonic()
        await _run_streamer(listener, reaper)
        deaths = deaths + 1 if time.monotonic() - began_at < _SHORT_S else 0
        if deaths >= _DEATHS_MAX:
            _turn_away(listener)


async def _run_streamer(listener: socket.socket, reaper: Reaper) -> None:
    ends, ours = os.pipe()
    code = f"from actors.streamer.main import main; main({FIRST_FD}, {FIRST_FD + 1})"
    try:
        pid = spawn_child(code, listener.fileno(), ends)
    except OSError as error:
        os.close(ours)
        log.error("the streamer cannot be started: %s", error)
        _turn_away(listener)
        return
    finally:
        os.close(ends)
    reaper.spare(pid)
    try:
        code_of_end = await wait_gone(pid)
        log.error("the streamer died (%d); tasks that streamed to it fail", code_of_end)
        reaper.forget(pid)
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            os.close(ours)  # which tells the streamer to finish
            ours = -1
            await _end(pid, reaper)
        raise
    finally:
        if ours >= 0:
            os.close(ours)


async def _end(pid: int, reaper: Reaper) -> None:
    with trio.move_on_after(STOP_S):
        await wait_gone(pid)
        reaper.forget(pid)
        return
    log.warning("the streamer does not end; a file system may hang")
    os.kill(pid, signal.SIGKILL)
    with trio.move_on_after(1.0):
        await wait_gone(pid)
        reaper.forget(pid)


def _turn_away(listener: socket.socket) -> None:
    """Whoever waits for a streamer learns that there is none."""
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            return
