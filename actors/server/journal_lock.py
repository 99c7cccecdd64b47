"""One server per journal: a lock where there are locks, else a claim; its file names the owner."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from actors.daemon.identity import ProcessIdentity as Owner
from actors.daemon.identity import boot_id as _boot_id
from actors.daemon.identity import started_at as _started
from actors.server.disk import MODE, Disk, write_all
from actors.server.journal_claims import Claim, claim
from hqtrio.errors import InputError

_NOBODY: Final = "nobody"  # as the machine that wrote last


class Lock:
    """The journal is ours. `has_all`: no machine has died with a part of it that somebody wrote."""

    def __init__(self, disk: Disk, fd: int, me: Owner, writer: str) -> None:
        self._disk, self._fd, self._me, self._writer = disk, fd, me, writer
        self.has_all = writer in (_NOBODY, _machine(me))

    def writes(self) -> None:
        """From now on this machine may die with a part of it; OSError if nobody would know."""
        self._writer = _machine(self._me)
        self._write(self._me)
        self._disk.fsync(self._fd)

    def wrote_all(self) -> None:
        """Everything is on the disk, and nobody writes any more."""
        self._writer = _NOBODY

    def take(self) -> None:
        self._try_to_write(self._me)

    def give_up(self) -> None:
        """The next server may come from any machine, unless one has come already."""
        owner, _ = _read(os.pread(self._fd, 4096, 0))
        if owner in (None, self._me):
            self._try_to_write(Owner(self._me.host, self._me.boot, 0, ""))

    def _try_to_write(self, owner: Owner) -> None:
        with suppress(OSError):  # a full disk does not make the journal anybody else's
            self._write(owner)

    def _write(self, owner: Owner) -> None:
        # One short write, filled up with blanks over the one before: it is never seen half.
        text = json.dumps({"owner": asdict(owner), "writer": self._writer}).encode()
        size = max(512, os.fstat(self._fd).st_size)
        write_all(self._disk, self._fd, text.ljust(size), 0)


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
        claimed: Claim | None = None
        try:
            mine, other = disk.flock(fd), before
        except OSError:
            claimed, other = _claim(path, before, me)
            mine = claimed is not None
        if not mine:
            raise InputError(_in_use(journal, path, other))
        lock = Lock(disk, fd, me, writer)
        lock.take()
        try:
            yield lock
        finally:
            lock.give_up()
            if claimed is not None:
                claimed.give_up()
    finally:
        os.close(fd)


def _claim(path: str, before: Owner | None, me: Owner) -> tuple[Claim | None, Owner | None]:
    """The claim where there are no locks; else who has the journal, as far as that is known."""

    def is_gone(owner: Owner) -> bool:
        return owner == me or _is_gone(owner, me)

    if before is not None and not is_gone(before):
        return None, before  # it may have a lock where we have none
    claimed = claim(path, me, is_gone)
    return (claimed, None) if isinstance(claimed, Claim) else (None, claimed)


def _in_use(journal: Path, path: str, owner: Owner | None) -> str:
    by = f" (process {owner.pid} on {owner.host})" if owner and owner.pid else ""
    remedy = "stop it first"
    if owner is None or owner.host != socket.gethostname():
        remedy += f"; if it is gone, remove `{path}` and all `{path}.*`"
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


def _machine(owner: Owner) -> str:
    return f"{owner.host} {owner.boot}"
