"""Descendants of this process: who they are, and how to leave none.

Only direct children are ever killed by number. Nobody else can reap those, so such a number
cannot have been used again; and a subreaper inherits the children of whatever it kills, so that
every generation becomes direct in its turn.
"""

from __future__ import annotations

import os
import sys
import time
from signal import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PR_SET_CHILD_SUBREAPER = 36
_STAT_BYTES = 1024
_UNKNOWN_KIB = 1 << 62  # nobody uses more
_ENVIRON_BYTES = 1 << 20


def become_subreaper() -> bool:
    """From now on orphaned descendants become our children instead of init's; False if this
    system has no such thing."""
    import ctypes

    if not sys.platform.startswith("linux"):
        return False
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    return True


class Process:
    """A line of the process table.

    A zombie may still have threads that live, so it is worth a signal, but not worth waiting for.
    """

    __slots__ = ("is_zombie", "parent", "pid", "session", "started")

    def __init__(self, pid: int, parent: int, session: int, started: int, is_zombie: bool) -> None:
        self.pid, self.parent, self.session, self.started = pid, parent, session, started
        self.is_zombie = is_zombie


def processes() -> list[Process]:
    """Every process that can be seen."""
    found = []
    try:
        names = os.listdir("/proc")
    except OSError:
        return _listed()
    for name in names:
        if name.isdigit() and (stat := _read(f"/proc/{name}/stat", _STAT_BYTES)):
            # The program's name stands in parentheses and may hold blanks and parentheses.
            fields = stat[stat.rfind(b")") + 2 :].split(None, 20)
            parent, session, started = int(fields[1]), int(fields[3]), int(fields[19])
            found.append(Process(int(name), parent, session, started, fields[0] in (b"Z", b"X")))
    return found


def _listed() -> list[Process]:
    """As the system's own program lists them, where there is no table in the file system.

    Sessions cannot be told everywhere; a task leads a group as well, under the same number.
    """
    import subprocess

    columns = [word for name in ("pid", "ppid", "pgid", "stat") for word in ("-o", f"{name}=")]
    try:
        ps = subprocess.Popen(["ps", "-A", *columns], stdout=subprocess.PIPE)
    except OSError:
        return []
    found = []
    for line in ps.communicate()[0].splitlines():
        pid, parent, group, state = line.split(None, 3)
        if int(pid) != ps.pid:
            found.append(Process(int(pid), int(parent), int(group), 0, state.startswith(b"Z")))
    return found


def families(leaders: Iterable[int]) -> dict[int, list[Process]]:
    """The descendants of each of these processes, as they are now."""
    below: dict[int, list[Process]] = {}
    for process in processes():
        below.setdefault(process.parent, []).append(process)
    found = {}
    for leader in leaders:
        family = list(below.get(leader, ()))
        for process in family:
            family.extend(below.get(process.pid, ()))  # the loop goes on to these
        found[leader] = family
    return found


def signal_session(session: int, number: int) -> None:
    """Signal those of the session that have become our children, as the others' numbers could be
    anybody's."""
    me = os.getpid()
    for process in processes():
        if process.session == session and process.parent == me:
            try:
                os.kill(process.pid, number)
            except OSError:
                pass  # of another user


def own_peak_kib() -> int:
    """The most memory that this process had in use, in KiB.

    Until a child execs it shares our memory: up to this, the peak that `wait4` reports of it says
    nothing. (`getrusage` would also count our own parent's memory, from before we exec'ed.)
    """
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1])
    except OSError:
        return _UNKNOWN_KIB
    return 0


def environ_of(pid: int) -> list[bytes]:
    """What the process was started with, as NAME=value; empty if it cannot be read."""
    return _read(f"/proc/{pid}/environ", _ENVIRON_BYTES).split(b"\0")


def kill_descendants(patience_s: float = 5.0) -> bool:
    """Leave no process below this one, daemonised ones included; False if some would not die."""
    me = os.getpid()
    give_up_at = time.monotonic() + patience_s
    while time.monotonic() < give_up_at:
        for process in processes():
            if process.parent == me:
                kill(process.pid)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        time.sleep(0.001)
    return False


class Hunt:
    """Kills what tasks were made of: their sessions, their descendants and what those left behind.

    A left-over process is known by its session, by an ancestor that was one, or by the task's
    variables in its environment. One round kills those that are our direct children; their
    children come next.
    """

    __slots__ = ("_markers", "_quiet_rounds", "_sessions", "_victims")

    def __init__(self) -> None:
        self._markers: set[tuple[bytes, ...]] = set()
        self._sessions: set[int] = set()
        self._victims: set[tuple[int, int]] = set()  # pid and start time
        self._quiet_rounds = 0

    def add(self, session: int, markers: Iterable[bytes], family: Iterable[Process]) -> None:
        """Take up a task: the process that leads, or led, its session, its variables, and the
        descendants that it had when it was first signalled."""
        self._sessions.add(session)
        self._markers.add(tuple(markers))
        for process in family:
            self._victims.add((process.pid, process.started))
            if process.session == process.pid:
                self._sessions.add(process.pid)
        self._quiet_rounds = 0

    def round(self, spared: Callable[[int], bool]) -> bool:
        """Kill once; False when two rounds in a row have found nothing.

        `spared` are direct children that lead other tasks. A second look is needed because a
        process may have handed its children over while the first one went on.
        """
        me = os.getpid()
        below: dict[int, list[Process]] = {}
        for process in processes():
            below.setdefault(process.parent, []).append(process)
        victims = [
            child
            for child in below.get(me, ())
            if child.pid in self._sessions or (not spared(child.pid) and self._belongs(child))
        ]
        for process in victims:
            self._victims.add((process.pid, process.started))
            if process.session == process.pid:
                self._sessions.add(process.pid)
            victims.extend(below.get(process.pid, ()))  # the loop goes on to these
        for process in victims:
            if process.parent == me:
                kill(process.pid)
        alive = any(not process.is_zombie for process in victims)
        self._quiet_rounds = 0 if alive else self._quiet_rounds + 1
        return self._quiet_rounds < 2

    def _belongs(self, child: Process) -> bool:
        if child.session in self._sessions or (child.pid, child.started) in self._victims:
            return True
        environ = environ_of(child.pid)
        return any(all(text in environ for text in markers) for markers in self._markers)


def _read(path: str, size: int) -> bytes:
    """The beginning of a file of the process table; empty if the process is gone or not ours."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, size)
    except OSError:
        return b""
    finally:
        os.close(fd)


def kill(pid: int) -> None:
    """SIGKILL for a child of ours, if it is one still."""
    try:
        os.kill(pid, SIGKILL)
    except OSError:
        pass  # a process of another user (a set-uid program) ends by itself or not at all
