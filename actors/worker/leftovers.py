"""Processes of tasks whose worker and launchers were all killed at once."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

from actors.worker.places import WORK_DIR_VARIABLE

log = logging.getLogger(__name__)


def kill_leftovers(work_dir: Path) -> int:
    """Kill what a dead worker with this work directory left on this host; how many processes.

    The caller holds the directory's lock, so no living worker owns them.
    """
    marker = WORK_DIR_VARIABLE + b"=" + os.fsencode(work_dir)
    spared = _ancestors()
    killed = 0
    for name in _numbers():
        if not name.isdigit() or int(name) in spared:
            continue
        variables = _environment(name)
        if marker in variables and any(v.startswith(b"HQ_JOB_ID=") for v in variables):
            try:
                os.kill(int(name), signal.SIGKILL)
            except OSError:
                continue
            killed += 1
    if killed:
        log.warning("killed %d processes that an earlier worker in %s left", killed, work_dir)
    return killed


def _numbers() -> list[str]:
    try:
        return os.listdir("/proc")
    except OSError:
        return []  # a system that shows no environments: nothing can be recognised


def _environment(pid: str) -> list[bytes]:
    try:
        return Path("/proc", pid, "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _ancestors() -> set[int]:
    """This process and those above it: a worker may itself be the child of a task."""
    found: set[int] = set()
    pid = os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            stat = Path("/proc", str(pid), "stat").read_text()
        except OSError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
    return found
