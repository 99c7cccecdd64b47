"""The scheduling machine: ready tasks in, orders to workers out.

`handle` changes the tables and returns facts and records; `end_batch` runs the round, if one is
due, and returns the frames. Both take effect only when the caller performs what they return, in
order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, assert_never

import msgspec

from hqtrio.errors import RemoteFault
from hqtrio.messages.columns import u32, u64
from hqtrio.messages.scheduling import (
    AdmitWorker,
    BodiesDone,
    ExpectGang,
    ExpectWorker,
    NodeLost,
    Receipt,
    RefuseWorker,
    StopWorker,
    TasksCancelled,
    TasksDropped,
    TasksReady,
    TasksReported,
    WorkerAbsent,
    WorkerArrived,
    WorkerBusy,
    WorkerGone,
)
from hqtrio.messages.worker import (
    Ack,
    Forget,
    FromWorker,
    Goodbye,
    Heartbeat,
    HeldMore,
    Overview,
    Register,
    Registered,
    Rejected,
    Report,
    Stop,
)
from hqtrio.model.resources import Variants
from hqtrio.model.worker import LossReason, OnServerLost
from hqtrio.now import Now
from hqtrio.scheduling import shipping
from hqtrio.scheduling.absence import NO_GRACE, Absences, Absent, Grace, rebuild, take_place
from hqtrio.scheduling.admission import check_load, fault_in
from hqtrio.scheduling.check import check
from hqtrio.scheduling.demand import Demand, WorkerType, plan, waiting_in
from hqtrio.scheduling.events import (
    CloseLink,
    Effect,
    Event,
    Fact,
    LinkClosed,
    LinkFree,
    LinkOpened,
    LinkStuck,
    ToLink,
    WorkerSaid,
)
from hqtrio.scheduling.explain import Fits, Uses, explain
from hqtrio.scheduling.holds import Hold
from hqtrio.scheduling.mirror import Mirror, Unit
from hqtrio.scheduling.ready import Spans
from hqtrio.scheduling.reports import ReportReader
from hqtrio.scheduling.round import Round
from hqtrio.scheduling.statement import Statement, read_statement
from hqtrio.scheduling.tables import Tables
from hqtrio.scheduling.timers import Timers, What

ROUND_SPACING: Final = 4.0  # times what the last round took
ROUND_SPACING_MAX_S: Final = 0.02
ACK_DELAY_S: Final = 0.1
# A worker collects ends while a few of its reports are unacknowledged. Letting it collect is what
# keeps small frames off both event loops, unless something could start or much has gathered.
ACK_AT_ONCE: Final = 2  # reports
ACK_ROWS: Final = 500
# A report costs the server about a tenth of a millisecond, however many ends it tells of. Of many
# workers each reports so much less often that all together take a small part of the time.
PACED_WORKERS: Final = 32
PACE_S: Final = 0.004  # for each worker
PACE_MAX_S: Final = 4.0
STOP_GRACE_S: Final = 60.0
PATIENCE_S: Final = 60.0
ASKED_ROUNDS: Final = 3  # that are run before a question is answered


@dataclass(frozen=True, slots=True)
class Statistics:
    """Totals over all workers and queues, and counters since the start."""

    workers: int
    ready: int
    shipped: int  # at workers, running ones included
    running: int
    slots: int
    rounds: int


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What one worker has to do at present; `reserved`: kept for waiting tasks."""

    assigned: int
    running: int
    reserved: bool


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A link whose worker is not admitted yet."""

    hello: Register
    statement: Statement
    opened_at: float


class Scheduling:
    """Machine 2. `end_batch` is to be called once after the events of one mailbox batch.

    A class of tasks that others of its priority have overtaken for `patience_s` goes before them
    (0: never). What lies at a worker whose connection is gone stays its own for its `grace`.
    """

    def __init__(self, patience_s: float = PATIENCE_S, grace: Grace = NO_GRACE) -> None:
        self._tables = Tables()
        self._patience_s = patience_s
        self._grace = grace
        self._absences = Absences(self._tables)
        self._waiting: dict[int, _Waiting] = {}  # by link
        self._asking: dict[bytes, int] = {}  # links of those, by the worker's key
        self._by_link: dict[int, Mirror] = {}
        self._by_key: dict[bytes, Mirror] = {}
        # Links that closed before the answer came; None: a later one of the worker is open.
        self._vanished: dict[int, LossReason | None] = {}
        self._timers = Timers()
        self._owed: dict[int, None] = {}  # workers that are owed an acknowledgement
        self._wake_at = inf
        self._next_round_at = -inf
        self._round_ran_at = -inf
        self._round_at = -inf  # when the last round looked at the workers
        self._rounds = 0
        self._useless: set[int] = set()  # workers that could do nothing when last asked

    # --- events

    def handle(self, event: Event, now: Now) -> Sequence[Effect]:
        """Change the tables. Frames and starts come out of `end_batch`."""
        at = now.monotonic
        match event:
            case WorkerSaid(link, messages):
                mirror = self._by_link.get(link)
                if mirror is None:
                    return self._spoke_early(link, messages, at)
                return self._hear(mirror, messages, at)
            case TasksReady():
                self._tables.announce(event)
            case Receipt(worker, attachment, report):
                self._receipt(worker, attachment, report)
            case TasksCancelled(runs):
                self._cancel(Spans(runs))
            case BodiesDone(bodies):
                self._forget(bodies)
            case LinkOpened(link, hello):
                return self._link_opened(link, hello, at)
            case LinkClosed(link, reason):
                return self._link_closed(link, reason, at)
            case LinkStuck(link):
                self._set_stuck(link, True)
            case LinkFree(link):
                self._set_stuck(link, False)
            case AdmitWorker():
                return self._admit(event, at)
            case ExpectWorker():
                expected = self._absences.expect(event)
                lost = Fact(WorkerAbsent(expected.id, expected.reason))
                return lost, *self._await(expected, at)
            case ExpectGang(task, instance, workers):
                self._absences.expect_gang(task, instance, workers)
            case RefuseWorker(link, reason):
                return self._refuse(link, reason, at)
            case StopWorker(worker, reason):
                mirror = self._tables.workers.get(worker)
                absent = self._absences.get(worker)
                if mirror is not None:
                    self._stop(mirror, reason, at)
                elif absent is not None:
                    absent.reason = reason
                    return self._give_up(absent, at)
            case _:
                assert_never(event)
        return ()

    def end_batch(self, now: Now) -> Sequence[Effect]:
        """Run the round if one is due, and send what has gathered for each worker."""
        at = now.monotonic
        if self._tables.dirty and at >= self._next_round_at:
            self._run_round(at)
            self._round_ran_at = at
        return self._flush(at)

    def _run_round(self, at: float) -> None:
        one = Round(self._tables, at, self._patience_s)
        one.run()
        self._forget_idle_classes()
        if one.placed:
            self._wake_at = one.wake_at
        self._rounds += 1
        self._round_at = at

    def round_took(self, seconds: float) -> None:
        """Tell how long the last `end_batch` took: the next round is spaced by that."""
        if self._round_ran_at > -inf:
            spacing = min(ROUND_SPACING * seconds, ROUND_SPACING_MAX_S)
            self._next_round_at = self._round_ran_at + spacing
            self._round_ran_at = -inf

    def tick(self, now: Now) -> Sequence[Effect]:
        """Do what has become due, the round included."""
        at = now.monotonic
        if at >= self._wake_at:
            self._wake_at = inf
            self._tables.review = True
        effects: list[Effect] = []
        for what, worker in self._timers.due(at):
            absent = self._absences.get(worker)
            if absent is not None and what is What.GRACE:
                effects += self._give_up(absent, at)
            mirror = self._tables.workers.get(worker)
            if mirror is None:
                continue
            match what:
                case What.IDLE:
                    self._check_idle(mirror, at)
                case What.STOP:
                    effects += self._lose(mirror, LossReason.STOPPED, at)
                    effects.append(CloseLink(mirror.link, "did not end in time after being told"))
                case What.ACK:
                    self._acknowledge(mirror)
        return [*effects, *self.end_batch(now)]

    def next_deadline(self) -> float:
        """When `tick` has to be called, unless something happens before."""
        round_at = self._next_round_at if self._tables.dirty else inf
        return min(round_at, self._wake_at, self._timers.next_at())

    @property
    def is_paced(self) -> bool:
        """Whether so many workers are here that they are asked to report less often."""
        return len(self._tables.workers) >= PACED_WORKERS

    # --- links and workers

    def _link_opened(self, link: int, hello: Register, at: float) -> Sequence[Effect]:
        fault = fault_in(hello)
        if fault:
            return self._refuse(link, fault, at)
        effects: list[Effect] = []
        for other, attempt in self._links_of(hello.worker_key):
            if attempt >= hello.attempt:
                self._vanished[link] = None
                return (CloseLink(link, "the worker has a later connection"),)
            effects += self._supersede(other, at)
        statement = Statement()
        if hello.held is not None:
            try:
                statement = read_statement(hello.held, hello.config.descriptor)
            except RemoteFault:
                # Nothing of it can be believed, so it keeps nothing, and not its id either.
                hello = msgspec.structs.replace(hello, history=b"", held=None)
        self._waiting[link] = _Waiting(hello, statement, at)
        self._asking[hello.worker_key] = link
        arrived = WorkerArrived(link, hello)
        absent = self._absences.of_key(hello.worker_key)
        if absent is not None:
            absent.link = link
            self._timers.disarm(What.GRACE, absent.id)
            gang = absent.mirror.gang
            gangs: tuple[tuple[int, tuple[int, ...]], ...] = ()
            if gang is not None and gang.root is absent.mirror:
                gangs = ((gang.task, tuple(member.id for member in gang.members)),)
            arrived = WorkerArrived(link, hello, absent.mirror.seen, gangs)
        return *effects, Fact(arrived)

    def _links_of(self, key: bytes) -> list[tuple[int, int]]:
        """Connections of this very worker that are open so far, with the number it gave them."""
        links: list[tuple[int, int]] = []
        mirror, asking = self._by_key.get(key), self._asking.get(key)
        if mirror is not None:
            links.append((mirror.link, mirror.attempt))
        if asking is not None:
            links.append((asking, self._waiting[asking].hello.attempt))
        return links

    def _supersede(self, link: int, at: float) -> list[Effect]:
        """The worker has opened a later connection: nothing that this one says counts."""
        effects: list[Effect] = []
        mirror = self._by_link.get(link)
        if mirror is not None:
            effects += self._part(mirror, LossReason.CONNECTION_LOST, at)
        else:
            self._forget_waiting(link)
            self._vanished[link] = None
        return [*effects, CloseLink(link, "the worker has a later connection")]

    def _refuse(self, link: int, reason: str, at: float) -> Sequence[Effect]:
        if link in self._vanished:
            del self._vanished[link]
            return ()
        back: list[Effect] = []
        if link in self._waiting:
            self._forget_waiting(link)
            back = self._release(link, at)
        return *back, ToLink(link, (Rejected(reason),)), CloseLink(link, reason)

    def _forget_waiting(self, link: int) -> _Waiting:
        waiting = self._waiting.pop(link)
        del self._asking[waiting.hello.worker_key]
        return waiting

    def _vanish(self, link: int, reason: LossReason, at: float) -> list[Effect]:
        """The connection is over before the job book has answered."""
        self._forget_waiting(link)
        self._vanished[link] = reason
        return self._release(link, at)

    def _admit(self, admit: AdmitWorker, at: float) -> Sequence[Effect]:
        if admit.link not in self._waiting:
            return self._admit_nobody(admit)
        waiting = self._forget_waiting(admit.link)
        tables, hello, statement = self._tables, waiting.hello, waiting.statement
        before: list[Effect] = []
        if admit.attachment == 1:
            # It is another worker than it was: what it had is given away, and it forgets it all.
            hello, statement = msgspec.structs.replace(hello, held=None), Statement()
            absent = self._absences.of_key(hello.worker_key)
            before = [] if absent is None else self._give_up(absent, at)
        mirror = Mirror(
            admit.worker,
            admit.link,
            admit.attachment,
            hello,
            tables.shape(hello.config.descriptor),
            tables.talking,
            tables.free,
        )
        lifetime = hello.config.time_limit_s if hello.remaining_s is None else hello.remaining_s
        if lifetime is not None:
            mirror.deadline_at = waiting.opened_at + lifetime
        idle = hello.config.idle_timeout_s
        idle = admit.idle_timeout_s if idle is None else idle
        if idle is not None:
            mirror.idle_timeout_s = idle
        effects, keep = self._attach(mirror, statement, admit, at)
        tables.add_worker(mirror)
        self._by_link[admit.link] = self._by_key[mirror.key] = mirror
        if mirror.is_idle:
            self._rest(mirror, at)
        welcome = Registered(
            admit.worker, admit.server_uid, admit.history, admit.attachment, u64(keep), idle
        )
        mirror.post(Unit((welcome,), shipping.MESSAGE_BYTES + 8 * len(keep)))
        return [*before, *effects]

    def _admit_nobody(self, admit: AdmitWorker) -> Sequence[Effect]:
        """The connection was gone before the job book's answer to it."""
        reason = self._vanished.pop(admit.link)
        absent = self._absences.get(admit.worker)
        if reason is None or (absent is not None and absent.link):
            return ()  # another one of this worker waits for its own answer
        if absent is not None:
            return (Fact(WorkerAbsent(absent.id, absent.reason)),)
        return (Fact(WorkerGone(admit.worker, reason, (), ())),)

    def _attach(
        self, mirror: Mirror, statement: Statement, admit: AdmitWorker, at: float
    ) -> tuple[list[Effect], list[int]]:
        """Give the mirror what its worker still has; says what that is."""
        absent = self._absences.get(admit.worker)
        effects: list[Effect] = []
        if absent is not None:
            self._absences.remove(absent)
            if not take_place(mirror, statement, absent.mirror):
                effects += self._leave_gang(absent.mirror, at)
        keep = rebuild(self._tables, mirror, statement, admit.kept, absent)
        policy = mirror.config.on_server_lost
        mirror.leaves = mirror.had_past and policy is OnServerLost.FINISH_RUNNING
        if absent is not None:
            dropped = tuple(row for row in absent.tasks.items() if row[0] not in mirror.held)
            if dropped:
                effects.append(Fact(TasksDropped(mirror.id, dropped)))
        return effects, keep

    def _release(self, link: int, at: float) -> list[Effect]:
        """Whoever asked to be admitted over this connection is as absent as before."""
        absent = self._absences.of_link(link)
        if absent is None:
            return []
        absent.link = 0
        return self._await(absent, at)

    def _link_closed(self, link: int, reason: LossReason, at: float) -> Sequence[Effect]:
        mirror = self._by_link.get(link)
        if mirror is not None:
            return self._part(mirror, reason, at)
        return self._vanish(link, reason, at) if link in self._waiting else ()

    def _part(self, mirror: Mirror, reason: LossReason, at: float) -> list[Effect]:
        """The worker has no connection. Unless it is about to end, it may come back."""
        grace_s = self._grace.of(mirror, reason)
        if mirror.stopping is not None or grace_s <= 0:
            return self._lose(mirror, reason, at)
        self._let_go(mirror)
        absent = self._absences.miss(mirror, reason, grace_s)
        return [Fact(WorkerAbsent(mirror.id, reason)), *self._await(absent, at)]

    def _await(self, absent: Absent, at: float) -> list[Effect]:
        """The worker's grace begins."""
        if absent.grace_s <= 0:
            return self._give_up(absent, at)
        self._timers.arm(What.GRACE, absent.id, at + absent.grace_s)
        return []

    def _give_up(self, absent: Absent, at: float) -> list[Effect]:
        """The worker is gone: what was its own is nobody's now."""
        self._absences.remove(absent)
        self._timers.disarm(What.GRACE, absent.id)
        rows = absent.rows(running=True), absent.rows(running=False)
        effects = self._leave_gang(absent.mirror, at)
        return [*effects, Fact(WorkerGone(absent.id, absent.reason, *rows))]

    def _let_go(self, mirror: Mirror) -> None:
        """Nothing is sent to the worker and nothing of it becomes due."""
        self._tables.stop_using(mirror)
        del self._by_link[mirror.link], self._by_key[mirror.key]
        self._timers.forget(mirror.id)
        self._owed.pop(mirror.id, None)

    def _lose(self, mirror: Mirror, reason: LossReason, at: float) -> list[Effect]:
        """Drop the mirror; the first reason that was given is the reason."""
        if mirror.stopping is not None:
            reason = mirror.stopping
        self._let_go(mirror)
        effects = self._leave_gang(mirror, at)
        self._tables.drop_worker(mirror)
        running: list[tuple[int, int]] = []
        shipped: list[tuple[int, int]] = []
        for task, batch in mirror.held.items():
            (running if task in mirror.running else shipped).append((task, batch.instance))
        rows = tuple(running), tuple(shipped)
        return [*effects, Fact(WorkerGone(mirror.id, reason, *rows, mirror.heard_out))]

    def _leave_gang(self, mirror: Mirror, at: float) -> list[Effect]:
        """A task loses its root and so all workers, or goes on without this one."""
        gang = mirror.gang
        if gang is None:
            return []
        if gang.root is mirror:
            for member in gang.members:
                self._tables.leave_gang(member)
                if member is not mirror and self._tables.workers.get(member.id) is member:
                    self._rest(member, at)
            return []
        gang.members.remove(mirror)
        self._tables.leave_gang(mirror)
        return [Fact(NodeLost(gang.task, gang.instance, mirror.id))]

    def _stop(self, mirror: Mirror, reason: LossReason, at: float) -> None:
        """Tell the worker to end; it gets no more work, and what it has is given up with it."""
        if mirror.stopping is not None:
            return
        self._leave(mirror, reason, at)
        mirror.post(Unit((Stop(reason),), shipping.MESSAGE_BYTES))

    def _leave(self, mirror: Mirror, reason: LossReason, at: float) -> None:
        mirror.stopping = reason
        self._tables.stop_using(mirror)
        self._timers.disarm(What.IDLE, mirror.id)
        self._timers.arm(What.STOP, mirror.id, at + STOP_GRACE_S)

    def _set_stuck(self, link: int, stuck: bool) -> None:
        mirror = self._by_link.get(link)
        if mirror is not None:
            mirror.is_stuck = stuck
            self._tables.reconsider(mirror)

    def _rest(self, mirror: Mirror, at: float) -> None:
        """The worker has nothing to do since now."""
        if mirror.idle_timeout_s < inf and mirror.stopping is None:
            self._timers.arm(What.IDLE, mirror.id, at + mirror.idle_timeout_s)

    def _check_idle(self, mirror: Mirror, at: float) -> None:
        # A worker that got work meanwhile has its timer set anew when it rests again.
        if not mirror.is_idle or mirror.stopping is not None:
            return
        if any(hold.klass.nodes and mirror.id in hold.workers for hold in self._holds()):
            self._rest(mirror, at)  # it waits for others
        else:
            self._stop(mirror, LossReason.IDLE_TIMEOUT, at)

    def _holds(self) -> Iterable[Hold]:
        return self._tables.holds.values()

    # --- what workers say

    def _spoke_early(
        self, link: int, messages: tuple[FromWorker, ...], at: float
    ) -> Sequence[Effect]:
        if link not in self._waiting or all(isinstance(m, Heartbeat | Goodbye) for m in messages):
            return ()
        back = self._vanish(link, LossReason.CONNECTION_LOST, at)
        return *back, CloseLink(link, "spoke before it was registered")

    def _hear(
        self, mirror: Mirror, messages: tuple[FromWorker, ...], at: float
    ) -> Sequence[Effect]:
        effects: list[Effect] = []
        was_idle = mirror.is_idle
        try:
            for message in messages:
                match message:
                    case Report():
                        self._read(mirror, message, at, effects)
                    case Heartbeat():
                        pass
                    case Overview(load):
                        check_load(load)
                        effects.append(Fact(WorkerBusy(mirror.id, load)))
                    case Goodbye(reason):
                        mirror.heard_out = True
                        if mirror.stopping is None:
                            self._leave(mirror, reason, at)
                    case Register() | HeldMore():
                        raise RemoteFault("registered twice on one connection")
                    case _:
                        assert_never(message)
        except RemoteFault as fault:
            effects += self._lose(mirror, LossReason.CONNECTION_LOST, at)
            effects.append(CloseLink(mirror.link, str(fault)))
            return effects
        self._tables.reconsider(mirror)
        if mirror.is_idle and not was_idle:
            self._rest(mirror, at)
        return effects

    def _read(self, mirror: Mirror, report: Report, at: float, effects: list[Effect]) -> None:
        if report.seq <= mirror.seen:
            raise RemoteFault(f"report {report.seq} came after report {mirror.seen}")
        reader = ReportReader(self._tables, mirror, at)
        try:
            reader.read(report)
            mirror.seen = report.seq
            self._owed[mirror.id] = None
        finally:
            # What was already applied is true, also when a later fact is refused.
            effects += reader.effects
            effects.append(
                Fact(
                    TasksReported(
                        mirror.id,
                        mirror.attachment,
                        report.seq,
                        tuple(reader.started),
                        tuple(reader.ended),
                        tuple(reader.gangs),
                        tuple(reader.variants),
                    )
                )
            )
            for member in reader.rested:
                if self._tables.workers.get(member.id) is member:
                    self._rest(member, at)

    # --- what the job book says

    def _receipt(self, worker: int, attachment: int, report: int) -> None:
        mirror = self._tables.workers.get(worker)
        if mirror is not None and mirror.attachment == attachment:
            mirror.durable = max(mirror.durable, report)
            self._owed[worker] = None

    def _cancel(self, spans: Spans) -> None:
        tables = self._tables
        if tables.unqueue(spans):
            tables.review = True
        few = spans.count * len(tables.workers) < sum(k.shipped for k in tables.classes.values())
        for mirror in tables.workers.values():
            held, done = mirror.held, mirror.cancelled
            candidates = spans if few else held
            other = held if few else spans
            tasks = [task for task in candidates if task in other and task not in done]
            if tasks:
                shipping.cancel(mirror, tasks)
                # Perhaps nobody waits any more for what is held.
                tables.review |= bool(tables.holds)

    def _forget(self, bodies: tuple[int, ...]) -> None:
        for mirror in self._tables.workers.values():
            known = [body for body in bodies if body in mirror.bodies]
            if known:
                mirror.bodies.difference_update(known)
                size = shipping.MESSAGE_BYTES + 4 * len(known)
                mirror.post(Unit((Forget(u32(known)),), size))

    def _forget_idle_classes(self) -> None:
        if numbers := self._tables.forget_idle_classes():
            for mirror in self._tables.workers.values():
                if known := mirror.forget_classes(numbers):
                    size = shipping.MESSAGE_BYTES + 4 * len(known)
                    mirror.post(Unit((Forget(b"", u32(known)),), size))

    # --- frames

    def _flush(self, at: float) -> list[Effect]:
        tables = self._tables
        for worker in self._owed:
            mirror = tables.workers[worker]
            unseen = mirror.seen - mirror.last_ack[0]
            pressing = mirror.urgent or mirror.unseen_rows >= ACK_ROWS or mirror.hungry
            if mirror.outbox or (pressing and unseen >= ACK_AT_ONCE):
                self._acknowledge(mirror)
            elif not self._timers.is_armed(What.ACK, worker):
                delay_s = max(ACK_DELAY_S, 2 * mirror.pace_s)
                self._timers.arm(What.ACK, worker, at + delay_s)
        self._owed.clear()
        effects: list[Effect] = []
        talking = list(tables.talking.values())
        tables.talking.clear()
        for mirror in talking:
            if mirror.gating and mirror.pace_s:
                self._acknowledge(mirror)
            effects += shipping.flush(mirror)
        return effects

    def _acknowledge(self, mirror: Mirror) -> None:
        """Send how far the worker's reports were handled, and how far they are durable."""
        state = (mirror.seen, mirror.durable)
        pace_s = 0.0
        if self.is_paced and not mirror.gating:
            pace_s = min(PACE_MAX_S, len(self._tables.workers) * PACE_S)
        if state != mirror.last_ack or (mirror.pace_s and not pace_s):
            mirror.last_ack, mirror.pace_s = state, pace_s
            mirror.unseen_rows, mirror.urgent = 0, False
            mirror.post(Unit((Ack(*state, pace_s),), shipping.MESSAGE_BYTES))

    # --- questions

    def runtime_info(self, worker: int) -> RuntimeInfo | None:
        """What the worker has to do; None if it is not connected."""
        mirror = self._tables.workers.get(worker)
        if mirror is None:
            return None
        reserved = any(hold.rank_on(mirror, self._round_at) is not None for hold in self._holds())
        assigned = len(mirror.held) if mirror.gang is None else 1
        running = len(mirror.running) if mirror.gang is None else len(mirror.gang.root.running)
        return RuntimeInfo(assigned, running, reserved)

    def explain(self, variants: Variants, after: int, now: Now) -> Fits:
        """Where tasks with these variants could ever run, a page of workers above `after`."""
        return explain(self._tables.workers, variants, after, now.monotonic)

    def dismiss_useless(
        self, workers: Iterable[int], waiting: Sequence[Variants], now: Now
    ) -> None:
        """Stop those of the workers that have nothing to do, now and when last asked, and could
        run nothing of what waits, here or according to the caller. Where nothing waits, all have
        their idle timeout; the next `end_batch` sends what there is to send."""
        if not self._has_settled(now.monotonic):
            return
        here = [k.variants for k in self._tables.classes.values() if k.ready]
        uses = Uses((*waiting, *here))
        idle = set()
        for worker in workers if waiting else ():
            mirror = self._tables.workers.get(worker)
            if mirror is None or not mirror.is_idle or mirror.stopping is not None:
                continue
            if not uses.has_any(mirror, now.monotonic):
                idle.add(worker)
                if worker in self._useless:
                    self._stop(mirror, LossReason.IDLE_TIMEOUT, now.monotonic)
        self._useless = idle

    def demand(self, types: Sequence[WorkerType], now: Now) -> Demand | None:
        """How many workers of each type would have work that nobody here can start now.

        None if that cannot be told yet. What can start here starts first; the next `end_batch`
        sends it.
        """
        if not self._has_settled(now.monotonic):
            return None
        return plan(waiting_in(self._tables), types)

    def _has_settled(self, at: float) -> bool:
        """Start what can start; says whether that was all."""
        for _ in range(ASKED_ROUNDS):
            if not self._tables.dirty:
                break
            self._run_round(at)
        return not self._tables.dirty

    def statistics(self) -> Statistics:
        classes = self._tables.classes.values()
        workers = self._tables.workers.values()
        return Statistics(
            workers=len(workers),
            ready=sum(klass.ready for klass in classes),
            shipped=sum(klass.shipped for klass in classes)
            + sum(len(absent.tasks) for absent in self._absences),
            running=sum(len(mirror.running) for mirror in workers),
            slots=sum(klass.slots for klass in classes),
            rounds=self._rounds,
        )

    def check(self) -> None:
        """Assert the invariants over all tables."""
        check(self._tables)
        for link, mirror in self._by_link.items():
            assert mirror.link == link, (link, mirror.link)
            assert self._tables.workers.get(mirror.id) is mirror, mirror.id
            assert self._by_key[mirror.key] is mirror, mirror.id
        assert len(self._by_link) == len(self._tables.workers), self._by_link.keys()
        assert len(self._by_key) == len(self._by_link)
        assert not self._waiting.keys() & self._by_link.keys()
        self._absences.check()
        for absent in self._absences:
            assert not absent.link or absent.link in self._waiting, absent.id
            armed = self._timers.is_armed(What.GRACE, absent.id)
            assert armed == (not absent.link), absent.id
