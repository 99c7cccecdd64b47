"""The program on a file system without locks, and on a machine with a name of the test's choice.

Run in place of `python -m hqtrio`: HQTRIO_TEST_LOCKS names the error that asking for a lock gives,
HQTRIO_TEST_HOST the machine.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys

from actors.daemon import program


def take_away_locks() -> None:
    number = getattr(errno, os.environ["HQTRIO_TEST_LOCKS"])

    def refuse(fd, operation):
        raise OSError(number, os.strerror(number))

    fcntl.flock = refuse
    if "HQTRIO_TEST_HOST" in os.environ:
        socket.gethostname = lambda: os.environ["HQTRIO_TEST_HOST"]
    program.own_words = lambda: [sys.executable, "-P", __file__]


if __name__ == "__main__":
    take_away_locks()
    from hqtrio.__main__ import main

    sys.exit(main())
