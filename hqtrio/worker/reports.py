"""What the worker has to tell, and what it told without receipt yet.

Facts collect in columns; a report leaves at once while fewer than WINDOW of its predecessors are
unseen by the server's loop, else the facts wait for company. A server with many workers asks them
for fewer reports: then facts that nobody acts on, and those are nearly all while enough work lies
ahead here, wait a while, and a start leaves with the first report after it has waited as long: most
tasks of a few seconds are told once, as ended. Every report is kept until the server says that it
is durable.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from msgspec.structs import replace

from hqtrio.messages.columns import ROWS_MAX, f32, f64, i32, read_f64, u32, u64
from hqtrio.messages.worker import Bounced, Closed, Ended, Fact, Note, Report, Retracted, Started
from hqtrio.model.task import Ending

WINDOW: Final = 4  # reports under way before facts begin to collect
HELD_BACK_MAX: Final = 1.0  # ends that are held back, relative to the tasks that still wait here
NEVER: Final = inf  # the start of a task that never started
_WORDS_BYTES: Final = 256 * 1024  # of texts and results in one report
_BULK_ENDING: Final = bytes((Ending.FINISHED,))


@dataclass(slots=True)
class EndedRows:
    """Executions that are over and not reported yet, one row each."""

    tasks: array[int] = field(default_factory=lambda: array("Q"))
    instances: array[int] = field(default_factory=lambda: array("I"))
    slots: array[int] = field(default_factory=lambda: array("I"))
    endings: bytearray = field(default_factory=bytearray)
    codes: array[int] = field(default_factory=lambda: array("i"))
    started_at: array[float] = field(default_factory=lambda: array("d"))
    ended_at: array[float] = field(default_factory=lambda: array("d"))
    cpu_s: array[float] = field(default_factory=lambda: array("f"))
    peak_kib: array[int] = field(default_factory=lambda: array("I"))
    texts: list[tuple[int, str]] = field(default_factory=list)
    results: list[tuple[int, bytes]] = field(default_factory=list)

    def fact(self, begin: int, end: int, now: float) -> Ended:
        """Rows `begin` to `end` with ages instead of instants."""
        starts = self.started_at[begin:end]
        return Ended(
            u64(self.tasks[begin:end]),
            u32(self.instances[begin:end]),
            u32(self.slots[begin:end]),
            bytes(self.endings[begin:end]),
            i32(self.codes[begin:end]),
            f64([now - at for at in starts] if NEVER not in starts else _ages(starts, now)),
            f64([now - at for at in self.ended_at[begin:end]]),
            f32(self.cpu_s[begin:end]),
            u32(self.peak_kib[begin:end]),
            tuple((row - begin, text) for row, text in self.texts if begin <= row < end),
            tuple((row - begin, data) for row, data in self.results if begin <= row < end),
        )

    def end_of_frame(self, begin: int) -> int:
        """Where a report ends that begins with this row: so that it fits a frame."""
        end = min(begin + ROWS_MAX, len(self.tasks))
        if not self.texts and not self.results:
            return end
        sizes = [(row, len(text.encode(errors="replace"))) for row, text in self.texts]
        sizes += [(row, len(data)) for row, data in self.results]
        room = _WORDS_BYTES
        for row, size in sorted(sizes):
            if begin <= row < end:
                room -= size
                if room < 0 and row > begin:
                    return row
        return end


def _ages(starts: array[float], now: float) -> list[float]:
    return [-1.0 if at == NEVER else now - at for at in starts]


class Reports:
    """Facts not reported yet, and reports without receipt."""

    def __init__(self) -> None:
        self._started: dict[int, tuple[int, int, float]] = {}
        self._ended = EndedRows()
        self._closed: list[int] = []
        self._bounced: dict[str, list[tuple[int, int]]] = {}
        self._retracted: list[Retracted] = []
        self._notes: list[Note] = []
        self._kept: deque[tuple[Report, float]] = deque()
        self._seq = self._seen = 0
        self._pace_s = 0.0
        self._is_urgent = False  # among the facts is one that the server acts on
        self._due_at = inf  # when facts that are held back leave

    # --- facts

    def start(self, task: int, instance: int, slot: int, started_at: float) -> None:
        """The task runs."""
        self._started[task] = (instance, slot, started_at)

    def end(
        self,
        task: int,
        instance: int,
        slot: int,
        ending: Ending,
        ended_at: float,
        *,
        code: int = 0,
        started_at: float = NEVER,
        cpu_s: float = -1.0,
        peak_kib: int = 0,
        text: str = "",
        result: bytes = b"",
    ) -> None:
        """The execution is over; a start that was not reported is in this row only."""
        if self._started:
            self._started.pop(task, None)
        rows = self._ended
        if ending is not Ending.FINISHED:
            self._is_urgent = True
        if text:
            rows.texts.append((len(rows.tasks), text))
        if result:
            rows.results.append((len(rows.tasks), result))
        rows.tasks.append(task)
        rows.instances.append(instance)
        rows.slots.append(slot)
        rows.endings.append(ending)
        rows.codes.append(code)
        rows.started_at.append(started_at)
        rows.ended_at.append(ended_at)
        rows.cpu_s.append(cpu_s)
        rows.peak_kib.append(peak_kib)

    def finish_span(self, first: int, count: int, instance: int, slot: int, at: float) -> None:
        """Tasks that started and finished at the same instant."""
        rows = self._ended
        rows.tasks.extend(range(first, first + count))
        rows.instances.extend(array("I", (instance,)) * count)
        rows.slots.extend(array("I", (slot,)) * count)
        rows.endings += _BULK_ENDING * count
        rows.codes.extend(array("i", (0,)) * count)
        rows.started_at.extend(array("d", (at,)) * count)
        rows.ended_at.extend(array("d", (at,)) * count)
        rows.cpu_s.extend(array("f", (-1.0,)) * count)
        rows.peak_kib.extend(array("I", (0,)) * count)

    def close(self, slot: int) -> None:
        """The slot is no more."""
        self._is_urgent = True
        self._closed.append(slot)

    def bounce(self, task: int, instance: int, reason: str) -> None:
        """The task was shipped here and cannot start here."""
        self._is_urgent = True
        self._bounced.setdefault(reason, []).append((task, instance))

    def retract(self, seq: int, released: Sequence[int]) -> None:
        """Answer a Retract."""
        self._is_urgent = True
        self._retracted.append(Retracted(seq, u64(released)))

    def note(self, task: int, instance: int, text: bytes) -> None:
        """A running task has something to say."""
        self._is_urgent = True
        self._notes.append(Note(task, instance, text))

    @property
    def notes(self) -> int:
        """How many notes no report holds yet."""
        return len(self._notes)

    def room(self, window: int) -> int:
        """How many more ends would leave at once with at most `window` reports unseen."""
        return (window - self._seq + self._seen) * ROWS_MAX - len(self._ended.tasks)

    # --- reports

    def _facts(self, now: float, begin: int) -> tuple[list[Fact], int]:
        """The next report's facts: rows of ends from `begin`, and with the last ones the rest."""
        facts: list[Fact] = []
        if self._notes:
            # Before every end: who waits for a job's end has heard all that its tasks said.
            facts.append(Started(b"", b"", b"", b"", tuple(self._notes)))
            self._notes = []
        end = self._ended.end_of_frame(begin)
        if end > begin:
            facts.append(self._ended.fact(begin, end, now))
        if end < len(self._ended.tasks):
            return facts, end
        if self._started:
            starts = list(self._started.values())
            facts.append(
                Started(
                    u64(self._started),
                    u32([instance for instance, _, _ in starts]),
                    u32([slot for _, slot, _ in starts]),
                    f64([now - at for _, _, at in starts]),
                )
            )
            self._started = {}
        if self._closed:
            facts.append(Closed(u32(self._closed)))
            self._closed = []
        for reason, bounced in self._bounced.items():
            for at in range(0, len(bounced), ROWS_MAX):
                rows = bounced[at : at + ROWS_MAX]
                facts.append(
                    Bounced(u64([task for task, _ in rows]), u32([i for _, i in rows]), reason)
                )
        self._bounced = {}
        facts += self._retracted
        self._retracted = []
        return facts, end

    @property
    def pending(self) -> bool:
        """Whether there are facts that no report holds yet."""
        return bool(
            self._ended.tasks
            or self._started
            or self._closed
            or self._bounced
            or self._retracted
            or self._notes
        )

    @property
    def due_at(self) -> float:
        """When facts that are held back have waited long enough."""
        return self._due_at

    def tick(self, now: float) -> None:
        """What has waited long enough leaves with the next flush."""
        if self._due_at <= now:
            self._is_urgent, self._due_at = True, inf

    def flush_at_pace(self, now: float, waiting: int) -> list[Report]:
        """The reports that leave at the pace that the server asks for.

        `waiting` is the least number of tasks that lie ahead here for the slots of a class: when
        they become few, the server has to know.
        """
        are_few = len(self._ended.tasks) <= HELD_BACK_MAX * waiting
        if self._pace_s <= 0.0 or self._is_urgent or not are_few:
            return self.flush(now)
        self._due_at = min(self._due_at, now + self._pace_s)
        return []

    def flush(self, now: float, *, window: int = WINDOW) -> list[Report]:
        """The reports that may leave now; facts beyond the window stay for a later one."""
        reports: list[Report] = []
        begin = 0
        young = self._set_aside(now)
        while self._seq - self._seen < window and self._has_more(begin):
            facts, begin = self._facts(now, begin)
            self._seq += 1
            report = Report(self._seq, tuple(facts))
            self._kept.append((report, now))
            reports.append(report)
        if begin:
            self._keep_rows(begin)
        self._is_urgent = self.pending  # they wait for the window only
        self._due_at = now + self._pace_s if young else inf
        self._started.update(young)
        return reports

    def flush_all(self, now: float) -> list[Report]:
        """Everything there is to tell, in however many reports; nothing is asked for any more."""
        self._pace_s = 0.0
        return self.flush(now, window=self._seq + len(self._ended.tasks) + 2)

    def _set_aside(self, now: float) -> dict[int, tuple[int, int, float]]:
        """Leave only those starts that have waited for the pace; says the others."""
        if self._pace_s <= 0.0:
            return {}
        limit = now - self._pace_s
        young = {task: row for task, row in self._started.items() if row[2] > limit}
        for task in young:
            del self._started[task]
        return young

    def _has_more(self, begin: int) -> bool:
        return self.pending if begin == 0 else begin < len(self._ended.tasks)

    def _keep_rows(self, begin: int) -> None:
        old = self._ended
        if begin == len(old.tasks):
            self._ended = EndedRows()
            return
        self._ended = EndedRows(
            old.tasks[begin:],
            old.instances[begin:],
            old.slots[begin:],
            old.endings[begin:],
            old.codes[begin:],
            old.started_at[begin:],
            old.ended_at[begin:],
            old.cpu_s[begin:],
            old.peak_kib[begin:],
            [(row - begin, text) for row, text in old.texts if row >= begin],
            [(row - begin, data) for row, data in old.results if row >= begin],
        )

    def acknowledge(self, seen: int, durable: int, pace_s: float = 0.0) -> None:
        """The server's loop handled reports up to `seen`; up to `durable` nothing can be lost."""
        self._pace_s = pace_s
        self._seen = min(max(self._seen, seen, durable), self._seq)
        while self._kept and self._kept[0][0].seq <= durable:
            self._kept.popleft()

    def without_receipt(self, now: float) -> tuple[Report, ...]:
        """Every report without receipt, with its ages as of now; facts not reported included.

        They count as seen: the connection that is about to carry them starts with a clean window.
        """
        self.flush_all(now)
        self._seen = self._seq
        return tuple(_aged(report, now - at) for report, at in self._kept)

    def check(self) -> None:
        """Columns are of one length; numbers are in order; no start is told twice."""
        rows = self._ended
        count = len(rows.tasks)
        columns = (rows.instances, rows.slots, rows.endings, rows.codes, rows.started_at)
        assert all(len(column) == count for column in columns), count
        assert all(len(c) == count for c in (rows.ended_at, rows.cpu_s, rows.peak_kib)), count
        kept = [report.seq for report, _ in self._kept]
        assert kept == list(range(self._seq - len(kept) + 1, self._seq + 1)), kept
        assert not set(rows.tasks) & self._started.keys()
        assert self._seen <= self._seq, (self._seen, self._seq)


def _aged(report: Report, extra_s: float) -> Report:
    """The same report as told `extra_s` later."""
    if extra_s <= 0:
        return report
    facts: list[Fact] = []
    for fact in report.facts:
        match fact:
            case Started(tasks, instances, slots, ages, notes):
                facts.append(Started(tasks, instances, slots, _older(ages, extra_s), notes))
            case Ended():
                facts.append(
                    replace(
                        fact,
                        started_ages=_older(fact.started_ages, extra_s),
                        ended_ages=_older(fact.ended_ages, extra_s),
                    )
                )
            case _:
                facts.append(fact)
    return Report(report.seq, tuple(facts))


def _older(ages: bytes, extra_s: float) -> bytes:
    return f64([age + extra_s if age >= 0 else age for age in read_f64(ages)])
