"""A streamer process from its first to its last moment."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket

from actors.launcher.main import close_strangers
from actors.streamer.streamer import Streamer

# As for a launcher: what signals a whole batch step does not mean this process.
_UNHEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)


def main(listener_fd: int, lifeline_fd: int) -> None:
    """Serve launchers that come to the listening socket until the worker is gone, and then until
    all that they have handed over is written."""
    for number in (*_UNHEARD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    close_strangers(listener_fd, lifeline_fd)
    os.chdir("/")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two pipes for each running task
    gc.disable()
    Streamer(socket.socket(fileno=listener_fd), lifeline_fd).serve()
