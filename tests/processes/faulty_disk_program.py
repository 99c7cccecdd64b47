"""The program with a disk that fails as a file says, for as long as it says so.

Run in place of `python -m hqtrio`: the file at HQTRIO_TEST_DISK has a word per system call that
fails, `write=ENOSPC`. Half of what is written goes in before.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from actors.daemon import program
from actors.server.disk import Disk


class Fault:
    """The system call of this name, failing now and then."""

    def __init__(self, call: str, rules: Path) -> None:
        self._call, self._rules = call, rules
        self._real = getattr(Disk, call)

    def check(self) -> None:
        words = self._rules.read_text().split() if self._rules.exists() else []
        if name := dict(word.split("=") for word in words).get(self._call):
            number = getattr(errno, name)
            raise OSError(number, os.strerror(number))

    def __get__(self, disk, owner):
        def call(*args):
            try:
                self.check()
            except OSError:
                if self._call == "write" and len(args[1]) > 1:
                    fd, data, offset = args
                    return self._real(disk, fd, data[: len(data) // 2], offset)
                raise
            return self._real(disk, *args)

        return call


def put_faults() -> None:
    rules = Path(os.environ["HQTRIO_TEST_DISK"])
    for call in ("write", "allocate", "fdatasync", "fsync"):
        setattr(Disk, call, Fault(call, rules))
    program.own_words = lambda: [sys.executable, "-P", __file__]


if __name__ == "__main__":
    put_faults()
    from hqtrio.__main__ import main

    sys.exit(main())
