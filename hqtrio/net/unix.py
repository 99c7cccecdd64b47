"""Unix sockets below directories with long names."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# The kernel's limit, with the byte that ends the text.
PATH_BYTES_MAX: Final = 107


@contextmanager
def short_path(path: bytes) -> Iterator[bytes]:
    """A name of the socket that the kernel takes, however long its path is; good in the block."""
    if len(path) <= PATH_BYTES_MAX:
        yield path
        return
    if not hasattr(os, "O_PATH"):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), os.fsdecode(path))
    directory, name = os.path.split(path)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield b"/proc/self/fd/%d/%b" % (fd, name)
    finally:
        os.close(fd)
