"""Calls Python functions: one in an interpreter of its own, or one after another in the same.

    python runner.py            the task's stdin is one call; exit status 1 if it raised
    python runner.py --serve FD calls arrive over a socket, until it is closed

This file runs in the user's interpreter, which may be another one than the worker's, without our
packages and as old as Python 3.9. It imports the standard library only; what unpickling needs
(cloudpickle) is the interpreter's own.

A call is a pickled dictionary of plain values (`pack_call` in hqtrio.api.payload):

    python       (major, minor) of who pickled the rest
    path         directories that are added to sys.path
    function     pickled, or function_file with the name of a file that holds it
    arguments    pickled (args, kwargs), or arguments_file; else in HQ_ENTRY, in base 85 or, if it
                 begins with "file:", in that file
    results      where results go that are too large to be told, "": nowhere; None: not wanted

What is told of a result: nothing for None, else a letter and what it stands for:

    V  the pickled value        F  the name of a file that holds it
    E  pickled (type's name, text of the traceback, pickled exception or None)

Over the socket: a call is a length (4 bytes), with three descriptors (stdin, stdout, stderr) beside
them, and a fourth if the call itself lies in a file; then as many bytes: the working directory and
the environment's changes, as fields with 4 bytes of length each, behind 8 bytes that name the call.
An answer is a header (_ANSWER) that names the call and the texts that it announces.

A fresh interpreter leaves the file hq-result in the task's directory, empty for None: one that ends
without it, even with status 0, has not carried out its call.
"""

from __future__ import annotations

import os
import pickle
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

TOLD_BYTES = 2048  # of a result; larger ones go to files
_ERROR_BYTES = 2000  # of a traceback; the middle of a longer one is left out
_HEAD_BYTES = 300
_NAME_MAX = 200
# Call, status, CPU s, peak KiB (0: unknown), whether to go on, bytes of error and of result.
_ANSWER = "<8sidIIII"
_NAME_BYTES = 8  # of a call
_HIGH_FD = 200  # functions that close what they have opened begin at 3
_FDS_MORE = 16  # left open by calls; more than that, and later ones may find no room
_CODE = b"CodeType"  # is in the pickled form of whatever holds a function by value
_END_S = 5  # what runs at the end of an interpreter may take so long


def main() -> None:
    """Serve until there is nothing to do, or run the one call and exit with its status."""
    # Modules beside the task are found first, as with `python -c`; ours are not.
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        sys.path[0] = ""
    if sys.argv[1:2] == ["--serve"]:
        fd = int(sys.argv[2])
        del sys.argv[1:]
        sys.argv[0] = "-c"
        _set_up_logging()
        _Server(fd).serve()
        return
    sys.argv[0] = "-c"
    _set_up_logging()
    directory = os.environ["HQ_TASK_DIR"]
    status, result = run(_read_all(0))
    with open(os.path.join(directory, "hq-result"), "wb") as file:
        file.write(result)
    sys.exit(status)


def run(payload: bytes) -> tuple[int, bytes]:
    """Carry out one call: exit status, and what is told of its result.

    A traceback goes to stderr and to the task's error file.
    """
    wanted = False
    call = {}  # type: dict[str, Any]
    names = [os.environ.get(name, "") for name in ("HQ_JOB_ID", "HQ_TASK_ID", "HQ_INSTANCE_ID")]
    try:
        call = pickle.loads(payload)
        wanted = call["results"] is not None
        for place in call["path"]:
            if place not in sys.path:
                sys.path.append(place)
        function, args, kwargs = _unpickled(call)
        value = function(*args, **kwargs)
        return 0, _told_value(value, call["results"], "-".join(names)) if wanted else b""
    except BaseException as error:
        text = _traceback_of(error)
        _say(text)
        return 1, _told_error(error, text) if wanted else b""


def _unpickled(call: dict[str, Any]) -> tuple[Any, Any, Any]:
    theirs, ours = tuple(call["python"]), sys.version_info[:2]
    parts = _part(call, "function"), _part(call, "arguments")
    if theirs != ours and any(_CODE in part for part in parts):
        # Code of another version is not refused by the interpreter: it crashes.
        raise RuntimeError(
            f"A function of a script runs in the version of Python that pickled it "
            f"({_dotted(theirs)}, and {sys.executable} is {_dotted(ours)}): use that version, or "
            "put the function into a module that both can import"
        )
    try:
        function = pickle.loads(parts[0])
        args, kwargs = pickle.loads(parts[1])
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cloudpickle":
            hint = f"{sys.executable} has no package cloudpickle: install it there"
        elif theirs != ours:
            hint = f"it was pickled by Python {_dotted(theirs)}, and this is {_dotted(ours)}"
        else:
            raise
        raise RuntimeError(f"The function or its arguments cannot be unpickled: {hint}") from error
    return function, args, kwargs


def _part(call: dict[str, Any], name: str) -> bytes:
    data = call[name]  # type: bytes | None
    if data is not None:
        return data
    path = call[name + "_file"]
    if path is None:
        import base64

        entry = os.environ["HQ_ENTRY"]
        if not entry.startswith("file:"):
            return base64.b85decode(entry)
        path = entry[len("file:") :]
    with open(path, "rb") as file:
        return file.read()


# --- results


def _told_value(value: Any, directory: str, name: str) -> bytes:
    if value is None:
        return b""
    data = _pickled(value)
    if len(data) < TOLD_BYTES:
        return b"V" + data
    return b"F" + os.fsencode(_written(data, directory, name))


def _told_error(error: BaseException, text: str) -> bytes:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else _full_name(kind)
    name = name[:_NAME_MAX]  # or nothing that follows could make it fit
    try:
        pickled = _pickled(error)
        pickle.loads(pickled)
    except Exception:
        pickled = None
    while True:
        data = b"E" + pickle.dumps((name, text, pickled), 4)
        if len(data) <= TOLD_BYTES:
            return data
        if pickled is not None:
            pickled = None
        else:
            text = _shortened(text, len(text.encode("utf-8", "replace")) - 200)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _full_name(kind: type) -> str:
    return kind.__module__ + "." + kind.__qualname__


def _pickled(value: Any) -> bytes:
    try:
        return pickle.dumps(value, 4)
    except Exception:
        import cloudpickle

        return bytes(cloudpickle.dumps(value, 4))


def _written(data: bytes, directory: str, name: str) -> str:
    if not directory:
        raise ValueError(
            f"The result takes {len(data)} bytes (at most {TOLD_BYTES - 1} without a directory "
            "for results): name one, or write it to a file"
        )
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, name + ".result")
    new = path + ".new"
    try:
        with open(new, "wb") as file:
            file.write(data)
        os.replace(new, path)  # whoever finds it finds all of it
    except OSError:
        if os.path.exists(new):
            os.unlink(new)  # a part of it only keeps the disk full
        raise
    return path


# --- errors


def _traceback_of(error: BaseException) -> str:
    """As the interpreter prints it, without what is ours in it."""
    import traceback

    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def _shortened(text: str, most: int) -> str:
    """Its beginning and, as it says what was raised, its end."""
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return text
    begin = min(_HEAD_BYTES, most // 4)
    head, tail = data[:begin], data[begin - most :]
    return head.decode("utf-8", "ignore") + "\n[...]\n" + tail.decode("utf-8", "ignore")


def _say(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # a full disk, or the function has closed it: the error file tells
    path = os.environ.get("HQ_ERROR_FILENAME")
    if path:
        try:
            with open(path, "wb") as file:
                file.write(_shortened(text, _ERROR_BYTES).encode("utf-8", "replace"))
        except OSError:
            pass


# --- surroundings


def _set_up_logging() -> None:
    import logging

    level = os.environ.get("HQ_PYLOG", "INFO").upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        level = "INFO"
    logging.basicConfig(level=level)


def _read_all(fd: int) -> bytes:
    parts = []  # type: list[bytes]
    while True:
        part = os.read(fd, 1 << 20)
        if not part:
            return b"".join(parts)
        parts.append(part)


# --- many calls


class _Server:
    """Serves calls one after another, each as if it were the first."""

    def __init__(self, fd: int) -> None:
        import fcntl
        import signal
        import socket

        self._link = socket.socket(fileno=fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH_FD))
        os.close(fd)
        self._signal = signal
        self._recv_fds, self._cloexec = socket.recv_fds, socket.MSG_CMSG_CLOEXEC
        self._pid = os.getpid()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._null = fcntl.fcntl(null, fcntl.F_DUPFD_CLOEXEC, _HIGH_FD)
        os.close(null)
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._environment = dict(os.environb)
        self._path, self._argv = list(sys.path), list(sys.argv)
        self._cpu_s, self._peak_kib = _usage()[0], 0
        self._call = b""
        self._is_flushed = True
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._fds = _count_fds()
        self._state = _process_state()

    def serve(self) -> None:
        while True:
            call = self._receive()
            if call is None:
                self._leave()
                return
            self._send(*self._carry_out(call))

    def _leave(self) -> None:
        """What was registered for the end runs; nothing can hold the process up."""
        import atexit

        self._signal.signal(self._signal.SIGALRM, self._signal.SIG_DFL)
        self._signal.alarm(_END_S)
        try:
            atexit._run_exitfuncs()
        finally:
            os._exit(0)

    def _receive(self) -> list[bytes] | None:
        try:
            head, fds, _, _ = self._recv_fds(self._link, 4, 4, self._cloexec)
        except ConnectionError:
            return None
        if not head:
            return None
        while len(head) < 4:
            part = self._link.recv(4 - len(head))
            if not part:
                return None
            head += part
        if len(fds) == 4:
            data = _read_all(fds[3])
        else:
            length = int.from_bytes(head, "little")
            parts = []  # type: list[bytes]
            while length:
                part = self._link.recv(length)
                if not part:
                    return None
                parts.append(part)
                length -= len(part)
            data = b"".join(parts)
        for number in range(3):
            os.dup2(fds[number], number)
        for fd in fds:
            os.close(fd)
        self._call = data[:_NAME_BYTES]
        return list(_fields(data[_NAME_BYTES:]))

    def _carry_out(self, call: list[bytes]) -> tuple[int, bytes, bytes, bool]:
        signal = self._signal
        try:
            os.chdir(call[0])
            self._set_environment(dict(zip(call[1::2], call[2::2])))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            status, result = run(_read_all(0))
            status = self._flush(status)
        except BaseException:  # an interrupt between the lines above
            status, result = 1, b""
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.getpid() != self._pid:
            os._exit(status)  # a process that the function has forked and that came back here
        error = self._error_file() if status else b""
        try:
            goes_on = self._clean()
        except Exception:  # the function has closed what was not its own
            goes_on = False
        return status, error, result, goes_on

    def _set_environment(self, changes: dict[bytes, bytes]) -> None:
        """That of the first call with these changes, whatever earlier calls have done to it."""
        wanted = {**self._environment, **changes}
        environment = os.environb
        for name in set(environment) - set(wanted):
            del environment[name]
        for name, value in wanted.items():
            if environment.get(name) != value:
                environment[name] = value

    def _flush(self, status: int) -> int:
        sys.stdin, sys.stdout, sys.stderr = self._streams
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError) as error:
                self._is_flushed = False  # what is left must not get into another call's output
                if not status:
                    _say(f"What the function printed could not be written: {error}\n")
                    status = 1
        return status

    def _error_file(self) -> bytes:
        try:
            with open(os.environ["HQ_ERROR_FILENAME"], "rb") as file:
                return file.read(TOLD_BYTES)
        except (OSError, KeyError):
            return b""

    def _clean(self) -> bool:
        """Undo what the call has changed; whether this interpreter can serve another one."""
        for number in range(3):
            os.dup2(self._null, number)
        if sys.path != self._path:
            sys.path[:] = self._path
        if sys.argv != self._argv:
            sys.argv[:] = self._argv
        directory = self._environment.get(b"HQ_TASK_DIR")
        if directory and os.listdir(directory):
            _empty(directory)
        os.chdir("/")
        return (
            self._is_flushed
            and _process_state() == self._state
            and _count_fds() <= self._fds + _FDS_MORE
            and not any(_closed(stream) for stream in self._streams)
            and _threads() == 1
        )

    def _send(self, status: int, error: bytes, result: bytes, goes_on: bool) -> None:
        import struct

        cpu_s, peak_kib = _usage()
        grown = peak_kib > self._peak_kib  # else it was an earlier call's
        head = struct.pack(
            _ANSWER,
            self._call,
            status,
            cpu_s - self._cpu_s,
            peak_kib if grown else 0,
            goes_on,
            len(error),
            len(result),
        )
        self._cpu_s, self._peak_kib = cpu_s, peak_kib
        try:
            self._link.sendall(head + error + result)
        except OSError as failure:
            # The launcher is gone, or the function has closed what was not its own.
            _say(f"The interpreter has ended without an answer: {failure}\n")
            os._exit(1)


def _fields(data: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(data):
        end = place + 4 + int.from_bytes(data[place : place + 4], "little")
        yield data[place + 4 : end]
        place = end


def _usage() -> tuple[float, int]:
    """CPU seconds of this process and its dead children, and its peak in KiB."""
    import resource

    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return cpu_s, max(own.ru_maxrss, children.ru_maxrss)


def _process_state() -> tuple[Any, ...]:
    """What a call must leave as it was, for the next one to be as if it were the first."""
    import resource
    import signal

    mask = os.umask(0o77)
    os.umask(mask)
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return (
        mask,
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None,
        os.getpriority(os.PRIO_PROCESS, 0),
        [resource.getrlimit(getattr(resource, name)) for name in limits],
        [signal.getsignal(number) for number in range(1, 32)],
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        signal.getitimer(signal.ITIMER_REAL)[0] > 0,
    )


def _count_fds() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def _closed(stream: Any) -> bool:
    return stream is not None and stream.closed


def _threads() -> int:
    threading = sys.modules.get("threading")
    return threading.active_count() if threading is not None else 1


def _empty(directory: bytes) -> None:
    import shutil

    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


if __name__ == "__main__":
    main()
