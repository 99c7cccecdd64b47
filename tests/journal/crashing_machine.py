"""What is left on a disk after the death of a process, or of its machine, at any system call.

The calls of the code under test are carried out and noted. Afterwards, for every moment between two
of them, directories are made as a crash at that moment may leave them. When only the process died,
everything that it did is there. When the machine died, what was not synced may be there or not:
names of a directory go to the disk in the order in which they were made; writes in any order, in
parts, or as zeros.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from actors.server.disk import Disk

CALLS = [
    "open", "close", "write", "pwrite", "fsync", "fdatasync", "ftruncate", "rename", "replace",
    "link", "symlink", "unlink", "mkdir", "rmdir", "copy_file_range",
]  # fmt: skip


@dataclass(eq=False)
class File:
    """`content` as everybody sees it; `synced` is on the disk, and `writes` may be."""

    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    writes: list[tuple[int, bytes] | int] = field(default_factory=list)  # data at, or cut to

    def write(self, offset: int, data: bytes) -> None:
        _put(self.content, offset, data)
        self.writes.append((offset, data))

    def cut(self, size: int) -> None:
        _cut(self.content, size)
        self.writes.append(size)

    def sync(self) -> None:
        self.synced, self.writes = bytes(self.content), []


@dataclass(eq=False)
class Link:
    target: str


@dataclass(eq=False)
class Folder:
    """`changes` are names, in order, that may not be on the disk yet; None: removed."""

    entries: dict[str, File | Link | Folder] = field(default_factory=dict)
    synced: dict[str, File | Link | Folder] = field(default_factory=dict)
    changes: list[dict[str, File | Link | Folder | None]] = field(default_factory=list)

    def change(self, **names: File | Link | Folder | None) -> None:
        _rename(self.entries, names)
        self.changes.append(names)

    def sync(self) -> None:
        self.synced, self.changes = dict(self.entries), []


class Machine:
    """Notes what is done below `root`. `states` are those before each call and after the last."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = Folder()
        self.files: dict[int, File | Folder] = {}  # by descriptor
        self.states: list[Folder] = []
        self.told: list[tuple[int, object]] = []  # what was acknowledged, and after how many calls
        self.half: dict[int, Folder] = {}  # the state in the middle of a write
        # What was written, from which moment on: into which file, at which offset.
        self.writes: list[tuple[int, Path, int, bytes]] = []

    def acknowledge(self, fact: object) -> None:
        self.told.append((len(self.states), fact))

    def acknowledged(self, moment: int) -> list[object]:
        return [fact for calls, fact in self.told if calls <= moment]

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Everything that the block does to files is noted."""
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self._noted(name, getattr(os, name)))
            patch.setattr(os, "posix_fallocate", lambda fd, offset, size: None)
            patch.setattr(Disk, "clone", _no_clone)
            yield
        self.states.append(copy.deepcopy(self.top))

    def crashes(self, random: Random) -> Iterator[tuple[int, bool, Path]]:
        """Moment, whether the machine died, and a directory as it was left."""
        number = 0
        for moment, state in enumerate(self.states):
            kinds = ["process", "nothing", "names", "data", "random", "random", "random"]
            for kind in kinds + (["half"] if moment in self.half else []):
                number += 1
                place = self.root.parent / f"{self.root.name}-{number}"
                place.mkdir()
                left = self.half[moment] if kind == "half" else state
                _restore(left, place, kind, random)
                yield moment, kind not in ("process", "half"), place

    def interrupted(self, step: int = 1) -> Iterator[tuple[int, Path]]:
        """Moment, and a directory as the death of the process leaves it amid a write: after each
        byte of each write, or each `step`-th."""
        number = 0
        for moment, path, offset, data in self.writes:
            for size in range(0, len(data.rstrip()) + 1, step):
                number += 1
                place = self.root.parent / f"{self.root.name}-part-{number}"
                place.mkdir()
                _restore(self.states[moment], place, "process", Random(0))
                with (place / path).open("r+b") as file:
                    file.seek(offset)
                    file.write(data[:size])
                yield moment, place

    # --- the calls

    def _noted(self, name, real):
        note = getattr(self, f"_{name}")

        def call(*args, **kwargs):
            if not self._is_below(name, args):
                return real(*args, **kwargs)
            before = copy.deepcopy(self.top)
            done = note(real, *args, **kwargs)
            if name != "close":
                self.states.append(before)
            return done

        return call

    def _is_below(self, name: str, args) -> bool:
        first = args[1] if name == "symlink" else args[0]
        if isinstance(first, int):
            return first in self.files or (name == "copy_file_range" and args[1] in self.files)
        return Path(os.fsdecode(first)).is_relative_to(self.root)

    def _find(self, path) -> tuple[Folder, str]:
        (*folders, name) = Path(os.fsdecode(path)).relative_to(self.root).parts or ("",)
        folder = self.top
        for part in folders:
            found = folder.entries[part]
            folder = found if isinstance(found, Folder) else folder.entries[found.target]
        return folder, name

    def _open(self, real, path, flags, *args, **kwargs):
        folder, name = self._find(path)
        fd = real(path, flags, *args, **kwargs)
        if not name:
            self.files[fd] = self.top
        else:
            if name not in folder.entries:
                folder.change(**{name: File()})
            self.files[fd] = folder.entries[name]
        return fd

    def _close(self, real, fd):
        real(fd)
        self.files.pop(fd, None)

    def _put(self, fd: int, offset: int, data: bytes) -> None:
        half = len(data) // 2
        file = self.files[fd]
        assert isinstance(file, File)
        if (path := _path_of(self.top, file)) is not None:
            self.writes.append((len(self.states), path, offset, data))
        file.write(offset, data[:half])
        self.half[len(self.states)] = copy.deepcopy(self.top)
        file.write(offset + half, data[half:])

    def _write(self, real, fd, data):
        offset = os.lseek(fd, 0, os.SEEK_CUR)
        done = real(fd, data)
        self._put(fd, offset, bytes(data[:done]))
        return done

    def _pwrite(self, real, fd, data, offset):
        done = real(fd, data, offset)
        self._put(fd, offset, bytes(data[:done]))
        return done

    def _copy_file_range(self, real, source, target, count, from_offset, to_offset):
        done = real(source, target, count, from_offset, to_offset)
        self._put(target, to_offset, os.pread(target, done, to_offset))
        return done

    def _ftruncate(self, real, fd, size):
        real(fd, size)
        self.files[fd].cut(size)

    def _fsync(self, real, fd):
        real(fd)
        self.files[fd].sync()

    _fdatasync = _fsync

    def _rename(self, real, old, new, **kwargs):
        real(old, new, **kwargs)
        (folder, before), (into, after) = self._find(old), self._find(new)
        assert folder is into
        folder.change(**{before: None, after: folder.entries[before]})

    _replace = _rename

    def _link(self, real, old, new, **kwargs):
        real(old, new, **kwargs)
        (folder, before), (_, after) = self._find(old), self._find(new)
        folder.change(**{after: folder.entries[before]})

    def _symlink(self, real, target, path, *args, **kwargs):
        real(target, path, *args, **kwargs)
        folder, name = self._find(path)
        folder.change(**{name: Link(str(target))})

    def _unlink(self, real, path, **kwargs):
        real(path, **kwargs)
        folder, name = self._find(path)
        folder.change(**{name: None})

    _rmdir = _unlink

    def _mkdir(self, real, path, *args, **kwargs):
        real(path, *args, **kwargs)
        folder, name = self._find(path)
        if name:
            folder.change(**{name: Folder()})


def _no_clone(disk, source, target):
    raise OSError("no clones")


def _put(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data


def _cut(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _rename(entries, names) -> None:
    for name, what in names.items():
        entries.pop(name, None)
        if what is not None:
            entries[name] = what


def _path_of(folder: Folder, file: File) -> Path | None:
    """Where the file stands; nowhere, if its name is gone."""
    for name, what in folder.entries.items():
        if what is file:
            return Path(name)
        if isinstance(what, Folder) and (found := _path_of(what, file)) is not None:
            return Path(name, found)
    return None


def _restore(folder: Folder, place: Path, kind: str, random: Random) -> None:
    """`place` is the folder as the crash leaves it."""
    for name, what in _names(folder, kind, random).items():
        path = place / name
        match what:
            case Folder():
                path.mkdir()
                _restore(what, path, kind, random)
            case Link(target):
                path.symlink_to(target)
            case File():
                path.write_bytes(_content(what, kind, random))
                path.chmod(0o600)


def _names(folder: Folder, kind: str, random: Random):
    if kind in ("process", "half", "names"):
        return folder.entries
    names = dict(folder.synced)
    if kind == "random":
        for change in folder.changes[: random.randint(0, len(folder.changes))]:
            _rename(names, change)
    return names


def _content(file: File, kind: str, random: Random) -> bytes:
    if kind in ("process", "half", "data"):
        return bytes(file.content)
    content = bytearray(file.synced)
    if kind == "random":
        for write in file.writes:
            how = random.choice(["all", "none", "part", "zeros"])
            if how == "none":
                continue
            if isinstance(write, int):
                _cut(content, write)
                continue
            offset, data = write
            if how == "part":
                data = data[: random.randint(0, len(data))]
            elif how == "zeros":
                data = bytes(len(data))
            _put(content, offset, data)
    return bytes(content)
