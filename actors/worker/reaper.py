"""What a dead launcher leaves behind is killed by the worker, which inherits it.

Children are waited for by number and never all at once: a worker may live inside a process that
has children of its own, and their ends belong to whoever started them.
"""

from __future__ import annotations

import logging
import os
import signal
from typing import Final

import trio

from actors.launcher.processes import become_subreaper, processes

log = logging.getLogger(__name__)

_ROUND_S: Final = 0.002
_POLL_S: Final = 0.01
_QUIET_ROUNDS: Final = 2  # one look may fall between a death and the handing over of orphans


class Reaper:
    """This process inherits orphaned descendants; `sweep` leaves none of them.

    Tasks run in sessions of their own, which nobody can enter from outside, so a child in our own
    session was started by this process and is spared; so is every other one that it names.
    """

    def __init__(self) -> None:
        if not become_subreaper():
            log.warning(
                "this system hands nobody the children of dead processes: what a task has put"
                " into the background may outlive the task's end by force"
            )
        self._own: set[int] = set()

    def spare(self, pid: int) -> None:
        """A child in another session that this process has started, and reaps."""
        self._own.add(pid)

    def forget(self, pid: int) -> None:
        """That child was reaped; its number may come again."""
        self._own.discard(pid)

    async def sweep(self, patience_s: float = 5.0) -> bool:
        """Kill and reap inherited processes until none is left; False if some would not die."""
        quiet = 0
        with trio.move_on_after(patience_s):
            while quiet < _QUIET_ROUNDS:
                inherited = self._inherited()
                for pid in inherited:
                    _kill(pid)
                await trio.sleep(_ROUND_S)
                for pid in inherited:
                    reap(pid)
                quiet = 0 if inherited else quiet + 1
        return quiet == _QUIET_ROUNDS

    def _inherited(self) -> list[int]:
        me, session = os.getpid(), os.getsid(0)
        return [
            process.pid
            for process in processes()
            if process.parent == me and process.session != session and process.pid not in self._own
        ]


def reap(pid: int) -> int | None:
    """The exit code of the child (minus its signal), which is no zombie then; None: it lives."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0  # reaped by somebody else in this process
    return os.waitstatus_to_exitcode(status) if found else None


async def wait_gone(pid: int) -> int:
    """The child's exit code, once it has ended; it is reaped then."""
    try:
        watch = os.pidfd_open(pid)
    except (OSError, AttributeError):
        while (code := reap(pid)) is None:  # noqa: ASYNC110 - there is no event to wait for
            await trio.sleep(_POLL_S)
        return code
    try:
        while (code := reap(pid)) is None:
            await trio.lowlevel.wait_readable(watch)
        return code
    finally:
        os.close(watch)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass  # of another user: it ends by itself, or not at all
