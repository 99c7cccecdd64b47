"""The stream files of a directory, read piece by piece."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from heapq import merge
from logging import getLogger
from pathlib import Path
from typing import Final
from zlib import crc32

from hqtrio.errors import InputError
from hqtrio.streams.format import DATA, HEADER_MAX, SUFFIX, Frame, Header, decode_header
from hqtrio.streams.index import Index, Piece
from hqtrio.streams.scan import Damaged, scan

log = getLogger(__name__)

_OPEN_MAX: Final = 64  # descriptors; a directory may hold a file per worker of a whole year


class NoStreams(InputError):
    """There are no stream files, or none yet."""


class StreamFiles:
    """The files of one server instance in a directory, by number; `refresh` finds what is new."""

    def __init__(self, directory: str, server_uid: str | None) -> None:
        self._directory, self._server_uid = Path(directory), server_uid
        self.index = Index()
        self._paths: list[Path] = []
        self._begins: list[int] = []  # of the first frame
        self._ends: list[int] = []  # of the last whole frame that was seen
        self._known: set[Path] = set()
        self._open: OrderedDict[int, int] = OrderedDict()
        self._warned: set[int] = set()

    def __len__(self) -> int:
        return len(self._paths)

    def refresh(self) -> None:
        """The index knows every whole frame. NoStreams if there are no files, InputError if there
        are those of several servers and none was chosen."""
        self._find()
        for number in range(len(self._paths)):
            for offset, frame in self._frames(number, self._ends[number]):
                self.index.take(number, offset, frame)
                self._ends[number] = offset + frame.size

    def read(self, piece: Piece) -> bytes:
        """The data of a frame. InputError if it is not what was written."""
        data = self._read_at(piece.file, piece.offset, piece.size)
        if len(data) != piece.size or crc32(data) != piece.crc:
            raise InputError(
                f"Stream file `{self._paths[piece.file]}` is damaged at offset {piece.offset}"
            )
        return data

    def by_time(self) -> Iterator[tuple[Frame, Piece]]:
        """The data frames of each task's last execution, in the order of time."""
        sources = (self._data_frames(number) for number in range(len(self._paths)))
        for _, _, _, frame, piece in merge(*sources, key=lambda found: found[:3]):
            yield frame, piece

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def _find(self) -> None:
        try:
            names = sorted(os.listdir(self._directory))
        except FileNotFoundError as error:
            raise NoStreams(f"Cannot read `{self._directory}`: {error.strerror}") from error
        except OSError as error:
            raise InputError(f"Cannot read `{self._directory}`: {error.strerror}") from error
        new = [p for n in names if n.endswith(SUFFIX) and (p := self._directory / n)]
        if not new:
            raise NoStreams(f"No log files found in `{self._directory}`")
        headers = {path: _header(path) for path in new if path not in self._known}
        uids = sorted({header.server_uid for header in headers.values() if header is not None})
        if self._server_uid is None and len(uids) == 1:
            self._server_uid = uids[0]
        if self._server_uid is None and uids:
            raise InputError(
                "Found streams from multiple server instances: "
                + ", ".join(uids)
                + "; choose one with --server-uid"
            )
        for path, header in headers.items():
            if header is not None:  # else it was begun a moment ago, or is none of ours
                self._known.add(path)
                if header.server_uid == self._server_uid:
                    self._paths.append(path)
                    self._begins.append(header.size)
                    self._ends.append(header.size)
        if self._server_uid is not None and uids and not self._paths:
            raise InputError(
                f"No log files of server `{self._server_uid}` found; there are some of "
                + ", ".join(uids)
            )

    def _frames(self, number: int, offset: int) -> Iterator[tuple[int, Frame]]:
        size = os.fstat(self._descriptor(number)).st_size
        try:
            yield from scan(lambda at, want: self._read_at(number, at, want), offset, size)
        except Damaged as damage:
            if number not in self._warned:
                self._warned.add(number)
                log.warning(
                    "Stream file `%s` is %s; nothing behind that can be read",
                    self._paths[number],
                    damage,
                )

    def _data_frames(self, number: int) -> Iterator[tuple[int, int, int, Frame, Piece]]:
        for offset, frame in self._frames(number, self._begins[number]):
            if offset + frame.size > self._ends[number]:
                return
            if frame.kind == DATA and frame.size and self.index.counts(frame):
                piece = Piece(number, offset, frame.size, frame.crc)
                yield frame.time_ms, number, offset, frame, piece

    def _read_at(self, number: int, offset: int, size: int) -> bytes:
        fd = self._descriptor(number)
        data = os.pread(fd, size, offset)
        while len(data) < size and (more := os.pread(fd, size - len(data), offset + len(data))):
            data += more
        return data

    def _descriptor(self, number: int) -> int:
        fd = self._open.get(number)
        if fd is not None:
            self._open.move_to_end(number)
            return fd
        if len(self._open) >= _OPEN_MAX:
            os.close(self._open.popitem(last=False)[1])
        path = self._paths[number]
        try:
            fd = self._open[number] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(f"Cannot read `{path}`: {error.strerror}") from error
        return fd


def _header(path: Path) -> Header | None:
    try:
        with path.open("rb") as file:
            return decode_header(file.read(HEADER_MAX))
    except OSError as error:
        raise InputError(f"Cannot read `{path}`: {error.strerror}") from error
