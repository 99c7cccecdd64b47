"""The system calls that a journal is made with; tests put failing ones in their place."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from typing import Final

from hqtrio.journal.reading import CHUNK

MODE: Final = 0o600
# Full, over quota, over the limit for files: what giving back the reserve may help against.
FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FICLONE: Final = 0x40049409  # both files share their blocks until one is written to
_NO_COPY: Final = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM)


class Disk:
    """One method per system call; whatever fails raises OSError."""

    def create(self, path: str) -> int:
        """A new empty file that only its owner reads, whatever stood at `path`."""
        self.unlink(path)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)

    def open(self, path: str) -> int:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        os.close(fd)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def clone(self, source: int, target: int) -> None:
        fcntl.ioctl(target, _FICLONE, source)

    def copy(self, source: int, target: int, size: int, offset: int) -> int:
        return os.copy_file_range(source, target, size, offset, offset)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def ftruncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def allocate(self, fd: int, size: int) -> None:
        os.posix_fallocate(fd, 0, size)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def unlink(self, path: str) -> None:
        """Nothing stands at `path`."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    def identity(self, path: str) -> tuple[int, int] | None:
        """Which file stands at `path` now."""
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def identity_of(self, fd: int) -> tuple[int, int]:
        found = os.fstat(fd)
        return found.st_dev, found.st_ino

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def sync_directory(self, path: str) -> None:
        """Names in the directory of `path` are on the disk."""
        fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fsync(fd)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some file systems keep names without being asked
                raise
        finally:
            os.close(fd)

    def flock(self, fd: int) -> bool:
        """Whether the lock is ours now; OSError where there are no locks."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def write_all(disk: Disk, fd: int, data: bytes, offset: int) -> None:
    """All of it is written, in as many calls as it takes."""
    view = memoryview(data)
    while view:
        done = disk.write(fd, view, offset)
        view, offset = view[done:], offset + done


def chunks_of(disk: Disk, fd: int, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The bytes of an open file in pieces; its end is looked for when it is reached."""
    while end is None or start < end:
        chunk = disk.read(fd, CHUNK if end is None else min(CHUNK, end - start), start)
        if not chunk:
            return
        start += len(chunk)
        yield chunk


def copy_start(disk: Disk, source: int, target: int, size: int) -> None:
    """`target`, empty before, holds the first `size` bytes of `source`, without taking memory."""
    try:
        disk.clone(source, target)
    except OSError:
        _copy(disk, source, target, size)
    else:
        disk.ftruncate(target, size)


def _copy(disk: Disk, source: int, target: int, size: int) -> None:
    done = 0
    try:
        while done < size and (count := disk.copy(source, target, size - done, done)):
            done += count
    except OSError as error:
        if error.errno not in _NO_COPY:
            raise
    for chunk in chunks_of(disk, source, done, size):
        write_all(disk, target, chunk, done)
        done += len(chunk)
    if done < size:
        raise OSError(errno.EIO, "the file became shorter while it was copied")
