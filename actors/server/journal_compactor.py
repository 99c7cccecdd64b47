"""A child process that writes what is worth keeping of a journal's beginning into a new file.

It is a process of its own because it takes long and memory; nothing of the server waits for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from actors.server.disk import Disk, chunks_of, write_all
from hqtrio.journal.compaction import Survey, compacted
from hqtrio.journal.format import encode_frames, encode_header
from hqtrio.journal.reading import Reading
from hqtrio.messages.records import Record


def compact_file(path: str, size: int, target: str, disk: Disk | None = None) -> int:
    """`target` is a whole journal with what must be kept of the first `size` bytes of `path`.

    Returns how long it is. It is on the disk, under a name that nobody looks for.
    """
    disk = disk or Disk()
    source = disk.open(path)
    fd = disk.create(target)
    try:
        header = Reading(chunks_of(disk, source, 0, size)).header
        assert header is not None, "a journal that is written to has a header"
        survey = Survey(_records(disk, source, size))
        data = encode_header(header)
        end = 0
        for record in compacted(survey, _records(disk, source, size)):
            data += encode_frames([record], mark=header.history[:4])
            if len(data) > 1 << 20:
                write_all(disk, fd, data, end)
                end, data = end + len(data), b""
        write_all(disk, fd, data, end)
        disk.fsync(fd)
        return end + len(data)
    except BaseException:
        disk.unlink(target)
        raise
    finally:
        disk.close(source)
        disk.close(fd)


def _records(disk: Disk, source: int, size: int) -> Iterator[Record]:
    reading = Reading(chunks_of(disk, source, 0, size))
    for _, record in reading:
        yield record
    assert reading.end == size, (reading.end, size)


if __name__ == "__main__":
    compact_file(sys.argv[1], int(sys.argv[2]), sys.argv[3])
