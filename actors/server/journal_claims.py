"""Who has a journal on a file system without locks: the one who made the last claim.

A claim is a file with a number of its own that nobody can make twice. Whoever finds that the last
one's owner is gone makes the next; of several, one succeeds. The last claim is never removed, only
given up: otherwise somebody slow could make it once more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from actors.daemon.identity import ProcessIdentity
from actors.server.disk import MODE

__all__ = ["Claim", "Names", "claim"]

NOBODY: Final = 0  # the number of no process


class Names:
    """The system calls of a claim; tests let others come between them."""

    def listed(self, directory: Path) -> list[str]:
        return os.listdir(directory)

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def make(self, path: str) -> int:
        """A new file; FileExistsError if somebody was faster."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)

    def write(self, fd: int, data: bytes) -> None:
        os.pwrite(fd, data, 0)

    def remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(path)


class Claim:
    """The journal is ours until this is given up."""

    def __init__(self, names: Names, fd: int, me: ProcessIdentity) -> None:
        self._names, self._fd, self._me = names, fd, me

    def give_up(self) -> None:
        with suppress(OSError):
            nobody = ProcessIdentity(self._me.host, self._me.boot, NOBODY, "")
            self._names.write(self._fd, _encode(nobody))
        os.close(self._fd)


def claim(
    prefix: str,
    me: ProcessIdentity,
    is_gone: Callable[[ProcessIdentity], bool],
    names: Names | None = None,
) -> Claim | ProcessIdentity | None:
    """The claim, which is the caller's; or who else has the journal, None if that is not known yet.

    Claims are called `prefix.1` and so on.
    """
    names = names or Names()
    while True:
        last = _last(prefix, names)
        if last:
            try:
                owner = _decode(names.read(f"{prefix}.{last}"))
            except FileNotFoundError:
                continue  # there is a later one
            if owner is None or not is_gone(owner):
                return owner
        try:
            fd = names.make(f"{prefix}.{last + 1}")
        except FileExistsError:
            continue
        try:
            names.write(fd, _encode(me))
            is_last = _last(prefix, names) == last + 1
        except BaseException:
            os.close(fd)
            names.remove(f"{prefix}.{last + 1}")
            raise
        if is_last:
            for number in _numbers(prefix, names):
                if number <= last:
                    names.remove(f"{prefix}.{number}")
            return Claim(names, fd, me)
        # While we were slow, others have made, given up and removed the one that we made now.
        os.close(fd)
        names.remove(f"{prefix}.{last + 1}")


def _last(prefix: str, names: Names) -> int:
    return max(_numbers(prefix, names), default=0)


def _numbers(prefix: str, names: Names) -> list[int]:
    directory, _, start = prefix.rpartition("/")
    ends = (
        name.removeprefix(f"{start}.")
        for name in names.listed(Path(directory or "."))
        if name.startswith(f"{start}.")
    )
    return sorted(int(end) for end in ends if end.isascii() and end.isdigit())


def _encode(owner: ProcessIdentity) -> bytes:
    # Filled up with blanks over what stood there before.
    return json.dumps(asdict(owner)).encode().ljust(512)


def _decode(data: bytes) -> ProcessIdentity | None:
    try:
        return ProcessIdentity(**json.loads(data))
    except (ValueError, TypeError):
        return None
