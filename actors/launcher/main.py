"""A launcher process from its first to its last moment."""

from __future__ import annotations

import gc
import os
import signal

from actors.launcher.launcher import Launcher
from actors.launcher.processes import become_subreaper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# A batch manager and a terminal signal every process of a group or step at the same moment; the
# worker decides what ends, and says so over the socket.
_UNHEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)


def main(fd: int) -> None:
    """Serve the worker at the other end of the socket until it is gone."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if number < 32 and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    for number in (*_UNHEARD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    close_strangers(fd)
    os.set_inheritable(fd, False)  # or every task would hold the socket open
    become_subreaper()
    gc.disable()  # our tables hold no cycles, and a collection would look at all that is queued
    Launcher(fd).serve()


def close_strangers(*fds: int) -> None:
    """Of all descriptors, only the standard ones and these are open."""
    for number in _open_descriptors():
        if number > 2 and number not in fds:
            try:
                os.close(number)
            except OSError:
                pass  # it was the one that listed the directory
    while True:
        free = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        if free > 2:  # a worker without standard error: nobody else may take that number
            os.close(free)
            return


def _open_descriptors() -> Iterable[int]:
    for directory in ("/proc/self/fd", "/dev/fd"):
        try:
            return sorted(map(int, os.listdir(directory)))
        except OSError:
            pass
    return range(os.sysconf("SC_OPEN_MAX"))
