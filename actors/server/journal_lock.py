"""One server per journal: a lock where there are locks, else a file that names the owner."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from actors.server.disk import MODE, Disk, write_all
from hqtrio.errors import InputError


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, by what no other process has in common with it."""

    host: str
    boot: str
    pid: int
    started: str  # tells the process from a later one with its number


class Lock:
    """The journal is ours. `same_boot`: the machine has not died since somebody last wrote to it.

    `wrote` says that from now on its bytes are this machine's.
    """

    def __init__(self, disk: Disk, fd: int, me: Owner, writer: str) -> None:
        self._disk, self._fd, self._me, self._writer = disk, fd, me, writer
        self.same_boot = writer == _machine(me)

    def wrote(self) -> None:
        self._writer = _machine(self._me)
        self.claim(self._me)

    def claim(self, owner: Owner) -> None:
        _write(self._disk, self._fd, owner, self._writer)


def this_process() -> Owner:
    return Owner(socket.gethostname(), _boot_id(), os.getpid(), _started(os.getpid()))


@contextmanager
def journal_lock(journal: Path, disk: Disk, me: Owner | None = None) -> Iterator[Lock]:
    """The journal is this process's for the block; InputError if it is another's."""
    path = f"{journal}.lock"
    me = me or this_process()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    try:
        before, writer = _read(os.pread(fd, 4096, 0))
        try:
            mine = disk.flock(fd)
        except OSError:
            mine = before is None or before == me or _is_gone(before, me)
        if not mine:
            raise InputError(_in_use(journal, path, before))
        lock = Lock(disk, fd, me, writer)
        lock.claim(me)
        try:
            yield lock
        finally:
            # A number that is nobody's: the next server may come from any machine.
            lock.claim(Owner(me.host, me.boot, 0, ""))
    finally:
        os.close(fd)


def _in_use(journal: Path, path: str, owner: Owner | None) -> str:
    by = f" (process {owner.pid} on {owner.host})" if owner and owner.pid else ""
    remedy = "stop it first"
    if owner and owner.host != socket.gethostname():
        remedy += f"; if it is gone, remove `{path}`"
    return f"Journal `{journal}` is in use by another server{by}: {remedy}"


def _is_gone(owner: Owner, me: Owner) -> bool:
    """Whether the process that owned the file surely has ended."""
    if owner.pid == 0:
        return True
    if owner.host != me.host:
        return False
    return owner.boot != me.boot or _started(owner.pid) != owner.started


def _read(data: bytes) -> tuple[Owner | None, str]:
    """The owner and the machine that wrote last; nobody, if it was never written to its end."""
    try:
        told = json.loads(data)
        return Owner(**told["owner"]), str(told["writer"])
    except (ValueError, TypeError, KeyError):
        return None, ""


def _write(disk: Disk, fd: int, owner: Owner, writer: str) -> None:
    # One short write, filled up with blanks over the one before: it is never seen half.
    text = json.dumps({"owner": asdict(owner), "writer": writer}).encode()
    try:
        write_all(disk, fd, text.ljust(max(512, os.fstat(fd).st_size)), 0)
    except OSError:
        pass  # a full disk does not make the journal anybody else's


def _machine(owner: Owner) -> str:
    return f"{owner.host} {owner.boot}"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When the process began, in ticks since the boot; nothing if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    words = stat.rpartition(")")[2].split()
    return "" if words[0] in "ZX" else words[19]
