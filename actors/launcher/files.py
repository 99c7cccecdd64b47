"""Files and directories that a task finds when it starts, and what goes when it has ended."""

from __future__ import annotations

import errno
import fcntl
import os

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK
_MFD_NOEXEC_SEAL = 0x8  # Linux 6.3; a hardened node demands it, an older kernel refuses it
_ERROR_TEXT_BYTES = 2048
_RESULT_BYTES = 1 << 14  # more than our runner writes
ERROR_FILE = b"hq-error"
_RESULT_FILE = b"hq-result"


def create_output(path: bytes) -> int:
    """A descriptor of the file, made or emptied.

    A pipe that nobody reads is refused instead of waited for: this process has other tasks.
    """
    fd = os.open(path, _CREATE, 0o666)
    os.set_blocking(fd, True)
    return fd


def make_directories(path: bytes) -> None:
    """The directory exists, its parents as well; OSError says why not."""
    missing = []
    while not _make_directory(path):
        missing.append(path)
        path = os.path.dirname(path.rstrip(b"/"))
    for path in reversed(missing):
        if not _make_directory(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _make_directory(path: bytes) -> bool:
    """Whether the directory exists now; if not, its parent is missing."""
    try:
        os.mkdir(path)
    except FileNotFoundError:
        if path.strip(b"/"):
            return False
        raise
    except OSError as error:
        # A read-only file system and a foreign parent may refuse although the directory is there.
        if not os.path.isdir(path):
            if error.errno == errno.EEXIST:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
            raise
    return True


def make_task_directory(root: bytes) -> bytes:
    """A new directory in `root` for one execution; nobody else can look into it."""
    make_directories(root)
    while True:
        path = b"%b/t%b" % (root, os.urandom(6).hex().encode())
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue
        return path


def write_new(path: bytes, content: bytes, mode: int) -> None:
    """A new file with that content."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        _write(fd, content)
    finally:
        os.close(fd)


def _write(fd: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(fd, left) :]


def remove_tree(path: bytes) -> None:
    """Nothing is left of the directory but what its owner may not remove."""
    try:
        os.chmod(path, 0o700)  # the task may have locked it
        with os.scandir(path) as found:
            entries = list(found)
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.path)
            else:
                os.unlink(entry.path)
        except OSError:
            pass
    try:
        os.rmdir(path)
    except OSError:
        pass


def read_error_text(path: bytes) -> str:
    """What a task wrote about its failure, cut to its beginning; empty if it wrote no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        content = os.read(fd, _ERROR_TEXT_BYTES)
    except OSError:
        return ""
    finally:
        os.close(fd)
    if not content:
        return "Task created an error file, but it is empty"
    text = content.decode("utf-8", "replace")
    if len(content) == _ERROR_TEXT_BYTES:
        text += "\n[The message was truncated]"
    return text


def read_result(directory: bytes) -> bytes | None:
    """What the runner of a function left in the task's directory; None if it left nothing, and so
    did not come to its end."""
    try:
        fd = os.open(directory + b"/" + _RESULT_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.read(fd, _RESULT_BYTES)
    except OSError:
        return None
    finally:
        os.close(fd)


class SealedInput:
    """Memory that holds the stdin of many tasks and that nobody can change any more.

    A pipe would need a writer for each task; here each task gets a descriptor of its own, since a
    shared one shares its position. The memory is free when the last user is gone. A system without
    such memory makes a nameless file for each task.
    """

    __slots__ = ("_content", "_fd")

    def __init__(self, content: bytes) -> None:
        self._content, self._fd = b"", -1
        if not hasattr(os, "memfd_create"):
            self._content = content
            return
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        try:
            self._fd = os.memfd_create("stdin", flags | _MFD_NOEXEC_SEAL)
        except OSError:
            self._fd = os.memfd_create("stdin", flags)
        _write(self._fd, content)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, seals)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def open(self) -> int:
        """A read-only descriptor at the beginning; the caller closes it."""
        if self._fd < 0:
            return _nameless_file(self._content)
        return os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)


def _nameless_file(content: bytes) -> int:
    """A read-only descriptor of a file that is gone with it."""
    import tempfile

    fd, path = tempfile.mkstemp()
    try:
        readable = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.unlink(path)
        _write(fd, content)
    finally:
        os.close(fd)
    return readable
