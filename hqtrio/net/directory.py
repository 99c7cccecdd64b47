"""The server directory: one numbered directory per server start, and a link to the newest."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from hqtrio.errors import InputError

ACCESS_FILE: Final = "access.json"
CURRENT: Final = "hq-current"
MODE: Final = 0o700


def default_directory() -> str:
    """`.hqtrio-server` in the home directory, or where temporary files go without a home."""
    home = os.environ.get("HOME")
    return os.path.join(home or tempfile.gettempdir(), ".hqtrio-server")


def resolve_directory(directory: Path) -> Path:
    """Where clients and workers look: the current instance, else the directory itself."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"Invalid server directory: `{directory}` is not a directory")
    current = directory / CURRENT
    return current if current.is_dir() else directory


def instances(directory: Path) -> list[Path]:
    """The numbered directories, oldest first."""
    found: list[tuple[int, Path]] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        found.extend(
            (int(entry.name), directory / entry.name)
            for entry in entries
            if entry.name.isascii() and entry.name.isdigit() and entry.is_dir()
        )
    return [path for _, path in sorted(found)]


def lock_start(directory: Path) -> int | None:
    """A descriptor that only one starting server of the directory has; None: another has it.

    Closing it gives the lock back. On a file system without locks everybody gets one.
    """
    try:
        directory.mkdir(mode=MODE, parents=True, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(directory, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        return fd
    return fd


def create_instance(directory: Path) -> Path:
    """A new numbered directory that only its owner can enter; the server directory is made too."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"Invalid server directory: `{directory}` is not a directory")
    try:
        directory.mkdir(mode=MODE, parents=True, exist_ok=True)
        while True:
            present = instances(directory)
            number = int(present[-1].name) + 1 if present else 1
            instance = directory / f"{number:03}"
            try:
                instance.mkdir(mode=MODE)
            except FileExistsError:  # another server was faster, or a file has this name
                if not instance.is_dir():
                    raise
            else:
                instance.chmod(MODE)  # whatever the umask took away
                sync_directory(directory.parent)
                return instance
    except OSError as error:
        raise _unusable(directory, error) from error


def _unusable(directory: Path, error: OSError) -> InputError:
    return InputError(
        f"Cannot use server directory `{directory}`: {error.strerror} ({error.filename})"
    )


def publish_instance(instance: Path) -> None:
    """`hq-current` points to the instance; whatever link was there is replaced in one step."""
    directory = instance.parent
    temporary = directory / f".{CURRENT}.{secrets.token_hex(8)}"
    try:
        temporary.symlink_to(instance.name)
        try:
            temporary.replace(directory / CURRENT)
        except OSError:
            temporary.unlink()
            raise
        sync_directory(directory)  # what is acknowledged later lies in the instance
    except OSError as error:
        raise InputError(
            f"Cannot make `{directory / CURRENT}` point to `{instance.name}`: {error.strerror}; "
            "remove what stands there"
        ) from error


def withdraw_instance(instance: Path) -> bool:
    """`hq-current` does not point to the instance; True if it did. Another's link stays."""
    link = instance.parent / CURRENT
    try:
        target = instance.parent / os.readlink(link)
        if target != instance:
            return False
        link.unlink()
    except OSError:
        return False
    return True


def sync_directory(path: Path) -> None:
    """Names made or removed in the directory survive a power failure, if it can be asked for."""
    with contextlib.suppress(OSError):  # some network file systems cannot
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
