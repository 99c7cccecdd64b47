"""Events that have made earlier servers crash, and what is done when they come back.

A report that a core cannot handle is repeated by its worker until it has a receipt, a request by
its client until it has an answer. What was in the event at one crash is handled part by part, so
that a second crash has one culprit; that one is then set aside: a task fails, a request is refused,
a worker is turned away. Parts are known by marks, which are the same in whatever event they stand.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from msgspec.structs import replace

from actors.server.links import Connected
from hqtrio.ids import format_task
from hqtrio.jobs.effects import Answer, ClientAsked, Command, Effect, TaskSetAside
from hqtrio.messages.client import Failure, Request, SubmitBegin, SubmitJob
from hqtrio.messages.columns import read_u64
from hqtrio.messages.scheduling import (
    AdmitWorker,
    FromScheduler,
    RefuseWorker,
    TasksDropped,
    TasksReported,
    WorkerArrived,
    WorkerGone,
)
from hqtrio.messages.worker import Ended, Fact, Held, Report, Started
from hqtrio.scheduling.events import WorkerSaid
from hqtrio.wire.codec import encode

__all__ = ["Suspects", "heed", "marks_of"]

TWICE: Final = 2
TEXT: Final = "Internal error: the server has crashed twice over {}; its directory has the details."
_WIDTHS: Final = {
    "tasks": 8, "instances": 4, "slots": 4, "ages": 8, "endings": 1, "codes": 4,
    "started_ages": 8, "ended_ages": 8, "cpu_s": 4, "peak_kib": 4,
}  # fmt: skip

Event = FromScheduler | ClientAsked | TaskSetAside
Rows = tuple[tuple[int, int], ...]
R = TypeVar("R", Started, Ended)

log = logging.getLogger(__name__)


class Suspects:
    """How often each mark was in an event that made a core raise."""

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self._counts = counts or {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def is_suspect(self, mark: str) -> bool:
        """It was there when a server crashed."""
        return mark in self._counts

    def is_guilty(self, mark: str) -> bool:
        """It has made servers crash twice."""
        return self._counts.get(mark, 0) >= TWICE


@dataclass(frozen=True, slots=True)
class _Part:
    """What a fact says of one task."""

    mark: str
    task: int
    said: Started | Ended | tuple[int, int]


# --- marks


def marks_of(event: object) -> Iterator[str]:
    """By what the parts of an event are known."""
    match event:
        case TasksReported(started=started, ended=ended):
            for start in started:
                yield from _row_marks(start)
            for end in ended:
                yield from _row_marks(end)
        case WorkerArrived(hello=hello):
            yield _worker(hello.worker_key)
            for fact in _facts(hello.held.reports if hello.held else ()):
                yield from _row_marks(fact)
        case WorkerGone(running=running, shipped=shipped):
            yield from (_loss(task) for task, _ in (*running, *shipped))
        case TasksDropped(tasks=tasks):
            yield from (_loss(task) for task, _ in tasks)
        case ClientAsked(request=request):
            yield _request(request)
        case WorkerSaid(messages=messages):
            reports = [message for message in messages if isinstance(message, Report)]
            for fact in _facts(reports):
                yield from map(in_frame, _row_marks(fact))
        case Connected(opened, _):
            yield in_frame(_worker(opened.hello.worker_key))


def in_frame(mark: str) -> str:
    """The mark of something that the scheduler, and not the job book, could not handle."""
    return f"frame with {mark}"


def _facts(reports: Iterable[Report]) -> Iterator[Started | Ended]:
    for report in reports:
        for fact in report.facts:
            if isinstance(fact, Started | Ended):
                yield fact


def _row_marks(fact: Started | Ended) -> list[str]:
    word = "start" if isinstance(fact, Started) else "end"
    return [f"{word} of {format_task(task)}" for task in read_u64(fact.tasks)]


def _loss(task: int) -> str:
    return f"loss of {format_task(task)}"


def _worker(key: bytes) -> str:
    return f"worker {key.hex()}"


def _request(request: Request) -> str:
    match request:
        case SubmitJob(submit) | SubmitBegin(submit):
            # Whoever types it once more gives it another key.
            request = replace(request, submit=replace(submit, key=b""))
    return f"request {hashlib.sha256(encode([request])).hexdigest()[:32]}"


# --- the job book


def heed(
    suspects: Suspects,
    event: FromScheduler | ClientAsked,
    handle: Callable[[Event], Sequence[Effect]],
) -> list[Effect]:
    """Have the event handled, its suspects one by one and after everything else; without guilty."""
    match event:
        case ClientAsked(session, number, request):
            mark = _request(request)
            if suspects.is_guilty(mark):
                log.error("client %d: %s is set aside", session, mark)
                return [Answer(session, number, Failure(TEXT.format("this request")))]
            return list(handle(event))
        case WorkerArrived(link, hello) if suspects.is_guilty(_worker(hello.worker_key)):
            log.error("worker at link %d is turned away", link)
            return [Command(RefuseWorker(link, TEXT.format("what this worker says")))]
    plain, parts = _split(suspects, event)
    effects = list(handle(plain))
    if parts and (teller := _teller(plain, effects)) is not None:
        for part in parts:
            if suspects.is_guilty(part.mark):
                log.error("%s is set aside: the task fails", part.mark)
                handled = handle(TaskSetAside(part.task, TEXT.format(f"the {part.mark}")))
            else:
                handled = handle(_alone(part, plain, *teller))
            effects += handled
    return effects


def _teller(plain: FromScheduler, effects: Sequence[Effect]) -> tuple[int, int] | None:
    """Worker and attachment that the parts are of; None if nobody listens to them any more."""
    match plain:
        case TasksReported(worker, attachment):
            return worker, attachment
        case WorkerGone(worker) | TasksDropped(worker):
            return worker, 0
    for effect in effects:
        match effect:
            case Command(AdmitWorker(worker=worker, attachment=attachment)) if attachment > 1:
                return worker, attachment
    return None


def _alone(part: _Part, plain: FromScheduler, worker: int, attachment: int) -> FromScheduler:
    match part.said:
        case Started() as started:
            facts: tuple[tuple[Started, ...], tuple[Ended, ...]] = ((started,), ())
        case Ended() as ended:
            facts = ((), (ended,))
        case (task, instance):
            return TasksDropped(worker, ((task, instance),))
    gangs = plain.gangs if isinstance(plain, TasksReported | WorkerArrived) else ()
    variants = plain.variants if isinstance(plain, TasksReported) else ()
    return TasksReported(
        worker,
        attachment,
        _report(plain),
        *facts,
        tuple(gang for gang in gangs if gang[0] == part.task),
        tuple(chosen for chosen in variants if chosen[0] == part.task),
    )


def _report(plain: FromScheduler) -> int:
    """The number that the receipt will name; all of it is handled by then."""
    match plain:
        case TasksReported(report=report):
            return report
        case WorkerArrived(hello=hello) if hello.held is not None and hello.held.reports:
            return hello.held.reports[-1].seq
    return 0


def _split(suspects: Suspects, event: FromScheduler) -> tuple[FromScheduler, list[_Part]]:
    """The event without its suspects, and these."""
    parts: list[_Part] = []
    match event:
        case TasksReported():
            started = tuple(_plain(suspects, fact, parts) for fact in event.started)
            ended = tuple(_plain(suspects, fact, parts) for fact in event.ended)
            if parts:
                event = TasksReported(
                    event.worker, event.attachment, event.report, started, ended, event.gangs,
                    event.variants,
                )  # fmt: skip
        case WorkerArrived(link, hello, seen, gangs) if hello.held is not None:
            held = _plain_held(suspects, hello.held, seen, parts)
            if parts:
                event = WorkerArrived(link, replace(hello, held=held), seen, gangs)
        case WorkerGone(worker, reason, running, shipped):
            kept = _plain_rows(suspects, running, parts), _plain_rows(suspects, shipped, parts)
            event = WorkerGone(worker, reason, *kept)
        case TasksDropped(worker, tasks):
            event = TasksDropped(worker, _plain_rows(suspects, tasks, parts))
    return event, parts


def _plain_held(suspects: Suspects, held: Held, seen: int, parts: list[_Part]) -> Held:
    reports = []
    for report in held.reports:
        if report.seq > seen:
            facts = tuple(_plain_fact(suspects, fact, parts) for fact in report.facts)
            report = replace(report, facts=facts)
        reports.append(report)
    return replace(held, reports=tuple(reports))


def _plain_fact(suspects: Suspects, fact: Fact, parts: list[_Part]) -> Fact:
    match fact:
        case Started():
            return _plain(suspects, fact, parts)
        case Ended():
            return _plain(suspects, fact, parts)
    return fact


def _plain_rows(suspects: Suspects, rows: Rows, parts: list[_Part]) -> Rows:
    kept = []
    for task, instance in rows:
        if suspects.is_suspect(_loss(task)):
            parts.append(_Part(_loss(task), task, (task, instance)))
        else:
            kept.append((task, instance))
    return tuple(kept)


def _plain(suspects: Suspects, fact: R, parts: list[_Part]) -> R:
    marks, tasks = _row_marks(fact), read_u64(fact.tasks)
    taken = [row for row, mark in enumerate(marks) if suspects.is_suspect(mark)]
    if not taken:
        return fact
    parts += [_Part(marks[row], tasks[row], _cut(fact, [row])) for row in taken]
    return _cut(fact, [row for row in range(len(tasks)) if row not in set(taken)])


def _cut(fact: R, rows: list[int]) -> R:
    """The fact with these of its rows only."""
    columns: dict[str, object] = {}
    for name in fact.__struct_fields__:
        if name in _WIDTHS:
            width, column = _WIDTHS[name], getattr(fact, name)
            columns[name] = b"".join(column[row * width : (row + 1) * width] for row in rows)
    if isinstance(fact, Ended):
        texts = dict(fact.texts)
        columns["texts"] = tuple((new, texts[r]) for new, r in enumerate(rows) if r in texts)
    return replace(fact, **columns)
