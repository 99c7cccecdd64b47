"""Which process it is, so that nobody takes a later one with its number for it."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ProcessIdentity", "has_ended", "started_at", "this_process"]


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process, by what no other process has in common with it."""

    host: str
    boot: str
    pid: int
    started: str


def this_process() -> ProcessIdentity:
    return ProcessIdentity(socket.gethostname(), boot_id(), os.getpid(), started_at(os.getpid()))


def has_ended(process: ProcessIdentity) -> bool:
    """Whether it surely has; of one on another machine nobody here can know."""
    if process.host != socket.gethostname():
        return False
    return process.boot != boot_id() or started_at(process.pid) != process.started


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def started_at(pid: int) -> str:
    """When the process began, in ticks since the boot; nothing if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    words = stat.rpartition(")")[2].split()
    return "" if words[0] in "ZX" else words[19]
