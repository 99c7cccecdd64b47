"""Where in stream files the output of each task lies; of each task, the last execution counts."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from hqtrio.streams.format import BEGIN, CHANNELS, DATA, END, Frame

NUMBER_BITS: Final = 32
NUMBER_MASK: Final = (1 << NUMBER_BITS) - 1


@dataclass(frozen=True, slots=True)
class Piece:
    """Data of one frame: in the file of this number, from this offset on."""

    file: int
    offset: int
    size: int
    crc: int


class Execution:
    """One instance of a task. A channel is in `begun` if it is streamed, in `ended` once it has
    ended; both are masks.
    """

    __slots__ = ("_pieces", "begun", "ended", "instance", "sizes")

    def __init__(self, instance: int) -> None:
        self.instance = instance
        self.begun = self.ended = 0
        self.sizes = [0, 0]
        self._pieces: list[array[int]] = [array("Q"), array("Q")]

    @property
    def is_finished(self) -> bool:
        """Whether nothing more comes: every channel has ended."""
        return bool(self.begun) and self.begun & ~self.ended == 0

    def pieces(self, channel: int, begin: int = 0) -> Iterator[Piece]:
        """In the order in which they were printed, but for the first `begin`."""
        columns = self._pieces[channel]
        for at in range(4 * begin, len(columns), 4):
            yield Piece(*columns[at : at + 4])

    def take(self, file: int, offset: int, frame: Frame) -> None:
        """Note one of its frames."""
        if frame.kind == BEGIN:
            self.begun |= frame.channel
        elif frame.channel not in CHANNELS:
            return  # of a later version
        elif frame.kind == END:
            self.ended |= 1 << frame.channel
        elif frame.kind == DATA:
            self.begun |= 1 << frame.channel
            self.sizes[frame.channel] += frame.size
            self._pieces[frame.channel].extend((file, offset, frame.size, frame.crc))


@dataclass(slots=True)
class Summary:
    """What the files of a directory hold."""

    files: int = 0
    jobs: int = 0
    tasks: int = 0
    streams: int = 0
    opened: int = 0
    sizes: list[int] = field(default_factory=lambda: [0, 0])
    superseded: int = 0
    superseded_sizes: list[int] = field(default_factory=lambda: [0, 0])


class Index:
    """Executions by task, where a task is its job's number << 32 | its own."""

    def __init__(self) -> None:
        self._last: dict[int, Execution] = {}
        self._superseded: dict[tuple[int, int], None] = {}
        self._superseded_sizes = [0, 0]

    def take(self, file: int, offset: int, frame: Frame) -> None:
        """Note a frame of the file of this number, whose data is at the offset."""
        last = self._last.get(frame.task)
        if last is None or frame.instance > last.instance:
            if last is not None:
                self._superseded[frame.task, last.instance] = None
                for channel in CHANNELS:
                    self._superseded_sizes[channel] += last.sizes[channel]
            last = self._last[frame.task] = Execution(frame.instance)
        elif frame.instance < last.instance:
            self._superseded[frame.task, frame.instance] = None
            if frame.kind == DATA and frame.channel in CHANNELS:
                self._superseded_sizes[frame.channel] += frame.size
            return
        last.take(file, offset, frame)

    def jobs(self) -> list[int]:
        """The numbers of all jobs, ascending."""
        return sorted({task >> NUMBER_BITS for task in self._last})

    def tasks(self, job: int) -> list[int]:
        """The numbers of the job's tasks, ascending."""
        return sorted(t & NUMBER_MASK for t in self._last if t >> NUMBER_BITS == job)

    def find(self, job: int, number: int) -> Execution | None:
        """The last execution of a task, if it has streamed at all."""
        return self._last.get(job << NUMBER_BITS | number)

    def counts(self, frame: Frame) -> bool:
        """Whether the frame is of the last execution of its task."""
        return self._last[frame.task].instance == frame.instance

    def widths(self) -> tuple[int, int]:
        """How many digits the largest number of a job has, and that of a task."""
        jobs = max((task >> NUMBER_BITS for task in self._last), default=0)
        numbers = max((task & NUMBER_MASK for task in self._last), default=0)
        return len(str(jobs)), len(str(numbers))

    def summary(self, files: int) -> Summary:
        """What all that amounts to."""
        executions = self._last.values()
        return Summary(
            files,
            len(self.jobs()),
            len(self._last),
            len(self._last),
            sum(not execution.is_finished for execution in executions),
            [sum(execution.sizes[channel] for execution in executions) for channel in CHANNELS],
            len(self._superseded),
            list(self._superseded_sizes),
        )
