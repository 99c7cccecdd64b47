"""Every story that one task, two workers and a mortal server can have, searched exhaustively.

A `World` is everything that decides the future. `futures` yields whatever may happen next, in any
order; the search visits all worlds that can be reached, breadth first, so that the first bad one
comes with a shortest story. Each `Rules` flag is a rule of the real system; taken away alone, it
shows what it is there for.

A worker that loses its connection opens another one while the old one may still carry frames in
both directions: each worker has a `line` and an `old` line, and the server may read them in any
order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import Final, NamedTuple

WORKERS: Final = (0, 1)


class Rules(NamedTuple):
    shipments_recorded: bool = True  # before the frame leaves
    ends_recorded: bool = True  # before the receipt leaves
    reports_kept: bool = True  # by the worker, until the receipt
    state_exchanged: bool = True  # a hello says what the worker has, the answer what it keeps
    shipped_stays: bool = True  # a restart waits for the owner of a shipped task
    instances_counted: bool = True  # whoever runs a task again runs another instance
    old_orders_void: bool = True  # for a worker that has stated on a new line what it has
    old_reports_void: bool = True  # the end of an old line included
    hellos_numbered: bool = True  # by the worker: a late one cannot displace a newer one


class Faults(NamedTuple):
    """How often each may still happen."""

    kills: int = 0  # of the server
    cuts: int = 0  # of a worker's line
    deaths: int = 0  # of workers
    graces: int = 0  # that run out
    retracts: int = 0
    silences: int = 0  # after which a worker that gets no answers connects anew


class Phase(Enum):
    READY = "ready"
    SHIPPED = "shipped"
    ENDED = "ended"


class Book(NamedTuple):
    """What the server holds to be true of the task; the journal adds up to the same."""

    phase: Phase = Phase.READY
    owner: int = -1
    instance: int = 0

    def is_of(self, worker: int, instance: int) -> bool:
        return self == Book(Phase.SHIPPED, worker, instance)

    def is_at(self, worker: int) -> bool:
        return self.phase is Phase.SHIPPED and self.owner == worker


class Copy(NamedTuple):
    """The task as a worker has it."""

    instance: int
    state: str = "waits"  # then runs, then ended: a report without receipt
    told: bool = False  # its end was reported on the present line


Frame = tuple[object, ...]
END_OF_LINE: Final[Frame] = ("end of line",)


class Line(NamedTuple):
    """One connection; frames under way in order. `greeted`: the server has read its hello."""

    down: tuple[Frame, ...] = ()
    up: tuple[Frame, ...] = ()
    greeted: bool = False

    def say(self, frame: Frame) -> Line:
        return self._replace(up=(*self.up, frame))

    def order(self, frame: Frame) -> Line:
        return self._replace(down=(*self.down, frame))


class Worker(NamedTuple):
    copy: Copy | None = None
    line: Line | None = Line(greeted=True)
    old: Line | None = None


class Server(NamedTuple):
    """`attached`: on which of its lines the server takes each worker to be."""

    book: Book = Book()
    attached: tuple[str, str] = ("line", "line")  # or "old", or ""

    def attach(self, worker: int, which: str) -> Server:
        return self._replace(attached=_put(self.attached, worker, which))


class World(NamedTuple):
    left: Faults
    server: Server | None = Server()  # None while it is dead
    journal: Book = Book()
    workers: tuple[Worker, Worker] = (Worker(), Worker())
    starts: int = 0
    excused: bool = False  # a worker died or was away for too long: a second run is no surprise

    def put(self, worker: int, state: Worker) -> World:
        return self._replace(workers=_put(self.workers, worker, state))

    def record(self, book: Book) -> World:
        """Known and written."""
        assert self.server is not None
        return self._replace(server=self.server._replace(book=book), journal=book)

    def learn(self, book: Book) -> World:
        """Known, and not written yet."""
        assert self.server is not None
        return self._replace(server=self.server._replace(book=book))

    def spend(self, fault: str) -> World | None:
        left = getattr(self.left, fault)
        return self._replace(left=self.left._replace(**{fault: left - 1})) if left else None


class Bad(Enum):
    TWINS = "two copies of one instance run"
    SECOND_RUN = "it is run again though no worker was lost"
    KILLED = "a running copy is killed though no worker was lost"
    DEAD_END = "it can never be recorded as ended"


Step = tuple[str, World]
KILL: Final = "and its running copy is killed"


def futures(world: World, rules: Rules) -> Iterator[Step]:
    """Whatever may happen next."""
    server = world.server
    if server is None:
        yield "the server restarts from its journal", _restarted(world, rules)
    else:
        if fewer := world.spend("kills"):
            yield "SERVER KILL -9", _killed(fewer)
        if server.book != world.journal:
            yield "the journal catches up", world._replace(journal=server.book)
        yield from _decisions(world, server, rules)
    for number, worker in enumerate(world.workers):
        yield from _worker_alone(world, number, worker, rules)
        for which in ("line", "old"):
            line = getattr(worker, which)
            if line is None:
                continue
            if line.down:
                yield from _worker_reads(world, number, worker, which)
            if line.up and server is not None:
                yield from _server_reads(world, server, number, which, rules)


# --- the server


def _restarted(world: World, rules: Rules) -> World:
    book = world.journal
    if book.phase is Phase.SHIPPED and not rules.shipped_stays:
        book = _requeued(book, rules)
    return world._replace(server=Server(book, ("", "")), journal=book)


def _killed(world: World) -> World:
    """What it was about to read is gone with it; what it has sent may still arrive."""
    for number, worker in enumerate(world.workers):
        line = worker.line and worker.line._replace(up=(), greeted=False).order(END_OF_LINE)
        old = worker.old and worker.old._replace(up=())
        world = world.put(number, worker._replace(line=line, old=old if old and old.down else None))
    return world._replace(server=None)


def _decisions(world: World, server: Server, rules: Rules) -> Iterator[Step]:
    book = server.book
    for number, worker in enumerate(world.workers):
        which = server.attached[number]
        if book.phase is Phase.READY and which:
            shipped = Book(Phase.SHIPPED, number, book.instance)
            after = world.record(shipped) if rules.shipments_recorded else world.learn(shipped)
            yield (
                f"instance {book.instance} is shipped to worker {number}",
                _ordered(after, number, which, ("ship", book.instance)),
            )
        if not book.is_at(number):
            continue
        if which and (fewer := world.spend("retracts")):
            yield (
                f"the server asks worker {number} to give it back",
                _ordered(fewer, number, which, ("retract",)),
            )
        if not which and (fewer := world.spend("graces")):
            away = worker.line is None or not worker.line.greeted
            yield (
                f"the grace of worker {number} is over",
                fewer.record(_requeued(book, rules))._replace(excused=world.excused or away),
            )


def _ordered(world: World, number: int, which: str, frame: Frame) -> World:
    """The frame is on the line, unless that is there no more."""
    worker = world.workers[number]
    line = getattr(worker, which)
    if line is None or END_OF_LINE in line.up:
        return world
    return world.put(number, worker._replace(**{which: line.order(frame)}))


def _requeued(book: Book, rules: Rules) -> Book:
    return Book(Phase.READY, -1, book.instance + rules.instances_counted)


def _server_reads(
    world: World, server: Server, number: int, which: str, rules: Rules
) -> Iterator[Step]:
    worker, book = world.workers[number], server.book
    line: Line = getattr(worker, which)
    frame, *rest = line.up
    line = line._replace(up=tuple(rest))
    is_over = which == "old" and frame == END_OF_LINE
    read = world.put(number, worker._replace(**{which: None if is_over else line}))
    name = f"worker {number}" if which == "line" else f"worker {number} (its old line)"
    counts = server.attached[number] == which or not rules.old_reports_void
    match frame:
        case ("hello", copy):
            if which == "old" and server.attached[number] == "line" and rules.hellos_numbered:
                yield f"{name} says hello, too late", read
            else:
                yield from _welcome(read, number, which, copy, name, rules)
        case ("end of line",):
            after = read._replace(server=server.attach(number, "")) if counts else read
            yield f"the line of {name} is over", after
        case ("end", instance):
            after = read
            if counts and book.is_of(number, instance):
                ended = book._replace(phase=Phase.ENDED)
                after = read.record(ended) if rules.ends_recorded else read.learn(ended)
            if counts:
                after = _ordered(after, number, which, ("receipt", instance))
            yield f"{name} reports the end of instance {instance}", after
        case ("released",):
            after = read
            if counts and book.is_at(number):
                after = read.record(Book(Phase.READY, -1, book.instance))
            yield f"{name} has given it back", after


def _welcome(
    world: World, number: int, which: str, copy: Copy | None, name: str, rules: Rules
) -> Iterator[Step]:
    """The server compares what the worker says that it has with its book, and answers."""
    assert world.server is not None
    worker, book = world.workers[number], world.server.book
    line: Line = getattr(worker, which)
    world = world.put(number, worker._replace(**{which: line._replace(greeted=True)}))
    after, keep, verdict = world, True, "welcome"
    if rules.state_exchanged:
        if book.is_at(number) and (copy is None or copy.instance != book.instance):
            after = world.record(_requeued(book, rules))
            keep, verdict = False, "without the instance that it was shipped: requeued"
        elif copy is None:
            pass
        elif book.is_of(number, copy.instance):
            verdict = f"with instance {copy.instance}: kept"
        elif book.phase is Phase.READY and copy.instance >= book.instance:
            after = world.record(Book(Phase.SHIPPED, number, copy.instance))
            verdict = f"with instance {copy.instance}: adopted"
        else:
            keep, verdict = False, f"with instance {copy.instance}: not wanted any more"
    assert after.server is not None
    after = after._replace(server=after.server.attach(number, which))
    stated = -1 if copy is None else copy.instance
    yield f"{name} is back, {verdict}", _ordered(after, number, which, ("welcome", keep, stated))


# --- workers


def _worker_alone(world: World, number: int, worker: Worker, rules: Rules) -> Iterator[Step]:
    copy, line, server = worker.copy, worker.line, world.server
    if copy and copy.state == "waits":
        runs = worker._replace(copy=copy._replace(state="runs"))
        started = world.put(number, runs)._replace(starts=min(2, world.starts + 1))
        yield f"worker {number} starts instance {copy.instance}", started
    if copy and copy.state == "runs":
        ended = worker._replace(copy=copy._replace(state="ended"))
        yield f"instance {copy.instance} ends on worker {number}", world.put(number, ended)
    if copy and copy.state == "ended" and line and line.greeted and not copy.told:
        said = line.say(("end", copy.instance))
        kept = copy._replace(told=True) if rules.reports_kept else None
        yield (
            f"worker {number} sends its report",
            world.put(number, worker._replace(line=said, copy=kept)),
        )
    if line is None and server is not None:
        yield f"worker {number} connects", world.put(number, _connected(worker, rules))
    if line is not None and (fewer := world.spend("cuts")):
        yield f"the line of worker {number} is cut", _hung_up(fewer, number, worker)
        if line.up:
            bare = worker._replace(line=line._replace(up=()))
            yield (
                f"the line of worker {number} is cut with what was on it",
                _hung_up(fewer, number, bare),
            )
    unheard = line and line.greeted and server and server.attached[number] != "line"
    if unheard and (fewer := world.spend("silences")):
        story = f"worker {number} gets no answers and hangs up"
        yield story, _hung_up(fewer, number, worker)
    if fewer := world.spend("deaths"):
        dead = _hung_up(fewer, number, worker) if line else fewer
        old = dead.workers[number].old
        old = old and old._replace(down=())
        yield (
            f"worker {number} dies; another takes its place",
            dead.put(number, Worker(None, None, old))._replace(excused=True),
        )


def _hung_up(world: World, number: int, worker: Worker) -> World:
    """The worker's line is its old one now; of an older one nothing arrives any more."""
    assert worker.line is not None
    server = world.server
    if server is None:
        return world.put(number, worker._replace(line=None, old=worker.line._replace(up=())))
    which = "old" if server.attached[number] == "line" else ""
    world = world._replace(server=server.attach(number, which))
    return world.put(number, worker._replace(line=None, old=worker.line.say(END_OF_LINE)))


def _connected(worker: Worker, rules: Rules) -> Worker:
    """A new line, and on it the word of what the worker has."""
    copy = worker.copy and worker.copy._replace(told=worker.copy.state == "ended")
    old = worker.old
    if old and rules.old_orders_void:
        old = old._replace(down=())
    return Worker(copy, Line(up=(("hello", copy),)), old if old and (old.up or old.down) else None)


def _worker_reads(world: World, number: int, worker: Worker, which: str) -> Iterator[Step]:
    line: Line = getattr(worker, which)
    frame, *rest = line.down
    line = line._replace(down=tuple(rest))
    read = worker._replace(**{which: line})
    copy = worker.copy
    story, after = f"worker {number} reads {frame[0]}", read
    match frame:
        case ("ship", int(instance)):
            story = f"worker {number} gets instance {instance}"
            after = read._replace(copy=Copy(instance))
        case ("retract",):
            if copy and copy.state == "waits":
                after = read._replace(copy=None, **{which: line.say(("released",))})
        case ("welcome", keep, stated):
            if copy and not keep and copy.instance == stated:
                story += f", {KILL}" if copy.state == "runs" else ", and drops it"
                after = read._replace(copy=None)
            elif copy and copy.told:
                story += ", which has its report"
                after = read._replace(**{which: line.say(("end", copy.instance))})
        case ("receipt", instance):
            if copy and copy.state == "ended" and copy.instance == instance:
                after = read._replace(copy=None)
        case ("end of line",):
            story = f"worker {number} notices that the server is gone"
            after = read._replace(line=None, old=None)
    yield story, world.put(number, after)


def _put(pair: tuple[object, object], index: int, value: object) -> tuple[object, object]:
    return (value, pair[1]) if index == 0 else (pair[0], value)


# --- the search


class Findings(NamedTuple):
    worlds: int
    stories: dict[Bad, list[str]]


@cache
def explore(faults: Faults, rules: Rules) -> Findings:
    """Visit every world that can be reached; a shortest story for each kind of bad one."""
    start = World(faults)
    came: dict[World, tuple[World, str] | None] = {start: None}
    leads_to: dict[World, list[World]] = {}
    stories: dict[Bad, list[str]] = {}
    queue = deque([start])
    while queue:
        world = queue.popleft()
        for step, after in futures(world, rules):
            for bad in _wrong_with(after, step):
                if bad not in stories:
                    stories[bad] = [*_story(came, world), step]
            if after not in came:
                came[after] = (world, step)
                queue.append(after)
            leads_to.setdefault(after, []).append(world)
    queue.extend(world for world in came if world.journal.phase is Phase.ENDED)
    hopeful = set(queue)
    while queue:
        for world in leads_to.get(queue.popleft(), ()):
            if world not in hopeful:
                hopeful.add(world)
                queue.append(world)
    stuck = next((world for world in came if world not in hopeful), None)
    if stuck is not None:
        stories[Bad.DEAD_END] = _story(came, stuck)
    return Findings(len(came), stories)


def _story(came: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    told: list[str] = []
    while origin := came[world]:
        world, step = origin
        told.append(step)
    return told[::-1]


def _wrong_with(world: World, step: str) -> Iterator[Bad]:
    a, b = (worker.copy for worker in world.workers)
    if a and b and a.state == b.state == "runs" and a.instance == b.instance:
        yield Bad.TWINS
    if world.starts > 1 and not world.excused:
        yield Bad.SECOND_RUN
    if step.endswith(KILL) and not world.excused:
        yield Bad.KILLED
